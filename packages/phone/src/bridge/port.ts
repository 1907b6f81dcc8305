/** The client's end of an app's port: whatever comes there is the app's word, and leads to this one app alone. */
import { MESSAGES_PER_SECOND, REQUESTS_MAX, SENT_MAX } from "../wire/limits.js";
import { type FromClient, type FromWorker, parseFromWorker, parseRefused } from "../wire/messages.js";
import { VIEW } from "../wire/own.js";
import { Exchange, type Target } from "./exchange.js";
import { Flood } from "./flood.js";
import { refuseSocket, type Sockets } from "./sockets.js";
import { texts } from "./texts.js";

/** What a port leads to. */
export interface Behind extends Target {
  /** Outlive the port: their own ports go to the app's pages. */
  readonly sockets: Sockets;
  /** Something began, or is over. */
  readonly onTurn: () => void;
  /** The app sends more than anything could mean; the port is closed. */
  readonly onFlood: () => void;
}

/** Serves one port until it is closed. */
export class PortServer {
  readonly #port: MessagePort;
  readonly #behind: Behind;
  readonly #exchanges = new Map<number, Exchange>();
  /** Those of them that wait until others have ended. */
  readonly #waiting = new Map<number, Exchange>();
  readonly #flood: Flood;
  #isOpen = true;

  constructor(port: MessagePort, behind: Behind) {
    this.#port = port;
    this.#behind = behind;
    this.#flood = new Flood(MESSAGES_PER_SECOND);
    port.onmessage = ({ data, ports }: MessageEvent<unknown>) => this.#hear(data, ports);
    // The worker was stopped, where the browser tells; elsewhere the next one asks for a port.
    port.addEventListener("close", () => this.close());
  }

  /** Whether anybody waits for an answer. */
  get isBusy(): boolean {
    return this.#exchanges.size > 0;
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
    this.#waiting.clear();
    this.#behind.onTurn();
  }

  #hear(data: unknown, ports: readonly MessagePort[]): void {
    if (this.#flood.isTooMuch(performance.now())) {
      this.close();
      this.#behind.onFlood();
      return;
    }
    const message = parseFromWorker(data);
    const socket = message?.t === "socket" ? ports[0] : undefined;
    for (const port of ports) if (port !== socket) refuseSocket(port);
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
    const { jar, sockets } = this.#behind;
    switch (message.t) {
      case "request":
        return this.#begin(message);
      case "abort":
        if (this.#waiting.delete(message.id)) this.#ended(message.id);
        return this.#exchanges.get(message.id)?.abort();
      case "credit":
        return this.#exchanges.get(message.id)?.grant(message.bytes);
      case "write":
        return jar.write(message.text, pathOf(message.path));
      case "view":
        return this.#post({ t: "viewed", id: message.id, text: jar.view(pathOf(message.path)) });
      case "socket":
        if (socket !== undefined) sockets.open(message.path, message.protocols, jar.header(pathOf(message.path)), socket);
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
    this.#behind.onTurn();
    // A page that leads elsewhere ends what the one before waits for: it must not wait for that.
    if (message.mode !== "navigate" && this.#exchanges.size - this.#waiting.size > SENT_MAX) this.#waiting.set(id, exchange);
    else this.#send(id, exchange);
  }

  #send(id: number, exchange: Exchange): void {
    void exchange.run().finally(() => this.#ended(id));
  }

  #ended(id: number): void {
    this.#exchanges.delete(id);
    const [next] = this.#waiting;
    if (next !== undefined && this.#exchanges.size - this.#waiting.size < SENT_MAX) {
      this.#waiting.delete(next[0]);
      this.#send(...next);
    }
    this.#behind.onTurn();
  }

  #post(message: FromClient, transfer: Transferable[] = []): void {
    if (this.#isOpen) this.#port.postMessage(message, transfer);
  }
}

/** A path without its query. */
function pathOf(path: string): string {
  return new URL(VIEW + path).pathname;
}
