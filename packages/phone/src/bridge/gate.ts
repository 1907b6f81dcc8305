/** Back-pressure: how much may be sent, and who waits for more. */
import { CREDIT_MAX } from "../wire/limits.js";

/** A count of bytes that may go out. */
export class Gate {
  #credit: number;
  #waiting: (() => void) | null = null;

  constructor(credit: number) {
    this.#credit = credit;
  }

  /** Lets more through; never more than {@link CREDIT_MAX} at once, whatever is asked for. */
  grant(bytes: number): void {
    this.#credit = Math.min(this.#credit + bytes, CREDIT_MAX);
    if (this.#credit > 0) this.open();
  }

  /** What went out. */
  spend(bytes: number): void {
    this.#credit -= bytes;
  }

  /** Whoever waits goes on, whatever there is. */
  open(): void {
    this.#waiting?.();
    this.#waiting = null;
  }

  /** Resolves when something may go out. One waits at a time. */
  async passable(): Promise<void> {
    if (this.#credit > 0) return;
    await new Promise<void>((resolve) => (this.#waiting = resolve));
  }
}
