/**
 * The web component `<couplet-connect>`: pairs the page with a host and shows how things stand. Importing this defines it.
 *
 * ```ts
 * import "couplet/element";
 * const element = document.querySelector("couplet-connect");
 * element?.addEventListener("couplet-paired", ({ detail }) => start(detail.host));
 * ```
 */
import type { Host } from "./client/connect.js";
import { isFinal, type State } from "./client/state.js";
import { Connector, type ConnectOptions, type View } from "./element/connector.js";
import { render, type Shown } from "./element/render.js";
import { canScan, scan, type Decode } from "./element/scan.js";
import { STYLE } from "./element/style.js";
import { ENGLISH, type Texts } from "./element/texts.js";

export type { ConnectOptions } from "./element/connector.js";
export type { Decode } from "./element/scan.js";
export { ENGLISH, type Texts, type Trouble } from "./element/texts.js";

/** What the element tells. */
export interface CoupletEvents {
  /** There is a host: paired just now, or `restored` from what was stored. */
  "couplet-paired": CustomEvent<{ readonly host: Host; readonly restored: boolean }>;
  /** How things stand with it: `Host.on("state")`. */
  "couplet-state": CustomEvent<{ readonly host: Host; readonly state: State }>;
  /** Pairing, or what is stored, came to nothing. */
  "couplet-error": CustomEvent<{ readonly error: unknown }>;
}

/** Where there is no page, importing this does no harm. */
const Base = (typeof HTMLElement === "undefined" ? class {} : HTMLElement) as typeof HTMLElement;
/** What may be set before the element is one. */
const PROPERTIES = ["options", "texts", "decode"] as const;

/** `<couplet-connect device-name="Kitchen tablet">`. */
export class CoupletConnect extends Base {
  readonly #connector: Connector;
  readonly #section: HTMLElement;
  readonly #said: HTMLElement;
  #options: ConnectOptions = {};
  #texts: Texts = ENGLISH;
  #decode: Decode | null = null;
  #canScan = false;
  #shown: Shown = { view: "restoring" };
  #key = "";
  #camera = new AbortController();
  #video: HTMLVideoElement | null = null;
  #isStarted = false;

  constructor() {
    super();
    this.#connector = new Connector({
      changed: (view) => this.#changed(view),
      paired: (host, restored) => this.#tell("couplet-paired", { host, restored }),
      failed: (error) => this.#tell("couplet-error", { error }),
    });
    const root = this.attachShadow({ mode: "open" });
    // No <style>: a page's policy may refuse it.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    this.#section = document.createElement("section");
    this.#section.setAttribute("part", "panel");
    this.#said = document.createElement("p");
    this.#said.className = "unseen";
    this.#said.setAttribute("aria-live", "polite");
    root.append(this.#section, this.#said);
  }

  /** The host, once there is one. */
  get host(): Host | null {
    return this.#connector.host;
  }

  /** For `pair` and `restore`: storage, account, `id` … Set anew, it begins again. */
  get options(): ConnectOptions {
    return this.#options;
  }

  set options(options: ConnectOptions) {
    this.#options = options;
    if (this.#isStarted) void this.#connector.restore(options);
  }

  /** What it says; what is left out stays English. */
  get texts(): Texts {
    return this.#texts;
  }

  set texts(texts: Partial<Texts>) {
    this.#texts = { ...ENGLISH, ...texts };
    this.#draw();
  }

  /** What reads codes where the browser does not: `decodeQR` of the package `qr`. */
  get decode(): Decode | null {
    return this.#decode;
  }

  set decode(decode: Decode | null) {
    this.#decode = decode;
    void this.#lookForCamera();
  }

  /** Pairs by a link, as if it had been pasted. */
  pair(link: string): Promise<void> {
    const name = this.getAttribute("device-name") ?? this.#texts.deviceName;
    return this.#connector.pair(link, name, this.#options);
  }

  /** Ends the pairing, here and at the host. */
  forget(): Promise<void> {
    return this.#connector.forget();
  }

  connectedCallback(): void {
    for (const name of PROPERTIES) this.#adopt(name);
    void this.#lookForCamera();
    this.#draw();
    // Whoever imports this sets its options first.
    queueMicrotask(() => {
      if (!this.isConnected || this.#isStarted) return;
      this.#isStarted = true;
      void this.#connector.restore(this.#options);
    });
  }

  disconnectedCallback(): void {
    // Moved within the page, it goes on.
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.#isStarted = false;
      this.#camera.abort();
      this.#connector.stop();
    });
  }

  /** A property that was set before the element was defined hides the accessor. */
  #adopt(name: (typeof PROPERTIES)[number]): void {
    if (!Object.hasOwn(this, name)) return;
    const value = this[name];
    delete (this as Partial<Record<typeof name, unknown>>)[name];
    Object.assign(this, { [name]: value });
  }

  #tell<K extends keyof CoupletEvents>(name: K, detail: CoupletEvents[K]["detail"]): void {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  #changed(view: View): void {
    // Whoever is asked whether to forget it is not interrupted by its coming and going.
    const isAsked = this.#shown.view === "forgetting" && view.view === "host" && !isFinal(view.state);
    if (!isAsked) this.#show(view);
    if (view.view === "host") this.#tell("couplet-state", { host: view.host, state: view.state });
  }

  #show(shown: Shown): void {
    this.#camera.abort();
    this.#shown = shown;
    this.#draw();
  }

  async #lookForCamera(): Promise<void> {
    const can = await canScan(this.#decode);
    if (can === this.#canScan) return;
    this.#canScan = can;
    this.#draw();
  }

  #draw(): void {
    // The camera's picture stands in the element that it was given.
    if (this.#shown.view === "scanning" && this.#key === "scanning") return;
    const rendered = render(this.#shown, this.#texts, this.#actions(), this.#canScan);
    const key = this.#shown.view === "host" ? `host ${this.#shown.state.state}` : this.#shown.view;
    const [draft, focused] = [this.#field()?.value ?? "", this.shadowRoot?.activeElement ?? null];
    const place = this.#controls().findIndex((control) => control === focused);
    this.#section.setAttribute("aria-label", this.#texts.label);
    this.#section.dataset["look"] = rendered.look;
    this.#section.dataset["view"] = key;
    this.#section.replaceChildren(...rendered.body);
    if (this.#said.textContent !== rendered.said) this.#said.textContent = rendered.said;
    const [isSame, field] = [key === this.#key, this.#field()];
    if (isSame && field !== null) field.value = draft;
    // What had the focus is gone: it stays where it was, or goes on at the new title, and not at the top of the page.
    if (focused !== null) ((isSame ? this.#controls()[place] : undefined) ?? rendered.body[0])?.focus();
    this.#key = key;
    this.#video = rendered.video ?? null;
  }

  #field(): HTMLInputElement | null {
    return this.#section.querySelector("input");
  }

  #controls(): HTMLElement[] {
    return [...this.#section.querySelectorAll<HTMLElement>("input, button")];
  }

  #actions() {
    return {
      pair: (link: string): void => void this.pair(link),
      scan: (): void => void this.#scan(),
      cancel: (): void => this.#connector.cancel(),
      retry: (): void => this.#connector.retry(),
      reopen: (): void => void this.#connector.reopen(this.#options),
      forget: (): void => void this.forget(),
      ask: (): void => this.#show({ view: "forgetting", hostName: this.host?.name ?? "" }),
      back: (): void => this.#show(this.#connector.view),
    };
  }

  async #scan(): Promise<void> {
    this.#show({ view: "scanning" });
    const camera = new AbortController();
    this.#camera = camera;
    const video = this.#video;
    if (video === null) return;
    try {
      const link = await scan(video, this.#decode, camera.signal);
      await this.pair(link);
    } catch {
      if (!camera.signal.aborted) this.#show({ view: "failed", error: new Error(this.#texts.cameraRefused) });
    }
  }
}

/** Defines the element, under this name or another; a second time does nothing. Importing this module does it. */
export function define(name = "couplet-connect"): void {
  if (typeof customElements === "undefined" || customElements.get(name) !== undefined) return;
  customElements.define(name, name === "couplet-connect" ? CoupletConnect : class extends CoupletConnect {});
}

define();

declare global {
  interface HTMLElementTagNameMap {
    "couplet-connect": CoupletConnect;
  }
  interface HTMLElementEventMap extends CoupletEvents {}
  // They bubble.
  interface DocumentEventMap extends CoupletEvents {}
}
