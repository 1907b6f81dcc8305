/** What the core takes from where it runs: time, randomness, connections. All of it can be given by the app. */
import { CoupletError } from "../protocol/error.js";
import type { Random } from "../protocol/secret.js";
import { systemClock, type Clock } from "./clock.js";
import { browserLocks, type Locks } from "./locks.js";
import { browserNetwork, type Network } from "./network.js";
import { systemRandom } from "./random.js";
import type { OpenSocket, Socket } from "./socket.js";

/** `fetch`, for what relays are asked. `relayCa` as for {@link OpenSocket}. */
export type Fetch = (url: string, init: RequestInit, relayCa: string | null) => Promise<Response>;

/** Where it runs. */
export interface Environment {
  readonly clock: Clock;
  readonly random: Random;
  readonly openSocket: OpenSocket;
  readonly fetch: Fetch;
  /** Whether addresses on the local network can be reached: a page that was served over https may not. */
  readonly lan: boolean;
  readonly network: Network;
  readonly locks: Locks | null;
}

/** What an app may give in place of what is there. */
export interface Given {
  /** So many bytes of a cryptographic generator. */
  readonly random?: Random | undefined;
  readonly openSocket?: OpenSocket | undefined;
  readonly fetch?: Fetch | undefined;
  /** Time, for tests. */
  readonly clock?: Clock | undefined;
  /** Whether addresses on the local network are tried. */
  readonly lan?: boolean | undefined;
  /** Tells of changes of the network. */
  readonly network?: Network | undefined;
  /** Locks that all pages of an origin share; null: this program is alone. */
  readonly locks?: Locks | null | undefined;
}

function onlyInNode(relayCa: string | null): void {
  if (relayCa === null) return;
  throw new CoupletError("CPL-1820", "A relay's own CA cannot be given here", {
    next: "Use couplet/node, or have the system trust the relay's CA.",
  });
}

const openWebSocket: OpenSocket = (url, relayCa) => {
  onlyInNode(relayCa);
  if (typeof WebSocket === "undefined") {
    throw new CoupletError("CPL-1601", "This runtime has no WebSocket", { next: "Import couplet/node, or give `openSocket`." });
  }
  return new WebSocket(url) as unknown as Socket;
};

const systemFetch: Fetch = (url, init, relayCa) => {
  onlyInNode(relayCa);
  return fetch(url, init);
};

/** What is there, and in its place what is given. */
export function environment(given: Given): Environment {
  const isSecurePage = typeof location === "object" && location.protocol === "https:";
  return {
    clock: given.clock ?? systemClock,
    random: given.random ?? systemRandom,
    openSocket: given.openSocket ?? openWebSocket,
    fetch: given.fetch ?? systemFetch,
    lan: given.lan ?? !isSecurePage,
    network: given.network ?? browserNetwork,
    locks: given.locks === undefined ? browserLocks() : given.locks,
  };
}
