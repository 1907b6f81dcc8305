/** Coming back: the addresses of a host are tried side by side, and the first finished handshake wins. */
import { sameEndpoint, type Endpoint } from "../protocol/endpoint.js";
import { AttemptError } from "./attempt.js";
import { Bell, limit } from "./clock.js";
import type { Credentials } from "./credentials.js";
import type { Environment } from "./environment.js";
import { Met, type Opened } from "./greet.js";
import { leadsTo, type Ways } from "./path.js";
import type { Pauses } from "./pauses.js";
import { accountAt, type Account } from "./relay.js";

/** How far ahead of the next one an address on the local network starts, in milliseconds. */
const STAGGER = 100;
/** How far the local network is ahead of a relay (spec/protocol.md, 7), and one relay of the next. */
const RELAY = 150;
/** How many run at a time. A host keeps only eight handshakes that nobody confirmed. */
const LANES = 3;
const RELAYS = 2;

/** All addresses were tried in vain; a relay that asked for patience was not, and what it said is said again. */
export class Unreachable extends Error {
  readonly attempts: readonly AttemptError[];

  constructor(attempts: readonly AttemptError[]) {
    super("no address leads to the host");
    this.name = "Unreachable";
    this.attempts = attempts;
  }
}

/** What a race is run with. */
export interface Racing {
  readonly environment: Environment;
  readonly account: Account | undefined;
  readonly pauses: Pauses;
  /** Where the host was last, to be tried first among its kind. */
  readonly last: Endpoint | null;
}

/** Endpoints of one kind, which start one after the other. */
class Grid {
  readonly waiting: Endpoint[] = [];
  running = 0;
  #due: number;
  readonly #stagger: number;
  readonly #lanes: number;

  constructor(stagger: number, due: number, lanes: number) {
    this.#stagger = stagger;
    this.#due = due;
    this.#lanes = lanes;
  }

  /** When the next one starts, if there is one and it has room. */
  next(): number | null {
    return this.waiting.length > 0 && this.running < this.#lanes ? this.#due : null;
  }

  start(now: number, isIdle: boolean): Endpoint | null {
    const due = this.next();
    if (due === null || !(isIdle || now >= due)) return null;
    this.#due = now + this.#stagger;
    this.running += 1;
    return this.waiting.shift() ?? null;
  }
}

/** Who starts on the local network, and who through a relay. */
function starters(credentials: Credentials, ways: Ways, { environment, last }: Racing): [Grid, Grid] {
  const now = environment.clock.now();
  const [here, afar] = [new Grid(STAGGER, now, LANES), new Grid(RELAY, now + RELAY, RELAYS)];
  const isLast = (it: Endpoint): number => (last !== null && sameEndpoint(it, last) ? 0 : 1);
  // Stable: the host's own order stays behind it.
  const endpoints = credentials.endpoints.filter((it) => leadsTo(ways, it)).sort((a, b) => isLast(a) - isLast(b));
  for (const endpoint of endpoints) (endpoint.kind === "lan" ? here : afar).waiting.push(endpoint);
  return [here, afar];
}

/**
 * Opens a session with the host of these credentials. Losers are left before they confirm, so that they take none of the
 * host's session slots.
 *
 * @throws {Unreachable} Rejects with the signal's reason.
 */
export async function race(credentials: Credentials, racing: Racing, signal: AbortSignal): Promise<Opened> {
  const { environment, pauses } = racing;
  const secret = credentials.roomSecret;
  const door = secret === null ? null : ({ kind: "paired", secret, from: credentials.roomNumber } as const);
  const ways: Ways = { environment, door, account: null, relayCa: credentials.relayCa, climbs: pauses.climbs };
  const [here, afar] = starters(credentials, ways, racing);
  const failures: AttemptError[] = [];
  const bell = new Bell();
  const over = limit(environment.clock, null, signal);
  const won: { opened: Opened | null; fault: unknown } = { opened: null, fault: null };
  const run = async (endpoint: Endpoint, grid: Grid): Promise<void> => {
    let account: string | null = null;
    try {
      if (endpoint.kind === "relay") account = await accountAt(racing.account, endpoint.name, environment.clock, over.signal);
      const said = endpoint.kind === "relay" ? pauses.on(endpoint.name, account) : null;
      if (said !== null) return void failures.push(said);
      const met = await Met.again({ ...ways, account }, endpoint, credentials, over.signal);
      if (won.opened === null && !over.signal.aborted) won.opened = met.confirm();
      else met.leave();
    } catch (error) {
      if (over.signal.aborted) return;
      if (!(error instanceof AttemptError)) won.fault ??= error;
      else {
        failures.push(error.place === "" ? error.at(endpoint) : error);
        if (endpoint.kind === "relay") pauses.failed(endpoint.name, error.kind === "relay" ? error : null, account);
      }
    } finally {
      grid.running -= 1;
      bell.ring();
    }
  };
  try {
    for (;;) {
      // Whatever is next starts at once when nothing else runs.
      for (const grid of [here, afar]) {
        for (;;) {
          const endpoint = grid.start(environment.clock.now(), here.running + afar.running === 0);
          if (endpoint === null) break;
          void run(endpoint, grid);
        }
      }
      const next = [here.next(), afar.next()].filter((due) => due !== null);
      // What no host can bring about on one way ends no other: it is said once all have failed.
      if (here.running + afar.running === 0 && next.length === 0) throw won.fault ?? new Unreachable(failures);
      const off = next.length === 0 ? () => {} : environment.clock.after(wait(next, environment), () => bell.ring());
      try {
        await bell.wait(signal);
      } finally {
        off();
      }
      if (won.opened !== null) return won.opened;
    }
  } finally {
    over.abort(new Error("another way was faster"));
    // Called off after it had won: nobody takes it.
    if (signal.aborted) won.opened?.stream.leave("leaving");
  }
}

function wait(due: readonly number[], environment: Environment): number {
  return Math.max(Math.min(...due) - environment.clock.now(), 0);
}
