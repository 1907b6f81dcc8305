/** Apps ask whether they may lead elsewhere. One that was told no is not heard for a while, each time for longer. */

/** After the first no, in milliseconds; and at most. */
const FIRST = 5000;
const MOST = 5 * 60_000;

/** Remembers who was told no. */
export class Quiet {
  readonly #told = new Map<string, { readonly until: number; readonly times: number }>();
  readonly #now: () => number;

  /** `now`: milliseconds of a clock that does not go back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Whether this one is heard. */
  isHeard(label: string): boolean {
    return this.#now() >= (this.#told.get(label)?.until ?? Number.NEGATIVE_INFINITY);
  }

  /** The answer that this one was given. */
  answered(label: string, isYes: boolean): void {
    if (isYes) return void this.#told.delete(label);
    const times = this.#told.get(label)?.times ?? 0;
    this.#told.set(label, { until: this.#now() + Math.min(FIRST * 2 ** times, MOST), times: times + 1 });
  }
}
