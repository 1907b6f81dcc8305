/** Tells when messages come faster than anything that an app does could mean. */

/** Counts messages in each second. */
export class Flood {
  readonly #most: number;
  #count = 0;
  #since = Number.NEGATIVE_INFINITY;

  /** `most`: how many may come in one second. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Counts one that comes `now` (milliseconds of a clock that does not go back), and says whether it is one too many. */
  isTooMuch(now: number): boolean {
    if (now - this.#since >= 1000) {
      this.#since = now;
      this.#count = 0;
    }
    this.#count += 1;
    return this.#count > this.#most;
  }
}
