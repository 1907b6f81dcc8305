/** `WebSocket`, over a MessagePort that leads to the client's page: a browser's own would go to the relay. */
import type { FromSocket, ToSocket } from "../../wire/messages.js";
import { ownPath } from "../../wire/own.js";

type Handler = ((this: unknown, event: Event) => unknown) | null;
type Kind = "open" | "message" | "error" | "close";

/** Changes the page's `WebSocket`. `worker`: who takes the ports. */
export function installSocket(worker: () => ServiceWorker | null): void {
  const Native = window.WebSocket;

  class Socket extends EventTarget {
    static readonly CONNECTING = 0;
    static readonly OPEN = 1;
    static readonly CLOSING = 2;
    static readonly CLOSED = 3;
    #url = "";
    #port: MessagePort | null = null;
    readonly #handlers = new Map<Kind, Handler>();
    #binaryType: BinaryType = "blob";
    #protocol = "";
    #state: 0 | 1 | 2 | 3 = 0;
    #buffered = 0;

    constructor(url: string | URL, protocols: string | readonly string[] = []) {
      super();
      const address = addressOf(url);
      const path = ownPath(address, location.origin);
      if (path === null) return new Native(address, protocols as string | string[]) as unknown as Socket;
      const wanted = typeof protocols === "string" ? [protocols] : Array.from(protocols, String);
      const isNone = wanted.some((its, at) => !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(its) || wanted.indexOf(its) !== at);
      if (isNone) throw new DOMException("a subprotocol is none, or stands there twice", "SyntaxError");
      this.#url = address.href;
      const { port1, port2 } = new MessageChannel();
      this.#port = port1;
      port1.onmessage = ({ data }: MessageEvent<ToSocket>) => this.#hear(data);
      window.addEventListener("pagehide", () => this.#gone());
      const controller = worker();
      if (controller === null) queueMicrotask(() => this.#closed(1006, "", false));
      else controller.postMessage({ couplet: "socket", path: path.replace(/#.*$/, ""), protocols: wanted }, [port2]);
    }

    get url(): string {
      return this.#url;
    }
    get protocol(): string {
      return this.#protocol;
    }
    get extensions(): string {
      return "";
    }
    get readyState(): 0 | 1 | 2 | 3 {
      return this.#state;
    }
    get bufferedAmount(): number {
      return this.#buffered;
    }
    get binaryType(): BinaryType {
      return this.#binaryType;
    }
    set binaryType(type: BinaryType) {
      if (type === "blob" || type === "arraybuffer") this.#binaryType = type;
    }
    get onopen(): Handler {
      return this.#handler("open");
    }
    set onopen(handler: Handler) {
      this.#handle("open", handler);
    }
    get onmessage(): Handler {
      return this.#handler("message");
    }
    set onmessage(handler: Handler) {
      this.#handle("message", handler);
    }
    get onerror(): Handler {
      return this.#handler("error");
    }
    set onerror(handler: Handler) {
      this.#handle("error", handler);
    }
    get onclose(): Handler {
      return this.#handler("close");
    }
    set onclose(handler: Handler) {
      this.#handle("close", handler);
    }

    send(data: string | ArrayBufferLike | ArrayBufferView | Blob): void {
      if (this.#state === 0) throw new DOMException("the socket is not open yet", "InvalidStateError");
      const message = copied(data);
      this.#buffered += lengthOf(message);
      if (this.#state === 1) this.#say({ t: "send", data: message });
    }

    close(code?: number, reason = ""): void {
      if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
        throw new DOMException("the code is neither 1000 nor 3000 to 4999", "InvalidAccessError");
      }
      if (new TextEncoder().encode(reason).length > 123) throw new DOMException("the reason is longer than 123 bytes", "SyntaxError");
      if (this.#state >= 2) return;
      this.#state = 2;
      this.#say({ t: "close", code, reason });
    }

    #say(message: FromSocket): void {
      this.#port?.postMessage(message);
    }

    #hear(message: ToSocket): void {
      switch (message.t) {
        case "open":
          if (this.#state !== 0) return;
          this.#protocol = message.protocol;
          this.#state = 1;
          this.dispatchEvent(new Event("open"));
          return;
        case "message": {
          if (this.#state !== 1 && this.#state !== 2) return;
          const isBlob = typeof message.data !== "string" && this.#binaryType === "blob";
          const data = isBlob ? new Blob([message.data]) : message.data;
          this.dispatchEvent(new MessageEvent("message", { data, origin: new URL(this.#url).origin }));
          return;
        }
        case "sent":
          this.#buffered = Math.max(0, this.#buffered - message.bytes);
          return;
        case "error":
          // It is told with the end, as in the DOM.
          this.#state = 3;
          this.dispatchEvent(new Event("error"));
          return;
        case "close":
          this.#closed(message.code, message.reason, message.wasClean);
      }
    }

    #closed(code: number, reason: string, wasClean: boolean): void {
      const isFailure = this.#state !== 3 && !wasClean;
      this.#state = 3;
      if (isFailure) this.dispatchEvent(new Event("error"));
      this.dispatchEvent(new CloseEvent("close", { code, reason, wasClean }));
      this.#port?.close();
    }

    /** The page goes away: no browser tells everyone at the other end of a port. */
    #gone(): void {
      if (this.#state >= 2) return;
      this.#state = 2;
      this.#say({ t: "close", code: undefined, reason: "" });
    }

    #handler(kind: Kind): Handler {
      return this.#handlers.get(kind) ?? null;
    }

    /** As in the DOM: the handler keeps the place that the first one had among the listeners. */
    #handle(kind: Kind, handler: Handler): void {
      const isNew = !this.#handlers.has(kind);
      this.#handlers.set(kind, typeof handler === "function" ? handler : null);
      if (isNew) this.addEventListener(kind, (event) => void this.#handlers.get(kind)?.call(this, event));
    }
  }

  for (const [name, value] of [["CONNECTING", 0], ["OPEN", 1], ["CLOSING", 2], ["CLOSED", 3]] as const) {
    Object.defineProperty(Socket.prototype, name, { value, enumerable: true });
  }
  // Sockets to elsewhere are the browser's.
  Object.defineProperty(Socket, Symbol.hasInstance, {
    value: (it: unknown) => it instanceof Native || Function.prototype[Symbol.hasInstance].call(Socket, it),
  });
  Object.defineProperty(Socket, "name", { value: "WebSocket" });
  window.WebSocket = Socket as unknown as typeof WebSocket;
}

/** As the DOM reads it (WebSockets, 3.1). */
function addressOf(url: string | URL): URL {
  if (!URL.canParse(url, document.baseURI)) throw new DOMException(`"${String(url)}" is no address`, "SyntaxError");
  const address = new URL(url, document.baseURI);
  if (address.protocol === "http:") address.protocol = "ws:";
  if (address.protocol === "https:") address.protocol = "wss:";
  if (!/^wss?:$/.test(address.protocol)) throw new DOMException("the address is neither ws: nor wss:", "SyntaxError");
  address.hash = "";
  return address;
}

/** A copy, as whoever sends something may change it. */
function copied(data: string | ArrayBufferLike | ArrayBufferView | Blob): string | ArrayBuffer | Blob {
  if (data instanceof Blob) return data;
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice().buffer as ArrayBuffer;
  if (data instanceof ArrayBuffer) return data.slice(0);
  return String(data);
}

function lengthOf(data: string | ArrayBuffer | Blob): number {
  if (typeof data === "string") return new TextEncoder().encode(data).length;
  return data instanceof Blob ? data.size : data.byteLength;
}
