/** What a server may send that is of no use to anybody. */
import { ENHANCE_YOUR_CALM, violation } from "./error.js";

const MOST = 1_000;
const PER_SECOND = 50;
/** What a DATA frame of this end earns: the WINDOW_UPDATEs that answer it. */
const EARNED = 4;
const EARNED_MOST = 65_536;

/**
 * Bounds the frames that cost the server nothing and this end its time: SETTINGS, PING, empty DATA, WINDOW_UPDATE,
 * frames of streams that are over, and unknown ones (RFC 9113, 10.5). 1000 at once, 50 more each second.
 */
export class Ledger {
  #left = MOST;
  #at = 0;
  #earned = 0;
  readonly #now: () => number;

  /** `now` gives milliseconds, from whenever. */
  constructor(now: () => number) {
    this.#now = now;
    this.#at = now();
  }

  /** Throws when there was too much. */
  charge(cost = 1): void {
    if (this.#earned >= cost) {
      this.#earned -= cost;
      return;
    }
    const now = this.#now();
    this.#left = Math.min(MOST, this.#left + (Math.max(0, now - this.#at) * PER_SECOND) / 1000);
    this.#at = now;
    this.#left -= cost;
    if (this.#left < 0) throw violation(ENHANCE_YOUR_CALM, "the server sends too many frames that do nothing");
  }

  /** This end has sent a frame that the server answers with others. */
  earn(): void {
    this.#earned = Math.min(EARNED_MOST, this.#earned + EARNED);
  }
}
