/** What the pages do: from a link to a host, from a host to its apps, and back. */
import { CoupletError, pair, restore, shownName, storedHost, type CredentialStore, type Given, type Host, type StoredCredentials } from "../sdk.js";
import type { AppStore } from "./app_store.js";
import { isUnderWay, next, proposed, unreadable, type Event } from "./ceremony.js";
import type { Config } from "./config.js";
import type { Device } from "./device.js";
import { readLink } from "./link.js";
import { Session } from "./session.js";
import { BEGINNING, Cell, type Listed, type Route, type Seen, type Shared } from "./shared.js";
import { saidOfStep } from "./status.js";
import { Sweeper } from "./sweeper.js";
import { texts } from "./texts.js";
import { troubleOf } from "./trouble.js";

/** How long between two tries to get the configuration, in milliseconds. */
const PAUSE = 10_000;
/** How long a person waits for what apps have stored to be removed, in milliseconds; it may go on after that. */
const FORGET = 10_000;
const CLEAR = 30_000;

/** What other tabs of these pages are told. */
export type Word = { readonly is: "changed" } | { readonly is: "forgotten"; readonly id: string };

/** Where it runs. */
export interface Where {
  readonly storage: CredentialStore;
  readonly apps: AppStore;
  /** For `pair` and `restore`. */
  readonly given: Given;
  readonly device: () => Promise<Device>;
  readonly config: () => Promise<Config>;
  readonly isOnline: () => boolean;
  /** A tick that is felt. */
  readonly tick: () => void;
  /** Makes the address bar's history say what is shown. */
  readonly turn: (route: Route, isBack: boolean) => void;
  readonly tell: (word: Word) => void;
  /** Removes what the app of this label has stored: whether all of it is gone. */
  readonly wipe: (label: string, appsOrigin: string) => Promise<boolean>;
  /** Removes all that is stored: whether it is gone, or goes once another tab lets go of it. */
  readonly clear: () => Promise<boolean>;
}

/** The pages' one controller. */
export class Client {
  readonly cell = new Cell<Shared>(BEGINNING);
  readonly #where: Where;
  #device: Device = { name: "", model: undefined, platform: undefined };
  #session: Session | null = null;
  /** The pairing that is under way, or the opening of a host. */
  #work = new AbortController();
  #configuring: Promise<void> | null = null;
  /** When the server is asked again. */
  #again: ReturnType<typeof setTimeout> | undefined;
  readonly #sweeper: Sweeper;

  constructor(where: Where) {
    this.#where = where;
    this.#sweeper = new Sweeper({
      apps: where.apps,
      wipe: async (label) => {
        const pattern = this.cell.value.config?.apps ?? null;
        return pattern !== null && where.isOnline() && where.wipe(label, pattern);
      },
      onState: (leavings) => this.cell.set({ leavings }),
    });
  }

  /** The host that is open. */
  get session(): Session | null {
    return this.#session;
  }

  /** Begins: with a link that was opened, else where the page was. */
  async begin(link: string | null, route: Route): Promise<void> {
    void this.configure();
    this.#device = await this.#where.device();
    if (link !== null) this.propose(link);
    await this.list();
    await this.#where.apps.keepOnly(() => this.#pairings()).catch(() => {});
    if (this.cell.value.config !== null) void this.#sweeper.sweep();
    if (link === null && route.at === "host") await this.arrive(route);
  }

  /** Shows a page that the user went to by the browser's own buttons. */
  async arrive(route: Route): Promise<void> {
    const { hosts } = this.cell.value;
    if (route.at === "host" && hosts?.some((host) => host.id === route.id) === true) return this.#openHost(route);
    this.#leave();
    this.cell.set({ route: route.at === "host" || route.at === "pair" ? { at: "home" } : route });
  }

  /** Goes to another page. */
  go(at: "home" | "scan" | "paste"): void {
    const isBack = at === "home" && this.cell.value.route.at !== "host";
    this.#leave();
    this.#turn({ at }, isBack);
  }

  /** The hosts that are stored. @throws {CoupletError} Some cannot be read: then it is not known which there are. */
  async #pairings(): Promise<readonly string[]> {
    return listed(await this.#where.storage.list()).map((host) => host.id);
  }

  /** Reads the hosts that are stored. */
  async list(): Promise<void> {
    let unusable: CoupletError | null = null;
    try {
      const forms = await this.#where.storage.list((error) => (unusable = error));
      const stored = unusable === null ? null : troubleOf(unusable);
      this.cell.set({ hosts: listed(forms), stored });
    } catch (error) {
      const trouble = error instanceof CoupletError ? error : new CoupletError("CPL-1607", undefined, { cause: error });
      this.cell.set({ hosts: [], stored: troubleOf(trouble) });
    }
  }

  /** Asks the server what it offers, until it answers. */
  async configure(): Promise<void> {
    if (this.cell.value.config !== null) return;
    this.#configuring ??= this.#askServer().finally(() => (this.#configuring = null));
    await this.#configuring;
  }

  async #askServer(): Promise<void> {
    clearTimeout(this.#again);
    try {
      const config = await this.#where.config();
      this.cell.set({ config, server: null });
      this.#session?.configured();
      void this.#sweeper.sweep();
    } catch {
      this.cell.set({ server: this.#where.isOnline() ? "away" : "offline" });
      this.#again = setTimeout(() => void this.configure(), PAUSE);
    }
  }

  /** A link was opened, scanned or pasted: shows whose it is. Nothing is sent yet. */
  propose(text: string): void {
    this.#leave();
    try {
      this.cell.set({ ceremony: proposed(readLink(text), this.#device.name) });
    } catch (error) {
      this.cell.set({ ceremony: unreadable(troubleOf(error)) });
    }
    this.#turn({ at: "pair" });
  }

  /** Pairs. `anotherHost`: that it is another one than a known host of the same name or address. */
  async pair(name: string, anotherHost = false): Promise<void> {
    this.#happens({ is: "begun", name });
    const now = this.cell.value.ceremony;
    if (now?.step !== "connecting") return;
    this.#work.abort();
    const { signal } = (this.#work = new AbortController());
    const { storage, given } = this.#where;
    const { model, platform } = this.#device;
    try {
      const host = await pair(now.link.text, {
        ...given,
        ...{ name, model, platform, storage, anotherHost, signal },
        onState: (state) => {
          if (!signal.aborted) this.#happens({ is: "told", state, now: Date.now() });
        },
      });
      if (signal.aborted) return void (await host.close());
      this.#paired(host);
    } catch (error) {
      const around = { isOnline: this.#where.isOnline(), isLate: now.link.expiresAt <= Date.now() };
      if (!signal.aborted) this.#happens({ is: "failed", trouble: troubleOf(error, around) });
    }
  }

  /** Back to the name of this device. */
  rename(): void {
    this.#happens({ is: "renaming" });
  }

  #paired(host: Host): void {
    // Else a browser that is short of room may throw away what is paired, with what apps have stored.
    void navigator.storage?.persist?.().catch(() => false);
    this.#happens({ is: "paired", hostName: host.name || texts.unnamed });
    this.#where.tick();
    this.#where.tell({ is: "changed" });
    void this.list();
    this.#hold(host, {});
    this.#turn({ at: "host", id: host.id });
  }

  /** Opens a host of the list. */
  async openHost(id: string): Promise<void> {
    this.#leave();
    this.#turn({ at: "host", id });
    await this.#openHost({ id });
  }

  async #openHost(seen: Seen): Promise<void> {
    const { id, app } = seen;
    if (this.#session?.host.id === id && this.cell.value.route.at === "host") {
      if (app !== undefined) await this.#session.select(app);
      return;
    }
    this.#leave();
    const { signal } = (this.#work = new AbortController());
    this.cell.set({ route: { at: "host", id }, notice: "" });
    try {
      const [host, ...others] = await restore({ ...this.#where.given, storage: this.#where.storage, id });
      for (const other of others) void other.close();
      if (signal.aborted || host === undefined) {
        void host?.close();
        if (!signal.aborted) await this.#missing();
        return;
      }
      this.#hold(host, seen);
    } catch (error) {
      if (signal.aborted) return;
      this.cell.set({ stored: troubleOf(error) });
      this.go("home");
    }
  }

  async #missing(): Promise<void> {
    await this.list();
    this.go("home");
  }

  #hold(host: Host, seen: Omit<Seen, "id">): void {
    this.#session = new Session(host, seen, {
      cell: this.cell,
      storage: this.#where.storage,
      apps: this.#where.apps,
      isOnline: this.#where.isOnline,
      gone: (id) => {
        this.#where.tell({ is: "forgotten", id });
        void this.list();
        void this.#sweeper.sweep();
      },
      turned: (app, path) => this.#turn({ at: "host", id: host.id, app, ...(path === undefined ? {} : { path }) }),
    });
  }

  /** Opens anew the host whose session is over. */
  async reopen(): Promise<void> {
    const id = this.#session?.host.id;
    this.#leave();
    if (id !== undefined) await this.#openHost({ id });
  }

  /** Ends the pairing with a host, whether it is open or not. */
  async forget(id: string): Promise<void> {
    if (this.cell.value.forgetting !== "") return;
    const session = this.#session?.host.id === id ? this.#session : null;
    const name = session?.host.name ?? this.cell.value.hosts?.find((host) => host.id === id)?.name ?? texts.unnamed;
    this.cell.set({ forgetting: id, notice: "" });
    this.#where.tell({ is: "forgotten", id });
    let part: Partial<Shared>;
    try {
      const isTold = await (session === null ? this.#forgetClosed(id) : session.forget());
      await this.#swept(FORGET);
      part = { notice: isTold ? texts.home.forgotten(name) : texts.home.untold(name) };
    } catch (error) {
      part = { stored: troubleOf(error) };
    }
    await this.list();
    this.#where.tell({ is: "changed" });
    if (session !== null && this.#session === session) this.go("home");
    this.cell.set({ ...part, forgetting: "" });
  }

  /** The same with one that is not open. Resolves with whether it knows. */
  async #forgetClosed(id: string): Promise<boolean> {
    const { storage, given, apps } = this.#where;
    try {
      const [host] = await restore({ ...given, storage, id });
      if (host !== undefined) return await host.forget();
      await storage.remove(id);
      return false;
    } finally {
      await apps.forget({ host: id }).catch(() => {});
    }
  }

  /** Removes all that is stored: first what the apps of all hosts have stored. Hosts are not told. */
  async clear(): Promise<void> {
    this.go("home");
    this.cell.set({ isClearing: true });
    for (const { id } of this.cell.value.hosts ?? []) this.#where.tell({ is: "forgotten", id });
    let part: Partial<Shared>;
    try {
      const isKnown = await this.#where.apps.forget().then(() => true, () => false);
      await this.configure();
      const isSwept = isKnown && (await this.#swept(CLEAR));
      // Until then nothing that is stored can be read.
      if (!(await this.#where.clear())) return this.cell.set({ ...{ hosts: [], stored: null }, notice: texts.home.clearedLater, isClearing: false });
      part = { notice: isSwept ? texts.home.cleared : texts.home.clearedPart, leavings: "none" };
    } catch (error) {
      part = { stored: troubleOf(new CoupletError("CPL-1607", undefined, { cause: error })) };
    }
    await this.list();
    this.cell.set({ ...part, isClearing: false });
    this.#where.tell({ is: "changed" });
  }

  /** Removes what apps of forgotten hosts have stored: whether nothing is left, in this time. */
  async #swept(milliseconds: number): Promise<boolean> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), milliseconds)));
    return Promise.race([this.#sweeper.sweep(), late]).finally(() => clearTimeout(timer));
  }

  /** Another tab has done something. */
  heard(word: Word): void {
    void this.list();
    if (word.is === "forgotten" && this.#session?.host.id === word.id) this.#session.forgotten();
    else void this.#session?.look();
  }

  /** The page is seen again, or what is stored may have been cleared. */
  look(): void {
    void this.list();
    void this.#session?.look();
    void this.configure();
    if (this.cell.value.leavings === "left") void this.#sweeper.sweep();
  }

  say(said: string): void {
    this.cell.set({ said });
  }

  /** Lets go of what is open or under way. */
  #leave(): void {
    this.#work.abort();
    const session = this.#session;
    this.#session = null;
    this.cell.set({ open: null, ceremony: null, notice: "" });
    void session?.close();
  }

  #happens(event: Event): void {
    const { ceremony } = this.cell.value;
    if (ceremony === null) return;
    const now = next(ceremony, event);
    this.cell.set({ ceremony: now });
    // Its title is read as it gets the focus; this is the rest.
    if (now.step !== ceremony.step) this.say(saidOfStep(now));
  }

  #turn(route: Route, isBack = false): void {
    this.cell.set({ route });
    this.#where.turn(route, isBack);
  }

  /** Whether something would be lost with the page. */
  get isBusy(): boolean {
    const { ceremony } = this.cell.value;
    return ceremony !== null && isUnderWay(ceremony);
  }
}

/** The hosts of what is stored, by their names. */
export function listed(forms: readonly StoredCredentials[]): readonly Listed[] {
  const hosts = new Map<string, Listed>();
  for (const form of forms) {
    const id = idOf(form);
    if (id === null) continue;
    const isUnfinished = form.paired_at === undefined;
    if (isUnfinished && hosts.has(id)) continue;
    hosts.set(id, { id, name: shownName(form.host_name) || texts.unnamed, fingerprint: id.toUpperCase(), isUnfinished });
  }
  return [...hosts.values()].sort((a, b) => a.name.localeCompare(b.name));
}

function idOf(form: StoredCredentials): string | null {
  try {
    return storedHost(form);
  } catch {
    return null;
  }
}
