/** Both ends together, and messages that no end of this program writes, from one that has the keys. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, utf8 } from "../../src/protocol/bytes.js";
import {
  commitment,
  M1_MAX,
  M2_MAX,
  prologue,
  type HandshakeFailure,
  type Mode,
} from "../../src/protocol/handshake.js";
import { WebKey } from "../../src/protocol/identity.js";
import { decodeControl, encodeAnswer, encodeClaim, encodeControl, type Control } from "../../src/protocol/message.js";
import { Noise, NoiseError } from "../../src/protocol/noise.js";
import { offerKeys, SUITE_1 } from "../../src/protocol/offer.js";
import { Hello, Responder, type Unconfirmed } from "../../src/protocol/responder.js";
import type { Secret } from "../../src/protocol/secret.js";
import { openSession, type Session } from "../../src/protocol/session.js";
import { beginPairing, beginReturn } from "../../src/protocol/handshake.js";
import {
  answered,
  begin,
  BOTH,
  CLAIM,
  DEVICE,
  entropy,
  HOST,
  isFailure,
  key,
  offer,
  pairing,
  receive,
  talk,
} from "./ends.js";

test("both ends show one code and talk", async () => {
  const { initiator, m1 } = await begin("pair");
  const hello = Hello.parse(m1);
  assert.deepEqual([hello.mode, hello.id], ["pair", offerKeys(offer()).offerId]);
  assert.deepEqual(hello.ephemeral, m1.slice(13, 45));
  const responder = await receive(m1);
  assert.deepEqual(responder.claim, CLAIM);
  assert.ok(responder.deviceKey.equals(DEVICE.publicKey));
  const { unconfirmed, m2 } = await responder.answer("Home", entropy(6));
  const confirmed = await initiator.finish(m2);
  assert.equal(confirmed.hostName, "Home");
  const { session: device, frame } = confirmed.begin();
  const { session: host, checkCode } = unconfirmed.confirm(frame);
  assert.ok(checkCode?.equals(confirmed.checkCode));
  for (const text of [new Uint8Array(), utf8("hello\0\0"), new Uint8Array(16_619).fill(7)]) {
    assert.deepEqual(device.opener.open(host.sealer.seal("data", text)), { kind: "data", data: text });
  }
  assert.equal(host.opener.open(device.sealer.sealClose("done")).kind, "close");
  assert.equal(host.opener.closed, "done");
});

test("a paired device comes back, and says by which rooms", async () => {
  const { unconfirmed, confirmed } = await answered("reconnect");
  confirmed.comeBy({ kept: 3, opened: 5 });
  const proof = unconfirmed.confirm(confirmed.begin().frame);
  assert.deepEqual([proof.checkCode, proof.rooms], [null, { kept: 3, opened: 5 }]);
  const plain = await answered("reconnect");
  assert.equal(plain.unconfirmed.confirm(plain.confirmed.begin().frame).rooms, null);
});

test("a key that WebCrypto holds comes to the same", async () => {
  const ours = await WebKey.generate();
  assert.ok(ours !== null, "Node's WebCrypto knows X25519");
  assert.equal(ours.pair.privateKey.extractable, false);
  const stored = await WebKey.of(structuredClone(ours.pair));
  assert.ok(stored.publicKey.equals(ours.publicKey));
  const { initiator, m1 } = await beginPairing(offer(), stored, CLAIM, entropy(3), entropy(4));
  const responder = await receive(m1);
  assert.ok(responder.deviceKey.equals(ours.publicKey));
  const { unconfirmed, m2 } = await responder.answer("Home", entropy(6));
  const confirmed = await initiator.finish(m2);
  assert.ok(unconfirmed.confirm(confirmed.begin().frame).checkCode?.equals(confirmed.checkCode));
  const back = await beginReturn(pairing(), stored, entropy(3));
  const hello = Hello.parse(back.m1);
  const host = await Responder.reconnect(hello, HOST, pairing().psk, SUITE_1, ours.publicKey, entropy(5));
  await back.initiator.finish((await host.answer("Home", entropy(6))).m2);
  const pair = { privateKey: ours.pair.privateKey, publicKey: ours.pair.privateKey };
  await assert.rejects(WebKey.of(pair), { code: "CPL-1607" });
  const swapped = { privateKey: ours.pair.publicKey, publicKey: ours.pair.publicKey };
  await assert.rejects(WebKey.of(swapped), { code: "CPL-1607" });
  assert.equal(await WebKey.generate({} as SubtleCrypto), null, "a WebCrypto without X25519");
});

test("each step is taken once", async () => {
  const { initiator, m1 } = await begin("pair");
  const responder = await receive(m1);
  const { unconfirmed, m2 } = await responder.answer("Home", entropy(6));
  await assert.rejects(responder.answer("Home", entropy(6)), isFailure("failed"));
  const confirmed = await initiator.finish(m2);
  await assert.rejects(initiator.finish(m2));
  const { frame } = confirmed.begin();
  assert.throws(() => confirmed.begin());
  unconfirmed.confirm(frame);
  assert.throws(() => unconfirmed.confirm(frame), isFailure("failed"));
  // After an M2 that was none, not even the right one.
  const again = await begin("pair");
  await assert.rejects(again.initiator.finish(new Uint8Array(60)), isFailure("malformed"));
  await assert.rejects(again.initiator.finish(m2));
  // Two calls at a time cannot run into each other.
  const noise = new Noise({ ...ours("IKpsk1"), prologue: new Uint8Array() });
  const [first, second] = await Promise.allSettled([noise.write(new Uint8Array()), noise.write(new Uint8Array())]);
  assert.deepEqual([first.status, second.status], ["fulfilled", "rejected"]);
});

test("zeros are no agreement, whoever computes it", async () => {
  for (const shared of [new Uint8Array(32), new Uint8Array(31).fill(1), new Uint8Array()]) {
    const elsewhere = { publicKey: DEVICE.publicKey, agree: (): Uint8Array => shared.slice() };
    await assert.rejects(beginReturn(pairing(), elsewhere, entropy(3)), isFailure("failed"));
  }
  const gone = { publicKey: DEVICE.publicKey, agree: (): Promise<Uint8Array> => Promise.reject(new Error("no card")) };
  await assert.rejects(beginReturn(pairing(), gone, entropy(3)), { message: "no card" });
});

test("what is wiped is of no use any more", async () => {
  const { initiator, m1 } = await begin("pair");
  const { m2 } = await (await receive(m1)).answer("Home", entropy(6));
  initiator.wipe();
  await assert.rejects(initiator.finish(m2));
  const { confirmed } = await answered("pair");
  confirmed.wipe();
  assert.throws(() => confirmed.begin());
  const handed = (await answered("pair")).confirmed;
  const { session } = handed.begin();
  handed.wipe();
  assert.ok(session.sealer.seal("data").length > 0, "a session that was handed over stays");
  // Given up while WebCrypto is at work: not even a right answer is taken.
  const slow = await begin("reconnect");
  const late = slow.initiator.finish((await (await receive(slow.m1)).answer("Home", entropy(6))).m2);
  slow.initiator.wipe();
  await assert.rejects(late, isFailure("failed"));
  const noise = new Noise({ ...ours("IKpsk1"), prologue: new Uint8Array() });
  const written = noise.write(new Uint8Array());
  noise.wipe();
  await assert.rejects(written, NoiseError);
  const ephemeral = entropy(3);
  await beginReturn(pairing(), DEVICE, ephemeral);
  assert.throws(() => ephemeral.expose(), "an ephemeral key is spent with its handshake");
});

function ours(pattern: "IKpsk1" | "IKpsk2"): Omit<ConstructorParameters<typeof Noise>[0], "prologue"> {
  const psk = pattern === "IKpsk1" ? offerKeys(offer()).psk : pairing().psk;
  return { pattern, ours: DEVICE, theirs: HOST.publicKey, psk, ephemeral: entropy(3) };
}

/** A device that has the keys and says what it likes: its M1, and its session after the host's answer. */
async function willful(
  mode: Mode,
  payload: Uint8Array,
): Promise<{ m1: Uint8Array; session: (m2: Uint8Array) => Promise<Session> }> {
  const head = (await begin(mode)).m1.slice(0, 13);
  const noise = new Noise({ ...ours(mode === "pair" ? "IKpsk1" : "IKpsk2"), prologue: prologue(head) });
  const m1 = joined(head, await noise.write(payload));
  const session = async (m2: Uint8Array): Promise<Session> => {
    await noise.read(m2.subarray(1));
    return openSession(noise.finish(), "initiator");
  };
  return { m1, session };
}

/** What a device makes of an M2 with this payload, of a host that has the keys. */
async function answeredWith(payload: Uint8Array): Promise<string> {
  const { initiator, m1 } = await begin("reconnect");
  const { noise } = await Hello.parse(m1).open("IKpsk2", HOST, pairing().psk, SUITE_1, entropy(4));
  const m2 = joined(Uint8Array.of(2), await noise.write(payload));
  return (await initiator.finish(m2)).hostName;
}

/** A payload of so many bytes: what it should be, and a later version's field with the rest. */
function payload(length: number, known: Uint8Array, name: string): Uint8Array {
  const head = joined(known, Uint8Array.of(0x60 + name.length), utf8(name));
  head[0] = (head[0] ?? 0) + 1;
  const rest = length - head.length - 3;
  return joined(head, Uint8Array.of(0x59, rest >> 8, rest & 0xff), new Uint8Array(rest));
}

const CLAIMED = encodeClaim({
  claim: { name: "n", model: null, platform: null, kind: "k" },
  commit: new Uint8Array(32),
});
const ANSWER = encodeAnswer({ hostName: "h", nonce: new Uint8Array(32) });

test("messages at the limit are opened and longer ones are not", async () => {
  for (const [mode, known] of [
    ["pair", CLAIMED],
    ["reconnect", Uint8Array.of(0xa0)],
  ] as const) {
    const room = M1_MAX - 13 - 96;
    await receive((await willful(mode, payload(room, known, "zzzzzzz"))).m1);
    const over = (await willful(mode, payload(room + 1, known, "zzzzzzz"))).m1;
    await assert.rejects(receive(over), isFailure("malformed"));
  }
  const room = M2_MAX - 1 - 48;
  assert.equal(await answeredWith(payload(room, ANSWER, "zzzzzzzzzz")), "h");
  await assert.rejects(answeredWith(payload(room + 1, ANSWER, "zzzzzzzzzz")), isFailure("malformed"));
});

test("payloads that are none are refused though the keys are right", async () => {
  const isMalformed = isFailure("malformed");
  const none = [[], [0xa0], [0xbf, 0xff], [0xff], [0x80]].map((bytes) => Uint8Array.from(bytes));
  for (const wrong of [...none, CLAIMED.slice(0, -1), joined(CLAIMED, Uint8Array.of(0))]) {
    await assert.rejects(receive((await willful("pair", wrong)).m1), isMalformed);
  }
  for (const wrong of [...none, ANSWER.slice(0, -1), joined(ANSWER, Uint8Array.of(0)), CLAIMED]) {
    await assert.rejects(answeredWith(wrong), isMalformed);
  }
  for (const wrong of [[], [0x80], [0xa0, 0], [0xbf, 0xff]]) {
    await assert.rejects(receive((await willful("reconnect", Uint8Array.from(wrong))).m1), isMalformed);
  }
});

test("texts that are too long are not sent", async () => {
  const name = "n".repeat(513);
  await assert.rejects(
    beginPairing(offer(), DEVICE, { ...CLAIM, name }, entropy(3), entropy(4)),
    isFailure("malformed"),
  );
  const responder = await receive((await begin("reconnect")).m1);
  await assert.rejects(responder.answer(name, entropy(6)), isFailure("malformed"));
});

const PLEASANT = (nonce: Secret<"entropy">): Uint8Array =>
  encodeClaim({ claim: CLAIM, commit: commitment(nonce, DEVICE.publicKey) });

async function first(mode: Mode): Promise<{ host: Unconfirmed; session: Session }> {
  const { m1, session } = await willful(mode, mode === "pair" ? PLEASANT(entropy(4)) : Uint8Array.of(0xa0));
  const { unconfirmed, m2 } = await (await receive(m1)).answer("Home", entropy(6));
  return { host: unconfirmed, session: await session(m2) };
}

test("the first frame is the confirm that was committed to", async () => {
  const control =
    (message: Control) =>
    (session: Session): Uint8Array =>
      session.sealer.seal("control", encodeControl(message));
  const confirm = (reveal: Secret<"entropy"> | null) => control({ t: "confirm", reveal, rooms: null });
  const wrong: [Mode, (session: Session) => Uint8Array, HandshakeFailure][] = BOTH.flatMap((mode) => [
    [mode, (session) => session.sealer.seal("data", utf8("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")), "malformed"],
    [mode, (session) => session.sealer.sealPad(3), "malformed"],
    [mode, (session) => session.sealer.sealClose("done"), "malformed"],
    [mode, (session) => session.sealer.sealKeyUpdate(0), "malformed"],
    [mode, control({ t: "ack" }), "malformed"],
    [mode, (session) => session.sealer.seal("control", Uint8Array.of(0xff)), "malformed"],
    [mode, () => new Uint8Array(300).fill(0x11), "failed"],
    [mode, () => new Uint8Array(), "failed"],
  ]);
  wrong.push(["pair", confirm(null), "commitment"], ["pair", confirm(entropy(99)), "commitment"]);
  for (const [mode, make, failure] of wrong) {
    const { host, session } = await first(mode);
    assert.throws(() => host.confirm(make(session)), isFailure(failure));
  }
  for (const mode of BOTH) {
    const { host, session } = await first(mode);
    host.confirm(confirm(mode === "pair" ? entropy(4) : null)(session));
  }
});

test("frames of one session say nothing in another of the same ends", async () => {
  const [here, there] = [await talk("reconnect"), await talk("reconnect", 5)];
  const frame = there.host.sealer.seal("data", utf8("x"));
  assert.throws(() => here.device.opener.open(frame), { code: "CPL-1602" });
  const code = decodeControl(encodeControl({ t: "rejected", code: "CPL-1208" }));
  assert.deepEqual(code, { t: "rejected", code: "CPL-1208" });
});

test("a handshake of other keys fails at the device, too", async () => {
  const thief = await beginReturn(pairing(), key(9), entropy(3));
  await assert.rejects(receive(thief.m1), isFailure("failed"));
  const noise = new Noise({ ...ours("IKpsk1"), prologue: new Uint8Array() });
  await assert.rejects(noise.read(new Uint8Array(200)), NoiseError);
  assert.throws(() => noise.split(), NoiseError);
});
