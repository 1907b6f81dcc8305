/**
 * What windows and the worker of an app's origin say to each other, and to the client's page. Each has `couplet`, which names it.
 * What comes to the client's page is the app's word, and is parsed.
 */
import { PATH_MAX, TITLE_MAX } from "./limits.js";

/** Where the keeper is. */
export const KEEPER = "/.couplet/keeper";
/** A keeper that is there to wipe, and starts nothing. */
export const WIPER = `${KEEPER}#wipe`;

/** From the keeper, or from a page of the app, to the worker. `wire` is the version of who speaks. */
export type ToWorker =
  /** The client's page behind this keeper is in front. Answered with `ready` once the worker has a port to it. */
  | { readonly couplet: "front" }
  /** A port to the client's page comes with this; `client` is that page's origin, `wire` its version. */
  | { readonly couplet: "port"; readonly client: string; readonly wire: string }
  /** Nothing: a worker that hears something lives on. */
  | { readonly couplet: "ping" }
  /** A WebSocket; its port comes with this. */
  | { readonly couplet: "socket"; readonly path: string; readonly protocols: readonly string[] }
  /** A script wrote `document.cookie`. Answered over the port that comes with this, once requests go with it. */
  | { readonly couplet: "write"; readonly text: string };

/** From the worker. */
export type FromOwnWorker =
  /** To keepers: ask for a port. */
  | { readonly couplet: "join" }
  | { readonly couplet: "ready"; readonly wire: string }
  /** To pages: what `document.cookie` is now; answered over the port that comes with this, if one does. */
  | { readonly couplet: "cookies"; readonly text: string };

/** Why the worker cannot be had. */
export type WhyFailed = (typeof WHYS)[number];
/** The browser refuses workers; the server of these files does not answer; parts are of two versions. */
const WHYS = ["denied", "away", "version"] as const;

/** From the keeper to the client's page. */
export type FromKeeper =
  /** It runs. */
  | { readonly couplet: "begun"; readonly wire: string }
  /** The worker wants a port. */
  | { readonly couplet: "join" }
  /** The worker has one. */
  | { readonly couplet: "ready" }
  | { readonly couplet: "failed"; readonly why: WhyFailed }
  /** It wiped; `isAll`: and found nothing left. */
  | { readonly couplet: "wiped"; readonly isAll: boolean };

/** From the client's page to the keeper. */
export type ToKeeper =
  /** The port that was asked for comes with this. */
  | { readonly couplet: "port"; readonly wire: string }
  /** Whether anything is under way, so that the worker must live on. */
  | { readonly couplet: "busy"; readonly isBusy: boolean }
  /** This page is in front: the worker is to run, and to come here. Answered with `ready`. */
  | { readonly couplet: "front" }
  /** Everything that the app has stored goes. */
  | { readonly couplet: "wipe" };

/** From the app's frame to the client's page. */
export type FromFrame =
  /** What the app shows, in its own words. */
  | { readonly couplet: "page"; readonly path: string; readonly title: string; readonly canGoBack: boolean }
  /** It wants to lead to this address elsewhere. */
  | { readonly couplet: "leave"; readonly url: string }
  /** No worker answered at this path. */
  | { readonly couplet: "stray"; readonly path: string };

/** From the client's page to the app's frame: one page back, or the same page again. */
export interface ToFrame {
  readonly couplet: "back" | "reload";
}

type Fields = { readonly [name: string]: unknown };

/** Reads what a keeper said. null: it is nothing that a keeper says. */
export function parseFromKeeper(data: unknown): FromKeeper | null {
  const { couplet, wire, why, isAll } = fields(data);
  switch (couplet) {
    case "begun":
      return { couplet, wire: typeof wire === "string" ? wire : "" };
    case "join":
    case "ready":
      return { couplet };
    case "failed":
      return { couplet, why: WHYS.find((known) => known === why) ?? "denied" };
    case "wiped":
      return { couplet, isAll: isAll === true };
    default:
      return null;
  }
}

/** Reads what an app's frame said. null: it is nothing that one says, or too long. */
export function parseFromFrame(data: unknown): FromFrame | null {
  const { couplet, path, title, canGoBack, url } = fields(data);
  switch (couplet) {
    case "page":
      if (!isPath(path) || typeof title !== "string") return null;
      return { couplet, path, title: title.slice(0, TITLE_MAX), canGoBack: canGoBack === true };
    case "leave":
      return isWeb(url) ? { couplet, url: new URL(url).href } : null;
    case "stray":
      return { couplet, path: isPath(path) ? path : "/" };
    default:
      return null;
  }
}

function fields(data: unknown): Fields {
  return typeof data === "object" && data !== null ? (data as Fields) : {};
}

function isPath(path: unknown): path is string {
  return typeof path === "string" && path.startsWith("/") && path.length <= PATH_MAX;
}

function isWeb(url: unknown): url is string {
  return typeof url === "string" && url.length <= PATH_MAX && URL.canParse(url) && /^https?:$/.test(new URL(url).protocol);
}
