/** Frames: the layout of RFC 9113, 4.1 and 6. */
import { FRAME_SIZE_ERROR, PROTOCOL_ERROR, violation } from "./error.js";

export const DATA = 0x0;
export const HEADERS = 0x1;
export const PRIORITY = 0x2;
export const RST_STREAM = 0x3;
export const SETTINGS = 0x4;
export const PUSH_PROMISE = 0x5;
export const PING = 0x6;
export const GOAWAY = 0x7;
export const WINDOW_UPDATE = 0x8;
export const CONTINUATION = 0x9;

export const FLAG_ACK = 0x1;
export const FLAG_END_STREAM = 0x1;
export const FLAG_END_HEADERS = 0x4;
export const FLAG_PADDED = 0x8;
export const FLAG_PRIORITY = 0x20;

/** Bytes of a frame's head. */
export const HEAD = 9;
/** The longest payload that this end takes: what every end must take, and no more (RFC 9113, 4.2). */
export const PAYLOAD_MAX = 16_384;

/** A frame as it came. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  /** May be a view of a longer piece of the link. */
  readonly payload: Uint8Array;
  /** The payload is a small part of the piece that it is a view of, which would live on with it. */
  readonly shared: boolean;
}

const NOTHING = /* @__PURE__ */ new Uint8Array(0);

/** Cuts what a link gives into frames. Holds no more than one piece of the link and one unfinished frame. */
export class FrameReader {
  /** What came last, and how far it is read. */
  #piece: Uint8Array = NOTHING;
  #at = 0;
  /** A frame that began in an earlier piece, and how much of it is there. */
  #partial = new Uint8Array(HEAD + PAYLOAD_MAX);
  #held = 0;

  /** Call it only once `next` has given null. */
  push(piece: Uint8Array): void {
    // Node's Buffer is one that copies nothing where others do.
    this.#piece = piece.constructor === Uint8Array ? piece : new Uint8Array(piece.buffer, piece.byteOffset, piece.length);
    this.#at = 0;
  }

  /** Whether a frame has begun and not ended. */
  get unfinished(): boolean {
    return this.#held > 0;
  }

  /** The next frame; null: more is needed. Throws for a frame that is too long. */
  next(): Frame | null {
    if (this.#held > 0) return this.#finish();
    const left = this.#piece.length - this.#at;
    if (left >= HEAD) {
      const length = payloadLength(this.#piece, this.#at);
      if (left >= HEAD + length) {
        const frame = parse(this.#piece, this.#at, length, length * 4 < this.#piece.length);
        this.#at += HEAD + length;
        return frame;
      }
    }
    this.#keep(left);
    return null;
  }

  /** Goes on with the frame that an earlier piece began. */
  #finish(): Frame | null {
    if (this.#held < HEAD && !this.#fill(HEAD)) return null;
    const whole = HEAD + payloadLength(this.#partial, 0);
    if (!this.#fill(whole)) return null;
    const frame = parse(this.#partial, 0, whole - HEAD, false);
    this.#held = 0;
    return { ...frame, payload: frame.payload.slice() };
  }

  /** Takes from the piece until so much is held; whether it is. */
  #fill(wanted: number): boolean {
    this.#keep(Math.min(wanted - this.#held, this.#piece.length - this.#at));
    return this.#held >= wanted;
  }

  #keep(length: number): void {
    this.#partial.set(this.#piece.subarray(this.#at, this.#at + length), this.#held);
    this.#at += length;
    this.#held += length;
    if (this.#at === this.#piece.length) this.push(NOTHING);
  }
}

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}

/** Four bytes, big-endian, without a sign. */
export function readU32(bytes: Uint8Array, at: number): number {
  return ((byte(bytes, at) << 24) | (byte(bytes, at + 1) << 16) | (byte(bytes, at + 2) << 8) | byte(bytes, at + 3)) >>> 0;
}

function payloadLength(bytes: Uint8Array, at: number): number {
  const length = (byte(bytes, at) << 16) | (byte(bytes, at + 1) << 8) | byte(bytes, at + 2);
  if (length > PAYLOAD_MAX) throw violation(FRAME_SIZE_ERROR, "a frame is longer than this end takes");
  return length;
}

function parse(bytes: Uint8Array, at: number, length: number, shared: boolean): Frame {
  return {
    type: byte(bytes, at + 3),
    flags: byte(bytes, at + 4),
    stream: readU32(bytes, at + 5) & 0x7fff_ffff,
    payload: bytes.subarray(at + HEAD, at + HEAD + length),
    shared,
  };
}

/** The payload of DATA or HEADERS without its padding (RFC 9113, 6.1), and without HEADERS' priority (6.2). */
export function unpadded(frame: Frame): Uint8Array {
  const { payload, flags } = frame;
  let from = 0;
  let to = payload.length;
  if (flags & FLAG_PADDED) {
    if (to < 1) throw violation(FRAME_SIZE_ERROR, "a padded frame has no length of its padding");
    from = 1;
    to -= byte(payload, 0);
  }
  if (frame.type === HEADERS && flags & FLAG_PRIORITY) from += 5;
  if (from > payload.length) throw violation(FRAME_SIZE_ERROR, "a HEADERS frame has no room for its priority");
  if (from > to) throw violation(PROTOCOL_ERROR, "a frame's padding is longer than the frame");
  return payload.subarray(from, to);
}

/** Writes a frame's head. */
export function writeHead(out: Uint8Array, at: number, length: number, type: number, flags: number, stream: number): void {
  out[at] = length >>> 16;
  out[at + 1] = length >>> 8;
  out[at + 2] = length;
  out[at + 3] = type;
  out[at + 4] = flags;
  writeU32(out, at + 5, stream);
}

function writeU32(out: Uint8Array, at: number, value: number): void {
  out[at] = value >>> 24;
  out[at + 1] = value >>> 16;
  out[at + 2] = value >>> 8;
  out[at + 3] = value;
}

/** A whole frame. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array): Uint8Array {
  const out = new Uint8Array(HEAD + payload.length);
  writeHead(out, 0, payload.length, type, flags, stream);
  out.set(payload, HEAD);
  return out;
}

function words(type: number, stream: number, ...values: readonly number[]): Uint8Array {
  const payload = new Uint8Array(4 * values.length);
  values.forEach((value, index) => writeU32(payload, 4 * index, value));
  return frame(type, 0, stream, payload);
}

/** RFC 9113, 6.4. */
export function resetFrame(stream: number, code: number): Uint8Array {
  return words(RST_STREAM, stream, code);
}

/** RFC 9113, 6.9. */
export function windowFrame(stream: number, increment: number): Uint8Array {
  return words(WINDOW_UPDATE, stream, increment);
}

/** RFC 9113, 6.8. This end takes no streams of the server, so that the last is 0. */
export function goawayFrame(code: number): Uint8Array {
  return words(GOAWAY, 0, 0, code);
}

/** RFC 9113, 6.5. */
export function settingsFrame(entries: readonly (readonly [number, number])[]): Uint8Array {
  const payload = new Uint8Array(6 * entries.length);
  entries.forEach(([id, value], index) => {
    payload[6 * index] = id >>> 8;
    payload[6 * index + 1] = id;
    writeU32(payload, 6 * index + 2, value);
  });
  return frame(SETTINGS, 0, 0, payload);
}

/** DATA frames of at most `most` bytes each, one behind the other; the last one may end the stream (RFC 9113, 6.1). */
export function dataFrames(stream: number, bytes: Uint8Array, ends: boolean, most: number): Uint8Array {
  const count = Math.max(1, Math.ceil(bytes.length / most));
  const out = new Uint8Array(count * HEAD + bytes.length);
  let at = 0;
  for (let index = 0; index < count; index += 1) {
    const piece = bytes.subarray(index * most, (index + 1) * most);
    writeHead(out, at, piece.length, DATA, ends && index === count - 1 ? FLAG_END_STREAM : 0, stream);
    out.set(piece, at + HEAD);
    at += HEAD + piece.length;
  }
  return out;
}

/** A header block in one HEADERS and as many CONTINUATION frames as it takes (RFC 9113, 6.2 and 6.10). */
export function headerFrames(stream: number, block: Uint8Array, ends: boolean, most: number): Uint8Array {
  const count = Math.max(1, Math.ceil(block.length / most));
  const out = new Uint8Array(count * HEAD + block.length);
  let at = 0;
  for (let index = 0; index < count; index += 1) {
    const piece = block.subarray(index * most, (index + 1) * most);
    const flags = (index === count - 1 ? FLAG_END_HEADERS : 0) | (index === 0 && ends ? FLAG_END_STREAM : 0);
    writeHead(out, at, piece.length, index === 0 ? HEADERS : CONTINUATION, flags, stream);
    out.set(piece, at + HEAD);
    at += HEAD + piece.length;
  }
  return out;
}
