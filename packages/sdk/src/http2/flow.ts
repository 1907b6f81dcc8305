/** Flow control (RFC 9113, 5.2 and 6.9). */
import { FLOW_CONTROL_ERROR, type Http2Error, violation } from "./error.js";

/** The largest window that there may be (RFC 9113, 6.9.1). */
export const WINDOW_MAX = 0x7fff_ffff;
/** Every window's size at first (RFC 9113, 6.9.2). */
export const WINDOW_FIRST = 65_535;

/** What this end may still send. */
export class SendWindow {
  #left: number;
  #waiting: (() => void)[] = [];

  constructor(left: number) {
    this.#left = left;
  }

  /** Bytes; below zero after the server has made its windows smaller (RFC 9113, 6.9.2). */
  get left(): number {
    return this.#left;
  }

  take(bytes: number): void {
    this.#left -= bytes;
  }

  /** Throws when the window would be larger than any may be. */
  grow(bytes: number, failure: (code: number, message: string) => Http2Error = violation): void {
    if (this.#left + bytes > WINDOW_MAX) throw failure(FLOW_CONTROL_ERROR, "the server makes a window too large");
    this.#left += bytes;
    if (this.#left > 0) this.wake();
  }

  /** What was taken and not sent after all. */
  restore(bytes: number): void {
    this.#left += bytes;
    if (this.#left > 0) this.wake();
  }

  /** Resolves at the next occasion to look again. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Lets whoever waits look again. */
  wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

/** What the server may still send. It is told of what the reader took in pieces of half a window. */
export class ReceiveWindow {
  readonly #size: number;
  #left: number;
  #taken = 0;

  constructor(size: number) {
    this.#size = size;
    this.#left = size;
  }

  /** What may still come, in bytes. */
  get left(): number {
    return this.#left;
  }

  /** So many bytes came, padding and all; false: more than may come. */
  accept(bytes: number): boolean {
    this.#left -= bytes;
    return this.#left >= 0;
  }

  /** The reader took so many; what the server shall be told, 0 for nothing yet. */
  release(bytes: number): number {
    this.#taken += bytes;
    if (this.#taken * 2 < this.#size) return 0;
    const increment = this.#taken;
    this.#left += increment;
    this.#taken = 0;
    return increment;
  }
}
