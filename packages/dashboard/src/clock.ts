// The host's time. The browser's own clock may be off by hours; its steady one counts seconds well enough.

let base: number | null = null;

export const clock = {
  /** The host said `now` in an answer to a request that began and ended then, by performance.now(). */
  sync(now: string, began: number, ended: number): void {
    const told = Date.parse(now);
    if (!Number.isNaN(told)) base = told - (began + ended) / 2;
  },

  /** Now, in milliseconds since the epoch, as the host counts. */
  now(): number {
    return base === null ? Date.now() : base + performance.now();
  },

  /** Whole seconds until then, at least 0. What ends has no second left before it does, so that it is replaced in time. */
  until(end: string): number {
    return Math.max(0, Math.floor((Date.parse(end) - clock.now()) / 1000));
  },
};
