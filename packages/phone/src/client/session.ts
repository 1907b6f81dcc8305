/** The host that is open: its state, its apps in frames, and what becomes of them when it is over. */
import { openApp, type OpenApp } from "../bridge/index.js";
import { CoupletError, isFinal, isOnline, type CredentialStore, type Host, type State } from "../sdk.js";
import type { AppStore } from "./app_store.js";
import { appsOf, chosenApp, type App } from "./apps.js";
import { polite } from "./polite.js";
import type { Cell, Open, Shared, Shown } from "./shared.js";
import { texts } from "./texts.js";
import { troubleOf } from "./trouble.js";

/** How long apps may take to be thrown away, in milliseconds: an app's origin may not answer any more. */
const WIPE = 4000;

/** How long to wait before what is stored is looked at again that could not be read, in milliseconds. */
const ANEW = 500;

/** What a session works with. */
export interface Around {
  readonly cell: Cell<Shared>;
  readonly storage: CredentialStore;
  readonly apps: AppStore;
  isOnline(): boolean;
  /** The host of this id has been wiped from what is stored. */
  gone(id: string): void;
  /** Another app is in front. */
  turned(app: App): void;
}

/** Holds one host. */
export class Session {
  readonly host: Host;
  readonly #around: Around;
  readonly #frames = new Map<string, OpenApp>();
  readonly #off: () => void;
  #wanted: App | undefined;
  #isAsking = false;
  #isEnding = false;
  #open: Open;

  /** `wanted`: the app to begin with, where the host still has it. */
  constructor(host: Host, wanted: App | undefined, around: Around) {
    this.host = host;
    this.#around = around;
    this.#wanted = wanted;
    this.#open = {
      id: host.id,
      name: host.name || texts.unnamed,
      state: host.state,
      me: null,
      apps: null,
      app: undefined,
      shown: [],
      trouble: null,
      leaving: "",
      isForgetting: false,
    };
    this.#set({});
    this.#off = host.on("state", (state) => this.#heard(state));
  }

  /** Tries now: to reach the host, to take the place of another tab, or to ask again for its apps. */
  retry(): void {
    this.#set({ trouble: null });
    if (isOnline(this.#open.state)) void this.#ask();
    else this.host.me().catch(() => {});
  }

  /** There is a configuration now. */
  configured(): void {
    if (this.#open.app !== undefined) void this.select(this.#open.app);
  }

  /** Brings an app to the front, and sets up its frames when it has none. */
  async select(app: App): Promise<void> {
    if (this.#open.app !== app) {
      this.#set({ app });
      this.#around.turned(app);
    }
    const pattern = this.#around.cell.value.config?.apps ?? null;
    if (pattern === null || this.#open.shown.some((one) => one.app === app)) return;
    try {
      const label = await this.#around.apps.label({ host: this.host.id, device: this.host.deviceId }, app);
      if (this.#isEnding || this.#open.shown.some((one) => one.app === app)) return;
      this.#set({ shown: [...this.#open.shown, { app, label, state: { phase: "opening" } }] });
    } catch (cause) {
      this.#set({ trouble: troubleOf(new CoupletError("CPL-1607", undefined, { cause })) });
    }
  }

  /** Gives an app's frames their place in the page. */
  attach({ app, label }: Shown, container: HTMLElement): void {
    const pattern = this.#around.cell.value.config?.apps ?? null;
    if (pattern === null || this.#frames.has(label) || this.#isEnding) return;
    const frames = openApp({
      host: polite(this.host),
      app: app ?? undefined,
      label,
      appsOrigin: pattern,
      jar: this.#around.apps.jar(label),
      container,
      title: texts.host.frame(app ?? texts.host.unnamedApp, this.#open.name),
      onState: (state) => this.#shownAs(label, { state }),
      onLeave: (url) => this.#leads(url),
    });
    this.#frames.set(label, frames);
  }

  /** Takes them away again. */
  detach(label: string): void {
    const frames = this.#frames.get(label);
    this.#frames.delete(label);
    void frames?.close();
  }

  reload(): void {
    this.#front()?.reload();
  }

  back(): void {
    this.#front()?.back();
  }

  /** The user has decided about an address outside. */
  left(): void {
    this.#set({ leaving: "" });
  }

  /** Sets up the frames of an app anew that could not be shown. */
  async reopen({ app, label }: Shown): Promise<void> {
    this.#set({ shown: this.#open.shown.filter((one) => one.label !== label) });
    await this.select(app);
  }

  /** Ends it; the pairing stays. */
  async close(): Promise<void> {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#off();
    await Promise.allSettled([...this.#frames.values()].map((one) => one.close()));
    await this.host.close();
  }

  /** Ends the pairing. Resolves with whether the host knows of it. @throws {CoupletError} It cannot be removed here. */
  async forget(): Promise<boolean> {
    this.#isEnding = true;
    this.#set({ isForgetting: true });
    await this.#wipeApps();
    try {
      return await this.host.forget();
    } finally {
      this.#off();
      await this.#around.apps.forget(this.host.id).catch(() => {});
    }
  }

  /** Looks whether the pairing is still stored: another tab, or the user, may have removed it. */
  async look(): Promise<void> {
    if (this.#isEnding) return;
    // While the browser takes the database away, it cannot be read.
    const load = (): Promise<readonly unknown[]> => this.#around.storage.load(this.host.id);
    const again = async (): Promise<readonly unknown[]> => {
      await new Promise((resolve) => setTimeout(resolve, ANEW));
      return load();
    };
    const found = await load().catch(again).catch(() => null);
    if (found !== null && found.length === 0 && !this.#isEnding) this.forgotten();
  }

  /** What is stored of the pairing is gone, without this page's doing. */
  forgotten(): void {
    const error = new CoupletError("CPL-1608", "What was stored of the pairing is gone");
    this.#heard({ state: "forgotten", error });
    void this.host.close();
  }

  #heard(state: State): void {
    if (this.#isEnding) return;
    this.#set({ state, name: this.host.name || this.#open.name });
    if (isFinal(state)) void this.#end(state.state === "closed");
    else if (isOnline(state)) void this.#ask();
  }

  /** It is over for good: nothing of it stays on this device. */
  async #end(isKept: boolean): Promise<void> {
    this.#isEnding = true;
    this.#off();
    if (isKept) return this.#set({ shown: [] });
    await this.#wipeApps();
    this.#set({ shown: [] });
    const { storage, apps } = this.#around;
    try {
      // Another tab may have paired anew meanwhile.
      const stored = await storage.load(this.host.id);
      if (stored.every((one) => one.device_id === this.host.deviceId)) await storage.remove(this.host.id);
      await apps.forget(this.host.id);
    } catch {
      // What cannot be removed opens nothing any more.
    }
    this.#around.gone(this.host.id);
  }

  async #wipeApps(): Promise<void> {
    const wiped = Promise.allSettled([...this.#frames.values()].map((one) => one.wipe()));
    this.#frames.clear();
    await Promise.race([wiped, new Promise((resolve) => setTimeout(resolve, WIPE))]);
  }

  /** Asks what this device is to the host, once. */
  async #ask(): Promise<void> {
    if (this.#open.me !== null || this.#isAsking) return;
    this.#isAsking = true;
    try {
      const me = await this.host.me();
      const apps = appsOf(me);
      const app = chosenApp(apps, this.#wanted);
      this.#set({ me, apps });
      if (app !== undefined && !this.#isEnding) await this.select(app);
    } catch (error) {
      // Where the session is gone, the next one asks again.
      if (isOnline(this.host.state) && !this.#isEnding) this.#set({ trouble: troubleOf(error, this.#around.isOnline()) });
    } finally {
      this.#isAsking = false;
    }
  }

  #front(): OpenApp | undefined {
    const shown = this.#open.shown.find((one) => one.app === this.#open.app);
    return shown === undefined ? undefined : this.#frames.get(shown.label);
  }

  #shownAs(label: string, part: Partial<Shown>): void {
    if (this.#isEnding) return;
    this.#set({ shown: this.#open.shown.map((one) => (one.label === label ? { ...one, ...part } : one)) });
  }

  /** An app's word: only what a browser opens in a tab is worth a question. */
  #leads(url: string): void {
    const isWeb = URL.canParse(url) && ["https:", "http:", "mailto:", "tel:"].includes(new URL(url).protocol);
    if (isWeb && !this.#isEnding) this.#set({ leaving: new URL(url).href });
  }

  #set(part: Partial<Open>): void {
    this.#open = { ...this.#open, ...part };
    this.#around.cell.set({ open: this.#open });
  }
}
