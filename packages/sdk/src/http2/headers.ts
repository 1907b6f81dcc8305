/** What heads of requests and answers consist of (RFC 9113, 8.2 and 8.3). */
import { Http2Error, PROTOCOL_ERROR, StreamViolation } from "./error.js";
import type { Header } from "./static_table.js";

/** RFC 9110, 5.6.2, without upper case. */
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** RFC 9113, 8.2.1: no NUL, CR or LF, and no blank at either end. */
// Without a lookbehind, which some engines in use take for a mistake of the whole module.
const VALUE = /^(?:[^\0\r\n \t]|[^\0\r\n \t][^\0\r\n]*[^\0\r\n \t])?$/;
/** RFC 9113, 8.2.2. */
const HOP = /* @__PURE__ */ new Set(["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"]);

function malformed(message: string): StreamViolation {
  return new StreamViolation(PROTOCOL_ERROR, message);
}

/** Bounds what header lists of any kind consist of. Throws for what makes a message malformed. */
function checkField(name: string, value: string): void {
  if (!NAME.test(name)) throw malformed("a header's name is none");
  if (!VALUE.test(value)) throw malformed("a header's value is none");
  if (HOP.has(name) || name === "te") throw malformed("a header belongs to a connection of HTTP/1.1");
}

/** The head of an answer. */
export interface AnswerHead {
  readonly status: number;
  readonly headers: Header[];
}

/** Reads an answer's head (RFC 9113, 8.3.2): one `:status`, before all else, of those that there are (RFC 9110, 15). */
export function answerHead(list: readonly Header[]): AnswerHead {
  let status: number | null = null;
  const headers: Header[] = [];
  for (const [name, value] of list) {
    if (name.startsWith(":")) {
      if (name !== ":status" || status !== null || headers.length > 0) throw malformed("an answer has a wrong pseudo-header");
      if (!/^[1-5][0-9]{2}$/.test(value)) throw malformed("an answer has a wrong status");
      status = Number(value);
      continue;
    }
    checkField(name, value);
    headers.push([name, value]);
  }
  if (status === null) throw malformed("an answer has no status");
  return { status, headers };
}

/** Checks what follows a body (RFC 9113, 8.1): no pseudo-headers. */
export function trailers(list: readonly Header[]): Header[] {
  for (const [name, value] of list) checkField(name, value);
  return [...list];
}

/** The length that an answer announces; null: none. Throws when it announces what is no length, or two of them. */
export function contentLength(headers: readonly Header[]): number | null {
  let length: number | null = null;
  for (const [name, value] of headers) {
    if (name !== "content-length") continue;
    const its = /^[0-9]{1,15}$/.test(value) ? Number(value) : null;
    if (its === null || (length !== null && length !== its)) throw malformed("an answer's content-length is wrong");
    length = its;
  }
  return length;
}

/** What a request is sent with. */
export interface RequestInit {
  readonly method: string;
  /** Host, and port if any. */
  readonly authority: string;
  /** `https` unless told. */
  readonly scheme?: string | undefined;
  /** With the query; `*` for OPTIONS. */
  readonly path: string;
  /** Names of any case; `host` is left out, as the authority says it. */
  readonly headers?: readonly (readonly [string, string])[] | undefined;
  /** What an extended CONNECT asks for (RFC 8441), `websocket`. The method is CONNECT then. */
  readonly protocol?: string | undefined;
  readonly body?: AsyncIterable<Uint8Array> | Uint8Array | null | undefined;
  /** Ends the request, or the reading of its answer, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

function unfit(message: string): Http2Error {
  return new Http2Error(PROTOCOL_ERROR, "local", message);
}

/** The header list of a request (RFC 9113, 8.3.1; RFC 8441, 4). Throws for what cannot be sent. */
export function requestHead(init: RequestInit): Header[] {
  const { method, authority, path, protocol } = init;
  if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(method)) throw unfit("the method is none");
  if ((method === "CONNECT") !== (protocol !== undefined)) throw unfit("CONNECT comes with a protocol, and no other method");
  if (protocol !== undefined && !/^[!-~]+$/.test(protocol)) throw unfit("the protocol is none");
  if (!/^[!-~]*$/.test(authority)) throw unfit("the authority is none");
  if (path === "" || !/^[!-~]+$/.test(path)) throw unfit("the path is none");
  const scheme = init.scheme ?? "https";
  if (!/^[a-z][a-z0-9+.\-]*$/.test(scheme)) throw unfit("the scheme is none");
  const out: Header[] = [
    [":method", method],
    [":scheme", scheme],
    [":authority", authority],
    [":path", path],
  ];
  if (protocol !== undefined) out.push([":protocol", protocol]);
  for (const [given, value] of init.headers ?? []) {
    const name = given.toLowerCase();
    if (name === "host") continue;
    if (!NAME.test(name) || !VALUE.test(value)) throw unfit("a header is none");
    if (HOP.has(name) || (name === "te" && value !== "trailers")) throw unfit("a header belongs to a connection of HTTP/1.1");
    out.push([name, value]);
  }
  return out;
}
