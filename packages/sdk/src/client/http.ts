/** HTTP over one session (spec/protocol.md, 5). */
import { Connection, type Http2Response } from "../http2/index.js";
import { Http2Error, REFUSED_STREAM } from "../http2/error.js";
import type { ByteLink } from "../link.js";
import { CoupletError } from "../protocol/error.js";
import { incoming, readAsUtf8, type Incoming } from "./body.js";
import { afterAwake, reasonOf, within } from "./clock.js";
import type { Environment } from "./environment.js";
import type { Outbound } from "./request.js";
import type { SealedStream } from "./sealed.js";
import { finalState } from "./state.js";
import { openedSocket, type OpenedSocket } from "./websocket.js";

/**
 * While an answer is waited for: how long nothing may come before the host is asked, and how long it may take to answer; in
 * milliseconds.
 */
const QUIET = 5000;
const PONG = 5000;

/** How much longer the answer may take for what was sent before the question, in milliseconds. */
const UNDERWAY = 30_000;

/** How much of what refuses a WebSocket is read, in bytes. */
const PROBLEM_MAX = 16 * 1024;

/**
 * What a host answers in an app's place. An app can say the same, as nothing on the wire tells the two apart: none of these
 * says anything of the pairing, or of what this device has stored.
 */
const PROBLEM = "application/problem+json";
const PROBLEMS = new Set([
  ...["CPL-1008", "CPL-1105", "CPL-1106", "CPL-1107", "CPL-1900"],
  ...["CPL-1501", "CPL-1502", "CPL-1503", "CPL-1504", "CPL-1505"],
]);

/** How long the session's own end may come behind the reset of a stream, in milliseconds: a host that revokes does both. */
const BEHIND = 250;

/** What spec/protocol.md, 5 allows; how much of each answer may wait to be read, and how much of all may be on its way. */
const BOUNDS = { streams: 64, headerList: 16 * 1024, streamWindow: 1 << 19, connectionWindow: 4 << 20 } as const;

/** Statuses whose answers have no body, which a Response may not be given one for (Fetch, 2.2.3). */
const BODILESS = [204, 205, 304];

/** Nothing was sent, or nobody looked at it: another session may take the request, or this one later. */
export class Unsent extends Error {
  constructor() {
    super("nobody took the request");
    this.name = "Unsent";
  }
}

/** Sends requests through one session. */
export class Http {
  readonly #stream: SealedStream;
  readonly #environment: Environment;
  readonly #connection: Connection;
  /** How many wait for something of the host. */
  #waiting = 0;
  #since = 0;
  #calledOff: (() => void) | null = null;
  #isBroken = false;

  constructor(stream: SealedStream, environment: Environment) {
    this.#stream = stream;
    this.#environment = environment;
    this.#connection = Connection.open(stream, { ...BOUNDS, now: () => environment.clock.now() });
    stream.watch(() => void this.#connection.ping().catch(() => {}));
    void this.#connection.closed.then((cause) => {
      // What HTTP/2 forbids ends the session, which is of no use then.
      this.#isBroken = cause instanceof Http2Error && cause.source === "violation";
      stream.leave("done");
    });
  }

  /** Whether the host broke the rules of HTTP/2. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Whether it takes requests. */
  get isAccepting(): boolean {
    return this.#connection.accepting;
  }

  /** Resolves when it takes no more while some are under way, which go on. */
  get retired(): Promise<void> {
    return this.#connection.retired;
  }

  /** Opened streams break off, and no alarm goes on. */
  end(): void {
    this.#calledOff?.();
    this.#calledOff = null;
    this.#connection.close(this.#stream.error);
  }

  /**
   * Asks the host for a sign of life, and gives the session up when none comes within so many milliseconds. What is on its way
   * to the host gives it more time, and so does anything that comes: the answer may stand behind much else.
   */
  async probe(milliseconds: number): Promise<void> {
    const { clock } = this.#environment;
    const asked = clock.now();
    let isAnswered = false;
    // One that cannot be asked, as many questions wait, may give another sign.
    const pong = this.#connection.ping().then(() => void (isAnswered = true), () => new Promise<never>(() => {}));
    let left = milliseconds;
    while (!isAnswered && !this.#stream.isOver) {
      await within(clock, left, Promise.race([pong, this.#stream.ended]), afterAwake).catch(() => {});
      const { heardAt, arrivesAt } = this.#stream;
      const since = Math.max(asked, heardAt);
      left = since + Math.min(Math.max(arrivesAt - since, 0), UNDERWAY) + milliseconds - clock.now();
      if (left <= 0 && !isAnswered) this.#stream.abandon();
    }
  }

  /**
   * Sends a request, once, and resolves with the head of its answer; the bodies stream, both ways.
   *
   * @throws {Unsent} Nobody took it. {@link CoupletError}: it broke off. Rejects with the signal's reason.
   */
  async request(outbound: Outbound): Promise<Response> {
    const { method, url, body, signal } = outbound;
    const ended = this.#begin();
    let answer: Http2Response | null = null;
    try {
      answer = await this.#connection.request({
        method,
        scheme: "http",
        authority: url.host,
        path: url.pathname + url.search,
        headers: [...outbound.headers],
        body: body?.content ?? null,
        ...(signal === null ? {} : { signal }),
      });
      // With the last of it, or when it breaks off: whether anybody reads it or not.
      answer.trailers.then(ended, ended);
      const failed = (error: unknown): Promise<unknown> => this.#why(error, signal);
      const isBodiless = method === "HEAD" || BODILESS.includes(answer.status);
      if (isBodiless) answer.body.close();
      return response(answer, url, isBodiless ? null : await incoming(answer.body, failed));
    } catch (error) {
      ended();
      answer?.body.close();
      if (isUnsent(error) && body?.canBeSent() !== false && signal?.aborted !== true) throw new Unsent();
      throw this.failed(error, signal);
    }
  }

  /**
   * Opens a WebSocket by extended CONNECT (RFC 8441). Resolves once the app has taken it.
   *
   * @throws {Unsent} Nobody took it. {@link CoupletError}: it broke off, or the app refused. Rejects with the
   * signal's reason.
   */
  async upgrade(url: URL, headers: readonly (readonly [string, string])[], signal: AbortSignal): Promise<OpenedSocket> {
    const ended = this.#begin();
    try {
      const [authority, path] = [url.host, url.pathname + url.search];
      const init = { method: "CONNECT", scheme: "http", authority, path, headers, protocol: "websocket", signal };
      const answer = await this.#connection.request(init);
      answer.trailers.then(ended, ended);
      const opened = openedSocket(answer);
      if (opened !== null) return { ...opened, link: this.#saying(opened.link) };
      const code = await within(this.#environment.clock, PONG, refusalCode(answer)).catch(() => null);
      answer.body.close();
      throw new CoupletError(code ?? "CPL-1602", `The app did not open a WebSocket (status ${answer.status})`, {
        next: "See what the app answers at this address, and whether this device may use it.",
      });
    } catch (error) {
      ended();
      if (isUnsent(error) && !signal.aborted) throw new Unsent();
      throw this.failed(error, signal);
    }
  }

  /** What an app gets for what HTTP/2 says. */
  failed(error: unknown, signal: AbortSignal | null): unknown {
    if (signal?.aborted === true) return reasonOf(signal);
    const { ending } = this.#stream;
    const isOver = ending?.by === "host" && (ending.reason === "revoked" || ending.reason === "expired");
    // That it is the end of the pairing is more than that a session broke off.
    if (isOver) return finalState(ending.reason as "revoked" | "expired").error;
    if (error instanceof CoupletError || error instanceof TypeError) return error;
    const isFull = isRefusedHere(error);
    if (isFull) return new CoupletError("CPL-1610", undefined, { cause: error });
    const why = error instanceof Error ? error.message : "it broke off";
    return new CoupletError("CPL-1602", `The host did not answer: ${why}`, { cause: error });
  }

  /** As {@link Http.failed}, once it is known whether the session ends as well. */
  async #why(error: unknown, signal: AbortSignal | null): Promise<unknown> {
    const isReset = error instanceof Http2Error && error.source === "peer" && signal?.aborted !== true;
    if (isReset) await within(this.#environment.clock, BEHIND, this.#stream.ended).catch(() => {});
    return this.failed(error, signal);
  }

  /** A link whose errors are those of {@link Http.failed}. */
  #saying(link: ByteLink): ByteLink {
    const failed = async (error: unknown): Promise<never> => {
      throw await this.#why(error, null);
    };
    return {
      send: (bytes) => link.send(bytes).catch(failed),
      receive: () => link.receive().catch(failed),
      close: (reason) => link.close(reason),
    };
  }

  /** Somebody waits for the host from now on. Returns what ends that, once. */
  #begin(): () => void {
    this.#waiting += 1;
    // Whoever waits now begins to wait now.
    if (this.#waiting === 1) {
      this.#since = this.#environment.clock.now();
      this.#watch();
    }
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#waiting -= 1;
      if (this.#waiting > 0) return;
      this.#calledOff?.();
      this.#calledOff = null;
    };
  }

  /** Asks the host when nothing came for a while, and gives the session up when it does not answer. */
  #watch(): void {
    const { clock } = this.#environment;
    if (this.#stream.isOver) return;
    const due = Math.max(this.#since, this.#stream.heardAt) + QUIET - clock.now();
    this.#calledOff = clock.after(Math.max(due, 0), () => {
      if (Math.max(this.#since, this.#stream.heardAt) + QUIET > clock.now()) return this.#watch();
      const asked = this.#calledOff;
      void this.probe(PONG).then(() => {
        this.#since = clock.now();
        // Unless nobody waits any more, or somebody else does.
        if (this.#calledOff === asked) this.#watch();
      });
    });
  }
}

/** The code that an answer says, where it is a problem of the host (RFC 9457); an app's own answers have none. */
async function refusalCode({ headers, body }: Http2Response): Promise<string | null> {
  const type = headers.find(([name]) => name === "content-type")?.[1] ?? "";
  if (type.split(";", 1)[0]?.trim().toLowerCase() !== PROBLEM) return null;
  let text = "";
  const decoder = new TextDecoder();
  for (let part = await body.receive(); part !== null; part = await body.receive()) {
    text += decoder.decode(part, { stream: true });
    if (text.length > PROBLEM_MAX) break;
  }
  const { code, type: kind } = (JSON.parse(text) ?? {}) as { readonly code?: unknown; readonly type?: unknown };
  return typeof code === "string" && PROBLEMS.has(code) && kind === `urn:couplet:error:${code}` ? code : null;
}

function isUnsent(error: unknown): boolean {
  return error instanceof Http2Error && error.retryable && !isRefusedHere(error);
}

/** As many requests wait as may. */
function isRefusedHere(error: unknown): boolean {
  return error instanceof Http2Error && error.code === REFUSED_STREAM && error.source === "local";
}

function response(
  answer: { readonly status: number; readonly headers: readonly (readonly [string, string])[] },
  url: URL,
  body: Incoming | null,
): Response {
  const headers = new Headers();
  for (const [name, value] of answer.headers) if (!name.startsWith(":")) headers.append(name, value);
  const made = new Response(body, { status: answer.status, headers });
  if (body instanceof ArrayBuffer) readAsUtf8(made);
  // As `fetch` sets it; and all headers: a Response that a page makes has no `set-cookie`.
  Object.defineProperty(made, "url", { value: url.href.replace(/#.*/, ""), configurable: true });
  Object.defineProperty(made, "headers", { value: headers, configurable: true });
  return made;
}
