/** The handshake over an open WebSocket, up to the first sealed frame. */
import type { Endpoint } from "../protocol/endpoint.js";
import { beginPairing, beginReturn, type Begun, type Confirmed } from "../protocol/handshake.js";
import type { StaticKey } from "../protocol/identity.js";
import type { Claim } from "../protocol/message.js";
import { shownName } from "../protocol/name.js";
import type { Offer } from "../protocol/offer.js";
import { fresh } from "../protocol/secret.js";
import { AttemptError, attemptError } from "./attempt.js";
import { limit, reasonOf, unlessAborted } from "./clock.js";
import type { Credentials } from "./credentials.js";
import { openWay, type Ways } from "./path.js";
import type { Entered } from "./relay.js";
import { SealedStream } from "./sealed.js";
import type { Wire } from "./socket.js";

/** How long a host may take to answer M1, and one that must first hear of it from its relay and dial; in milliseconds. */
const ANSWER = 5000;
const RELAYED = 10_000;

/** An open session. */
export interface Opened {
  readonly endpoint: Endpoint;
  /** The room at a relay. */
  readonly room: number | null;
  /** What the host calls itself now. */
  readonly hostName: string;
  readonly stream: SealedStream;
}

/** A host that has proved who it is. Nothing is confirmed yet, so it may still be left without a trace. */
export class Met {
  readonly endpoint: Endpoint;
  readonly confirmed: Confirmed;
  /** What it calls itself, fit to be shown. */
  readonly hostName: string;
  readonly #ways: Ways;
  readonly #entered: Entered;

  private constructor(ways: Ways, endpoint: Endpoint, entered: Entered, confirmed: Confirmed) {
    this.#ways = ways;
    this.endpoint = endpoint;
    this.#entered = entered;
    this.confirmed = confirmed;
    this.hostName = shownName(confirmed.hostName) || "Unnamed host";
  }

  /**
   * Meets the host that makes this offer.
   *
   * @throws {AttemptError} Rejects with the signal's reason.
   */
  static toPair(
    ways: Ways,
    endpoint: Endpoint,
    { offer, ours, claim }: { readonly offer: Offer; readonly ours: StaticKey; readonly claim: Claim },
    signal: AbortSignal,
  ): Promise<Met> {
    const { random } = ways.environment;
    const begin = () => beginPairing(offer, ours, claim, fresh("entropy", random), fresh("entropy", random));
    return Met.#meet(ways, endpoint, begin, signal);
  }

  /**
   * Meets the host that this device is paired with.
   *
   * @throws {AttemptError} Rejects with the signal's reason.
   */
  static async again(ways: Ways, endpoint: Endpoint, credentials: Credentials, signal: AbortSignal): Promise<Met> {
    const { random } = ways.environment;
    const begin = () => beginReturn(credentials.keys, credentials.deviceKey, fresh("entropy", random));
    const met = await Met.#meet(ways, endpoint, begin, signal);
    if (ways.door?.kind === "paired") {
      const kept = ways.door.from;
      met.confirmed.comeBy({ kept, opened: met.#entered.room ?? kept });
    }
    return met;
  }

  static async #meet(ways: Ways, endpoint: Endpoint, begin: () => Promise<Begun>, signal: AbortSignal): Promise<Met> {
    let begun: Begun | null = null;
    let entered: Entered | null = null;
    try {
      entered = await openWay(ways, endpoint, signal);
      begun = await begin();
      const m2 = await answer(ways, endpoint, entered.wire, begun.m1, signal);
      const confirmed = await begun.initiator.finish(m2);
      if (signal.aborted) {
        confirmed.wipe();
        throw reasonOf(signal);
      }
      return new Met(ways, endpoint, entered, confirmed);
    } catch (error) {
      begun?.initiator.wipe();
      entered?.wire.cut();
      if (signal.aborted) throw reasonOf(signal);
      throw attemptError(error)?.at(endpoint) ?? error;
    }
  }

  /** Confirms: sends the first sealed frame. @throws {AttemptError} The connection is over. */
  confirm(): Opened {
    const { wire, room } = this.#entered;
    if (wire.isOver) {
      this.leave();
      throw new AttemptError("hungUp").at(this.endpoint);
    }
    const { session, frame } = this.confirmed.begin();
    wire.send(frame);
    const stream = new SealedStream(wire, session, this.#ways.environment.clock);
    return { endpoint: this.endpoint, room, hostName: this.hostName, stream };
  }

  /** Leaves without a trace. */
  leave(): void {
    this.confirmed.wipe();
    this.#entered.wire.cut();
  }
}

/** Sends M1, and waits for M2, or for what the host says instead. */
async function answer(
  ways: Ways,
  endpoint: Endpoint,
  wire: Wire,
  m1: Uint8Array<ArrayBuffer>,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const time = limit(ways.environment.clock, endpoint.kind === "lan" ? ANSWER : RELAYED, signal);
  try {
    wire.send(m1);
    const m2 = await unlessAborted(time.signal, wire.receive());
    if (m2 !== null) return m2;
    const hint = wire.end?.hint ?? null;
    throw hint === null ? new AttemptError("hungUp") : new AttemptError("refused", { code: hint });
  } finally {
    time.done();
  }
}
