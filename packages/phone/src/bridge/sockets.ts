/** The WebSockets of one app. */
import type { Host } from "../sdk.js";
import { SOCKETS_MAX } from "../wire/limits.js";
import type { ToSocket } from "../wire/messages.js";
import { openSocket } from "./socket.js";

/** Those that are open. The worker that handed them on may be stopped, or exchanged, meanwhile. */
export class Sockets {
  readonly #host: Host;
  readonly #app: string | undefined;
  readonly #onTurn: () => void;
  readonly #ends = new Set<() => void>();

  /** `onTurn`: one came, or is over. */
  constructor(host: Host, app: string | undefined, onTurn: () => void) {
    this.#host = host;
    this.#app = app;
    this.#onTurn = onTurn;
  }

  get isBusy(): boolean {
    return this.#ends.size > 0;
  }

  open(path: string, protocols: readonly string[], cookie: string, port: MessagePort): void {
    if (this.#ends.size >= SOCKETS_MAX) return refuseSocket(port);
    const { end, ended } = openSocket({ host: this.#host, app: this.#app, path, protocols, cookie, port });
    this.#ends.add(end);
    this.#onTurn();
    void ended.then(() => {
      this.#ends.delete(end);
      this.#onTurn();
    });
  }

  /** Breaks all of them off. */
  end(): void {
    for (const end of [...this.#ends]) end();
  }
}

/** Closes a socket's port before there is a socket. */
export function refuseSocket(port: MessagePort): void {
  const close: ToSocket = { t: "close", code: 1006, reason: "", wasClean: false };
  port.postMessage(close);
  port.close();
}
