/** What each file of spec/vectors holds, recomputed. */
import assert from "node:assert/strict";

import { joined, utf8 } from "../../src/protocol/bytes.js";
import { CheckCode } from "../../src/protocol/check_code.js";
import { fromHex, toHex } from "../../src/protocol/digits.js";
import { endpointToBytes } from "../../src/protocol/endpoint.js";
import { beginPairing, beginReturn, type Confirmed } from "../../src/protocol/handshake.js";
import { PublicKey, StaticSecret } from "../../src/protocol/identity.js";
import {
  checkReturn,
  decodeAnswer,
  decodeClaim,
  decodeControl,
  encodeAnswer,
  encodeClaim,
  encodeControl,
  encodeReturn,
} from "../../src/protocol/message.js";
import { chachapoly, Noise, type Pattern } from "../../src/protocol/noise.js";
import {
  OfferError,
  offerFromBytes,
  offerFromLink,
  offerKeys,
  offerToBytes,
  offerToLink,
  type Offer,
} from "../../src/protocol/offer.js";
import { Hello, Responder } from "../../src/protocol/responder.js";
import { deriveOfferKeys, pairingRoom, relaySecretHash, Source } from "../../src/protocol/schedule.js";
import { Secret, type SecretKind } from "../../src/protocol/secret.js";
import { Epoch, Opener, Sealer, type Direction } from "../../src/protocol/session.js";

type Hex = string;

export function unhex(text: Hex): Uint8Array<ArrayBuffer> {
  const bytes = fromHex(text);
  assert.ok(bytes !== null, text);
  return bytes;
}

function secret<Kind extends SecretKind>(kind: Kind, text: Hex): Secret<Kind> {
  return new Secret(kind, unhex(text));
}

function counting(first: number, length = 32): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, at) => first + at);
}

interface OfferVectors {
  readonly invalid: readonly { bytes: Hex; what: string }[];
  readonly skipped: { bytes: Hex; same_as: Hex; what: string };
  readonly valid: readonly {
    bytes: Hex;
    endpoints: readonly Hex[];
    expires_at: number;
    fingerprint: string;
    host_key: Hex;
    links: readonly [string, string];
    secret: Hex;
    suites: number;
  }[];
}

const REFUSED: Record<string, string> = {
  "another version": "the offer is of version 2, this program knows version 1: update it",
  "no known suite": "the offer allows no cipher suite that this program knows: update it",
  "breaks off within the host's key": "the offer breaks off within the host's key",
  "a trailing byte": "the offer has a trailing byte",
  "an endpoint that breaks off": "the offer breaks off within an endpoint",
  "port zero": "endpoint 1 of the offer is malformed",
  "a LAN address of a wrong length": "endpoint 1 of the offer is malformed",
  "an endpoint twice": "the offer names an endpoint twice",
  "an unknown endpoint twice": "the offer names an endpoint twice",
  "nine endpoints": "the offer names more than 8 endpoints",
  "a relay name with a space": "endpoint 1 of the offer is malformed",
};

export function offer(vectors: OfferVectors): void {
  for (const v of vectors.valid) {
    const read = offerFromBytes(unhex(v.bytes));
    assert.deepEqual([read.suites, read.expiresAt], [v.suites, v.expires_at]);
    assert.equal(toHex(read.secret.expose()), v.secret);
    assert.equal(toHex(read.hostKey.toBytes()), v.host_key);
    assert.equal(read.hostKey.fingerprint(), v.fingerprint);
    assert.deepEqual(
      read.endpoints.map((endpoint) => toHex(endpointToBytes(endpoint))),
      [...v.endpoints],
    );
    const [app, web] = v.links;
    for (const link of [app, web]) {
      for (const form of [link, link.toLowerCase(), `\n ${link}\t`]) {
        assert.equal(toHex(offerToBytes(offerFromLink(form))), v.bytes, form);
      }
    }
    assert.deepEqual([offerToLink(read, "app"), offerToLink(read, "web")], [app, web]);
  }
  const { bytes, same_as, what } = vectors.skipped;
  assert.equal(toHex(offerToBytes(offerFromBytes(unhex(bytes)))), same_as, what);
  for (const { bytes: wrong, what: why } of vectors.invalid) {
    assert.throws(
      () => offerFromBytes(unhex(wrong)),
      (error: unknown) => {
        assert.ok(error instanceof OfferError);
        assert.deepEqual([error.code, error.message], ["CPL-1605", REFUSED[why]], why);
        return true;
      },
    );
  }
  assert.deepEqual([vectors.valid.length, vectors.invalid.length], [3, 11]);
}

interface Derivations {
  readonly expires_at: number;
  readonly host_key: Hex;
  readonly offer_id: Hex;
  readonly pairing_token_hash: Hex;
  readonly psk: Hex;
  readonly room: Hex;
  readonly secret: Hex;
}

export function derivations(v: Derivations): void {
  const keys = deriveOfferKeys(secret("offer", v.secret), new PublicKey(unhex(v.host_key)), v.expires_at);
  assert.equal(toHex(keys.offerId), v.offer_id);
  assert.equal(keys.pairingTokenHash.exposeHex(), v.pairing_token_hash);
  assert.equal(toHex(keys.psk.expose()), v.psk);
  assert.equal(keys.room.toHex(), v.room);
}

interface Rooms {
  readonly room_secret: Hex;
  readonly secret_hash: Hex;
  readonly rooms: readonly { n: number; room: Hex }[];
}

export function rooms(v: Rooms): void {
  const room = secret("room", v.room_secret);
  assert.equal(relaySecretHash(room).exposeHex(), v.secret_hash);
  for (const { n, room: wanted } of v.rooms) assert.equal(pairingRoom(room, n).toHex(), wanted);
  assert.equal(v.rooms.length, 6);
}

interface Handshake {
  readonly mode: "pair" | "reconnect";
  readonly host_secret: Hex;
  readonly host_key: Hex;
  readonly device_secret: Hex;
  readonly device_key: Hex;
  readonly device_ephemeral_secret: Hex;
  readonly host_ephemeral_secret: Hex;
  readonly psk: Hex;
  readonly prologue: Hex;
  readonly payload1: Hex;
  readonly m1: Hex;
  readonly rH: Hex;
  readonly rP?: Hex;
  readonly payload2: Hex;
  readonly m2: Hex;
  readonly h: Hex;
  readonly k1: Hex;
  readonly k2: Hex;
  readonly key_i2r: Hex;
  readonly prefix_i2r: Hex;
  readonly key_r2i: Hex;
  readonly prefix_r2i: Hex;
  readonly confirm_frame: Hex;
  readonly check_code?: string;
}

/** The offer of the vectors' pairing. */
function offered(hostKey: PublicKey): Offer {
  const K = new Secret("offer", counting(0xa0, 16));
  return { suites: 1, expiresAt: 1_800_000_000, secret: K, hostKey, endpoints: [] };
}

const CLAIM = { name: "Anna's phone", model: "Model 7", platform: "Linux", kind: "mobile" };

/** As a whole: both ends, by the interface that a client uses. */
async function whole(v: Handshake): Promise<void> {
  const host = new StaticSecret(secret("key", v.host_secret));
  const device = new StaticSecret(secret("key", v.device_secret));
  assert.equal(toHex(host.publicKey.toBytes()), v.host_key);
  assert.equal(toHex(device.publicKey.toBytes()), v.device_key);
  const isPairing = v.mode === "pair";
  const psk = secret("psk", v.psk);
  if (isPairing) assert.ok(offerKeys(offered(host.publicKey)).psk.equals(psk));
  const ephemeral = secret("entropy", v.device_ephemeral_secret);
  const keys = { pskId: counting(0xe0, 8), psk, hostKey: host.publicKey, suites: 1 };
  const { initiator, m1 } = isPairing
    ? await beginPairing(offered(host.publicKey), device, CLAIM, ephemeral, secret("entropy", v.rP ?? ""))
    : await beginReturn(keys, device, ephemeral);
  assert.equal(toHex(m1), v.m1);
  const hello = Hello.parse(m1);
  assert.equal(hello.mode, v.mode);
  const hostEphemeral = secret("entropy", v.host_ephemeral_secret);
  const responder = isPairing
    ? await Responder.pair(hello, host, psk, 1, hostEphemeral)
    : await Responder.reconnect(hello, host, psk, 1, device.publicKey, hostEphemeral);
  assert.deepEqual(responder.claim, isPairing ? CLAIM : null);
  const { unconfirmed, m2 } = await responder.answer("Home", secret("entropy", v.rH));
  assert.equal(toHex(m2), v.m2);
  const confirmed: Confirmed = await initiator.finish(m2);
  assert.equal(confirmed.hostName, "Home");
  if (isPairing) assert.equal(confirmed.checkCode.show().replace(" ", ""), v.check_code);
  const { frame } = confirmed.begin();
  assert.equal(toHex(frame), v.confirm_frame);
  const proof = unconfirmed.confirm(frame);
  assert.equal(proof.checkCode?.show() ?? null, isPairing ? confirmed.checkCode.show() : null);
}

/** By hand, for what lies between. */
async function between(v: Handshake): Promise<void> {
  const prologue = joined(utf8("couplet/1"), unhex(v.m1).subarray(0, 13));
  assert.equal(toHex(prologue), v.prologue);
  const noise = new Noise({
    pattern: v.mode === "pair" ? "IKpsk1" : "IKpsk2",
    ours: new StaticSecret(secret("key", v.device_secret)),
    theirs: new PublicKey(unhex(v.host_key)),
    psk: secret("psk", v.psk),
    prologue,
    ephemeral: secret("entropy", v.device_ephemeral_secret),
  });
  const first = unhex(v.payload1);
  assert.equal(toHex(await noise.write(first)), v.m1.slice(26));
  assert.equal(toHex(await noise.read(unhex(v.m2).subarray(1))), v.payload2);
  const { k1, k2, h } = noise.split();
  assert.deepEqual([toHex(k1), toHex(k2), toHex(h)], [v.k1, v.k2, v.h]);
  const prk = Source.extract(h, joined(k1, k2));
  const key = (d: string): string => toHex(prk.expand(32, utf8("couplet/1 key "), utf8(d)));
  const prefix = (d: string): string => toHex(prk.expand(16, utf8("couplet/1 nonce "), utf8(d)));
  assert.deepEqual(
    [key("i2r"), prefix("i2r"), key("r2i"), prefix("r2i")],
    [v.key_i2r, v.prefix_i2r, v.key_r2i, v.prefix_r2i],
  );
  // The payloads read, and are written the same.
  if (v.mode === "pair") {
    assert.equal(toHex(encodeClaim(decodeClaim(first))), v.payload1);
  } else {
    checkReturn(first);
    assert.equal(toHex(encodeReturn()), v.payload1);
  }
  const answer = decodeAnswer(unhex(v.payload2));
  assert.equal(toHex(answer.nonce), v.rH);
  assert.equal(toHex(encodeAnswer(answer)), v.payload2);
}

export async function handshake(vectors: { readonly handshakes: readonly Handshake[] }): Promise<void> {
  assert.deepEqual(
    vectors.handshakes.map((v) => v.mode),
    ["pair", "reconnect"],
  );
  for (const v of vectors.handshakes) {
    await whole(v);
    await between(v);
  }
}

interface Frames {
  readonly frames: readonly { from: "host" | "device"; type: string; data: Hex; frame: Hex }[];
  readonly key_i2r: Hex;
  readonly key_r2i: Hex;
  readonly prefix_i2r: Hex;
  readonly prefix_r2i: Hex;
}

const KINDS: Record<string, string> = {
  DATA: "data",
  CLOSE: "close",
  KEYUPDATE: "keyUpdate",
  PAD: "pad",
  CONTROL: "control",
};

export function frames(v: Frames): void {
  const epoch = (from: "host" | "device"): Epoch => {
    if (from === "host") return new Epoch("r2i", 0, unhex(v.key_r2i), unhex(v.prefix_r2i));
    // The device has sent its confirm already.
    const first = new Epoch("i2r", 0, unhex(v.key_i2r), unhex(v.prefix_i2r));
    first.counter = 1;
    return first;
  };
  const openers = { host: new Opener(epoch("host")), device: new Opener(epoch("device")) };
  const sealers = { host: new Sealer(epoch("host")), device: new Sealer(epoch("device")) };
  const seal = (sealer: Sealer, kind: string, data: Uint8Array): Uint8Array => {
    if (kind === "close") return sealer.sealClose("revoked");
    if (kind === "keyUpdate") return sealer.sealKeyUpdate(0);
    if (kind === "pad") return sealer.sealPad(100);
    assert.ok(kind === "data" || kind === "control");
    return sealer.seal(kind, data.subarray(0, 5), data.subarray(5));
  };
  for (const { from, type, data, frame } of v.frames) {
    const opened = openers[from].open(unhex(frame));
    assert.deepEqual([opened.kind, toHex(opened.data)], [KINDS[type], data]);
    assert.equal(toHex(seal(sealers[from], opened.kind, unhex(data))), frame, type);
    if (opened.kind !== "control") continue;
    const control = decodeControl(opened.data);
    assert.ok(control !== null);
    assert.equal(toHex(encodeControl(control)), data);
  }
  assert.equal(openers.host.closed, "revoked");
  assert.equal(v.frames.length, 9);
}

interface Rekey {
  readonly steps: readonly { direction: Direction; epoch: number; key: Hex; key_before: Hex; prefix: Hex }[];
}

export function rekey(v: Rekey): void {
  for (const { direction, epoch, key, key_before, prefix } of v.steps) {
    const next = new Epoch(direction, epoch - 1, unhex(key_before), new Uint8Array(16)).next();
    assert.equal(next?.number, epoch);
    const wanted = new Epoch(direction, epoch, unhex(key), unhex(prefix));
    const [one, other] = [new Uint8Array(20), new Uint8Array(20)];
    next.seal(utf8("same"), one);
    wanted.seal(utf8("same"), other);
    assert.equal(toHex(one), toHex(other));
  }
  assert.equal(v.steps.length, 4);
}

interface CheckCodes {
  readonly codes: readonly { check_code: string; prk: Hex; rP: Hex; rH: Hex }[];
}

export function checkCode(v: CheckCodes): void {
  for (const { check_code, prk, rP, rH } of v.codes) {
    const code = CheckCode.derive(Source.ofKey(unhex(prk)), unhex(rP), unhex(rH));
    assert.equal(code.show().replace(" ", ""), check_code);
  }
  assert.equal(v.codes.length, 8);
}

interface Cacophony {
  readonly protocol_name: string;
  readonly init_prologue: Hex;
  readonly init_psks: readonly [Hex];
  readonly init_static: Hex;
  readonly init_ephemeral: Hex;
  readonly init_remote_static: Hex;
  readonly resp_prologue: Hex;
  readonly resp_psks: readonly [Hex];
  readonly resp_static: Hex;
  readonly resp_ephemeral: Hex;
  readonly handshake_hash: Hex;
  readonly messages: readonly { payload: Hex; ciphertext: Hex }[];
}

export async function noise(vectors: { readonly vectors: readonly Cacophony[] }): Promise<void> {
  const patterns: Pattern[] = [];
  for (const v of vectors.vectors) {
    const pattern = /^Noise_(IKpsk[12])_25519_ChaChaPoly_SHA256$/.exec(v.protocol_name)?.[1] as Pattern;
    patterns.push(pattern);
    const initiator = new Noise({
      pattern,
      ours: new StaticSecret(secret("key", v.init_static)),
      theirs: new PublicKey(unhex(v.init_remote_static)),
      psk: secret("psk", v.init_psks[0]),
      prologue: unhex(v.init_prologue),
      ephemeral: secret("entropy", v.init_ephemeral),
    });
    const responder = new Noise({
      pattern,
      ours: new StaticSecret(secret("key", v.resp_static)),
      theirs: null,
      psk: secret("psk", v.resp_psks[0]),
      prologue: unhex(v.resp_prologue),
      ephemeral: secret("entropy", v.resp_ephemeral),
    });
    const [first, second, ...transport] = v.messages;
    assert.ok(first !== undefined && second !== undefined && transport.length === 4);
    assert.equal(toHex(await initiator.write(unhex(first.payload))), first.ciphertext);
    assert.equal(toHex(await responder.read(unhex(first.ciphertext))), first.payload);
    assert.equal(toHex(await responder.write(unhex(second.payload))), second.ciphertext);
    assert.equal(toHex(await initiator.read(unhex(second.ciphertext))), second.payload);
    const [ours, theirs] = [initiator.split(), responder.split()];
    assert.deepEqual(ours, theirs);
    assert.equal(toHex(ours.h), v.handshake_hash);
    transport.forEach(({ payload, ciphertext }, at) => {
      const cipher = (): ReturnType<typeof chachapoly> =>
        chachapoly(at % 2 === 0 ? ours.k1 : ours.k2, Math.floor(at / 2), new Uint8Array());
      assert.equal(toHex(cipher().encrypt(unhex(payload))), ciphertext);
      assert.equal(toHex(cipher().decrypt(unhex(ciphertext))), payload);
    });
  }
  assert.deepEqual(patterns.sort(), ["IKpsk1", "IKpsk2"]);
}
