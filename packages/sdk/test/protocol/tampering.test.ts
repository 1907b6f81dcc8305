/** What someone between the two ends can do to messages of the handshake: nothing but end the conversation. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, utf8 } from "../../src/protocol/bytes.js";
import {
  beginPairing,
  beginReturn,
  M1_MAX,
  M2_MAX,
  type HandshakeError,
  type HandshakeFailure,
  type Mode,
  type PairingKeys,
} from "../../src/protocol/handshake.js";
import { PublicKey, StaticSecret } from "../../src/protocol/identity.js";
import { offerKeys, SUITE_1, type Offer } from "../../src/protocol/offer.js";
import { Hello, refusalCode, Responder } from "../../src/protocol/responder.js";
import {
  answer,
  begin,
  BOTH,
  changed,
  CLAIM,
  DEVICE,
  entropy,
  filled,
  HOST,
  isFailure,
  key,
  offer,
  pairing,
  receive,
  resized,
} from "./ends.js";

/** The shortest M1 that is worth opening: 13 bytes of header and 96 of Noise. */
const M1_MIN = 13 + 96;

/** The points of small order on Curve25519 and its twist, with their non-canonical forms (RFC 7748, 7). */
const LOW_ORDER = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
].map((hex) => new Uint8Array(Buffer.from(hex, "hex")));

async function failed(m1: Uint8Array, failure: HandshakeFailure, what: string): Promise<void> {
  const isRight = isFailure(failure);
  await assert.rejects(receive(m1), (error: HandshakeError) => {
    const code = failure === "version" || failure === "suite" ? "CPL-1606" : "CPL-1701";
    assert.equal(refusalCode(error), code, what);
    return isRight(error);
  });
}

async function unanswered(mode: Mode, m2: Uint8Array, failure: HandshakeFailure, what: string): Promise<void> {
  const { initiator } = await begin(mode);
  await assert.rejects(initiator.finish(m2), isFailure(failure), `${mode} ${what}`);
}

for (const mode of BOTH) {
  test(`every byte of M1 counts: ${mode}`, async () => {
    const { m1 } = await begin(mode);
    await receive(m1);
    for (let at = 0; at < m1.length; at += 1) {
      const failure =
        at === 0 || at === 3 ? "malformed" : at === 1 ? "version" : at === 2 || at === 4 ? "suite" : "failed";
      await failed(changed(m1, at, 1 << (at % 8)), failure, `byte ${at}`);
    }
    // The highest bit of the ephemeral key, which X25519 ignores: the hash has it.
    await failed(changed(m1, 13 + 31, 0x80), "failed", "the ignored bit");
  });

  test(`every byte of M2 counts: ${mode}`, async () => {
    const m2 = await answer(mode);
    await (await begin(mode)).initiator.finish(m2);
    for (let at = 0; at < m2.length; at += 1) {
      await unanswered(mode, changed(m2, at, 1 << (at % 8)), at === 0 ? "malformed" : "failed", `byte ${at}`);
    }
    await unanswered(mode, changed(m2, 1 + 31, 0x80), "failed", "the ignored bit");
  });

  test(`messages of another length are not opened: ${mode}`, async () => {
    const { m1 } = await begin(mode);
    for (let length = 0; length < m1.length; length += 1) {
      await failed(m1.subarray(0, length), length < M1_MIN ? "malformed" : "failed", `${length} bytes`);
    }
    const m2 = await answer(mode);
    await unanswered(mode, new Uint8Array(), "malformed", "nothing");
    for (let length = 1; length < m2.length; length += 1) {
      await unanswered(mode, m2.subarray(0, length), "failed", `${length} bytes`);
    }
    await failed(resized(m1, m1.length + 1), "failed", "a byte more");
    await unanswered(mode, resized(m2, m2.length + 1), "failed", "a byte more");
    await failed(resized(m1, M1_MAX), "failed", "as long as it may be");
    await unanswered(mode, resized(m2, M2_MAX), "failed", "as long as it may be");
    await failed(resized(m1, M1_MAX + 1), "malformed", "too long");
    await unanswered(mode, resized(m2, M2_MAX + 1), "malformed", "too long");
  });

  test(`messages in the wrong place are not opened: ${mode}`, async () => {
    const other = mode === "pair" ? "reconnect" : "pair";
    const [{ m1 }, m2] = [await begin(mode), await answer(mode)];
    await failed(m2, "malformed", "M2 as M1");
    await unanswered(mode, m1, "malformed", "M1 reflected");
    await unanswered(mode, await answer(mode, 5), "failed", "M2 of another session");
    await unanswered(mode, await answer(other), "failed", "M2 of the other mode");
    await unanswered(mode, utf8("HTTP/1.1 400 Bad Request"), "malformed", "something else");
    await unanswered(mode, new Uint8Array(300).fill(0x11), "malformed", "a frame");
    // The head of one and the body of another: the head is bound in.
    const foreign = (await begin(mode, 5)).m1;
    await failed(joined(m1.subarray(0, 45), foreign.subarray(45)), "failed", "spliced");
    await failed(changed(m1, 3, 3), "failed", "said to be of the other mode");
  });

  test(`keys of low order end the handshake: ${mode}`, async () => {
    for (const point of LOW_ORDER) {
      const [{ m1 }, m2] = [await begin(mode), await answer(mode)];
      m1.set(point, 13);
      await failed(m1, "failed", "low order");
      m2.set(point, 1);
      await unanswered(mode, m2, "failed", "low order");
      const hostKey = new PublicKey(point);
      const begun =
        mode === "pair"
          ? beginPairing({ ...offer(), hostKey }, DEVICE, CLAIM, entropy(3), entropy(4))
          : beginReturn({ ...pairing(), hostKey }, DEVICE, entropy(3));
      await assert.rejects(begun, isFailure("failed"), "an offer or a pairing with such a key");
    }
  });
}

/** What the host of `offer()` makes of the M1 of a device that read another offer. */
async function claims(read: Offer, host: StaticSecret, suites: number): Promise<Responder> {
  const { m1 } = await beginPairing(read, DEVICE, CLAIM, entropy(3), entropy(4));
  return Responder.pair(Hello.parse(m1), host, offerKeys(offer()).psk, suites, entropy(5));
}

test("who has not the offer gets no answer", async () => {
  await claims(offer(), HOST, SUITE_1);
  const others: Record<string, Offer> = {
    K: { ...offer(), secret: filled("offer", 10) },
    "host key": { ...offer(), hostKey: key(9).publicKey },
    end: { ...offer(), expiresAt: 1_800_000_001 },
  };
  for (const [what, read] of Object.entries(others)) {
    await assert.rejects(claims(read, HOST, SUITE_1), isFailure("failed"), `another ${what}`);
  }
  await assert.rejects(claims(offer(), key(9), SUITE_1), isFailure("failed"), "another host");
});

test("only the paired device and the pinned host come together", async () => {
  const open = async (keys: PairingKeys, device: StaticSecret, host: StaticSecret): Promise<void> => {
    const { initiator, m1 } = await beginReturn(keys, device, entropy(3));
    const hello = Hello.parse(m1);
    const responder = await Responder.reconnect(hello, host, pairing().psk, SUITE_1, DEVICE.publicKey, entropy(5));
    await initiator.finish((await responder.answer("Home", entropy(6))).m2);
  };
  await open(pairing(), DEVICE, HOST);
  const isFailed = isFailure("failed");
  await assert.rejects(open(pairing(), key(9), HOST), isFailed, "another device");
  await assert.rejects(open(pairing(), DEVICE, key(9)), isFailed, "another host");
  await assert.rejects(open({ ...pairing(), hostKey: key(9).publicKey }, DEVICE, HOST), isFailed, "another pinned key");
  await assert.rejects(open({ ...pairing(), psk: filled("psk", 6) }, DEVICE, HOST), isFailed, "another PSK");
});

test("versions, suites and modes are those that were agreed on", async () => {
  const { m1 } = await begin("pair");
  for (let value = 0; value < 256; value += 1) {
    if (value === 1) continue;
    await failed(changed(m1, 0, value ^ 1), "malformed", `kind ${value}`);
    await failed(changed(m1, 1, value ^ 1), "version", `version ${value}`);
    await failed(changed(m1, 2, value ^ 1), "suite", `suite ${value}`);
    await failed(changed(m1, 4, value ^ 1), "suite", `suites ${value}`);
    if (value > 2 || value === 0) await failed(changed(m1, 3, value ^ 1), "malformed", `mode ${value}`);
  }
  // Another version may be of any length.
  await failed(Uint8Array.of(1, 2), "version", "two bytes");
  await failed(Uint8Array.of(1), "malformed", "one byte");
  for (const suites of [0, 0b10, 0b1111_1110]) {
    const begun = beginPairing({ ...offer(), suites }, DEVICE, CLAIM, entropy(3), entropy(4));
    await assert.rejects(begun, isFailure("suite"));
    await assert.rejects(beginReturn({ ...pairing(), suites }, DEVICE, entropy(3)), isFailure("suite"));
  }
});

test("a suite cannot be taken out of an offer on the way", async () => {
  const both = { ...offer(), suites: 0b11 };
  await claims(both, HOST, 0b11);
  // The QR was changed, or the M1 was: the host sees other suites than it offered.
  await assert.rejects(claims(offer(), HOST, 0b11), isFailure("suite"));
  await assert.rejects(claims(both, HOST, 0b01), isFailure("suite"));
  // Changed back on the way: the prologue tells.
  const { m1 } = await begin("pair");
  const opened = Responder.pair(Hello.parse(changed(m1, 4, 0b10)), HOST, offerKeys(offer()).psk, 0b11, entropy(5));
  await assert.rejects(opened, isFailure("failed"));
});
