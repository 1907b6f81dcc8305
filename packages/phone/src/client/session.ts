/** The host that is open: its state, its apps in frames, and what becomes of them when it is over. */
import { openApp, type OpenApp } from "../bridge/index.js";
import { CoupletError, isFinal, isOnline, type CredentialStore, type Host, type State } from "../sdk.js";
import type { AppStore } from "./app_store.js";
import { appsOf, chosenApp, type App } from "./apps.js";
import { isKept } from "./places.js";
import { polite } from "./polite.js";
import { Quiet } from "./quiet.js";
import type { Cell, Open, Seen, Shared, Shown } from "./shared.js";
import { texts } from "./texts.js";
import { troubleOf } from "./trouble.js";

/** An app may say that it is elsewhere as often as it likes: it is written down once in so many milliseconds. */
const NOTED = 1000;

/** How long to wait before what is stored is looked at again that could not be read, in milliseconds. */
const ANEW = 500;

/** What a session works with. */
export interface Around {
  readonly cell: Cell<Shared>;
  readonly storage: CredentialStore;
  readonly apps: AppStore;
  isOnline(): boolean;
  /** The host of this id has been wiped from what is stored; what its apps have stored is still to be removed. */
  gone(id: string): void;
  /** Another app is in front, or the one in front is at another place. */
  turned(app: App, path?: string): void;
}

/** Holds one host. */
export class Session {
  readonly host: Host;
  readonly #around: Around;
  readonly #frames = new Map<string, OpenApp>();
  readonly #quiet = new Quiet();
  readonly #off: () => void;
  /** Where to begin. */
  #wanted: Omit<Seen, "id">;
  #noting: ReturnType<typeof setTimeout> | undefined;
  #noted = "";
  #isAsking = false;
  #isEnding = false;
  #open: Open;

  /** `wanted`: the app to begin with, where the host still has it, and where in it. */
  constructor(host: Host, wanted: Omit<Seen, "id">, around: Around) {
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
      leaving: null,
      isForgetting: false,
      isGone: false,
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
      this.#around.turned(app, this.#place());
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
      path: app === this.#wanted.app ? this.#wanted.path : undefined,
      onState: (state) => this.#shownAs(label, { state }),
      onLeave: (url) => this.#leads({ app, label }, url),
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
  left(isOpened: boolean): void {
    const front = this.#inFront();
    if (front !== undefined) this.#quiet.answered(front.label, isOpened);
    this.#set({ leaving: null });
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
    await this.#closeApps();
    await this.host.close();
  }

  /** Ends the pairing. Resolves with whether the host knows of it. @throws {CoupletError} It cannot be removed here. */
  async forget(): Promise<boolean> {
    this.#isEnding = true;
    this.#set({ isForgetting: true });
    const open = await this.#closeApps();
    try {
      return await this.host.forget();
    } finally {
      this.#off();
      await this.#around.apps.forget({ host: this.host.id }, open).catch(() => {});
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
    if (isFinal(state)) void this.#end(state.state);
    else if (isOnline(state)) void this.#ask();
  }

  /** It is over for good: nothing of it stays on this device. */
  async #end(how: State["state"]): Promise<void> {
    this.#isEnding = true;
    this.#off();
    const open = await this.#closeApps();
    this.#set({ shown: [] });
    if (how === "closed") return;
    const { storage, apps } = this.#around;
    try {
      // Another tab may have paired anew meanwhile; or forgets the host: then it needs what is stored to tell it, and removes it.
      const isOurs = how !== "forgotten" && (await storage.load(this.host.id)).every((one) => one.device_id === this.host.deviceId);
      if (isOurs) await storage.remove(this.host.id);
      await apps.forget({ host: this.host.id, device: this.host.deviceId }, open);
    } catch {
      // What cannot be removed opens nothing any more.
    }
    this.#around.gone(this.host.id);
    this.#set({ isGone: true });
  }

  /** Takes all frames away: nothing of an app may store anything while it is removed. Resolves with their labels. */
  async #closeApps(): Promise<readonly string[]> {
    const open = [...this.#frames];
    this.#frames.clear();
    await Promise.allSettled(open.map(([, frames]) => frames.close()));
    return open.map(([label]) => label);
  }

  /** Asks what this device is to the host, once. */
  async #ask(): Promise<void> {
    if (this.#open.me !== null || this.#isAsking) return;
    this.#isAsking = true;
    try {
      const me = await this.host.me();
      const apps = appsOf(me);
      const app = chosenApp(apps, this.#wanted.app);
      this.#set({ me, apps });
      if (app !== undefined && !this.#isEnding) await this.select(app);
    } catch (error) {
      // Where the session is gone, the next one asks again.
      if (isOnline(this.host.state) && !this.#isEnding) this.#set({ trouble: troubleOf(error, { isOnline: this.#around.isOnline() }) });
    } finally {
      this.#isAsking = false;
    }
  }

  #inFront(): Shown | undefined {
    return this.#open.shown.find((one) => one.app === this.#open.app);
  }

  #front(): OpenApp | undefined {
    return this.#frames.get(this.#inFront()?.label ?? "");
  }

  #shownAs(label: string, part: Partial<Shown>): void {
    if (this.#isEnding) return;
    this.#set({ shown: this.#open.shown.map((one) => (one.label === label ? { ...one, ...part } : one)) });
    // Where the page was left counts once.
    if (part.state?.phase === "open") this.#wanted = {};
    if (this.#noting === undefined) this.#note();
  }

  /** Writes down where the app in front is, and looks again a while later. */
  #note(): void {
    this.#noting = undefined;
    const [app, path] = [this.#open.app, this.#place()];
    const now = JSON.stringify([app, path]);
    if (this.#isEnding || app === undefined || path === undefined || now === this.#noted) return;
    this.#noted = now;
    this.#around.turned(app, path);
    this.#noting = setTimeout(() => this.#note(), NOTED);
  }

  /** Where the app in front says that it is. */
  #place(): string | undefined {
    const state = this.#inFront()?.state;
    if (state?.phase !== "open") return this.#wanted.app === this.#open.app ? this.#wanted.path : undefined;
    return isKept(state.path) ? state.path : undefined;
  }

  /** An app asks without being pressed, too: one question at a time, and only of the app that is seen. */
  #leads({ app, label }: Pick<Shown, "app" | "label">, url: string): void {
    const isFront = this.#inFront()?.label === label;
    if (!isFront || this.#isEnding || this.#open.leaving !== null || !this.#quiet.isHeard(label)) return;
    this.#set({ leaving: { app, url } });
  }

  #set(part: Partial<Open>): void {
    this.#open = { ...this.#open, ...part };
    this.#around.cell.set({ open: this.#open });
  }
}
