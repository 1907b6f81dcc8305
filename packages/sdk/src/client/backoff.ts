/** How long to wait before the next try. */
import type { Random } from "../protocol/secret.js";

/** In milliseconds. */
const FIRST = 200;
const MOST = 30_000;

/**
 * Doubles with each failure, up to 30 s; the wait itself is anything up to that ("full jitter"), so that all who were with a
 * host or a relay that was away do not come back at the same moment.
 */
export class Backoff {
  #failures = 0;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /** The next wait, in milliseconds. */
  wait(): number {
    const ceiling = Math.min(FIRST * 2 ** this.#failures, MOST);
    this.#failures = Math.min(this.#failures + 1, 16);
    return ceiling * this.#fraction();
  }

  /** All is well again. */
  reset(): void {
    this.#failures = 0;
  }

  /** All of it where the generator gives nothing: that is what is being waited out, perhaps. */
  #fraction(): number {
    try {
      const [high = 0xff, low = 0xff] = this.#random(2);
      return (high * 256 + low) / 0xffff;
    } catch {
      return 1;
    }
  }
}
