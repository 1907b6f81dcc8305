/** Both ends of a conversation on a desk: fixed keys, nothing between them but the test. */
import assert from "node:assert/strict";

import {
  beginPairing,
  beginReturn,
  HandshakeError,
  type Begun,
  type HandshakeFailure,
  type Mode,
  type PairingKeys,
} from "../../src/protocol/handshake.js";
import { StaticSecret } from "../../src/protocol/identity.js";
import { offerKeys, SUITE_1, type Offer } from "../../src/protocol/offer.js";
import { Hello, Responder, type Unconfirmed } from "../../src/protocol/responder.js";
import { Secret, type SecretKind, SECRET_LENGTHS } from "../../src/protocol/secret.js";
import type { Session } from "../../src/protocol/session.js";

export const BOTH: readonly Mode[] = ["pair", "reconnect"];

/** A secret whose bytes are all this one. */
export function filled<Kind extends SecretKind>(kind: Kind, byte: number): Secret<Kind> {
  return new Secret(kind, new Uint8Array(SECRET_LENGTHS[kind]).fill(byte));
}

export function entropy(byte: number): Secret<"entropy"> {
  return filled("entropy", byte);
}

export function key(byte: number): StaticSecret {
  return new StaticSecret(filled("key", byte));
}

export const HOST = key(1);
export const DEVICE = key(2);
export const CLAIM = { name: "Phone", model: null, platform: "Linux", kind: "mobile" };

export function offer(): Offer {
  const secret = filled("offer", 9);
  return { suites: SUITE_1, expiresAt: 1_800_000_000, secret, hostKey: HOST.publicKey, endpoints: [] };
}

export function pairing(): PairingKeys {
  return { pskId: new Uint8Array(8).fill(8), psk: filled("psk", 7), hostKey: HOST.publicKey, suites: SUITE_1 };
}

/** The device's first step, with fresh bytes made of `seed`. */
export function begin(mode: Mode, seed = 3): Promise<Begun> {
  return mode === "pair"
    ? beginPairing(offer(), DEVICE, CLAIM, entropy(seed), entropy(seed ^ 0x40))
    : beginReturn(pairing(), DEVICE, entropy(seed));
}

/** What a host with that offer and that device makes of an M1. */
export async function receive(m1: Uint8Array, seed = 3): Promise<Responder> {
  const hello = Hello.parse(m1);
  const ephemeral = entropy(seed ^ 0x80);
  return hello.mode === "pair"
    ? Responder.pair(hello, HOST, offerKeys(offer()).psk, SUITE_1, ephemeral)
    : Responder.reconnect(hello, HOST, pairing().psk, SUITE_1, DEVICE.publicKey, ephemeral);
}

/** The host's M2 to an honest M1. */
export async function answer(mode: Mode, seed = 3): Promise<Uint8Array<ArrayBuffer>> {
  const responder = await receive((await begin(mode, seed)).m1, seed);
  return (await responder.answer("Home", entropy(6))).m2;
}

export interface Talk {
  readonly device: Session;
  readonly host: Session;
}

/** Up to M2: the device may say its confirm. */
export async function answered(
  mode: Mode,
  seed = 3,
): Promise<{ unconfirmed: Unconfirmed; confirmed: Awaited<ReturnType<Begun["initiator"]["finish"]>> }> {
  const { initiator, m1 } = await begin(mode, seed);
  const { unconfirmed, m2 } = await (await receive(m1, seed)).answer("Home", entropy(6));
  return { unconfirmed, confirmed: await initiator.finish(m2) };
}

/** A session after its first frame. */
export async function talk(mode: Mode, seed = 3): Promise<Talk> {
  const { unconfirmed, confirmed } = await answered(mode, seed);
  const { session, frame } = confirmed.begin();
  return { device: session, host: unconfirmed.confirm(frame).session };
}

/** To a device, the code of the error is the one that the Rust client shows for it. */
export function isFailure(failure: HandshakeFailure): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof HandshakeError, String(error));
    assert.equal(error.failure, failure);
    assert.equal(error.code, failure === "failed" ? "CPL-1604" : "CPL-1606");
    assert.ok(error.message.length > 0 && error.next.length > 0);
    return true;
  };
}

/** The bytes with this one changed. */
export function changed(bytes: Uint8Array, at: number, by: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes);
  out[at] = (out[at] ?? 0) ^ by;
  return out;
}

export function resized(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(length);
  out.set(bytes.subarray(0, length));
  return out;
}

/** Numbers that are the same in every run: of a seed, below 2^32 (xorshift32). */
export function numbers(seed: number): () => number {
  let state = seed || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

export function anyBytes(next: () => number, most: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: next() % (most + 1) }, () => next() & 0xff);
}
