/** The client's end of an app's port: whatever comes there is the app's word, and leads to this one app alone. */
import type { Host } from "../sdk.js";
import { MESSAGES_PER_SECOND, REQUESTS_MAX, SOCKETS_MAX } from "../wire/limits.js";
import { type FromClient, type FromWorker, parseFromWorker, parseRefused, type ToSocket } from "../wire/messages.js";
import { VIEW } from "../wire/own.js";
import type { Jar } from "./jar.js";
import { Exchange } from "./exchange.js";
import { Flood } from "./flood.js";
import { openSocket } from "./socket.js";
import { texts } from "./texts.js";

/** What a port leads to. */
export interface Behind {
  readonly host: Host;
  readonly app: string | undefined;
  readonly jar: Jar;
  /** Whether anything is under way, whenever that changes: the worker must live as long. */
  readonly onBusy: (isBusy: boolean) => void;
  /** The app sends more than anything could mean; the port is closed. */
  readonly onFlood: () => void;
}

/** Serves one port until it is closed. */
export class PortServer {
  readonly #port: MessagePort;
  readonly #behind: Behind;
  readonly #exchanges = new Map<number, Exchange>();
  readonly #sockets = new Set<() => void>();
  readonly #flood: Flood;
  #isBusy = false;
  #isOpen = true;

  constructor(port: MessagePort, behind: Behind) {
    this.#port = port;
    this.#behind = behind;
    this.#flood = new Flood(MESSAGES_PER_SECOND);
    port.onmessage = ({ data, ports }: MessageEvent<unknown>) => this.#hear(data, ports);
    // The worker was stopped, where the browser tells; elsewhere the next one asks for a port.
    port.addEventListener("close", () => this.close());
  }

  /** Tells the worker that the cookies changed. */
  jarChanged(): void {
    this.#post({ t: "jar" });
  }

  /** Ends everything that is under way. Idempotent. */
  close(): void {
    if (!this.#isOpen) return;
    // Not all browsers tell the other end that a port was closed.
    this.#post({ t: "bye" });
    this.#isOpen = false;
    this.#port.onmessage = null;
    this.#port.close();
    for (const exchange of this.#exchanges.values()) exchange.abort();
    this.#exchanges.clear();
    for (const end of [...this.#sockets]) end();
    this.#tellBusy();
  }

  #hear(data: unknown, ports: readonly MessagePort[]): void {
    if (this.#flood.isTooMuch(performance.now())) {
      this.close();
      this.#behind.onFlood();
      return;
    }
    const message = parseFromWorker(data);
    const socket = message?.t === "socket" ? ports[0] : undefined;
    for (const port of ports) if (port !== socket) shut(port);
    if (message !== null) this.#obey(message, socket);
    else this.#refuse(data);
  }

  /** Whoever waits is told that it is in vain. */
  #refuse(data: unknown): void {
    const refused = parseRefused(data);
    if (refused === null || this.#exchanges.has(refused.id)) return;
    const { t, id, why } = refused;
    this.#post(t === "view" ? { t: "viewed", id, text: null } : { t: "error", id, code: "", ...texts.refused[why] });
  }

  #obey(message: FromWorker, socket: MessagePort | undefined): void {
    const { jar } = this.#behind;
    switch (message.t) {
      case "request":
        return this.#begin(message);
      case "abort":
        return this.#exchanges.get(message.id)?.abort();
      case "credit":
        return this.#exchanges.get(message.id)?.grant(message.bytes);
      case "write":
        return jar.write(message.text, pathOf(message.path));
      case "view":
        return this.#post({ t: "viewed", id: message.id, text: jar.view(pathOf(message.path)) });
      case "socket":
        if (socket !== undefined) this.#connect(message.path, message.protocols, socket);
    }
  }

  #begin(message: Extract<FromWorker, { t: "request" }>): void {
    const { id } = message;
    // A number that is taken would mix two answers.
    if (this.#exchanges.has(id)) return;
    if (this.#exchanges.size >= REQUESTS_MAX) {
      return this.#post({ t: "error", id, code: "CPL-1610", ...texts.tooMuch });
    }
    const exchange = new Exchange(message, this.#behind, (told, transfer) => this.#post(told, transfer));
    this.#exchanges.set(id, exchange);
    this.#tellBusy();
    void exchange.run().finally(() => {
      this.#exchanges.delete(id);
      this.#tellBusy();
    });
  }

  #connect(path: string, protocols: readonly string[], port: MessagePort): void {
    if (this.#sockets.size >= SOCKETS_MAX) return shut(port);
    const { host, app, jar } = this.#behind;
    const { end, ended } = openSocket({ host, app, path, protocols, cookie: jar.header(pathOf(path)), port });
    this.#sockets.add(end);
    this.#tellBusy();
    void ended.then(() => {
      this.#sockets.delete(end);
      this.#tellBusy();
    });
  }

  #post(message: FromClient, transfer: Transferable[] = []): void {
    if (this.#isOpen) this.#port.postMessage(message, transfer);
  }

  #tellBusy(): void {
    const isBusy = this.#exchanges.size + this.#sockets.size > 0;
    if (isBusy === this.#isBusy) return;
    this.#isBusy = isBusy;
    this.#behind.onBusy(isBusy);
  }
}

/** Closes a WebSocket's port before there is a socket. */
function shut(port: MessagePort): void {
  const close: ToSocket = { t: "close", code: 1006, reason: "", wasClean: false };
  port.postMessage(close);
  port.close();
}

/** A path without its query. */
function pathOf(path: string): string {
  return new URL(VIEW + path).pathname;
}
