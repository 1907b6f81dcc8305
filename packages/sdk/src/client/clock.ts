/** Time, as it is injected: tests drive it, and everything that waits can be called off. */

/** Time and alarms. */
export interface Clock {
  /** Milliseconds that only rise. */
  now(): number;
  /** Milliseconds since 1970. */
  wall(): number;
  /** Calls once, after so many milliseconds. Returns what calls it off. */
  after(milliseconds: number, call: () => void): () => void;
}

/** How much the wall clock must be ahead of the other one to have gone on alone. */
const SUSPENDED = 2000;
const seen = { monotonic: 0, wall: 0, suspended: 0 };

/**
 * The system's. Where its monotonic clock stands still while the machine is suspended, the wall clock says how long that was:
 * sessions end meanwhile. One that was set forward looks the same, and does no harm: whoever may be gone is asked first.
 */
export const systemClock: Clock = {
  now() {
    const [monotonic, wall] = [performance.now(), Date.now()];
    const ahead = seen.wall === 0 ? 0 : wall - seen.wall - (monotonic - seen.monotonic);
    if (ahead > SUSPENDED) seen.suspended += ahead;
    [seen.monotonic, seen.wall] = [monotonic, wall];
    return monotonic + seen.suspended;
  },
  wall: () => Date.now(),
  after(milliseconds, call) {
    const timer = setTimeout(call, milliseconds);
    return () => clearTimeout(timer);
  },
};

/** An alarm that comes so much too late was slept through, in milliseconds; and how long the answer may take after that. */
const LATE = 2000;
export const GRACE = 10_000;

/** Whether an alarm that was due then was slept through. */
export function isLate(clock: Clock, due: number): boolean {
  return clock.now() - due >= LATE;
}

/**
 * Calls once, after so many milliseconds in which something could come. A program that was suspended is called before it has
 * read what lies in its sockets: it gets some more.
 */
export function afterAwake(clock: Clock, milliseconds: number, call: () => void): () => void {
  const due = clock.now() + milliseconds;
  let off = clock.after(milliseconds, () => {
    if (isLate(clock, due)) off = clock.after(GRACE, call);
    else call();
  });
  return () => off();
}

/** Something took too long. */
export class TimedOut extends Error {
  constructor() {
    super("no answer in time");
    this.name = "TimedOut";
  }
}

/** Why it was called off. Not all runtimes keep what was said. */
export function reasonOf(signal: AbortSignal | null | undefined): unknown {
  return signal?.reason ?? new Error("it was called off");
}

/** Rejects with the signal's reason as soon as it is called off. The work itself goes on, and its end is no matter then. */
export function unlessAborted<T>(signal: AbortSignal | null | undefined, work: Promise<T>): Promise<T> {
  if (signal === null || signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(reasonOf(signal));
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** Rejects with {@link TimedOut} when it takes longer; for what comes by a session, by `afterAwake`. */
export function within<T>(clock: Clock, milliseconds: number, work: Promise<T>, after = afterNow): Promise<T> {
  return new Promise((resolve, reject) => {
    const off = after(clock, milliseconds, () => reject(new TimedOut()));
    work.then(resolve, reject).finally(off);
  });
}

function afterNow(clock: Clock, milliseconds: number, call: () => void): () => void {
  return clock.after(milliseconds, call);
}

/** Waits. Rejects with the signal's reason. */
export function sleep(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(reasonOf(signal));
    const stop = (): void => {
      off();
      reject(reasonOf(signal));
    };
    const off = clock.after(milliseconds, () => {
      signal?.removeEventListener("abort", stop);
      resolve();
    });
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** A signal that aborts with its parent, or after so long, or when it is told to. `done` leaves nothing behind. */
export interface Limit {
  readonly signal: AbortSignal;
  abort(reason?: unknown): void;
  done(): void;
}

/** Makes one. */
export function limit(clock: Clock, milliseconds: number | null, parent?: AbortSignal | null): Limit {
  const controller = new AbortController();
  const follow = (): void => controller.abort(reasonOf(parent));
  if (parent?.aborted === true) follow();
  parent?.addEventListener("abort", follow, { once: true });
  const off = milliseconds === null ? () => {} : clock.after(milliseconds, () => controller.abort(new TimedOut()));
  const done = (): void => {
    off();
    parent?.removeEventListener("abort", follow);
  };
  return {
    signal: controller.signal,
    abort(reason) {
      done();
      controller.abort(reason);
    },
    done,
  };
}

/** Wakes who waits, or the next who will. One waits at a time. */
export class Bell {
  #rung = false;
  #wake: (() => void) | null = null;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  /** What was rung for has come: nobody is to hear of it any more. */
  still(): void {
    this.#rung = false;
  }

  /** Waits for a ring since the last one was heard. Rejects with the signal's reason. */
  wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#wake = null;
        signal?.removeEventListener("abort", stop);
      };
      const stop = (): void => {
        end();
        reject(reasonOf(signal));
      };
      this.#wake = () => {
        end();
        this.#rung = false;
        resolve();
      };
      if (this.#rung) this.#wake();
      else if (signal?.aborted === true) stop();
      else signal?.addEventListener("abort", stop, { once: true });
    });
  }
}
