/** A paired host: one keeper holds a session open, and everything else goes through it. */
import { answered, type Me } from "../api.js";
import { CoupletError } from "../protocol/error.js";
import { limit, sleep, TimedOut, unlessAborted } from "./clock.js";
import type { Environment } from "./environment.js";
import { Unsent } from "./http.js";
import { Keeper, type Keeping, type Live } from "./keep.js";
import { itself, outbound, redirected, REDIRECTS, target, upgradeHeaders, type FetchInit, type Outbound } from "./request.js";
import { isFinal, reasonError, tell, type State } from "./state.js";
import { loadOf, stored, type CredentialStore } from "./store.js";
import { readForm } from "./store/form.js";
import { CoupletWebSocket, socketHeaders } from "./websocket.js";

/** How long a request waits for a session, in milliseconds. */
const WAIT = 10_000;
/** How long the host itself may take to answer; an app takes as long as it takes. */
const ANSWER = 10_000;
/** How long a request waits that the host refused unseen, at first and at most: it may be that others are to end first. */
const REFUSED = 50;
const REFUSED_MOST = 1000;
/** How long the host may take to be told that it is forgotten. */
const FAREWELL = 5000;

/** What an app says of a WebSocket. */
export interface WebSocketInit {
  /** Which app behind the host; absent: the first. */
  readonly app?: string;
  readonly headers?: HeadersInit;
  /** Stops opening it. */
  readonly signal?: AbortSignal;
}

/** A host that this device is paired with. It opens a session by itself, and a new one whenever that ends. */
export class Host {
  /** Names it among the hosts that this device knows: its key's fingerprint in lower case. */
  readonly id: string;
  readonly #keeper: Keeper;
  readonly #keeping: Keeping;
  readonly #environment: Environment;
  readonly #store: CredentialStore;
  readonly #listeners = new Set<(state: State) => void>();
  #told: State;
  readonly #unwatch: () => void;

  /** See `pair` and `restore`. */
  constructor(keeping: Keeping) {
    this.#keeping = keeping;
    this.#environment = keeping.environment;
    this.#store = keeping.store;
    this.#keeper = new Keeper(keeping);
    this.id = this.#keeper.host;
    this.#told = this.#keeper.state;
    this.#unwatch = this.#keeper.watch(() => this.#tell());
  }

  /** What the host calls itself. */
  get name(): string {
    return this.#keeper.credentials?.hostName ?? "";
  }

  /** This device's id at the host. */
  get deviceId(): string {
    return this.#keeper.credentials?.deviceId ?? "";
  }

  /** Of the host's key: what people compare. */
  get fingerprint(): string {
    return this.id.toUpperCase();
  }

  /** How things stand. */
  get state(): State {
    return this.#keeper.state;
  }

  /** Calls with each state, the present one first. Returns what ends that. */
  on(event: "state", listener: (state: State) => void): () => void {
    if (event !== "state") throw new TypeError("a host has the event \"state\"");
    // Each call is a listener of its own.
    const heard = (state: State): void => listener(state);
    this.#listeners.add(heard);
    queueMicrotask(() => {
      if (this.#listeners.has(heard)) tell(heard, this.#told);
    });
    return () => void this.#listeners.delete(heard);
  }

  /**
   * As `fetch`: sends a request to an app behind the host, and resolves with the head of its answer; the bodies stream, both
   * ways. A path goes to the first app, or to the one that `init.app` names; addresses elsewhere are refused. Redirects are followed within the same address; others are the answer. Waits up to ten seconds for a session. A request
   * that may have reached the host is never sent again.
   *
   * @throws {CoupletError} It came to nothing. What the app answers, errors included, is an answer. TypeError: it cannot be
   * sent. Rejects with the signal's reason.
   */
  async fetch(input: string | URL | Request, init?: FetchInit): Promise<Response> {
    let request = outbound(input, init);
    for (let followed = 0; ; followed += 1) {
      const answer = await this.#send(request);
      const next = await following(request, answer);
      if (next === null) {
        if (followed > 0) Object.defineProperty(answer, "redirected", { value: true, configurable: true });
        return answer;
      }
      await answer.body?.cancel();
      if (followed >= REDIRECTS) throw new TypeError("the app redirects too often");
      request = next;
    }
  }

  /**
   * As `new WebSocket`: opens a WebSocket with an app behind the host, which is told like any other when it is open or came to
   * nothing. The path goes to the first app, or to the one that `init.app` names. Waits up to ten seconds for a session; when
   * that ends, so does the socket.
   *
   * @throws {TypeError} It is no path. {@link DOMException} `SyntaxError`, for what is no protocol.
   */
  webSocket(path: string | URL, protocols: string | readonly string[] = [], init: WebSocketInit = {}): CoupletWebSocket {
    const url = target(path);
    const wanted = typeof protocols === "string" ? [protocols] : [...protocols];
    const headers = [...upgradeHeaders(init.headers, init.app), ...socketHeaders(wanted)];
    const { clock, random } = this.#environment;
    const opening = limit(clock, null, init.signal);
    const opened = this.#with(opening.signal, ({ http }) => http.upgrade(url, headers, opening.signal));
    const abort = (): void => opening.abort(new Error("the socket was closed before it was open"));
    opened.then(opening.done, opening.done);
    return new CoupletWebSocket({ url: url.href.replace(/^http/, "ws"), protocols: wanted, opened, abort, random });
  }

  /**
   * What this device is to the host: its name there, what it may do, until when.
   *
   * @throws {CoupletError} As `fetch`; and with the host's code when it refuses. `CPL-1602`: it does not answer in ten seconds.
   */
  async me({ signal }: { readonly signal?: AbortSignal } = {}): Promise<Me> {
    return this.#with(signal ?? null, async ({ http }) => {
      const time = limit(this.#environment.clock, ANSWER, signal);
      try {
        return await answered<Me>(await http.request(itself("/api/pair/me", { signal: time.signal })));
      } catch (error) {
        throw error instanceof TimedOut ? new CoupletError("CPL-1602", "The host does not answer in time") : error;
      } finally {
        time.done();
      }
    });
  }

  /**
   * Ends the pairing: the host is told, and whatever is stored of it is removed. Resolves with whether the host has it that
   * this device is none of its own any more. Where that is false, its owner still sees the device, and can revoke it: the host
   * was not reached within a few seconds.
   *
   * @throws {CoupletError} `CPL-1607`: it cannot be removed.
   */
  async forget(): Promise<boolean> {
    const isTold = await this.#takeLeave().catch(() => false);
    await this.#end("forgotten");
    await stored(this.#store.remove(this.id));
    return isTold;
  }

  /** Closes the session, and tells the host. Whatever is under way breaks off, and no other session is opened. */
  async close(): Promise<void> {
    await this.#end("closed");
  }

  async #end(state: "closed" | "forgotten"): Promise<void> {
    await this.#keeper.stop(state);
    this.#tell();
    this.#unwatch();
  }

  /** Tells the host, in a session of its own where this one was closed. Whether the host knows. */
  async #takeLeave(): Promise<boolean> {
    const { state } = this.state;
    if (state === "revoked") return true;
    if (state === "expired" || state === "forgotten") return false;
    if (state !== "closed") return this.#sayGoodbye();
    const forms = await loadOf(this.#store, this.id);
    const candidates = await Promise.all(forms.map(readForm));
    if (candidates.length === 0) return false;
    const again = new Host({ ...this.#keeping, candidates });
    try {
      return await again.#sayGoodbye();
    } finally {
      await again.#end("forgotten");
    }
  }

  async #sayGoodbye(): Promise<boolean> {
    this.#keeper.forgetting();
    const time = limit(this.#environment.clock, FAREWELL);
    try {
      const answer = await this.#send(itself("/api/pair/me", { method: "DELETE", signal: time.signal }));
      await answer.body?.cancel();
      return answer.ok;
    } catch (error) {
      // It had revoked this device before; or the end of the session was faster than the answer.
      if (error instanceof CoupletError && error.code === "CPL-1603") return true;
      throw error;
    } finally {
      time.done();
    }
  }

  #send(request: Outbound): Promise<Response> {
    return this.#with(request.signal, ({ http }) => http.request(request));
  }

  /** Does something with a session: again when nobody took it, with the next one where that takes nothing any more. */
  async #with<T>(signal: AbortSignal | null, work: (live: Live) => Promise<T>): Promise<T> {
    const { clock } = this.#environment;
    const until = clock.now() + WAIT;
    for (let pause = REFUSED; ; pause = Math.min(2 * pause, REFUSED_MOST)) {
      const live = await this.#session(until, signal);
      try {
        return await work(live);
      } catch (error) {
        if (!(error instanceof Unsent)) throw error;
        if (!isTaking(live)) continue;
        if (clock.now() + pause >= until) throw new CoupletError("CPL-1610", "The host takes no more requests", { cause: error });
        await sleep(clock, pause, signal ?? undefined);
      }
    }
  }

  /** The open session, or the next one. */
  #session(until: number, signal: AbortSignal | null): Promise<Live> {
    const { clock } = this.#environment;
    const keeper = this.#keeper;
    let unwatch = (): void => {};
    const found = new Promise<Live>((resolve, reject) => {
      const look = (): void => {
        const { live, state } = keeper;
        if (isFinal(state)) reject(state.error);
        else if (live !== null && isTaking(live)) resolve(live);
      };
      unwatch = keeper.watch(look);
      look();
      if (keeper.live === null || !isTaking(keeper.live)) keeper.want();
    });
    // Nothing is left on the app's signal, whichever it comes to.
    const time = limit(clock, until - clock.now(), signal);
    const late = (error: unknown): never => {
      throw error instanceof TimedOut ? outOfReach(keeper.state) : error;
    };
    return unlessAborted(time.signal, found).catch(late).finally(() => {
      time.done();
      unwatch();
    });
  }

  #tell(): void {
    const { state } = this;
    if (state === this.#told || (state.state === "connecting" && this.#told.state === "connecting")) return;
    this.#told = state;
    for (const listener of [...this.#listeners]) tell(listener, state);
  }
}

/** Whether it takes requests. */
function isTaking({ http, stream }: Live): boolean {
  return !stream.isOver && http.isAccepting;
}

/** The request that an answer leads on to, if any. @throws {TypeError} It must not; nobody gets the answer then. */
async function following(request: Outbound, answer: Response): Promise<Outbound | null> {
  try {
    return redirected(request, answer.status, answer.headers.get("location"));
  } catch (error) {
    await answer.body?.cancel();
    throw error;
  }
}

function outOfReach(state: State): CoupletError {
  return state.state === "offline" ? reasonError(state.reason) : new CoupletError("CPL-1601", "There is no connection to the host");
}
