/** Tells when messages come faster than anything that an app does could mean. */

/** Counts messages in each second, or in each of longer spans. */
export class Flood {
  readonly #most: number;
  readonly #span: number;
  #count = 0;
  #since = Number.NEGATIVE_INFINITY;

  /** `most`: how many may come in `span` milliseconds. */
  constructor(most: number, span = 1000) {
    this.#most = most;
    this.#span = span;
  }

  /** Counts one that comes `now` (milliseconds of a clock that does not go back), and says whether it is one too many. */
  isTooMuch(now: number): boolean {
    if (now - this.#since >= this.#span) {
      this.#since = now;
      this.#count = 0;
    }
    this.#count += 1;
    return this.#count > this.#most;
  }
}
