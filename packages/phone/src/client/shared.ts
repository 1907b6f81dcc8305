/** What the pages show, in one place, and how they hear of changes. */
import { useEffect, useState } from "preact/hooks";

import type { AppState } from "../bridge/index.js";
import type { Me, State } from "../sdk.js";
import type { App } from "./apps.js";
import type { Ceremony } from "./ceremony.js";
import type { Config } from "./config.js";
import type { Leavings } from "./sweeper.js";
import type { Trouble } from "./trouble.js";

/** Which page is shown. */
export type Route =
  | { readonly at: "home" | "scan" | "paste" | "pair" }
  | ({ readonly at: "host" } & Seen);

/** What is seen of a host: which app, and where in it; absent: where it begins. */
export interface Seen {
  readonly id: string;
  readonly app?: App;
  /** The app's word: an address within itself. */
  readonly path?: string;
}

/** A paired host, as it is stored. */
export interface Listed {
  readonly id: string;
  readonly name: string;
  readonly fingerprint: string;
  /** Granted, and not finished: a session finishes it. */
  readonly isUnfinished: boolean;
}

/** An app whose frames are set up. */
export interface Shown {
  readonly app: App;
  readonly label: string;
  readonly state: AppState;
}

/** An app wants to lead to an address outside. */
export interface Leaving {
  readonly app: App;
  readonly url: string;
}

/** The host that is open. */
export interface Open {
  readonly id: string;
  readonly name: string;
  readonly state: State;
  /** What the host says of this device; null: not yet. */
  readonly me: Me | null;
  readonly apps: readonly App[] | null;
  /** The app in front. */
  readonly app: App | undefined;
  readonly shown: readonly Shown[];
  /** Why an app cannot be opened here. */
  readonly trouble: Trouble | null;
  /** Where the app in front wants to lead; null: nowhere. */
  readonly leaving: Leaving | null;
  readonly isForgetting: boolean;
  /** It is over, and what was stored of it is thrown away. */
  readonly isGone: boolean;
}

/** All of it. */
export interface Shared {
  readonly route: Route;
  /** null: not looked yet. */
  readonly hosts: readonly Listed[] | null;
  /** What is stored cannot be read. */
  readonly stored: Trouble | null;
  readonly config: Config | null;
  /** Why there is no configuration. */
  readonly server: "offline" | "away" | null;
  readonly ceremony: Ceremony | null;
  readonly open: Open | null;
  /** What apps of forgotten hosts have stored. */
  readonly leavings: Leavings;
  /** The id of the host that is being forgotten; empty: none is. */
  readonly forgetting: string;
  /** All that is stored is being removed. */
  readonly isClearing: boolean;
  /** What is to be known on the page of hosts; empty: nothing. */
  readonly notice: string;
  /** For screen readers. */
  readonly said: string;
}

export const BEGINNING: Shared = {
  route: { at: "home" },
  hosts: null,
  stored: null,
  config: null,
  server: null,
  ceremony: null,
  open: null,
  leavings: "none",
  forgetting: "",
  isClearing: false,
  notice: "",
  said: "",
};

/** A value that listeners hear of. */
export class Cell<T extends object> {
  #value: T;
  readonly #listeners = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  /** Changes part of it. */
  set(part: Partial<T>): void {
    this.#value = { ...this.#value, ...part };
    for (const listener of [...this.#listeners]) listener();
  }

  /** Calls after each change. Returns what ends that. */
  watch(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}

/** The present value, in a component. */
export function useCell<T extends object>(cell: Cell<T>): T {
  const [, draw] = useState({});
  useEffect(() => {
    // What changed before the effect ran.
    draw({});
    return cell.watch(() => draw({}));
  }, [cell]);
  return cell.value;
}
