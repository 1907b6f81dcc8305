/**
 * The device's side of the handshake (spec/protocol.md, 3): Noise IK with a pre-shared key. Each step can be taken once.
 *
 * ```text
 * device  beginPairing, beginReturn      ── M1 ──▶       host (responder.ts)
 *         Initiator.finish               ◀── M2 ──
 *         Confirmed.begin                ── confirm ──▶  the first sealed frame
 * ```
 */
import { sha256 } from "@noble/hashes/sha2.js";

import { joined, utf8, wipe } from "./bytes.js";
import { Malformed } from "./cbor.js";
import { CheckCode } from "./check_code.js";
import { CoupletError } from "./error.js";
import type { PublicKey, StaticKey } from "./identity.js";
import { decodeAnswer, encodeClaim, encodeControl, encodeReturn, type Claim, type RoomNumbers } from "./message.js";
import { Noise, NoiseError, type NoiseEnd } from "./noise.js";
import { offerKeys, SUITE_1, type Offer } from "./offer.js";
import { Secret } from "./secret.js";
import { openSession, type Session } from "./session.js";

/** The longest M1, in bytes. */
export const M1_MAX = 4096;
/** The longest M2, in bytes. */
export const M2_MAX = 4096;
/** The head of M1, in bytes. */
export const M1_HEADER = 13;
/** The first byte of M1 and of M2. */
export const [M1, M2] = [1, 2] as const;
/** The protocol's version in M1. */
export const VERSION = 1;
/** The number of suite 1 in M1. */
export const SUITE = 1;

/** What a handshake is for: claiming an offer, whose id it names; or coming back, by a psk_id. */
export type Mode = "pair" | "reconnect";

/** Why a handshake came to nothing. */
export type HandshakeFailure =
  /** It has not the form of the message that was expected. */
  | "malformed"
  /** A version that this end does not speak. */
  | "version"
  /** A suite that is not the strongest both ends share, or suites that were never offered: someone may be between. */
  | "suite"
  /** A message cannot be opened: a wrong key, or someone changed it. */
  | "failed"
  /** The device's nonce is not the one that it committed to. */
  | "commitment";

const TEXTS: Record<HandshakeFailure, string> = {
  malformed: "the peer sent something that is no handshake message",
  version: `the peer speaks another version of the protocol than this end (${VERSION}): update the older one`,
  suite: "the peer chose a cipher suite that was not agreed on",
  failed: "the handshake failed: the keys of the two ends do not belong together, or a message was changed",
  commitment: "the device did not keep to what it committed to",
};

/**
 * A handshake came to nothing. To a device, `failed` is `CPL-1604`: with a key that is not the host's nobody can make an
 * answer that opens. The others are `CPL-1606`.
 */
export class HandshakeError extends CoupletError {
  readonly failure: HandshakeFailure;

  constructor(failure: HandshakeFailure) {
    super(failure === "failed" ? "CPL-1604" : "CPL-1606", TEXTS[failure]);
    this.name = "HandshakeError";
    this.failure = failure;
  }
}

/** What fails within a handshake, as an error of it; anything else is a fault of the program, and goes on. */
export function asHandshakeError(error: unknown): unknown {
  if (error instanceof NoiseError) return new HandshakeError("failed");
  return error instanceof Malformed ? new HandshakeError("malformed") : error;
}

/** What a paired device needs to come back. */
export interface PairingKeys {
  /** Names the pairing: 8 bytes. */
  readonly pskId: Uint8Array;
  readonly psk: Secret<"psk">;
  /** The host's static key, pinned when pairing. */
  readonly hostKey: PublicKey;
  /** The suites that the host offered when pairing. */
  readonly suites: number;
}

/** The state of a handshake that has begun, and what is sent to the host. */
export interface Begun {
  readonly initiator: Initiator;
  readonly m1: Uint8Array<ArrayBuffer>;
}

/**
 * Begins to claim an offer. `ephemeral` and `nonce` are fresh in each try, and this handshake's to wipe.
 *
 * @throws {HandshakeError} `suite`: the offer allows none that this end knows. `malformed`: the claim's texts are too long.
 * `failed`: the host's key is none.
 */
export async function beginPairing(
  offer: Offer,
  ours: StaticKey,
  claim: Claim,
  ephemeral: Secret<"entropy">,
  nonce: Secret<"entropy">,
): Promise<Begun> {
  const { offerId, psk } = offerKeys(offer);
  try {
    const head = header("pair", offer.suites, offerId);
    const payload = encodeClaim({ claim, commit: commitment(nonce, ours.publicKey) });
    return await begin({ pattern: "IKpsk1", ours, theirs: offer.hostKey, psk, ephemeral }, head, payload, nonce);
  } catch (error) {
    psk.wipe();
    nonce.wipe();
    throw asHandshakeError(error);
  }
}

/**
 * Begins to come back. `ephemeral` is fresh in each try.
 *
 * @throws {HandshakeError} As {@link beginPairing}.
 */
export async function beginReturn(keys: PairingKeys, ours: StaticKey, ephemeral: Secret<"entropy">): Promise<Begun> {
  const head = header("reconnect", keys.suites, keys.pskId);
  try {
    // The handshake's own: who keeps the pairing may wipe theirs meanwhile.
    const psk = keys.psk.copy();
    return await begin({ pattern: "IKpsk2", ours, theirs: keys.hostKey, psk, ephemeral }, head, encodeReturn(), null);
  } catch (error) {
    throw asHandshakeError(error);
  }
}

async function begin(
  end: Omit<NoiseEnd, "prologue">,
  head: Uint8Array,
  payload: Uint8Array,
  nonce: Secret<"entropy"> | null,
): Promise<Begun> {
  const noise = new Noise({ ...end, prologue: prologue(head) });
  const message = await noise.write(payload);
  if (M1_HEADER + message.length > M1_MAX) throw new HandshakeError("malformed");
  return { initiator: new Initiator(noise, end.psk, nonce), m1: joined(head, message) };
}

/** The device, after M1. */
export class Initiator {
  readonly #noise: Noise;
  readonly #psk: Secret<"psk">;
  readonly #nonce: Secret<"entropy"> | null;

  /** See {@link beginPairing} and {@link beginReturn}. */
  constructor(noise: Noise, psk: Secret<"psk">, nonce: Secret<"entropy"> | null) {
    this.#noise = noise;
    this.#psk = psk;
    this.#nonce = nonce;
  }

  /**
   * Reads M2, once, and opens the session.
   *
   * @throws {HandshakeError} M2 is malformed, or cannot be opened: the host has not the key that the offer or the pairing
   * names. Nothing can be done with this handshake any more.
   */
  async finish(m2: Uint8Array): Promise<Confirmed> {
    try {
      if (m2[0] !== M2 || m2.length > M2_MAX) throw new HandshakeError("malformed");
      const answer = decodeAnswer(await this.#noise.read(m2.subarray(1)));
      const prk = this.#noise.finish();
      // Nothing is committed to when coming back, and nobody compares the code then.
      const ours = this.#nonce?.expose() ?? new Uint8Array(32);
      const code = CheckCode.derive(prk, ours, answer.nonce);
      const confirmed = new Confirmed(
        openSession(prk, "initiator"),
        answer.hostName,
        code,
        this.#nonce?.copy() ?? null,
      );
      prk.wipe();
      return confirmed;
    } catch (error) {
      throw asHandshakeError(error);
    } finally {
      this.wipe();
    }
  }

  /** Forgets its keys: when the host does not answer. */
  wipe(): void {
    this.#noise.wipe();
    this.#psk.wipe();
    this.#nonce?.wipe();
  }
}

/** The device, after M2: the session is open, and its first frame must be what {@link Confirmed.begin} seals. */
export class Confirmed {
  /** What the host calls itself. */
  readonly hostName: string;
  /** When pairing: what the device shows. */
  readonly checkCode: CheckCode;
  readonly #session: Session;
  readonly #reveal: Secret<"entropy"> | null;
  #rooms: RoomNumbers | null = null;
  #isBegun = false;

  constructor(session: Session, hostName: string, checkCode: CheckCode, reveal: Secret<"entropy"> | null) {
    this.#session = session;
    this.hostName = hostName;
    this.checkCode = checkCode;
    this.#reveal = reveal;
  }

  /** Says by which rooms at a relay the device comes: before {@link Confirmed.begin}, when coming back. */
  comeBy(rooms: RoomNumbers): void {
    this.#rooms = rooms;
  }

  /** Seals the first frame and hands over the session, once. */
  begin(): { readonly session: Session; readonly frame: Uint8Array<ArrayBuffer> } {
    if (this.#isBegun) throw new Error("this session was handed over already");
    this.#isBegun = true;
    const message = encodeControl({ t: "confirm", reveal: this.#reveal, rooms: this.#rooms });
    const frame = this.#session.sealer.seal("control", message);
    wipe(message);
    this.#reveal?.wipe();
    return { session: this.#session, frame };
  }

  /** Forgets its keys: another handshake was faster. A session that was handed over is its owner's, and stays. */
  wipe(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    this.#session.sealer.wipe();
    this.#session.opener.wipe();
    this.#reveal?.wipe();
  }
}

/** The head of M1. The suite is the strongest that both ends share: today the only one. */
function header(mode: Mode, suites: number, id: Uint8Array): Uint8Array {
  if ((suites & SUITE_1) === 0) throw new HandshakeError("suite");
  if (id.length !== 8) throw new HandshakeError("malformed");
  return joined(Uint8Array.of(M1, VERSION, SUITE, mode === "pair" ? 1 : 2, suites), id);
}

/** What both ends bind into the handshake: "couplet/1" ‖ the head of M1. */
export function prologue(head: Uint8Array): Uint8Array {
  return joined(utf8("couplet/1"), head);
}

/** H("couplet/1 commit" ‖ rP ‖ device public key). */
export function commitment(nonce: Secret<"entropy">, device: PublicKey): Uint8Array {
  return sha256(joined(utf8("couplet/1 commit"), nonce.expose(), device.toBytes()));
}
