/** Streams that are over (RFC 9113, 5.1, "closed"). */
import { FLOW_CONTROL_ERROR, STREAM_CLOSED, violation } from "./error.js";

const REMEMBERED = 1_024;

/** Knows which streams this end has reset: for a while the server may go on with those, but with no others. */
export class Past {
  /** What each may still be sent, in bytes; the oldest first. */
  readonly #reset = new Map<number, number>();
  /** Up to this stream it is forgotten which ones were reset. */
  #forgotten = 0;

  /** This end has reset the stream, whose window has so many bytes left. */
  add(stream: number, left: number): void {
    this.#reset.set(stream, left);
    if (this.#reset.size <= REMEMBERED) return;
    for (const [oldest] of this.#reset) {
      this.#reset.delete(oldest);
      this.#forgotten = Math.max(this.#forgotten, oldest);
      return;
    }
  }

  /** A frame came for a stream that is over. Throws when none may. */
  check(stream: number, bytes: number): void {
    const left = this.#reset.get(stream);
    if (left === undefined) {
      if (stream > this.#forgotten) throw violation(STREAM_CLOSED, "a frame belongs to a stream that has ended");
      return;
    }
    if (bytes > left) throw violation(FLOW_CONTROL_ERROR, "more came for a stream than its window allows");
    this.#reset.set(stream, left - bytes);
  }
}
