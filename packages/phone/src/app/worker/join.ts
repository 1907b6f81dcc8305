/**
 * Finds the client's page, through the keepers' frames. Several pages may show the app, in tabs of their own: the worker goes to
 * the one that was in front last, as others may be asleep, or have lost the host to that one. What is under way elsewhere goes on.
 */
import { type FromOwnWorker, KEEPER } from "../../wire/frames.js";
import { VERSION } from "../../wire/version.js";
import { Gone, Link } from "./link.js";

/** Milliseconds that a keeper has to bring a port. */
const PATIENCE = 10_000;
/** Milliseconds that pages in front are ahead of all others. */
const AHEAD = 1000;
/** Milliseconds in which a page that was heard is taken to be there, and awake. */
const FRESH = 1000;
/** Milliseconds after which a page that does not answer is taken to be asleep: it may only be busy. */
const ASLEEP = 2000;

/** Holds the links, one for each keeper. */
export class Joiner {
  readonly #scope: ServiceWorkerGlobalScope;
  readonly #links = new Map<string, Link>();
  /** Called with each link that comes, and with null where a keeper's page is none to go to. */
  readonly #waiting = new Set<(keeper: string, link: Link | null) => void>();
  #watch: ReturnType<typeof setInterval> | null = null;
  /** The keeper of the page in front. */
  #front = "";
  #finding: Promise<Link> | null = null;
  /** Called when the cookies changed. */
  onJar: () => void = () => {};

  constructor(scope: ServiceWorkerGlobalScope) {
    this.#scope = scope;
  }

  /** The link to the client's page. @throws {Gone} No such page is open and awake. */
  async link(): Promise<Link> {
    this.#watch ??= setInterval(() => void this.#look(), FRESH);
    const link = this.#links.get(this.#front);
    if (link !== undefined && !link.isOver && performance.now() - link.heard < FRESH) return link;
    this.#finding ??= this.#find(link).finally(() => (this.#finding = null));
    return this.#finding;
  }

  /** The page of this keeper is in front. Resolves once there is a link to it. */
  async front(keeper: Client): Promise<void> {
    this.#front = keeper.id;
    const link = this.#links.get(keeper.id);
    if (link === undefined || link.isOver) await this.#asked([keeper]);
    else for (const tell of [...this.#waiting]) tell(keeper.id, link);
    this.#front = keeper.id;
  }

  /** A port came. */
  joined(port: MessagePort, keeper: Client, client: string, wire: string): void {
    if (wire !== VERSION || !URL.canParse(client)) {
      port.close();
      for (const tell of [...this.#waiting]) tell(keeper.id, null);
      // It looks whether it is the older one.
      return say(keeper, { couplet: "ready", wire: VERSION });
    }
    for (const [id, { isOver }] of this.#links) if (isOver) this.#links.delete(id);
    this.#links.get(keeper.id)?.close();
    const link = new Link(port, keeper.id, new URL(client).origin, () => this.onJar());
    this.#links.set(keeper.id, link);
    for (const tell of [...this.#waiting]) tell(keeper.id, link);
  }

  /** Not every browser tells that a page at the other end of a port is gone, and none at once: nobody is to wait for it. */
  async #look(): Promise<void> {
    const busy = [...this.#links.values()].filter(({ isBusy }) => isBusy);
    if (busy.length === 0 && this.#watch !== null) {
      clearInterval(this.#watch);
      this.#watch = null;
    }
    for (const link of busy) if ((await this.#scope.clients.get(link.keeper)) === undefined) link.close();
  }

  async #find(known: Link | undefined): Promise<Link> {
    const windows = await this.#scope.clients.matchAll({ includeUncontrolled: true, type: "window" });
    const keepers = windows.filter(isKeeper);
    for (const [id, link] of this.#links) if (!keepers.some((keeper) => keeper.id === id)) link.close();
    const ways: Promise<Link>[] = [];
    if (known !== undefined && !known.isOver) {
      const answered = known.answers().then(() => known);
      const isAwake = await Promise.race([answered.then(() => true, () => false), after(ASLEEP).then(() => false)]);
      if (isAwake) return known;
      ways.push(answered, this.#next(answered));
    }
    const others = keepers.filter(({ id }) => id !== known?.keeper || known.isOver);
    const ahead = others.filter(({ visibilityState }) => visibilityState === "visible");
    const behind = others.filter((keeper) => !ahead.includes(keeper));
    const first = this.#asked(ahead);
    ways.push(first, Promise.race([first.catch(() => {}), after(ahead.length === 0 ? 0 : AHEAD)]).then(() => this.#asked(behind)));
    const found = await Promise.any(ways).catch(() => Promise.reject(new Gone()));
    this.#front = found.keeper;
    return found;
  }

  /** The next link of all, if one comes before `other` is settled: while one page sleeps, another one may be opened. */
  #next(other: Promise<unknown>): Promise<Link> {
    return new Promise<Link>((resolve, reject) => {
      const hear = (_: string, link: Link | null): void => {
        if (link !== null) resolve(link);
      };
      this.#waiting.add(hear);
      void other.catch(() => {}).then(() => {
        this.#waiting.delete(hear);
        reject(new Gone());
      });
    });
  }

  /** Asks keepers for ports. Resolves with the first link that comes; rejects with {@link Gone}. */
  #asked(keepers: readonly Client[]): Promise<Link> {
    if (keepers.length === 0) return Promise.reject(new Gone());
    const left = new Set(keepers.map(({ id }) => id));
    return new Promise<Link>((resolve, reject) => {
      const over = (link: Link | null): void => {
        clearTimeout(timer);
        this.#waiting.delete(hear);
        if (link === null) reject(new Gone());
        else resolve(link);
      };
      const hear = (keeper: string, link: Link | null): void => {
        if (left.delete(keeper) && (link !== null || left.size === 0)) over(link);
      };
      const timer = setTimeout(() => over(null), PATIENCE);
      this.#waiting.add(hear);
      for (const keeper of keepers) say(keeper, { couplet: "join" });
    });
  }
}

function isKeeper({ url }: Client): boolean {
  const { pathname, hash } = new URL(url);
  return pathname + hash === KEEPER;
}

function say(keeper: Client, message: FromOwnWorker): void {
  keeper.postMessage(message);
}

function after(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
