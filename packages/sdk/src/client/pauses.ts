/**
 * How long to leave a relay alone that said no. The addresses on the local network are tried all the while: no relay can
 * keep a device from its host there.
 */
import { ENDPOINTS_MAX } from "../protocol/endpoint.js";
import type { AttemptError } from "./attempt.js";
import { Climbs } from "./climbs.js";
import type { Clock } from "./clock.js";

/** The longest pause, in milliseconds: how long a relay counts failures (spec/protocol.md, 6). */
const MOST = 15 * 60_000;
/**
 * The first pause after a refusal that only the host or its owner can change. It doubles each time: a device that was
 * revoked must not use up what the relay grants its network.
 */
const REFUSED = 60_000;
/** The longest pause when all rooms are locked: the host may register another any time. */
const LOCKED = 60_000;
/** The longest pause on the relay's word for what passes soon. */
const SOON = 30_000;

const OF_ACCOUNT = ["CPL-1802", "CPL-1817", "CPL-1827"];
const REFUSALS = ["CPL-1801", "CPL-1804", ...OF_ACCOUNT];

interface Pause {
  readonly until: number;
  readonly failure: AttemptError;
  readonly refusals: number;
  /** What was shown of the owner. */
  readonly account: string | null;
}

/** How long to stay away, in milliseconds, and how many refusals in a row there have been. */
export function pauseAfter(failure: AttemptError, refusals: number): { wait: number; refusals: number } {
  const told = failure.retryAfter ?? 0;
  if (REFUSALS.includes(failure.code)) {
    return { wait: Math.min(REFUSED * 2 ** Math.min(refusals, 8), MOST), refusals: refusals + 1 };
  }
  if (failure.code === "CPL-1806") return { wait: Math.min(Math.max(told, 1000), MOST), refusals };
  if (failure.code === "CPL-1805") return { wait: Math.min(Math.max(told, 1000), LOCKED), refusals };
  // What the relay answers when it may be otherwise in a moment; for the rest the ordinary waits will do.
  return { wait: Math.min(told, SOON), refusals };
}

/**
 * What is remembered of relays that did not lead to the host: which are left alone until when, and what they said; at most
 * as many as a host has endpoints. And where else to look at the others.
 */
export class Pauses {
  readonly climbs = new Climbs();
  readonly #pauses = new Map<string, Pause>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What this relay said, if it is still to be left alone. What it said of an account counts for that token alone. */
  on(relay: string, account: string | null): AttemptError | null {
    const pause = this.#pauses.get(relay);
    if (pause === undefined || this.#clock.now() >= pause.until) return null;
    const counts = pause.account === account || !OF_ACCOUNT.includes(pause.failure.code);
    return counts ? pause.failure : null;
  }

  /** This relay did not lead to the host: for what it said, or although a room opened (null). */
  failed(relay: string, said: AttemptError | null, account: string | null): void {
    const wasUp = this.climbs.failed(relay, said?.code ?? null);
    if (said === null || wasUp) return;
    const { wait, refusals } = pauseAfter(said, this.#pauses.get(relay)?.refusals ?? 0);
    this.#pauses.delete(relay);
    const oldest = this.#pauses.keys().next().value;
    if (this.#pauses.size >= ENDPOINTS_MAX && oldest !== undefined) this.#pauses.delete(oldest);
    this.#pauses.set(relay, { until: this.#clock.now() + wait, failure: said, refusals, account });
  }

  /** This device is somewhere else now, or has been with its host: what was said is no matter any more. */
  clear(): void {
    this.#pauses.clear();
    this.climbs.clear();
  }
}
