/** What the pages show, in one place, and how they hear of changes. */
import { useEffect, useState } from "preact/hooks";

import type { AppState } from "../bridge/index.js";
import type { Me, State } from "../sdk.js";
import type { App } from "./apps.js";
import type { Ceremony } from "./ceremony.js";
import type { Config } from "./config.js";
import type { Trouble } from "./trouble.js";

/** Which page is shown. */
export type Route =
  | { readonly at: "home" | "scan" | "paste" | "pair" }
  | { readonly at: "host"; readonly id: string; readonly app?: App };

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
  /** Where an app wants to lead; empty: nowhere. */
  readonly leaving: string;
  readonly isForgetting: boolean;
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
