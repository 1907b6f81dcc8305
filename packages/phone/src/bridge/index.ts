/** Shows an app of a host in frames of an origin of its own. The client's pages use this file alone. */
import type { Host } from "../sdk.js";

/** Where an app's cookies are kept: one text for each label, which only the bridge reads. */
export interface JarStorage {
  /** What was saved; null: nothing. */
  load(): Promise<string | null>;
  /** Replaces what was saved. */
  save(text: string): Promise<void>;
}

/** How an app stands. */
export type AppState =
  /** The frames are being set up. */
  | { readonly phase: "opening" }
  /** It shows. `path` and `title` are what the app says of itself: show them as text, and as the app's words. */
  | { readonly phase: "open"; readonly path: string; readonly title: string; readonly canGoBack: boolean }
  /** It cannot be shown at all; for people, with what to do next. Errors of single pages are told in the app's frame. */
  | { readonly phase: "failed"; readonly message: string; readonly next: string }
  /** After `close`. */
  | { readonly phase: "closed" };

/** What is opened, and where. */
export interface OpenInit {
  readonly host: Host;
  /** Which app behind the host; absent: the first. */
  readonly app?: string | undefined;
  /** 26 characters of base32, random for each (pairing, app): see {@link newLabel}. */
  readonly label: string;
  /** `apps` of /p/config.json: `https://*.apps.example:port`. */
  readonly appsOrigin: string;
  readonly jar: JarStorage;
  /** Gets two frames as children; the visible one fills it (its style is the page's: `iframe.app`). */
  readonly container: HTMLElement;
  /** The visible frame's name for screen readers. */
  readonly title: string;
  /** Where to begin, as `path` of a state was: absent, or no path of the app's: `/`. */
  readonly path?: string | undefined;
  readonly onState: (state: AppState) => void;
  /**
   * The app wants to lead to this address elsewhere: ask, and open it in a tab of its own (`noopener`), or do nothing. It is not
   * called again before what it returns is settled, nor more often than a person follows links.
   */
  readonly onLeave: (url: string) => void | Promise<void>;
}

/** An app that is shown. */
export interface OpenApp {
  readonly state: AppState;
  /** Loads the present page again. */
  reload(): void;
  /** One page back within the app, if there is one. */
  back(): void;
  /** Takes the frames away, and ends what is under way. Cookies and the app's storage stay. */
  close(): Promise<void>;
}

/** A label that nobody can guess. */
export function newLabel(): string {
  const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
  return Array.from(crypto.getRandomValues(new Uint8Array(26)), (byte) => alphabet[byte & 31]).join("");
}

export { isAppsOrigin } from "./keeper.js";
export { openApp } from "./open.js";
export { wipeApp } from "./wipe.js";
