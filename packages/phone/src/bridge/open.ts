/** Opens an app: two frames on an origin of its own, and the port between them and this page. */
import { MESSAGES_PER_SECOND, PATH_MAX, TITLE_MAX } from "../wire/limits.js";
import { Flood } from "./flood.js";
import type { AppState, OpenApp, OpenInit } from "./index.js";
import { Jar } from "./jar.js";
import { PortServer } from "./port.js";
import { texts } from "./texts.js";

/** What the app's frame may do: everything but to lead this page away, or to lift this list. */
const SANDBOX =
  "allow-scripts allow-same-origin allow-forms allow-downloads allow-popups allow-modals allow-pointer-lock allow-orientation-lock";
/** The app can reach the keeper's frame, which must therefore be able to do no more. */
const KEEPER_SANDBOX = "allow-scripts allow-same-origin";
/** Milliseconds until the worker must run: on the first visit it is loaded. */
const PATIENCE = 20_000;

/** Where an app is shown. @throws {TypeError} The label or the pattern is none. */
export function originOf(appsOrigin: string, label: string): string {
  if (!/^[a-z2-7]{26}$/.test(label)) throw new TypeError("a label is 26 characters of base32");
  const isPattern = /^https?:\/\/\*\.[a-z0-9.-]+(:\d{1,5})?$/.test(appsOrigin);
  if (!isPattern) throw new TypeError("the apps' origin is a pattern such as https://*.apps.example");
  return new URL(appsOrigin.replace("*", label)).origin;
}

/** Opens an app. @throws {TypeError} The label or the pattern is none. */
export function openApp(init: OpenInit): OpenApp {
  return new Opened(init);
}

class Opened implements OpenApp {
  readonly #init: OpenInit;
  readonly #origin: string;
  readonly #jar: Jar;
  readonly #keeper: HTMLIFrameElement;
  readonly #frame: HTMLIFrameElement;
  readonly #flood = new Flood(MESSAGES_PER_SECOND);
  readonly #hearing = (event: MessageEvent<unknown>): void => this.#hear(event);
  #server: PortServer | null = null;
  #path: string;
  #state: AppState = { phase: "opening" };
  #timer: ReturnType<typeof setTimeout> | null = null;
  /** Called when the worker says that it is ready, once. */
  #onReady: (() => void) | null = null;
  #strayedAt = Number.NEGATIVE_INFINITY;
  #onWiped: (() => void) | null = null;

  constructor(init: OpenInit) {
    this.#init = init;
    this.#origin = originOf(init.appsOrigin, init.label);
    this.#path = init.path?.startsWith("/") === true ? init.path : "/";
    this.#jar = new Jar(init.jar, () => this.#server?.jarChanged());
    this.#keeper = this.#made("keeper", KEEPER_SANDBOX);
    this.#keeper.hidden = true;
    this.#keeper.tabIndex = -1;
    this.#keeper.setAttribute("aria-hidden", "true");
    this.#frame = this.#made("app", SANDBOX);
    this.#frame.title = init.title;
    this.#frame.allow = "autoplay; clipboard-write; fullscreen";
    window.addEventListener("message", this.#hearing);
    this.#whenReady(() => void (this.#frame.src = this.#origin + this.#path));
    this.#keeper.src = `${this.#origin}/.couplet/keeper`;
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
    this.#whenReady(() => void (this.#frame.src = this.#origin + this.#path));
    this.#keeper.contentWindow?.postMessage({ couplet: "ensure" }, this.#origin);
  }

  back(): void {
    this.#frame.contentWindow?.postMessage({ couplet: "back" }, this.#origin);
  }

  async close(): Promise<void> {
    this.#end();
    await this.#jar.flush();
  }

  async wipe(): Promise<void> {
    // Nothing of the app may write while it is removed.
    this.#frame.remove();
    this.#server?.close();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 5000);
      this.#onWiped = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#keeper.contentWindow?.postMessage({ couplet: "wipe" }, this.#origin);
    });
    this.#end();
    await this.#jar.wipe();
  }

  #made(name: string, sandbox: string): HTMLIFrameElement {
    const frame = document.createElement("iframe");
    frame.className = name;
    frame.setAttribute("sandbox", sandbox);
    frame.referrerPolicy = "no-referrer";
    return frame;
  }

  /** Sets everything up anew. */
  #begin(): void {
    this.#tell({ phase: "opening" });
    // As long as its page is there, a worker that was ended is not quite gone.
    this.#frame.src = "about:blank";
    this.#whenReady(() => void (this.#frame.src = this.#origin + this.#path));
    this.#keeper.src = `${this.#origin}/.couplet/keeper`;
  }

  /** No worker answered the frame. Once that can be helped. */
  #strayed(path: unknown): void {
    const now = performance.now();
    if (now - this.#strayedAt < PATIENCE) return this.#fail(texts.noWorker);
    this.#strayedAt = now;
    if (typeof path === "string" && path.startsWith("/") && path.length <= PATH_MAX) this.#path = path;
    this.#begin();
  }

  #whenReady(then: () => void): void {
    this.#onReady = then;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fail(texts.noWorker), PATIENCE);
  }

  /** Other windows say all sorts of things; what counts comes from these two frames, while they show the app's origin. */
  #hear({ source, origin, data }: MessageEvent<unknown>): void {
    const isKeeper = source !== null && source === this.#keeper.contentWindow;
    const isFrame = source !== null && source === this.#frame.contentWindow;
    if ((!isKeeper && !isFrame) || origin !== this.#origin || typeof data !== "object" || data === null) return;
    if (this.#flood.isTooMuch(performance.now())) return this.#fail(texts.flood);
    const said = data as { readonly [name: string]: unknown };
    if (isKeeper) this.#hearKeeper(said["couplet"]);
    else this.#hearFrame(said);
  }

  #hearKeeper(what: unknown): void {
    if (what === "join") void this.#join();
    else if (what === "wiped") this.#onWiped?.();
    else if (what === "failed") this.#fail(texts.noWorker);
    else if (what === "ready") {
      if (this.#timer !== null) clearTimeout(this.#timer);
      this.#timer = null;
      const then = this.#onReady;
      this.#onReady = null;
      then?.();
    }
  }

  /** A port for the worker. There is one: who asks anew has lost it. */
  async #join(): Promise<void> {
    this.#server?.close();
    this.#server = null;
    await this.#jar.load();
    const { phase } = this.#state;
    const keeper = this.#keeper.contentWindow;
    if (phase === "closed" || phase === "failed" || keeper === null || this.#server !== null) return;
    const { port1, port2 } = new MessageChannel();
    const { host, app } = this.#init;
    this.#server = new PortServer(port1, {
      host,
      app,
      jar: this.#jar,
      onBusy: (isBusy) => this.#keeper.contentWindow?.postMessage({ couplet: "busy", isBusy }, this.#origin),
      onFlood: () => this.#fail(texts.flood),
    });
    keeper.postMessage({ couplet: "port" }, this.#origin, [port2]);
  }

  #hearFrame(said: { readonly [name: string]: unknown }): void {
    const { couplet, path, title, canGoBack, url } = said;
    if (couplet === "page" && typeof path === "string" && typeof title === "string") {
      if (!path.startsWith("/") || path.length > PATH_MAX || this.#state.phase === "failed") return;
      this.#path = path;
      this.#tell({ phase: "open", path, title: title.slice(0, TITLE_MAX), canGoBack: canGoBack === true });
    } else if (couplet === "stray") {
      if (this.#state.phase !== "failed") this.#strayed(path);
    } else if (couplet === "leave" && typeof url === "string" && url.length <= PATH_MAX) {
      const { protocol, href } = URL.canParse(url) ? new URL(url) : { protocol: "", href: "" };
      if (protocol === "https:" || protocol === "http:") this.#init.onLeave(href);
    }
  }

  #fail(why: { readonly message: string; readonly next: string }): void {
    if (this.#state.phase === "closed") return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#server?.close();
    this.#server = null;
    // It may go on sending as long as it shows.
    this.#frame.src = "about:blank";
    this.#keeper.src = "about:blank";
    this.#tell({ phase: "failed", ...why });
  }

  #tell(state: AppState): void {
    this.#state = state;
    this.#init.onState(state);
  }

  #end(): void {
    if (this.#state.phase === "closed") return;
    window.removeEventListener("message", this.#hearing);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#server?.close();
    this.#server = null;
    this.#keeper.remove();
    this.#frame.remove();
    this.#tell({ phase: "closed" });
  }
}
