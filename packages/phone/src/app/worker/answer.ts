/** Answers one request of an app's pages. */
import type { Asker, Header, Mode } from "../../wire/messages.js";
import { framed, headersOf, isPage, located, passed, shimTag, SHIM, DOWNLOAD, withShim } from "../html/index.js";
import { texts } from "../texts.js";
import { CookieNews } from "./cookies.js";
import type { Joiner } from "./join.js";
import { begun, drop, given, keep, kept, renewed } from "./kept.js";
import { type Answer, Failure, Gone, type Link } from "./link.js";
import { page, type Said } from "./pages.js";
import { isProblem, problem } from "./problem.js";

/** Statuses whose answers have no body (Fetch, 2.2.3). */
const BODILESS = [101, 103, 204, 205, 304];
/** Milliseconds that more of a page is waited for when its beginning came without saying its encoding. */
const SETTLED = 100;

/** Who asks, and from which path of the app. */
type Referrer = { readonly asker: Asker; readonly path: string | null } | "foreign";

/** Turns requests of pages into answers of the app. */
export class Answerer {
  readonly #origin: string;
  readonly #joiner: Joiner;
  readonly #news: CookieNews;

  constructor(scope: ServiceWorkerGlobalScope, joiner: Joiner) {
    this.#origin = scope.location.origin;
    this.#joiner = joiner;
    this.#news = new CookieNews(scope, joiner);
  }

  /** What the app says to a request, or a page about why it says nothing. */
  async answer(event: FetchEvent, path: string, isSaved = false): Promise<Response> {
    const { request, clientId } = event;
    const isNavigation = request.mode === "navigate";
    let link: Link | null = null;
    try {
      link = await this.#joiner.link();
      const referrer = this.#referrer(request, link.client);
      const hasBody = request.method !== "GET" && request.method !== "HEAD";
      const isForeign = referrer === "foreign" || (hasBody && referrer.asker !== "app");
      if (isForeign) return isNavigation ? page(403, texts.crossSite, null, null) : Response.error();
      const its = begun(request, path);
      const old = await kept(its);
      if (old?.isFresh === true) return given(old);
      const body = hasBody ? await request.blob() : null;
      const asked = {
        method: request.method,
        path,
        headers: [...request.headers, ...(old?.conditions ?? [])] as Header[],
        body: body === null || body.size === 0 ? null : body,
        mode: (isNavigation ? "navigate" : request.mode) as Mode,
        destination: request.destination === "" ? "empty" : request.destination,
        referrer: referrer.path,
        asker: referrer.asker,
        credentials: request.credentials !== "omit",
      };
      const answer = await link.request(asked, request.signal).catch(async (error: unknown) => {
        // The page was closed meanwhile, and another one may be open. What may have been carried out is not sent again.
        if (!(error instanceof Gone) || hasBody) throw error;
        link = await this.#joiner.link();
        return link.request(asked, request.signal);
      });
      await this.#outdated(request, path, answer.head.status, headersOf(answer.head.headers));
      // A page that is on its way is told its cookies with itself.
      if (isNavigation) void this.#news.tell(null);
      else await this.#news.tell(clientId);
      if (isNavigation) return isSaved ? this.#passed(request, answer) : await this.#shown(request, path, answer, link);
      if (old === null || answer.head.status !== 304) return keep(its, this.#passed(request, answer));
      const again = renewed(its, old, headersOf(answer.head.headers));
      return again ?? this.#passed(request, await link.request({ ...asked, headers: [...request.headers] }, request.signal));
    } catch (error) {
      if (!isNavigation || request.signal.aborted) return Response.error();
      return page(502, explained(error, link), this.#shim(link), link?.client ?? null, request.method === "GET" ? this.#origin + path : undefined);
    }
  }

  /** What a link with `download` leads to, to be saved: browsers do not ask a worker for it. */
  async download(event: FetchEvent): Promise<Response> {
    const wanted = new URLSearchParams(new URL(event.request.url).hash.slice(1));
    const path = wanted.get("path") ?? "";
    if (event.request.mode !== "navigate" || !path.startsWith("/")) return Response.error();
    const answer = await this.answer(event, path, true);
    // What neither the app nor the link names is called after its address, and not after this one.
    const isNamed = /^\s*attachment\s*;.*filename/i.test(answer.headers.get("content-disposition") ?? "");
    if (!isNamed) answer.headers.set("content-disposition", attachment(wanted.get("name") || lastOf(path)));
    return answer;
  }

  /** A script of a page wrote a cookie. */
  async written(text: string, client: Client): Promise<void> {
    const link = await this.#joiner.link().catch(() => null);
    link?.write(text, new URL(client.url).pathname);
  }

  /** A page opens a WebSocket. */
  async socket(path: string, protocols: readonly string[], port: MessagePort): Promise<void> {
    const link = await this.#joiner.link().catch(() => null);
    if (link === null) port.postMessage({ t: "close", code: 1006, reason: "", wasClean: false });
    else link.socket(path, protocols, port);
  }

  /**
   * Every page of the app tells its own origin where it comes from, and the client's page tells that it is the one. What leads
   * to a page here and says neither may be a stranger's, who knows the app's address and hides its own.
   */
  #referrer({ referrer, mode }: Request, client: string): Referrer {
    const isNavigation = mode === "navigate";
    // What a page loads comes here from none but the app's.
    if (!URL.canParse(referrer) || referrer.startsWith("about:")) return { asker: isNavigation ? "unknown" : "app", path: null };
    // What is said here is the browser's: another page at this device's own addresses is not the app's.
    const url = new URL(referrer);
    if (url.origin === this.#origin) return { asker: "app", path: url.pathname + url.search };
    return isNavigation && url.origin === client ? { asker: "person", path: null } : "foreign";
  }

  /** What was kept is not so any more: the app says it of all (Clear-Site-Data), or something was changed (RFC 9111, 4.4). */
  async #outdated({ method, url }: Request, path: string, status: number, headers: Headers): Promise<void> {
    if (/"(?:cache|\*)"/.test(headers.get("clear-site-data") ?? "")) return drop(null);
    const isSafe = ["GET", "HEAD", "OPTIONS"].includes(method);
    if (isSafe || status >= 400) return;
    await drop(path);
    for (const name of ["location", "content-location"]) {
      const value = headers.get(name);
      const found = value === null ? null : located(value, url, this.#origin);
      if (found?.isOwn === true) await drop(found.url.slice(this.#origin.length).replace(/#.*$/, ""));
    }
  }

  /** For scripts, pictures and so on. */
  #passed(request: Request, answer: Answer): Response {
    const headers = headersOf(answer.head.headers);
    headers.delete("clear-site-data");
    this.#locate(headers, request.url);
    passed(headers);
    const isEvents = /\btext\/event-stream\b/i.test(request.headers.get("accept") ?? "");
    // The app's program is away, or the host: whoever listens for events tries that again, but takes no answer's word for it.
    if (isEvents && answer.head.status >= 500 && isProblem(headers)) {
      void answer.body?.cancel();
      return Response.error();
    }
    const body = decoded(answer.body, headers);
    return responded(answer, headers, isEvents && body !== null ? ending(body) : body);
  }

  /** For frames. */
  async #shown(request: Request, path: string, answer: Answer, link: Link): Promise<Response> {
    const { head } = answer;
    const headers = headersOf(head.headers);
    headers.delete("clear-site-data");
    const elsewhere = this.#locate(headers, request.url);
    const isFrame = request.destination === "iframe" || request.destination === "frame";
    if (elsewhere !== null && isFrame) {
      await answer.body?.cancel();
      return page(200, texts.leaving(elsewhere), { ...this.#data(link), leave: elsewhere }, link.client);
    }
    const said = await problem(answer, headers);
    if (said !== null) return page(head.status, said, this.#shim(link), link.client, request.method === "GET" ? this.#origin + path : undefined);
    const nonce = made();
    framed(headers, { shim: this.#origin + SHIM, download: this.#origin + DOWNLOAD, nonce, ancestor: link.client });
    const body = decoded(answer.body, headers);
    if (body === null || !isPage(headers)) return responded(answer, headers, body);
    const tag = shimTag({ client: link.client, cookies: head.cookies ?? "" }, nonce);
    return responded(answer, headers, await withShim(body, headers, tag, settled));
  }

  /** Changes `Location` to what the browser must see; where that leads elsewhere, returns it. */
  #locate(headers: Headers, base: string): string | null {
    const location = headers.get("location");
    if (location === null) return null;
    const found = located(location, base, this.#origin);
    if (found === null) return null;
    headers.set("location", found.url);
    return found.isOwn ? null : found.url;
  }

  #data(link: Link): { readonly client: string; readonly cookies: string } {
    return { client: link.client, cookies: "" };
  }

  #shim(link: Link | null): { readonly client: string; readonly cookies: string } | null {
    return link === null ? null : this.#data(link);
  }
}

function responded({ head }: Answer, headers: Headers, body: ReadableStream<Uint8Array<ArrayBuffer>> | null): Response {
  const { status } = head;
  if (!BODILESS.includes(status)) return new Response(body, { status, headers });
  void body?.cancel();
  return new Response(null, { status, headers });
}

/** Unpacks a body that is compressed: nobody else does, for an answer of a worker. */
function decoded(body: ReadableStream<Uint8Array<ArrayBuffer>> | null, headers: Headers): ReadableStream<Uint8Array<ArrayBuffer>> | null {
  const encoding = headers.get("content-encoding")?.trim().toLowerCase() ?? "identity";
  if (encoding === "identity" || encoding === "" || body === null) return body;
  headers.delete("content-encoding");
  headers.delete("content-length");
  if (encoding === "gzip" || encoding === "x-gzip") return body.pipeThrough(new DecompressionStream("gzip"));
  if (encoding === "deflate") return body.pipeThrough(new DecompressionStream("deflate"));
  void body.cancel();
  const { message, next } = texts.encoding;
  throw new Failure("", message, next);
}

/** A stream of events: one that breaks off has ended, which browsers take for the network's fault, and connect anew. */
function ending(body: ReadableStream<Uint8Array<ArrayBuffer>>): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }) as const);
      if (done || value === undefined) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
}

/** A `Content-Disposition`. */
function attachment(name: string): string {
  const encoded = encodeURIComponent(name.slice(0, 200)).replace(/['()*]/g, (its) => `%${its.charCodeAt(0).toString(16)}`);
  return name === "" ? "attachment" : `attachment; filename*=UTF-8''${encoded}`;
}

function explained(error: unknown, link: Link | null): Said {
  if (error instanceof Failure) return { title: texts.failed.title, message: error.message, next: error.next, code: error.code };
  return link === null || link.isOver ? texts.noClient : texts.failed;
}

function made(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLED));
}

/** The last part of a path, as people write it. */
function lastOf(path: string): string {
  const last = path.replace(/[?#].*$/, "").split("/").at(-1) ?? "";
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}
