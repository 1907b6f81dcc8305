/** Headers on their way to the app, which the client's page decides, and back to the app's pages. */
import type { Header, RequestMessage } from "../wire/messages.js";
import { VIEW } from "../wire/own.js";

/** What no script of a page may set (Fetch, 2.2.2), and what belongs to the session. */
const FORBIDDEN = [
  "accept-charset", "accept-encoding", "access-control-request-headers", "access-control-request-method",
  "access-control-request-private-network", "connection", "content-length", "cookie", "cookie2", "date", "dnt", "expect", "host",
  "keep-alive", "origin", "referer", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "via", "service-worker",
  "service-worker-navigation-preload",
];
const FORBIDDEN_PREFIXES = ["proxy-", "sec-", "couplet-", "x-couplet-"];

/** Headers of an answer that mean nothing to an app's page here, or something else than to the app. */
const KEPT_BACK = [
  "alt-svc", "connection", "keep-alive", "nel", "origin-agent-cluster", "proxy-authenticate", "report-to",
  "reporting-endpoints", "service-worker-allowed", "set-cookie", "set-cookie2", "strict-transport-security",
  "trailer", "transfer-encoding", "upgrade",
];

/** What a browser says of who asks (Fetch Metadata, 2.4). */
const SITES = { app: "same-origin", person: "none", unknown: "cross-site" } as const;

/** Which cookies go with a request, as a browser sends them from elsewhere (RFC 6265bis, 5.2). */
export function siteOf({ asker, mode, destination }: RequestMessage): "strict" | "lax" | "none" {
  if (asker !== "unknown") return "strict";
  return mode === "navigate" && destination === "document" ? "lax" : "none";
}

/** Whether a script of a page could set it. */
export function isAllowed(name: string): boolean {
  return !FORBIDDEN.includes(name) && !FORBIDDEN_PREFIXES.some((prefix) => name.startsWith(prefix));
}

/** The headers that the app gets: what the page's scripts may set, and what a browser adds. */
export function requestHeaders(request: RequestMessage, cookie: string): Header[] {
  const headers: Header[] = request.headers.filter(([name]) => isAllowed(name));
  const add = (name: string, value: string): void => void headers.push([name, value]);
  if (cookie !== "") add("cookie", cookie);
  if (request.referrer !== null) add("referer", VIEW + request.referrer);
  const isSafe = request.method === "GET" || request.method === "HEAD";
  if (!isSafe) add("origin", request.asker === "app" ? VIEW : "null");
  add("sec-fetch-dest", request.destination);
  add("sec-fetch-mode", request.mode);
  add("sec-fetch-site", SITES[request.asker]);
  if (mayCompress(request)) add("accept-encoding", "gzip");
  return headers;
}

/** Whether a compressed answer is as good: parts of a file count its own bytes, and events come one by one. */
function mayCompress({ headers, destination }: RequestMessage): boolean {
  const isMedia = destination === "audio" || destination === "video";
  const isEvents = headers.some(([name, value]) => name === "accept" && value.includes("text/event-stream"));
  return !isMedia && !isEvents && !headers.some(([name]) => name === "range");
}

/** What an app's page may see of an answer's headers. */
export function answerHeaders(headers: Iterable<readonly [string, string]>): Header[] {
  return [...headers].filter(([name]) => !KEPT_BACK.includes(name));
}
