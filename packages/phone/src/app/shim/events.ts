/** `EventSource`: browsers give up on one whose worker was stopped meanwhile, as if the app had refused it. It is to connect anew. */

/** Changes the page's `EventSource`. */
export function installEvents(): void {
  const Native = window.EventSource;

  class Source extends Native {
    /** What goes on in its place; what comes there is told here. */
    #next: EventSource | null = null;
    #wasOpen = false;
    readonly #types = new Set(["open", "message", "error"]);

    constructor(url: string | URL, init?: EventSourceInit) {
      super(url, init);
      super.addEventListener("open", () => (this.#wasOpen = true));
      // The first of all listeners: the others find that it connects.
      super.addEventListener("error", () => {
        const { readyState } = this.#next ?? { readyState: super.readyState };
        if (readyState !== Native.CLOSED || !this.#wasOpen) return;
        this.#wasOpen = false;
        this.#next = new Native(this.url, { withCredentials: this.withCredentials });
        for (const type of this.#types) this.#pass(type, this.#next);
      });
    }

    override get readyState(): number {
      return this.#next?.readyState ?? super.readyState;
    }

    override addEventListener(type: string, ...rest: unknown[]): void {
      if (!this.#types.has(type)) {
        this.#types.add(type);
        if (this.#next !== null) this.#pass(type, this.#next);
      }
      (super.addEventListener as (...all: unknown[]) => void).call(this, type, ...rest);
    }

    override close(): void {
      super.close();
      this.#wasOpen = false;
      this.#next?.close();
    }

    #pass(type: string, from: EventSource): void {
      from.addEventListener(type, (event: Event) => {
        if (from !== this.#next) return;
        const { data, origin, lastEventId } = event as MessageEvent;
        this.dispatchEvent(event instanceof MessageEvent ? new MessageEvent(type, { data, origin, lastEventId }) : new Event(type));
      });
    }
  }

  Object.defineProperty(Source, "name", { value: "EventSource" });
  window.EventSource = Source;
}
