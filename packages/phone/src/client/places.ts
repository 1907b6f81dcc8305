/** The pages in the browser's history, so that its back button leads where a person expects; and what other tabs say. */
import type { Word } from "./client.js";
import type { Route } from "./shared.js";

/** An app says where it is: what is longer is not kept. */
const KEPT_MAX = 2048;
/** A browser writes everything else as %XX; two slashes would name another server. */
const PATH = /^\/(?!\/)[\x21-\x7e]*$/;
const HOST = /^[0-9a-z]{1,128}(?:[-:][0-9a-z]{1,128})*$/;

/** What an entry of the history says; what these pages did not write is the first page. */
export function routeOf(state: unknown): Route {
  const { at, id, app, path } = (typeof state === "object" && state !== null ? state : {}) as Record<string, unknown>;
  if (at === "scan" || at === "paste" || at === "pair") return { at };
  if (at !== "host" || typeof id !== "string" || !HOST.test(id)) return { at: "home" };
  if (typeof app !== "string" && app !== null) return { at, id };
  return { at, id, app, ...(isKept(path) ? { path } : {}) };
}

/** Whether an address within an app is one, and short enough for the history. */
export function isKept(path: unknown): path is string {
  return typeof path === "string" && path.length <= KEPT_MAX && PATH.test(path);
}

/** What of `history` is needed. */
export interface Turned {
  readonly state: unknown;
  back(): void;
  pushState(state: unknown, title: string): void;
  replaceState(state: unknown, title: string): void;
}

/**
 * Writes down which page is shown. Whatever is not the first page stands one step above it, so that one step back leads
 * there. `isBack`: by that step, where there is one; an app's frames have steps of their own, which are none of ours.
 */
export function parked(history: Turned, route: Route, isBack: boolean): void {
  const isAbove = routeOf(history.state).at !== "home";
  if (route.at !== "home" && !isAbove) history.pushState({ ...route, isAbove: true }, "");
  else if (route.at === "home" && isBack && (history.state as { isAbove?: unknown } | null)?.isAbove === true) history.back();
  else history.replaceState(route.at === "home" ? { at: "home" } : { ...route, isAbove: true }, "");
}

/** What another tab says. */
export function isWord(data: unknown): data is Word {
  const { is, id } = (typeof data === "object" && data !== null ? data : {}) as Record<string, unknown>;
  return is === "changed" || (is === "forgotten" && typeof id === "string");
}
