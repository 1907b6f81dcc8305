/**
 * The host's side of the handshake (spec/protocol.md, 3), for hosts in tests. No device needs it: it is in a module of its
 * own, so that no app ships it.
 */
import { copied, joined, same, wipe } from "./bytes.js";
import { CheckCode } from "./check_code.js";
import {
  asHandshakeError,
  commitment,
  HandshakeError,
  M1,
  M1_HEADER,
  M1_MAX,
  M2,
  M2_MAX,
  prologue,
  SUITE,
  VERSION,
  type Mode,
} from "./handshake.js";
import type { PublicKey, StaticKey } from "./identity.js";
import { checkReturn, decodeClaim, decodeControl, encodeAnswer, type Claim, type RoomNumbers } from "./message.js";
import { Noise, TAG, type Pattern } from "./noise.js";
import { SUITE_1 } from "./offer.js";
import type { Source } from "./schedule.js";
import type { Secret } from "./secret.js";
import { OpenError, openSession, type Session } from "./session.js";

/** The code that a host refuses with, before there are keys. */
export function refusalCode(error: HandshakeError): string {
  return error.failure === "version" || error.failure === "suite" ? "CPL-1606" : "CPL-1701";
}

/** An M1 whose header is read and whose rest is still closed. Nothing proves any of it yet. */
export class Hello {
  /** What it is for. */
  readonly mode: Mode;
  readonly #m1: Uint8Array;

  private constructor(mode: Mode, m1: Uint8Array) {
    this.mode = mode;
    this.#m1 = m1;
  }

  /**
   * Reads the header.
   *
   * @throws {HandshakeError} It is no M1, of another version, or of another suite.
   */
  static parse(m1: Uint8Array): Hello {
    const [kind, version, suite, mode] = m1;
    if (kind !== M1 || version === undefined) throw new HandshakeError("malformed");
    if (version !== VERSION) throw new HandshakeError("version");
    // The shortest Noise message: an ephemeral key, a sealed static key, a sealed empty payload.
    const isOfLength = m1.length >= M1_HEADER + 32 + (32 + TAG) + TAG && m1.length <= M1_MAX;
    if (!isOfLength) throw new HandshakeError("malformed");
    if (suite !== SUITE) throw new HandshakeError("suite");
    if (mode !== 1 && mode !== 2) throw new HandshakeError("malformed");
    return new Hello(mode === 1 ? "pair" : "reconnect", copied(m1));
  }

  /** The offer's id, or the psk_id. */
  get id(): Uint8Array {
    return this.#m1.slice(5, M1_HEADER);
  }

  /** The ephemeral key, fresh in each honest try: one that comes again is a replay. */
  get ephemeral(): Uint8Array {
    return this.#m1.slice(M1_HEADER, M1_HEADER + 32);
  }

  /** Opens the rest. See {@link Responder}. */
  async open(
    pattern: Pattern,
    ours: StaticKey,
    psk: Secret<"psk">,
    suites: number,
    ephemeral: Secret<"entropy">,
  ): Promise<{ noise: Noise; theirs: PublicKey; payload: Uint8Array }> {
    // Suite 1 is all that there is: the strongest shared one, as long as it is what this end offers.
    if (this.#m1[4] !== suites || (suites & SUITE_1) === 0) throw new HandshakeError("suite");
    const head = this.#m1.subarray(0, M1_HEADER);
    const noise = new Noise({ pattern, ours, theirs: null, psk, prologue: prologue(head), ephemeral });
    const payload = await noise.read(this.#m1.subarray(M1_HEADER));
    if (noise.theirs === null) throw new HandshakeError("failed");
    return { noise, theirs: noise.theirs, payload };
  }
}

/** The host, after M1 has been opened. The psk must not be wiped before {@link Responder.answer}. */
export class Responder {
  /** The device's static key. */
  readonly deviceKey: PublicKey;
  /** What the device says of itself, when it claims an offer. */
  readonly claim: Claim | null;
  readonly #noise: Noise;
  readonly #commit: Uint8Array | null;

  private constructor(noise: Noise, deviceKey: PublicKey, claim: Claim | null, commit: Uint8Array | null) {
    this.#noise = noise;
    this.deviceKey = deviceKey;
    this.claim = claim;
    this.#commit = commit;
  }

  /**
   * Opens the M1 of a device that claims the offer with this PSK. `suites` is the offer's byte.
   *
   * @throws {HandshakeError} It cannot be opened: it is dropped, and not counted.
   */
  static async pair(
    hello: Hello,
    ours: StaticKey,
    psk: Secret<"psk">,
    suites: number,
    ephemeral: Secret<"entropy">,
  ): Promise<Responder> {
    try {
      const { noise, theirs, payload } = await hello.open("IKpsk1", ours, psk, suites, ephemeral);
      const { claim, commit } = decodeClaim(payload);
      return new Responder(noise, theirs, claim, commit);
    } catch (error) {
      throw asHandshakeError(error);
    }
  }

  /**
   * Opens the M1 of a device that comes back, which must hold the static key that was paired.
   *
   * @throws {HandshakeError} It cannot be opened, or another key is behind it.
   */
  static async reconnect(
    hello: Hello,
    ours: StaticKey,
    psk: Secret<"psk">,
    suites: number,
    deviceKey: PublicKey,
    ephemeral: Secret<"entropy">,
  ): Promise<Responder> {
    try {
      const { noise, theirs, payload } = await hello.open("IKpsk2", ours, psk, suites, ephemeral);
      // Before anything is made of what a stranger says.
      if (!theirs.equals(deviceKey)) throw new HandshakeError("failed");
      checkReturn(payload);
      return new Responder(noise, theirs, null, null);
    } catch (error) {
      throw asHandshakeError(error);
    }
  }

  /**
   * Answers with M2, once. `nonce` is the host's part of the check code, fresh in each try.
   *
   * @throws {HandshakeError} The host's name is too long, or the keys agree on nothing.
   */
  async answer(
    hostName: string,
    nonce: Secret<"entropy">,
  ): Promise<{ readonly unconfirmed: Unconfirmed; readonly m2: Uint8Array<ArrayBuffer> }> {
    try {
      const message = await this.#noise.write(encodeAnswer({ hostName, nonce: nonce.expose() }));
      if (1 + message.length > M2_MAX) throw new HandshakeError("malformed");
      const prk = this.#noise.finish();
      const unconfirmed = new Unconfirmed(prk, nonce.copy(), this.deviceKey, this.#commit);
      return { unconfirmed, m2: joined(Uint8Array.of(M2), message) };
    } catch (error) {
      throw asHandshakeError(error);
    }
  }
}

/** What the first frame shows of its device. */
export interface Proof {
  /** The session, the device's from now on. */
  readonly session: Session;
  /** When pairing: what the owner must type. */
  readonly checkCode: CheckCode | null;
  /** When coming back: by which rooms, where the device has any. */
  readonly rooms: RoomNumbers | null;
}

/** The host, after M2: the first frame must be the device's `confirm`. */
export class Unconfirmed {
  readonly #session: Session;
  readonly #prk: Source;
  readonly #nonce: Secret<"entropy">;
  readonly #deviceKey: PublicKey;
  readonly #commit: Uint8Array | null;

  constructor(prk: Source, nonce: Secret<"entropy">, deviceKey: PublicKey, commit: Uint8Array | null) {
    this.#session = openSession(prk, "responder");
    this.#prk = prk;
    this.#nonce = nonce;
    this.#deviceKey = deviceKey;
    this.#commit = commit;
  }

  /**
   * Opens the first frame, once.
   *
   * @throws {HandshakeError} The frame cannot be opened, is no `confirm`, or reveals another nonce than was committed to.
   */
  confirm(frame: Uint8Array): Proof {
    try {
      const { kind, data } = this.#session.opener.open(frame);
      if (kind !== "control") throw new HandshakeError("malformed");
      const control = decodeControl(data);
      wipe(data);
      if (control?.t !== "confirm") throw new HandshakeError("malformed");
      if (this.#commit === null) return { session: this.#session, checkCode: null, rooms: control.rooms };
      if (control.reveal === null || !same(commitment(control.reveal, this.#deviceKey), this.#commit)) {
        throw new HandshakeError("commitment");
      }
      const checkCode = CheckCode.derive(this.#prk, control.reveal.expose(), this.#nonce.expose());
      control.reveal.wipe();
      return { session: this.#session, checkCode, rooms: null };
    } catch (error) {
      throw error instanceof OpenError ? new HandshakeError("failed") : asHandshakeError(error);
    } finally {
      this.#prk.wipe();
      this.#nonce.wipe();
    }
  }
}
