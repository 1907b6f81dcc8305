/** What of an app's answers is changed on the way into a frame: the shim is put in, and the headers let it run. */
import type { Header } from "../../wire/messages.js";
import { ownPath } from "../../wire/own.js";
import { charsetOf, isWide } from "./charset.js";
import { type Admission, admitted, own, unreported } from "./csp.js";
import { injected } from "./inject.js";

/** What the shim is told when it starts. */
export interface ShimData {
  /** `document.cookie`. */
  readonly cookies: string;
  /** The client's origin. */
  readonly client: string;
  /** An address elsewhere that the page leads to; absent: none. */
  readonly leave?: string;
}

/** Where the shim is. */
export const SHIM = "/.couplet/shim.js";
/** Where it loads what is to be saved; the worker answers there. What it is stands behind `#`, which goes to nobody else. */
export const DOWNLOAD = "/.couplet/download";

/** The tag of the shim. */
export function shimTag(data: ShimData, nonce: string): string {
  const leave = data.leave === undefined ? "" : ` data-leave="${escaped(data.leave)}"`;
  return `<script src="${SHIM}" nonce="${nonce}" data-client="${escaped(data.client)}" data-cookies="${escaped(data.cookies)}"${leave}></script>`;
}

/** Text for an attribute or between tags; in ASCII, so that it is the same in every encoding. */
export function escaped(text: string): string {
  return text.replace(/[&<>"'`]|[^\x20-\x7e]/gu, (its) => `&#${its.codePointAt(0)};`);
}

/** Whether an answer is a page that the shim belongs into. */
export function isPage(headers: Headers): boolean {
  const type = headers.get("content-type") ?? "";
  const isAttachment = /^\s*attachment/i.test(headers.get("content-disposition") ?? "");
  return /^\s*text\/html\s*(;|$)/i.test(type) && !isAttachment && !isWide(charsetOf(type));
}

/** Changes the headers of whatever is shown in a frame. */
export function framed(headers: Headers, admission: Admission): void {
  headers.delete("x-frame-options");
  // The app's own forms can be told from a stranger's only by where they come from, which nobody else learns by this.
  if (/\bno-referrer\s*$/i.test(headers.get("referrer-policy") ?? "")) headers.set("referrer-policy", "same-origin");
  // Other apps, and the client, are of the same site: they need not share a process (HTML, 7.1.1).
  headers.set("origin-agent-cluster", "?1");
  policies(headers, (header) => admitted(header, admission));
  headers.append("content-security-policy", own(admission, isPage(headers)));
}

/** Changes the headers of whatever else a page loads. */
export function passed(headers: Headers): void {
  policies(headers, unreported);
}

function policies(headers: Headers, change: (header: string) => string): void {
  for (const name of ["content-security-policy", "content-security-policy-report-only"]) {
    const header = headers.get(name);
    const value = header === null ? "" : change(header);
    if (value === "") headers.delete(name);
    else headers.set(name, value);
  }
}

/** Puts the shim into a page; changes `headers` where the page says its encoding itself. */
export async function withShim(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  headers: Headers,
  tag: string,
  settled: () => Promise<unknown>,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const { charset, body: changed } = await injected(body, tag, settled);
  const type = headers.get("content-type") ?? "text/html";
  if (charset !== null && charsetOf(type) === null) headers.set("content-type", `${type.replace(/;\s*$/, "")}; charset=${charset}`);
  headers.delete("content-length");
  return changed;
}

/** Where a redirect leads. */
export interface Located {
  readonly isOwn: boolean;
  /** As the browser must see it: on the app's own origin where the app means itself. */
  readonly url: string;
}

/** Reads a `Location`. null: it is no address. */
export function located(location: string, base: string, origin: string): Located | null {
  if (!URL.canParse(location, base)) return null;
  const url = new URL(location, base);
  const own = ownPath(url, origin);
  return own === null ? { isOwn: false, url: url.href } : { isOwn: true, url: origin + own };
}

/** The headers of an answer. */
export function headersOf(headers: readonly Header[]): Headers {
  return new Headers(headers.map(([name, value]) => [name, value] as [string, string]));
}
