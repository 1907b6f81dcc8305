/** Finds the client's page, through the keeper's frame, whenever the worker has no port to it: it may have been stopped between. */
import { KEEPER } from "../../wire/frames.js";
import { Gone, Link } from "./link.js";

/** Milliseconds that a keeper has to bring a port. */
const PATIENCE = 10_000;
/** Milliseconds in which it is not asked again whether the keeper is there. */
const FRESH = 1000;

/** Holds one link, and makes the next when that is over. */
export class Joiner {
  readonly #scope: ServiceWorkerGlobalScope;
  #link: Link | null = null;
  #checked = 0;
  #joining: Promise<Link> | null = null;
  #onJoined: ((link: Link) => void) | null = null;
  /** Called when the cookies changed. */
  onJar: () => void = () => {};

  constructor(scope: ServiceWorkerGlobalScope) {
    this.#scope = scope;
  }

  /** The link to the client's page. `isSure`: whether that is there is asked in any case. @throws {Gone} No such page is open. */
  async link(isSure = false): Promise<Link> {
    const link = this.#link;
    if (isSure) this.#checked = Number.NEGATIVE_INFINITY;
    if (link !== null && !link.isOver && (await this.#isThere(link))) return link;
    this.#joining ??= this.#join().finally(() => (this.#joining = null));
    return this.#joining;
  }

  /** A port came. */
  joined(port: MessagePort, keeper: string, client: string): void {
    const isNeeded = this.#onJoined !== null || this.#link === null || this.#link.isOver || this.#link.keeper === keeper;
    if (!isNeeded || !URL.canParse(client)) return port.close();
    this.#link?.close();
    const link = new Link(port, keeper, new URL(client).origin, () => this.onJar());
    this.#link = link;
    this.#checked = performance.now();
    this.#onJoined?.(link);
    this.#onJoined = null;
  }

  async #isThere(link: Link): Promise<boolean> {
    if (performance.now() - this.#checked < FRESH) return true;
    const isThere = (await this.#scope.clients.get(link.keeper)) !== undefined;
    if (isThere) this.#checked = performance.now();
    else link.close();
    return isThere;
  }

  async #join(): Promise<Link> {
    const windows = await this.#scope.clients.matchAll({ includeUncontrolled: true, type: "window" });
    const keepers = windows.filter(({ url }) => new URL(url).pathname === KEEPER);
    if (keepers.length === 0) throw new Gone();
    return new Promise<Link>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#onJoined = null;
        reject(new Gone());
      }, PATIENCE);
      this.#onJoined = (link) => {
        clearTimeout(timer);
        resolve(link);
      };
      for (const keeper of keepers) keeper.postMessage({ couplet: "join" });
    });
  }
}
