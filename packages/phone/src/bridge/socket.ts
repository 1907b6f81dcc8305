/** One WebSocket of an app's page: the page's end is a MessagePort, the other one the SDK's socket. */
import type { CoupletWebSocket, Host } from "../sdk.js";
import { MESSAGES_PER_SECOND, SOCKET_MESSAGE_MAX } from "../wire/limits.js";
import { type FromSocket, parseFromSocket, type ToSocket } from "../wire/messages.js";
import { VIEW } from "../wire/own.js";
import { Flood } from "./flood.js";

/** How often it is looked how much of what was sent still waits, in milliseconds: the SDK's socket tells nobody. */
const LOOK = 25;

/** What it takes to open one. */
export interface SocketInit {
  readonly host: Host;
  readonly app: string | undefined;
  readonly path: string;
  readonly protocols: readonly string[];
  readonly cookie: string;
  readonly port: MessagePort;
}

/** Opens it. `end` breaks it off; `ended` resolves when it is over, one way or the other. */
export function openSocket(init: SocketInit): { readonly end: () => void; readonly ended: Promise<void> } {
  const { host, app, path, protocols, cookie, port } = init;
  const headers: [string, string][] = [["origin", VIEW]];
  if (cookie !== "") headers.push(["cookie", cookie]);
  const socket = host.webSocket(new URL(VIEW + path), protocols, { headers, ...(app === undefined ? {} : { app }) });
  const passing = new Passing(socket, port);
  return { end: () => passing.end(), ended: passing.ended };
}

class Passing {
  readonly #socket: CoupletWebSocket;
  readonly #port: MessagePort;
  readonly #flood = new Flood(MESSAGES_PER_SECOND);
  /** What is said is passed on in its order: a Blob takes a while to read. */
  #order: Promise<void> = Promise.resolve();
  /** Bytes of what the page sent and was not told of yet. */
  #unacknowledged = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #isOver = false;
  #over: () => void = () => {};
  readonly ended: Promise<void>;

  constructor(socket: CoupletWebSocket, port: MessagePort) {
    this.#socket = socket;
    this.#port = port;
    this.ended = new Promise((resolve) => (this.#over = resolve));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#tell({ t: "open", protocol: socket.protocol });
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") this.#tell({ t: "message", data });
      else this.#tell({ t: "message", data: data as ArrayBuffer }, [data as ArrayBuffer]);
    };
    socket.onerror = () => this.#tell({ t: "error" });
    socket.onclose = ({ code, reason, wasClean }) => {
      this.#acknowledge();
      this.#tell({ t: "close", code, reason, wasClean });
      this.#finish();
    };
    port.onmessage = ({ data, ports }: MessageEvent<unknown>) => {
      for (const other of ports) other.close();
      const message = parseFromSocket(data);
      if (message === null || this.#flood.isTooMuch(performance.now())) return this.end();
      this.#order = this.#order.then(() => this.#obey(message)).catch(() => this.end());
    };
    // Where the browser tells (Chromium, Firefox): the page is gone. Elsewhere the page says so itself.
    port.addEventListener("close", () => this.end());
  }

  /** Breaks it off. */
  end(): void {
    if (this.#isOver) return;
    this.#tell({ t: "close", code: 1006, reason: "", wasClean: false });
    this.#finish();
    this.#socket.close();
  }

  async #obey(message: FromSocket): Promise<void> {
    if (this.#isOver) return;
    if (message.t === "close") return this.#socket.close(message.code, message.reason);
    let { data } = message;
    if (data instanceof Blob) {
      if (data.size > SOCKET_MESSAGE_MAX) return this.end();
      data = await data.arrayBuffer();
    }
    if (this.#socket.readyState === 0) return this.end();
    const isText = typeof data === "string";
    this.#unacknowledged += isText ? new TextEncoder().encode(data as string).length : (data as ArrayBuffer).byteLength;
    this.#socket.send(data);
    this.#acknowledge();
  }

  /** Says how much of what the page sent waits no more. */
  #acknowledge(): void {
    const bytes = this.#unacknowledged - Math.min(this.#socket.bufferedAmount, this.#unacknowledged);
    if (bytes > 0) {
      this.#unacknowledged -= bytes;
      this.#tell({ t: "sent", bytes });
    }
    if (this.#unacknowledged === 0 || this.#isOver) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#acknowledge();
    }, LOOK);
  }

  #tell(message: ToSocket, transfer: Transferable[] = []): void {
    if (!this.#isOver) this.#port.postMessage(message, transfer);
  }

  #finish(): void {
    this.#isOver = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#port.onmessage = null;
    this.#port.close();
    this.#over();
  }
}
