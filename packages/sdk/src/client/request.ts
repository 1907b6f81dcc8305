/** A request as an app writes it, as it goes to the host. */
import { outgoing, type BodySource, type Outgoing } from "./body.js";

/** The header that names the app behind the host (spec/protocol.md, 5). */
export const APP_HEADER = "couplet-app";
/** What addresses are resolved against: the host that apps see. There is no other. */
const BASE = "http://localhost";
/** What the host itself answers under (spec/protocol.md, 5). */
const ITSELF = "http://couplet.internal";

/** Headers of one connection, which HTTP/2 does not have (RFC 9113, 8.2.2), and such as belong to a body that is written anew. */
const HOP_BY_HOP = ["connection", "host", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/** How an app asks. What `fetch` knows besides (`mode`, `cache`, `credentials` …) is for browsers, and passed over. */
export interface FetchInit extends Omit<RequestInit, "body"> {
  body?: BodySource;
  /** Which app behind the host; absent: the first. */
  app?: string;
}

/** A request on its way. */
export interface Outbound {
  readonly method: string;
  readonly url: URL;
  readonly headers: Headers;
  readonly body: Outgoing | null;
  readonly redirect: RequestRedirect;
  readonly signal: AbortSignal | null;
}

/**
 * The address that an app means: a path, whatever it looks like, or what an answer had as its `url`. A path that a user gave
 * leads to no other authority, and not to what the host itself answers: `//name` and `/\name` are other addresses.
 *
 * @throws {TypeError} It is an address elsewhere.
 */
export function target(input: string | URL): URL {
  const url = new URL(input, BASE);
  if (url.protocol === "ws:") url.protocol = "http:";
  // That of `blob:` is the one of what it holds.
  const isHere = url.protocol === "http:" && url.origin === BASE;
  if (!isHere) throw new TypeError("the address leads elsewhere: give a path of the app, such as /status");
  if (url.username !== "" || url.password !== "") throw new TypeError("an address has no user and password");
  return url;
}

/** A page's own addresses are what it resolves a Request's path against: there, they are the app's. */
function written(request: Request): string {
  const { origin, href } = new URL(request.url);
  const isOfPage = typeof location === "object" && origin === location.origin;
  return isOfPage ? href.slice(origin.length) : href;
}

/** A request to the host itself, not to an app behind it. */
export function itself(path: string, init: FetchInit): Outbound {
  return { ...outbound(path, init), url: new URL(path, ITSELF), redirect: "manual" };
}

/** Reads what an app gives to `fetch`. @throws {TypeError} It cannot be sent. */
export function outbound(input: string | URL | Request, init: FetchInit = {}): Outbound {
  const request = typeof Request !== "undefined" && input instanceof Request ? input : null;
  const url = target(request === null ? (input as string | URL) : written(request));
  const method = normalized(init.method ?? request?.method ?? "GET");
  // As they are given: `Request` drops what pages may not set.
  const headers = new Headers(init.headers ?? request?.headers);
  const body = outgoing(init.body === undefined ? bodyOf(request) : init.body);
  if (body !== null && (method === "GET" || method === "HEAD")) throw new TypeError(`${method} has no body`);
  for (const name of HOP_BY_HOP) headers.delete(name);
  headers.delete("content-length");
  if (body?.length !== null && body !== null) headers.set("content-length", String(body.length));
  else if (body === null && (method === "POST" || method === "PUT")) headers.set("content-length", "0");
  const type = body?.type ?? null;
  if (type !== null && !headers.has("content-type")) headers.set("content-type", type);
  if (!headers.has("accept")) headers.set("accept", "*/*");
  if (init.app !== undefined) headers.set(APP_HEADER, init.app);
  const signal = init.signal === undefined ? (request?.signal ?? null) : init.signal;
  return { method, url, headers, body, redirect: init.redirect ?? request?.redirect ?? "follow", signal };
}

/** React Native's Request shows no body, and has it all the same. */
function bodyOf(request: Request | null): BodySource {
  return request?.body ?? (request as { readonly _bodyInit?: BodySource } | null)?._bodyInit;
}

/** As `fetch` does: the common ones in upper case, others as they are. */
function normalized(method: string): string {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(method)) throw new TypeError("no method");
  const upper = method.toUpperCase();
  if (["CONNECT", "TRACE", "TRACK"].includes(upper)) throw new TypeError(`${upper} cannot be sent`);
  return ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"].includes(upper) ? upper : method;
}

function resolved(location: string, base: URL): URL | null {
  try {
    return new URL(location, base);
  } catch {
    return null;
  }
}

/** The headers of a WebSocket's request, without those of one connection. */
export function upgradeHeaders(given: HeadersInit | undefined, app: string | undefined): [string, string][] {
  const headers = new Headers(given);
  for (const name of [...HOP_BY_HOP, "content-length", "content-type"]) headers.delete(name);
  if (app !== undefined) headers.set(APP_HEADER, app);
  return [...headers].filter(([name]) => !name.startsWith("sec-websocket-"));
}

/** The most redirects in a row (Fetch, 4.4). */
export const REDIRECTS = 20;

/**
 * The request that an answer leads on to (Fetch, 4.4): within the same app, whose authority must be the same. null: it leads
 * nowhere, or elsewhere, and is the answer.
 *
 * @throws {TypeError} The app asked for an error; the body cannot be sent once more.
 */
export function redirected(from: Outbound, status: number, location: string | null): Outbound | null {
  if (![301, 302, 303, 307, 308].includes(status) || location === null || from.redirect === "manual") return null;
  if (from.redirect === "error") throw new TypeError("the app redirects, and `redirect` is \"error\"");
  const url = resolved(location, from.url);
  if (url === null || url.host !== from.url.host || !["http:", "https:"].includes(url.protocol)) return null;
  const isGet = from.method === "GET" || from.method === "HEAD";
  const drops = status === 303 ? !isGet : status < 303 && from.method === "POST";
  if (!drops) {
    if (from.body?.canBeSent() === false) throw new TypeError("the app redirects a body that was sent already");
    return { ...from, url };
  }
  const headers = new Headers(from.headers);
  for (const name of ["content-encoding", "content-language", "content-length", "content-location", "content-type"]) {
    headers.delete(name);
  }
  return { ...from, url, headers, method: "GET", body: null };
}
