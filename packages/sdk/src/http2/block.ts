/** Header blocks that are spread over frames (RFC 9113, 4.3 and 6.10). */
import { ENHANCE_YOUR_CALM, PROTOCOL_ERROR, violation } from "./error.js";
import { CONTINUATION, FLAG_END_HEADERS, FLAG_END_STREAM, type Frame, HEADERS, unpadded } from "./frame.js";

/** CONTINUATION frames of one block at most, whatever is in them. */
const CONTINUATIONS = 16;

/** A whole block. */
export interface Block {
  readonly stream: number;
  readonly bytes: Uint8Array;
  readonly ends: boolean;
}

export class BlockReader {
  readonly #most: number;
  #stream = 0;
  #ends = false;
  #parts: Uint8Array[] = [];
  #length = 0;

  /** `most`: bytes of a block, compressed. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Throws for a frame that may not come amid a block, and for a CONTINUATION outside of one. */
  check(frame: Frame): void {
    const amid = this.#stream !== 0;
    if (amid !== (frame.type === CONTINUATION) || (amid && frame.stream !== this.#stream)) {
      throw violation(PROTOCOL_ERROR, "a header block is cut off, or goes on where none began");
    }
  }

  /** Takes a HEADERS or CONTINUATION frame; the block, once it is whole. */
  push(frame: Frame): Block | null {
    if (frame.type === HEADERS) {
      this.#stream = frame.stream;
      this.#ends = (frame.flags & FLAG_END_STREAM) !== 0;
      this.#parts = [];
      this.#length = 0;
    }
    const part = unpadded(frame);
    this.#length += part.length;
    if (this.#length > this.#most || this.#parts.length > CONTINUATIONS) {
      throw violation(ENHANCE_YOUR_CALM, "a header block is longer than this end takes");
    }
    this.#parts.push(frame.flags & FLAG_END_HEADERS ? part : part.slice());
    if (!(frame.flags & FLAG_END_HEADERS)) return null;
    const block = { stream: this.#stream, bytes: joined(this.#parts, this.#length), ends: this.#ends };
    this.#stream = 0;
    this.#parts = [];
    return block;
  }
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const [only] = parts;
  if (only && parts.length === 1) return only;
  const out = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
