/** The ways to a host: what carries the WebSocket that carries the session. */
import type { PairingFeature } from "../api.js";
import type { Endpoint } from "../protocol/endpoint.js";
import { boundedText } from "./answer.js";
import { AttemptError } from "./attempt.js";
import { limit } from "./clock.js";
import type { Climbs } from "./climbs.js";
import type { Environment } from "./environment.js";
import { openRelay, type Door, type Entered } from "./relay.js";
import { Wire } from "./socket.js";

/** How long a host on the same network may take, in milliseconds: to pair (spec/protocol.md, 7), where the next address waits. */
const CONNECT = 2000;
/** And to come back, where others are tried meanwhile. */
const CONNECT_AGAIN = 5000;
/** How much is read of what it says of itself. */
const HEALTH_MAX = 16 * 1024;
/** Where a host's secrets must come from. */
const RNG = "os-csprng";

/** What it takes to go any of the ways to one host. */
export interface Ways {
  readonly environment: Environment;
  /** null: the host has no room at a relay for this device. */
  readonly door: Door | null;
  /** What the relay is shown of the owner. */
  readonly account: string | null;
  readonly relayCa: string | null;
  /** Which of the pairing's rooms to ask for first; null: it is not paired yet. */
  readonly climbs: Climbs | null;
}

/** Whether this device can go there at all. */
export function leadsTo(ways: Ways, endpoint: Endpoint): boolean {
  return endpoint.kind === "lan" ? ways.environment.lan : ways.door !== null;
}

/**
 * Opens the WebSocket over which the handshake goes.
 *
 * @throws {AttemptError} Rejects with the signal's reason.
 */
export async function openWay(ways: Ways, endpoint: Endpoint, signal: AbortSignal): Promise<Entered> {
  const { environment, door, account, relayCa } = ways;
  if (endpoint.kind === "lan") return direct(ways, endpoint.address, signal);
  if (door === null) throw new AttemptError("noConnection");
  const up = ways.climbs?.up(endpoint.name) ?? 0;
  return openRelay({ environment, relay: endpoint.name, door, up, account, relayCa }, signal);
}

/** `ws://ADDRESS/api/pair/tunnel` (spec/protocol.md, 7). */
async function direct(ways: Ways, address: string, signal: AbortSignal): Promise<Entered> {
  const { clock, openSocket } = ways.environment;
  const isPairing = ways.climbs === null;
  const time = limit(clock, isPairing ? CONNECT : CONNECT_AGAIN, signal);
  try {
    const opening = Wire.open(`ws://${address}/api/pair/tunnel`, (url) => openSocket(url, null), clock, time.signal);
    if (!isPairing) return { wire: await opening, room: null };
    const [wire, isWeak] = await Promise.all([opening, hasWeakRandom(ways.environment, address, time.signal)]);
    if (isWeak) {
      wire.cut();
      throw new AttemptError("weakRandom");
    }
    return { wire, room: null };
  } finally {
    // An open socket is not its any more; what is still asked for is of no use.
    time.abort();
  }
}

/**
 * Whether what answers at this address says of itself that its pairing secrets do not come from its operating system's
 * generator. Only a plain statement counts: a page of another origin cannot read it, and who does not answer says nothing.
 */
async function hasWeakRandom(environment: Environment, address: string, signal: AbortSignal): Promise<boolean> {
  try {
    const init: RequestInit = { redirect: "manual", credentials: "omit", cache: "no-store", signal };
    const answer = await environment.fetch(`http://${address}/health`, init, null);
    // What it says is read in any case: a body that nobody reads holds its connection open.
    const text = await boundedText(answer, HEALTH_MAX);
    const health = JSON.parse((answer.status === 200 ? text : null) ?? "{}") as { features?: { pairing?: Partial<PairingFeature> } } | null;
    const rng = health?.features?.pairing?.rng;
    return rng !== undefined && rng !== RNG;
  } catch {
    return false;
  }
}
