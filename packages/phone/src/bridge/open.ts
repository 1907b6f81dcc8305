/** Opens an app: two frames on an origin of its own, and the port between them and this page. */
import {
  type FromFrame, type FromKeeper, KEEPER, parseFromFrame, parseFromKeeper, type ToFrame, type ToKeeper, type WhyFailed,
} from "../wire/frames.js";
import { LEAVES, LEAVES_PER, MESSAGES_PER_SECOND, PATH_MAX } from "../wire/limits.js";
import { OURS, VIEW } from "../wire/own.js";
import { VERSION } from "../wire/version.js";
import { Flood } from "./flood.js";
import type { AppState, OpenApp, OpenInit } from "./index.js";
import { Jar } from "./jar.js";
import { frameOf, keeperFrame, originOf } from "./keeper.js";
import { PortServer } from "./port.js";
import { Sockets } from "./sockets.js";
import { texts } from "./texts.js";

/** What the app's frame may do: everything but to lead this page away, or to lift this list. */
const SANDBOX =
  "allow-scripts allow-same-origin allow-forms allow-downloads allow-popups allow-modals allow-pointer-lock allow-orientation-lock";
/** Milliseconds until the worker must run: on the first visit it is loaded. */
const PATIENCE = 20_000;
/** Milliseconds until the keeper must have spoken once its frame has loaded something, which may be the browser's own page. */
const SPOKEN = 6000;

/** Milliseconds that a page has to load itself again. */
const RELOADED = 3000;

/** Milliseconds between two ports for the worker. */
const JOINED = 100;

/** Milliseconds that the cookies may take to come out of the store: after that the worker has to ask anew. */
const LOADED = 5000;

const WHY: { readonly [why in WhyFailed]: { readonly message: string; readonly next: string } } = {
  denied: texts.noWorker,
  away: texts.unreachable,
  version: texts.version,
};

/** Opens an app. @throws {TypeError} The label or the pattern is none. */
export function openApp(init: OpenInit): OpenApp {
  return new Opened(init);
}

/** A path of the app's own to begin at; of whatever else it is `/`. */
export function pathToOpen(path: string | undefined): string {
  if (path?.startsWith("/") !== true || path.length > PATH_MAX) return "/";
  // As the browser reads it, which knows of `..`, and of other ways to write that.
  const { pathname, search, hash } = new URL(VIEW + path);
  return pathname.startsWith(OURS) ? "/" : pathname + search + hash;
}

class Opened implements OpenApp {
  readonly #init: OpenInit;
  readonly #origin: string;
  readonly #channel: BroadcastChannel;
  readonly #jar: Jar;
  readonly #sockets: Sockets;
  readonly #keeper = keeperFrame();
  readonly #frame = frameOf("app", SANDBOX, "origin");
  readonly #flood = new Flood(MESSAGES_PER_SECOND);
  readonly #leaves = new Flood(LEAVES, LEAVES_PER);
  readonly #hearing = (event: MessageEvent<unknown>): void => this.#hear(event);
  readonly #turning = (): void => this.#turned();
  #server: PortServer | null = null;
  /** What the keeper knows: as long as anything is under way, the worker must live. */
  #isBusy = false;
  /** Whether a port is being made, and whether another one was asked for meanwhile. */
  #joining: "no" | "once" | "again" = "no";
  #path: string;
  /** How often the app's page has said where it is. */
  #told = 0;
  #state: AppState = { phase: "opening" };
  #timer: ReturnType<typeof setTimeout> | null = null;
  /** Called when the worker says that it is ready, once. */
  #onReady: (() => void) | null = null;
  #hasBegun = false;
  #isLeaving = false;
  #strayedAt = Number.NEGATIVE_INFINITY;

  constructor(init: OpenInit) {
    this.#init = init;
    this.#origin = originOf(init.appsOrigin, init.label);
    this.#path = pathToOpen(init.path);
    this.#channel = new BroadcastChannel(`couplet-jar-${init.label}`);
    this.#jar = new Jar(init.jar, () => this.#server?.jarChanged(), this.#channel);
    this.#sockets = new Sockets(init.host, init.app, () => this.#tellBusy());
    this.#frame.title = init.title;
    this.#frame.allow = "autoplay; clipboard-write; fullscreen";
    window.addEventListener("message", this.#hearing);
    for (const type of ["focus", "pageshow"]) window.addEventListener(type, this.#turning);
    document.addEventListener("visibilitychange", this.#turning);
    this.#keeper.addEventListener("load", () => this.#loaded());
    this.#start();
    init.container.append(this.#keeper, this.#frame);
    queueMicrotask(() => this.#init.onState(this.#state));
  }

  get state(): AppState {
    return this.#state;
  }

  reload(): void {
    if (this.#state.phase === "closed") return;
    if (this.#state.phase === "failed") return this.#begin();
    // It looks after the worker first: that is the app's to end.
    this.#whenReady(() => (this.#path.includes("#") ? this.#reload() : this.#show()));
    this.#tellKeeper({ couplet: "front" });
  }

  back(): void {
    this.#tellFrame({ couplet: "back" });
  }

  async close(): Promise<void> {
    this.#end();
    await this.#jar.flush();
    this.#channel.close();
  }

  /** Sets everything up anew. */
  #begin(): void {
    this.#tell({ phase: "opening" });
    // As long as its page is there, a worker that was ended is not quite gone.
    this.#frame.src = "about:blank";
    this.#start();
  }

  #start(): void {
    [this.#hasBegun, this.#isBusy] = [false, false];
    this.#whenReady(() => this.#show());
    this.#keeper.src = this.#origin + KEEPER;
  }

  #show(): void {
    this.#frame.src = this.#origin + this.#path;
  }

  /** An address with a fragment that is there already is only scrolled to, so its page does it, or everything begins anew. */
  #reload(): void {
    const told = this.#told;
    this.#tellFrame({ couplet: "reload" });
    setTimeout(() => {
      if (this.#told === told && this.#state.phase === "open") this.#begin();
    }, RELOADED);
  }

  /** No worker answered the frame. Once that can be helped. */
  #strayed(path: string): void {
    const now = performance.now();
    if (now - this.#strayedAt < PATIENCE) return this.#fail(texts.noWorker);
    this.#strayedAt = now;
    this.#path = pathToOpen(path);
    this.#begin();
  }

  #whenReady(then: () => void): void {
    this.#onReady = then;
    this.#patience(PATIENCE);
  }

  /** What is waited for does not come: the keeper tells whether that is this browser's doing, or nobody is there. */
  #patience(milliseconds: number): void {
    this.#rest();
    this.#timer = setTimeout(() => this.#fail(this.#hasBegun ? texts.noWorker : texts.unreachable), milliseconds);
  }

  #rest(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #loaded(): void {
    if (this.#onReady !== null && !this.#hasBegun) this.#patience(SPOKEN);
  }

  /** This page is in front again, or not any more: of several pages with this app, the worker then comes to the one in front. */
  #turned(): void {
    if (this.#state.phase === "failed") return;
    if (document.visibilityState === "visible") this.#tellKeeper({ couplet: "front" });
    else void this.#jar.flush();
  }

  /** Other windows say all sorts of things; what counts comes from these two frames, while they show the app's origin. */
  #hear({ source, origin, data }: MessageEvent<unknown>): void {
    const isKeeper = source !== null && source === this.#keeper.contentWindow;
    const isFrame = source !== null && source === this.#frame.contentWindow;
    if ((!isKeeper && !isFrame) || origin !== this.#origin) return;
    if (this.#flood.isTooMuch(performance.now())) return this.#fail(texts.flood);
    if (this.#state.phase === "failed") return;
    if (isKeeper) this.#hearKeeper(parseFromKeeper(data));
    else this.#hearFrame(parseFromFrame(data));
  }

  #hearKeeper(said: FromKeeper | null): void {
    switch (said?.couplet) {
      case "begun":
        if (said.wire !== VERSION) return this.#fail(texts.version);
        this.#hasBegun = true;
        this.#tellBusy();
        return this.#onReady === null ? undefined : this.#patience(PATIENCE);
      case "join":
        return void this.#join();
      case "failed":
        return this.#fail(WHY[said.why]);
      case "ready": {
        this.#rest();
        const then = this.#onReady;
        this.#onReady = null;
        then?.();
      }
    }
  }

  /** A port for the worker. There is one: who asks anew has lost it; who asks while it is made gets one more, not many. */
  async #join(): Promise<void> {
    if (this.#joining !== "no") return void (this.#joining = "again");
    try {
      do {
        this.#joining = "once";
        this.#server?.close();
        this.#server = null;
        // Without its cookies the app would log everybody out.
        if (await isDone(this.#jar.load(), LOADED)) this.#connect();
        await new Promise((rested) => setTimeout(rested, JOINED));
        // It may have changed while that was waited for.
      } while ((this.#joining as string) === "again");
    } finally {
      this.#joining = "no";
    }
  }

  #connect(): void {
    const { phase } = this.#state;
    const keeper = this.#keeper.contentWindow;
    if (phase === "closed" || phase === "failed" || keeper === null) return;
    const { port1, port2 } = new MessageChannel();
    const { host, app } = this.#init;
    this.#server = new PortServer(port1, {
      host,
      app,
      jar: this.#jar,
      sockets: this.#sockets,
      onTurn: () => this.#tellBusy(),
      onFlood: () => this.#fail(texts.flood),
    });
    this.#tellKeeper({ couplet: "port", wire: VERSION }, [port2]);
  }

  #tellFrame(message: ToFrame): void {
    this.#frame.contentWindow?.postMessage(message, this.#origin);
  }

  #tellBusy(): void {
    const isBusy = this.#server?.isBusy === true || this.#sockets.isBusy;
    if (isBusy === this.#isBusy) return;
    this.#isBusy = isBusy;
    this.#tellKeeper({ couplet: "busy", isBusy });
  }

  #tellKeeper(message: ToKeeper, transfer: Transferable[] = []): void {
    this.#keeper.contentWindow?.postMessage(message, this.#origin, transfer);
  }

  #hearFrame(said: FromFrame | null): void {
    switch (said?.couplet) {
      case "page": {
        const { path, title, canGoBack } = said;
        this.#path = pathToOpen(path);
        this.#told += 1;
        return this.#tell({ phase: "open", path, title, canGoBack });
      }
      case "stray":
        return this.#strayed(said.path);
      case "leave":
        return void this.#leave(said.url);
    }
  }

  /** Nobody knows whether a person has asked for it: so it is as rare as if one had. */
  async #leave(url: string): Promise<void> {
    if (this.#isLeaving || this.#leaves.isTooMuch(performance.now())) return;
    this.#isLeaving = true;
    try {
      await this.#init.onLeave(url);
    } finally {
      this.#isLeaving = false;
    }
  }

  #fail(why: { readonly message: string; readonly next: string }): void {
    if (this.#state.phase === "closed") return;
    this.#rest();
    this.#onReady = null;
    this.#stop();
    // It may go on sending as long as it shows.
    this.#frame.src = "about:blank";
    this.#keeper.src = "about:blank";
    this.#tell({ phase: "failed", ...why });
  }

  /** Ends what is under way. */
  #stop(): void {
    this.#server?.close();
    this.#server = null;
    this.#sockets.end();
  }

  #tell(state: AppState): void {
    this.#state = state;
    this.#init.onState(state);
  }

  #end(): void {
    if (this.#state.phase === "closed") return;
    window.removeEventListener("message", this.#hearing);
    for (const type of ["focus", "pageshow"]) window.removeEventListener(type, this.#turning);
    document.removeEventListener("visibilitychange", this.#turning);
    this.#rest();
    this.#stop();
    this.#keeper.remove();
    this.#frame.remove();
    this.#tell({ phase: "closed" });
  }
}

/** Whether it is done in so many milliseconds. */
async function isDone(its: Promise<void>, milliseconds: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), milliseconds)));
  return Promise.race([its.then(() => true), late]).finally(() => clearTimeout(timer));
}
