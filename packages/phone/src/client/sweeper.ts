/** Removes what apps have stored on origins that nobody needs any more: those of labels that were thrown away. */
import type { AppStore } from "./app_store.js";

/** How it stands: nothing is left; it is being removed; some of it could not be reached, and is tried again later. */
export type Leavings = "none" | "going" | "left";

/** What a sweeper works with. */
export interface Sweeping {
  readonly apps: Pick<AppStore, "leavings" | "cleared">;
  /** Removes what this label's origin holds: whether all of it is gone. */
  wipe(label: string): Promise<boolean>;
  readonly onState: (leavings: Leavings) => void;
}

/** Sweeps one origin after the other. */
export class Sweeper {
  readonly #around: Sweeping;
  #running: Promise<boolean> | null = null;
  #isAsked = false;

  constructor(around: Sweeping) {
    this.#around = around;
  }

  /** Tries everything that is left, once. Resolves with whether nothing is left then; never rejects. */
  sweep(): Promise<boolean> {
    this.#isAsked = true;
    this.#running ??= this.#run();
    return this.#running;
  }

  async #run(): Promise<boolean> {
    this.#around.onState("going");
    const tried = new Set<string>();
    let left: readonly string[] | null = null;
    // What is thrown away meanwhile belongs to it.
    while (this.#isAsked) {
      this.#isAsked = false;
      for (const label of (await this.#left()) ?? []) {
        if (tried.has(label)) continue;
        tried.add(label);
        if (await this.#around.wipe(label).catch(() => false)) await this.#around.apps.cleared(label).catch(() => {});
      }
      left = await this.#left();
    }
    this.#running = null;
    // A browser that keeps nothing has its own words for that.
    this.#around.onState(left === null || left.length === 0 ? "none" : "left");
    return left?.length === 0;
  }

  /** null: it cannot be read. */
  async #left(): Promise<readonly string[] | null> {
    return this.#around.apps.leavings().catch(() => null);
  }
}
