/** What `<couplet-connect>` does, without the page: from a link to a host, and what becomes of that. */
import type { Host } from "../client/connect.js";
import { pair, restore, type PairOptions } from "../client/open.js";
import type { State } from "../client/state.js";

/** How things stand. */
export type View =
  /** It is looked whether there is a pairing. */
  | { readonly view: "restoring" }
  /** Nothing is stored. `untold`: the host that was forgotten, when it could not be told. */
  | { readonly view: "unpaired"; readonly untold?: string }
  | { readonly view: "connecting" | "finishing" }
  /** The host is told that it is forgotten. */
  | { readonly view: "leaving" }
  /** The owner is being asked: `123 456` is shown. */
  | { readonly view: "approval"; readonly checkCode: string; readonly hostName: string }
  /** It came to nothing. */
  | { readonly view: "failed"; readonly error: unknown }
  | { readonly view: "host"; readonly host: Host; readonly state: State };

/** What is given to `pair` and `restore`. */
export type ConnectOptions = Omit<PairOptions, "name" | "onState" | "signal"> & { readonly id?: string | undefined };

/** Who is told. */
export interface Watcher {
  changed(view: View): void;
  /** There is a host now: paired just now, or `restored`. */
  paired(host: Host, restored: boolean): void;
  failed(error: unknown): void;
}

/** Holds one host, or the way to it. Whatever is begun while something else is under way takes its place. */
export class Connector {
  readonly #watcher: Watcher;
  #view: View = { view: "restoring" };
  #host: Host | null = null;
  #unwatch = (): void => {};
  /** What is under way; aborted when something takes its place. */
  #work = new AbortController();

  constructor(watcher: Watcher) {
    this.#watcher = watcher;
  }

  get view(): View {
    return this.#view;
  }

  get host(): Host | null {
    return this.#host;
  }

  /** Comes back to the host of an earlier pairing: the one that `options.id` names, or the first. */
  async restore(options: ConnectOptions): Promise<void> {
    const { signal } = this.#begin();
    this.#show({ view: "restoring" });
    try {
      const hosts = await restore(options);
      const first = signal.aborted ? undefined : hosts[0];
      await Promise.all(hosts.filter((host) => host !== first).map((host) => host.close()));
      if (signal.aborted) return void (await first?.close());
      if (first === undefined) this.#show({ view: "unpaired" });
      else this.#hold(first, true);
    } catch (error) {
      this.#fail(error, signal);
    }
  }

  /** Pairs by a link. Resolves when that has come to an end, whichever. */
  async pair(link: string, name: string, options: ConnectOptions): Promise<void> {
    const { signal } = this.#begin();
    this.#show({ view: "connecting" });
    const onState: PairOptions["onState"] = (state) => {
      if (signal.aborted) return;
      if (state.state === "approval") this.#show({ view: "approval", checkCode: state.checkCode, hostName: state.hostName });
      else if (state.state === "finishing") this.#show({ view: "finishing" });
    };
    try {
      const host = await pair(link, { ...options, name, onState, signal });
      if (signal.aborted) await host.close();
      else this.#hold(host, false);
    } catch (error) {
      this.#fail(error, signal);
    }
  }

  /** Calls off what is under way. */
  cancel(): void {
    this.#begin();
    this.#show({ view: "unpaired" });
  }

  /** Ends the pairing, here and at the host. */
  async forget(): Promise<void> {
    const host = this.#host;
    const name = host?.name ?? "";
    const { signal } = this.#begin(false);
    this.#show({ view: "leaving" });
    try {
      const isTold = (await host?.forget()) !== false;
      if (!signal.aborted) this.#show({ view: "unpaired", ...(isTold ? {} : { untold: name }) });
    } catch (error) {
      this.#fail(error, signal);
    }
  }

  /** Opens anew the connection with a host that is over, by what is stored of it. */
  async reopen(options: ConnectOptions): Promise<void> {
    const id = this.#host?.id;
    await this.restore({ ...options, ...(id === undefined ? {} : { id }) });
  }

  /** Tries now to reach a host that is away. */
  retry(): void {
    this.#host?.me({ signal: this.#work.signal }).catch(() => {});
  }

  /** Lets go of everything. What is stored stays. */
  stop(): void {
    this.#begin();
    this.#view = { view: "restoring" };
  }

  #begin(closes = true): AbortController {
    this.#work.abort();
    this.#work = new AbortController();
    this.#unwatch();
    this.#unwatch = () => {};
    if (closes) void this.#host?.close();
    this.#host = null;
    return this.#work;
  }

  #hold(host: Host, restored: boolean): void {
    this.#host = host;
    // First: whoever is told of it may let go of it at once.
    this.#unwatch = host.on("state", (state) => this.#show({ view: "host", host, state }));
    this.#show({ view: "host", host, state: host.state });
    if (this.#host === host) this.#watcher.paired(host, restored);
  }

  #fail(error: unknown, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#show({ view: "failed", error });
    this.#watcher.failed(error);
  }

  #show(view: View): void {
    this.#view = view;
    this.#watcher.changed(view);
  }
}
