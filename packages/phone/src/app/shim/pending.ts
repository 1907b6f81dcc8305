/** What the worker must hear before the page's next request: messages and requests reach it by ways of their own. */

/** Milliseconds after which a request goes all the same. */
const PATIENCE = 1000;

/** Things that are waited for. */
export class Pending {
  #count = 0;
  #all: Promise<unknown> = Promise.resolve();

  /** Adds one. */
  add(one: Promise<unknown>): void {
    this.#count += 1;
    const late = new Promise((resolve) => setTimeout(resolve, PATIENCE));
    const over = Promise.race([one, late]).then(() => void (this.#count -= 1));
    this.#all = Promise.all([this.#all, over]);
  }

  /** null: nothing is waited for; otherwise resolves when nothing is. */
  get settled(): Promise<unknown> | null {
    return this.#count === 0 ? null : this.#all;
  }
}
