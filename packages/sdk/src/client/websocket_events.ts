/** Events of a socket. Own ones, as React Native has no `EventTarget` and Node no `CloseEvent` everywhere. */

/** What a listener is given: the fields of the DOM's `Event`, `MessageEvent` and `CloseEvent` that a socket's have. */
export interface SocketEvent<Target> {
  readonly type: string;
  readonly target: Target;
  readonly currentTarget: Target;
  readonly bubbles: false;
  readonly cancelable: false;
  readonly defaultPrevented: false;
  readonly timeStamp: number;
  preventDefault(): void;
  stopPropagation(): void;
  stopImmediatePropagation(): void;
}

/** A message: a text, or bytes as the socket's `binaryType` says. */
export interface SocketMessageEvent<Target> extends SocketEvent<Target> {
  readonly data: string | ArrayBuffer | Blob;
  readonly origin: string;
  readonly lastEventId: "";
}

/** The end. */
export interface SocketCloseEvent<Target> extends SocketEvent<Target> {
  /** RFC 6455, 7.4; 1006 when there was no closing handshake. */
  readonly code: number;
  readonly reason: string;
  /** Both ends said that they close. */
  readonly wasClean: boolean;
}

/** Why it failed: the DOM keeps it to itself, this does not. */
export interface SocketErrorEvent<Target> extends SocketEvent<Target> {
  readonly error: unknown;
  readonly message: string;
}

/** What there is to listen to. */
export interface SocketEvents<Target> {
  open: SocketEvent<Target>;
  message: SocketMessageEvent<Target>;
  error: SocketErrorEvent<Target>;
  close: SocketCloseEvent<Target>;
}

/** What can be given as a listener, as in the DOM. */
export type Listener<Event> = ((event: Event) => void) | { handleEvent(event: Event): void };

interface Registered {
  readonly listener: Listener<never>;
  readonly once: boolean;
  removed: boolean;
}

/** Listeners, by type, called in the order in which they were added. */
export class Listeners<Target> {
  readonly #byType = new Map<string, Registered[]>();

  add(type: string, listener: Listener<never> | null, options?: boolean | AddEventListenerOptions): void {
    if (!listener) return;
    const { once = false, signal = undefined } = typeof options === "object" ? options : {};
    if (signal?.aborted) return;
    const all = this.#byType.get(type) ?? [];
    if (all.some((its) => its.listener === listener)) return;
    this.#byType.set(type, [...all, { listener, once, removed: false }]);
    signal?.addEventListener("abort", () => this.remove(type, listener), { once: true });
  }

  remove(type: string, listener: Listener<never> | null): void {
    const all = this.#byType.get(type) ?? [];
    for (const its of all) if (its.listener === listener) its.removed = true;
    this.#byType.set(type, all.filter((its) => !its.removed));
  }

  /** Calls the `on…` handler and the listeners. What one of them throws stops none of the others. */
  dispatch(target: Target, type: string, handler: Listener<never> | null, fields: object): void {
    let stopped = false;
    const event = {
      type,
      target,
      currentTarget: target,
      bubbles: false,
      cancelable: false,
      defaultPrevented: false,
      timeStamp: Date.now(),
      preventDefault: () => undefined,
      stopPropagation: () => undefined,
      stopImmediatePropagation: () => {
        stopped = true;
      },
      ...fields,
    };
    const all = this.#byType.get(type) ?? [];
    if (handler) call(handler, event, target);
    for (const its of all) {
      if (stopped) return;
      if (its.removed) continue;
      if (its.once) this.remove(type, its.listener);
      call(its.listener, event, target);
    }
  }
}

function call(listener: Listener<never>, event: unknown, target: unknown): void {
  try {
    if (typeof listener === "function") listener.call(target as never, event as never);
    else listener.handleEvent(event as never);
  } catch (error) {
    // As in the DOM: whoever wrote the listener hears of it, nobody else.
    setTimeout(() => {
      throw error;
    }, 0);
  }
}
