/**
 * What is said over the port between an app's worker and the client's page. The worker's end is in the hands of the app: what
 * comes from there is parsed, and admits no more than the app's own scripts can do by `fetch`.
 */
import {
  COOKIE_MAX,
  CREDIT_MAX,
  HEADERS_LENGTH_MAX,
  HEADERS_MAX,
  PATH_MAX,
} from "./limits.js";

/** A header's name, in lower case, and its value. */
export type Header = readonly [name: string, value: string];

/** How a request came to be, as `Sec-Fetch-Mode` says it. */
export type Mode = "navigate" | "cors" | "no-cors" | "same-origin";

/**
 * Who asks: a page of the app, a person by way of the client's page, or nobody knows, as pages that lead here from elsewhere may
 * keep that to themselves.
 */
export type Asker = (typeof ASKERS)[number];

/** A request of the app's pages. */
export interface RequestMessage {
  readonly t: "request";
  /** Names it on this port: rises. */
  readonly id: number;
  readonly method: string;
  /** With its query; begins with `/`. */
  readonly path: string;
  readonly headers: readonly Header[];
  readonly body: Blob | null;
  readonly mode: Mode;
  /** `Sec-Fetch-Dest`. */
  readonly destination: string;
  /** Path and query of the page that asks; null: it keeps that to itself, or there is none. */
  readonly referrer: string | null;
  readonly asker: Asker;
  /** Whether cookies go with it, and are taken from its answer. */
  readonly credentials: boolean;
}

/** What the worker says. */
export type FromWorker =
  | RequestMessage
  /** Nobody reads the answer any more. */
  | { readonly t: "abort"; readonly id: number }
  /** So many more bytes of the answer may come. */
  | { readonly t: "credit"; readonly id: number; readonly bytes: number }
  /** A script wrote `document.cookie` in a page at this path. */
  | { readonly t: "write"; readonly text: string; readonly path: string }
  /** What `document.cookie` is in a page at this path. */
  | { readonly t: "view"; readonly id: number; readonly path: string }
  /** A WebSocket; its messages go over the port that comes with this. */
  | { readonly t: "socket"; readonly path: string; readonly protocols: readonly string[] };

/** What the client's page says. */
export type FromClient =
  | {
      readonly t: "head";
      readonly id: number;
      readonly status: number;
      readonly headers: readonly Header[];
      /** `document.cookie` of the page that this answer is; null: it is no page. */
      readonly cookies: string | null;
      /** Whether a body comes. */
      readonly body: boolean;
    }
  | { readonly t: "data"; readonly id: number; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly t: "end"; readonly id: number }
  | { readonly t: "error"; readonly id: number; readonly code: string; readonly message: string; readonly next: string }
  /** The client's page hears nothing more on this port. */
  | { readonly t: "bye" }
  /** The cookies changed: what pages have of them is old. */
  | { readonly t: "jar" }
  /** null: it cannot be said. */
  | { readonly t: "viewed"; readonly id: number; readonly text: string | null };

/** What a page says of its WebSocket. */
export type FromSocket =
  | { readonly t: "send"; readonly data: string | ArrayBuffer | Blob }
  | { readonly t: "close"; readonly code: number | undefined; readonly reason: string };

/** What a page is told of its WebSocket. */
export type ToSocket =
  | { readonly t: "open"; readonly protocol: string }
  | { readonly t: "message"; readonly data: string | ArrayBuffer }
  /** So many bytes of what it sent wait no more. */
  | { readonly t: "sent"; readonly bytes: number }
  | { readonly t: "error" }
  | { readonly t: "close"; readonly code: number; readonly reason: string; readonly wasClean: boolean };

const ASKERS = ["app", "person", "unknown"] as const;
const MODES: readonly unknown[] = ["navigate", "cors", "no-cors", "same-origin"];
// Browsers come to know more of them.
const DESTINATION = /^[a-z-]{1,32}$/;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;
// Visible bytes, spaces and tabs, and what stands for bytes above (RFC 9110, 5.5).
const VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;

type Fields = { readonly [name: string]: unknown };

/** Reads what came over the port. null: it is nothing that the worker says. */
export function parseFromWorker(data: unknown): FromWorker | null {
  const it = fields(data);
  if (it === null) return null;
  switch (it["t"]) {
    case "request":
      return parseRequest(it);
    case "abort":
      return isId(it["id"]) ? { t: "abort", id: it["id"] } : null;
    case "credit":
      return isId(it["id"]) && isCount(it["bytes"], CREDIT_MAX) ? { t: "credit", id: it["id"], bytes: it["bytes"] } : null;
    case "write":
      return isText(it["text"], COOKIE_MAX) && isPath(it["path"]) ? { t: "write", text: it["text"], path: it["path"] } : null;
    case "view":
      return isId(it["id"]) && isPath(it["path"]) ? { t: "view", id: it["id"], path: it["path"] } : null;
    case "socket":
      return isPath(it["path"]) && isProtocols(it["protocols"])
        ? { t: "socket", path: it["path"], protocols: [...it["protocols"]] }
        : null;
    default:
      return null;
  }
}

/** What somebody waits for that cannot be done: the number to answer, and what is wrong. */
export interface Refused {
  readonly t: "request" | "view";
  readonly id: number;
  readonly why: "path" | "headers" | "unreadable";
}

/** Reads who waits for an answer to what {@link parseFromWorker} did not take. null: nobody who can be told. */
export function parseRefused(data: unknown): Refused | null {
  const { t, id, path, headers } = fields(data) ?? {};
  if ((t !== "request" && t !== "view") || !isId(id)) return null;
  const isLong = typeof path === "string" && path.length > PATH_MAX;
  if (isLong || t === "view") return { t, id, why: isLong ? "path" : "unreadable" };
  return { t, id, why: isPath(path) && parseHeaders(headers) === null ? "headers" : "unreadable" };
}

function parseRequest(it: Fields): RequestMessage | null {
  const { id, method, path, body, mode, destination, referrer, credentials } = it;
  const asker = ASKERS.find((known) => known === it["asker"]);
  const headers = parseHeaders(it["headers"]);
  if (!isId(id) || headers === null || !isPath(path)) return null;
  if (typeof method !== "string" || !TOKEN.test(method) || method.length > 32) return null;
  if (!MODES.includes(mode) || typeof destination !== "string" || !DESTINATION.test(destination) || typeof credentials !== "boolean") return null;
  if (referrer !== null && !isPath(referrer)) return null;
  if (asker === undefined || (body !== null && !(body instanceof Blob))) return null;
  return {
    t: "request", id, method, path, headers, body, mode: mode as Mode, destination, referrer, asker, credentials,
  };
}

/** Headers that may be sent at all: each name a token in lower case, each value what HTTP allows, all within the bounds. */
function parseHeaders(given: unknown): Header[] | null {
  if (!Array.isArray(given) || given.length > HEADERS_MAX) return null;
  const headers: Header[] = [];
  let length = 0;
  for (const pair of given as readonly unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2) return null;
    const [name, value] = pair as readonly unknown[];
    if (typeof name !== "string" || typeof value !== "string") return null;
    length += name.length + value.length;
    if (length > HEADERS_LENGTH_MAX || !TOKEN.test(name) || !VALUE.test(value)) return null;
    headers.push([name.toLowerCase(), value]);
  }
  return headers;
}

/** Reads what a page says of its WebSocket. */
export function parseFromSocket(data: unknown): FromSocket | null {
  const it = fields(data);
  if (it === null) return null;
  if (it["t"] === "send") {
    const { data: message } = it;
    const isMessage = typeof message === "string" || message instanceof ArrayBuffer || message instanceof Blob;
    return isMessage ? { t: "send", data: message } : null;
  }
  if (it["t"] !== "close") return null;
  const { code, reason } = it;
  const isCode = code === undefined || code === 1000 || (isCount(code, 4999) && code >= 3000);
  return isCode && isText(reason, 123) ? { t: "close", code: code as number | undefined, reason } : null;
}

function fields(data: unknown): Fields | null {
  return typeof data === "object" && data !== null ? (data as Fields) : null;
}

function isId(id: unknown): id is number {
  return isCount(id, 0xffff_ffff);
}

function isCount(count: unknown, most: number): count is number {
  return typeof count === "number" && Number.isInteger(count) && count >= 0 && count <= most;
}

function isText(text: unknown, most: number): text is string {
  return typeof text === "string" && text.length <= most;
}

function isPath(path: unknown): path is string {
  // A browser writes everything else as %XX.
  return isText(path, PATH_MAX) && /^\/[\x21-\x7e]*$/.test(path);
}

function isProtocols(protocols: unknown): protocols is readonly string[] {
  return (
    Array.isArray(protocols) &&
    protocols.length <= 32 &&
    new Set(protocols).size === protocols.length &&
    protocols.every((protocol) => typeof protocol === "string" && TOKEN.test(protocol))
  );
}
