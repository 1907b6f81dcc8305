/**
 * A session: sealing what goes out and opening what comes in (spec/protocol.md, 4). XChaCha20-Poly1305 with a nonce of a
 * fixed prefix and a counter; each nonce has a cipher of its own.
 */
import { xchacha20poly1305 } from "@noble/ciphers/chacha.js";

import { joined, same, u64, utf8, view, wipe } from "./bytes.js";
import { CoupletError } from "./error.js";
import {
  CLOSE,
  closeReason,
  DATA_MAX,
  FRAME_MAX,
  HEADER,
  kindOf,
  KINDS,
  PADDED_BELOW,
  PADDING,
  TAG,
  type CloseReason,
  type Kind,
} from "./frame.js";
import { Source } from "./schedule.js";

/** The most frames of an epoch, its KEYUPDATE included. */
export const EPOCH_FRAMES = 2 ** 16;
/** The most bytes of frames in an epoch, its KEYUPDATE excluded. */
export const EPOCH_BYTES = 2 ** 30;
/** How long an epoch may last, in milliseconds. */
export const EPOCH_TIME = 15 * 60 * 1000;
/** How long a session may last before a new handshake, in milliseconds. */
export const SESSION_TIME = 12 * 3600 * 1000;

const MAGIC = 0x11;
const EPOCH_LAST = 0xffff;

/** Which end this is: the device initiates. */
export type Role = "initiator" | "responder";

/** What the device sends, or what the host sends. */
export type Direction = "i2r" | "r2i";

/**
 * A frame cannot be opened. There is one error for whatever is wrong with it (changed, lost, repeated, reordered, too
 * long), and the session is over. Its code is `CPL-1602`.
 */
export class OpenError extends CoupletError {
  constructor() {
    super(
      "CPL-1602",
      "a frame could not be opened: it was changed, lost, repeated or sent out of order, and the session is over",
    );
    this.name = "OpenError";
  }
}

/** Why a frame cannot be sealed. */
export type SealFailure = "tooLong" | "keyUpdateDue" | "over";

/** A frame cannot be sealed. Its code is `CPL-1602`. */
export class SealError extends CoupletError {
  readonly failure: SealFailure;

  constructor(failure: SealFailure) {
    const texts = {
      tooLong: `a frame carries at most ${DATA_MAX} bytes`,
      keyUpdateDue: "the key must be updated first",
      over: "the session is over",
    };
    super("CPL-1602", texts[failure]);
    this.name = "SealError";
    this.failure = failure;
  }
}

/** One direction under one key. */
export class Epoch {
  readonly direction: Direction;
  readonly number: number;
  /** How many frames it has carried. */
  counter = 0;
  readonly #key: Uint8Array;
  readonly #prefix: Uint8Array;

  /** Takes over the key of 32 bytes and the prefix of 16. */
  constructor(direction: Direction, number: number, key: Uint8Array, prefix: Uint8Array) {
    this.direction = direction;
    this.number = number;
    this.#key = key;
    this.#prefix = prefix;
  }

  /** The first of a direction (spec/protocol.md, 3). */
  static first(prk: Source, direction: Direction): Epoch {
    const key = prk.expand(32, utf8("couplet/1 key "), utf8(direction));
    return new Epoch(direction, 0, key, prk.expand(16, utf8("couplet/1 nonce "), utf8(direction)));
  }

  /** The next: key ‖ prefix = Expand(key, "couplet/1 rekey " ‖ d, 48). null: this is the last that there is. */
  next(): Epoch | null {
    if (this.number >= EPOCH_LAST) return null;
    const source = Source.ofKey(this.#key);
    const bytes = source.expand(48, utf8("couplet/1 rekey "), utf8(this.direction));
    source.wipe();
    const next = new Epoch(this.direction, this.number + 1, bytes.slice(0, 32), bytes.slice(32));
    wipe(bytes);
    return next;
  }

  header(): Uint8Array<ArrayBuffer> {
    return Uint8Array.of(MAGIC, 0, this.number >> 8, this.number & 0xff);
  }

  /** Seals an inner part under the next counter. `out` has room for it and the tag. */
  seal(inner: Uint8Array, out: Uint8Array): void {
    this.#cipher().encrypt(inner, out);
    this.counter += 1;
  }

  /** Opens a sealed part under the next counter; throws when it cannot be. */
  open(sealed: Uint8Array): Uint8Array {
    const inner = this.#cipher().decrypt(sealed);
    this.counter += 1;
    return inner;
  }

  /** Overwrites the key. */
  wipe(): void {
    wipe(this.#key, this.#prefix);
  }

  #cipher(): ReturnType<typeof xchacha20poly1305> {
    const nonce = joined(this.#prefix, new Uint8Array(8));
    view(nonce).setBigUint64(16, BigInt(this.counter), true);
    return xchacha20poly1305(this.#key, nonce, this.header());
  }
}

/** What goes out. */
export class Sealer {
  #epoch: Epoch | null;
  #bytes = 0;
  #frames = 0;
  #began = 0;

  constructor(epoch: Epoch) {
    this.#epoch = epoch;
  }

  /** Whether the key must be updated before the next frame. `now` counts milliseconds from the session's begin. */
  keyUpdateDue(now: number): boolean {
    return this.#isSpent() || now - this.#began >= EPOCH_TIME;
  }

  /** One frame is kept back for the KEYUPDATE, or the CLOSE. */
  #isSpent(): boolean {
    return (this.#epoch?.counter ?? 0) + 1 >= EPOCH_FRAMES || this.#bytes + FRAME_MAX > EPOCH_BYTES;
  }

  /**
   * A sealed frame of DATA or CONTROL with these pieces, one behind the other, at most {@link DATA_MAX} bytes. Short ones
   * are padded, so that their length says little.
   *
   * @throws {SealError}
   */
  seal(kind: "data" | "control", ...pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
    this.#checkSpent();
    return this.#frame(kind, pieces, 0);
  }

  /**
   * A frame that says nothing, with so many bytes of it.
   *
   * @throws {SealError}
   */
  sealPad(length: number): Uint8Array<ArrayBuffer> {
    this.#checkSpent();
    return this.#frame("pad", [], length);
  }

  /**
   * The last frame of this epoch; the next one begins. `now` counts milliseconds from the session's begin.
   *
   * @throws {SealError} `over`, in the last epoch there is: shake hands anew.
   */
  sealKeyUpdate(now: number): Uint8Array<ArrayBuffer> {
    const epoch = this.#epoch;
    const next = epoch?.next() ?? null;
    if (epoch === null || next === null) throw new SealError("over");
    const frame = this.#frame("keyUpdate", [], 0);
    epoch.wipe();
    [this.#epoch, this.#bytes, this.#began] = [next, 0, now];
    return frame;
  }

  /**
   * The last frame of the session. Nothing can be sealed after it.
   *
   * @throws {SealError} `over` already.
   */
  sealClose(reason: CloseReason): Uint8Array<ArrayBuffer> {
    const code = Uint8Array.of(0, CLOSE[reason]);
    const frame = this.#frame("close", [code, u64(BigInt(this.#frames + 1))], 0);
    this.wipe();
    return frame;
  }

  /** Forgets the key. Nothing can be sealed any more. */
  wipe(): void {
    this.#epoch?.wipe();
    this.#epoch = null;
  }

  #checkSpent(): void {
    if (this.#epoch !== null && this.#isSpent()) throw new SealError("keyUpdateDue");
  }

  /** The one place that seals. `blank`: so many zeros behind the type. */
  #frame(kind: Kind, pieces: readonly Uint8Array[], blank: number): Uint8Array<ArrayBuffer> {
    const epoch = this.#epoch;
    if (epoch === null) throw new SealError("over");
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (!(blank >= 0 && length + blank <= DATA_MAX)) throw new SealError("tooLong");
    const plain = length + blank + 1;
    const isPadded = kind !== "pad" && length < PADDED_BELOW;
    const inner = new Uint8Array(isPadded ? Math.ceil(plain / PADDING) * PADDING : plain);
    let at = 0;
    for (const piece of pieces) {
      inner.set(piece, at);
      at += piece.length;
    }
    inner[at] = KINDS[kind];
    const frame = new Uint8Array(HEADER + inner.length + TAG);
    frame.set(epoch.header());
    epoch.seal(inner, frame.subarray(HEADER));
    wipe(inner);
    this.#frames += 1;
    this.#bytes += frame.length;
    return frame;
  }
}

/** What was opened. */
export interface Opened {
  readonly kind: Kind;
  /** The caller's; what holds secrets is the caller's to wipe. */
  readonly data: Uint8Array;
}

/** What comes in. */
export class Opener {
  #epoch: Epoch | null;
  #frames = 0n;
  #closed: { readonly reason: CloseReason; readonly code: number } | null = null;

  constructor(epoch: Epoch) {
    this.#epoch = epoch;
  }

  /**
   * Opens the next frame. After an error, and after a CLOSE, nothing can be opened any more.
   *
   * @throws {OpenError} The one error for whatever is wrong.
   */
  open(frame: Uint8Array): Opened {
    // Taken out until all is well: whatever fails ends the session.
    const epoch = this.#epoch;
    this.#epoch = null;
    if (epoch === null) throw new OpenError();
    try {
      const inner = this.#inner(epoch, frame);
      let typeAt = inner.length - 1;
      while (inner[typeAt] === 0) typeAt -= 1;
      const kind = kindOf(inner[typeAt] ?? 0);
      if (kind === null) throw new OpenError();
      const data = inner.subarray(0, typeAt);
      this.#epoch = this.#follow(epoch, kind, data);
      return { kind, data };
    } catch {
      // Not even what failed in passing says more.
      throw new OpenError();
    } finally {
      if (this.#epoch !== epoch) epoch.wipe();
    }
  }

  /** Why the peer closed the session, once it has. */
  get closed(): CloseReason | null {
    return this.#closed?.reason ?? null;
  }

  /** The number that came with it, of a later version's, too. */
  get closeCode(): number | null {
    return this.#closed?.code ?? null;
  }

  /** Forgets the key. Nothing can be opened any more. */
  wipe(): void {
    this.#epoch?.wipe();
    this.#epoch = null;
  }

  #inner(epoch: Epoch, frame: Uint8Array): Uint8Array {
    const isOfLength = frame.length >= HEADER + TAG && frame.length <= FRAME_MAX;
    if (!isOfLength || epoch.counter >= EPOCH_FRAMES) throw new OpenError();
    if (!same(frame.subarray(0, HEADER), epoch.header())) throw new OpenError();
    const inner = epoch.open(frame.subarray(HEADER));
    this.#frames += 1n;
    return inner;
  }

  /** The epoch that the next frame is of; null: none follows. */
  #follow(epoch: Epoch, kind: Kind, data: Uint8Array): Epoch | null {
    if (kind === "close") {
      if (data.length !== 10 || view(data).getBigUint64(2) !== this.#frames) throw new OpenError();
      const code = view(data).getUint16(0);
      this.#closed = { reason: closeReason(code), code };
      return null;
    }
    if (kind === "keyUpdate") {
      const next = data.length === 0 ? epoch.next() : null;
      if (next === null) throw new OpenError();
      return next;
    }
    // The last frame that an epoch has room for updates the key.
    if (epoch.counter >= EPOCH_FRAMES) throw new OpenError();
    return epoch;
  }
}

/** Both directions of a session. They share nothing. */
export interface Session {
  /** What goes out. */
  readonly sealer: Sealer;
  /** What comes in. */
  readonly opener: Opener;
}

/** The session that a handshake came to. */
export function openSession(prk: Source, role: Role): Session {
  const [ours, theirs] = role === "initiator" ? (["i2r", "r2i"] as const) : (["r2i", "i2r"] as const);
  return { sealer: new Sealer(Epoch.first(prk, ours)), opener: new Opener(Epoch.first(prk, theirs)) };
}
