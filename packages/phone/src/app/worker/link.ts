/** The worker's end of the port to the client's page. */
import { CREDIT_MAX, STEP, WINDOW } from "../../wire/limits.js";
import type { FromClient, FromWorker, RequestMessage } from "../../wire/messages.js";

/** An answer's head, and its body as it comes. */
export interface Answer {
  readonly head: Extract<FromClient, { t: "head" }>;
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>> | null;
}

/** Why nothing came; for people. */
export class Failure extends Error {
  readonly code: string;
  readonly next: string;

  constructor(code: string, message: string, next: string) {
    super(message);
    this.code = code;
    this.next = next;
  }
}

/** The client's page is gone, or does not know this port any more. */
export class Gone extends Error {}

interface Waiting {
  head(answer: Answer): void;
  failed(error: Error): void;
  controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | null;
  /** What was granted and has not come yet, in bytes. */
  granted: number;
}

/** Requests over one port, until that is closed. */
export class Link {
  /** The keeper that it came from. */
  readonly keeper: string;
  /** The client's origin. */
  readonly client: string;
  readonly #port: MessagePort;
  readonly #onJar: () => void;
  readonly #waiting = new Map<number, Waiting>();
  readonly #views = new Map<number, (text: string | null) => void>();
  #next = 1;
  /** When something came last, by the clock of `performance.now()`. */
  heard = performance.now();
  #isOver = false;

  constructor(port: MessagePort, keeper: string, client: string, onJar: () => void) {
    this.#port = port;
    this.keeper = keeper;
    this.client = client;
    this.#onJar = onJar;
    port.onmessage = ({ data }: MessageEvent<FromClient>) => this.#hear(data);
    port.addEventListener("close", () => this.close());
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Whether anybody waits for anything. */
  get isBusy(): boolean {
    return this.#waiting.size + this.#views.size > 0;
  }

  /** Whatever waits fails. Idempotent. */
  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#port.onmessage = null;
    this.#port.close();
    for (const [id, waiting] of this.#waiting) this.#fail(id, waiting, new Gone());
    for (const tell of this.#views.values()) tell(null);
    this.#views.clear();
  }

  /** Sends a request. Rejects with {@link Failure}, {@link Gone}, or the signal's reason. */
  request(request: Omit<RequestMessage, "t" | "id">, signal: AbortSignal): Promise<Answer> {
    const id = this.#next++;
    return new Promise<Answer>((resolve, reject) => {
      if (this.#isOver) return reject(new Gone());
      const waiting: Waiting = { head: resolve, failed: reject, controller: null, granted: WINDOW };
      this.#waiting.set(id, waiting);
      signal.addEventListener("abort", () => {
        if (this.#waiting.get(id) !== waiting) return;
        this.#say({ t: "abort", id });
        this.#fail(id, waiting, signal.reason instanceof Error ? signal.reason : new DOMException("aborted", "AbortError"));
      });
      this.#say({ t: "request", id, ...request });
    });
  }

  /** What `document.cookie` is at a path; null: nobody knows. */
  view(path: string): Promise<string | null> {
    const id = this.#next++;
    return new Promise((resolve) => {
      if (this.#isOver) return resolve(null);
      this.#views.set(id, resolve);
      this.#say({ t: "view", id, path });
    });
  }

  /** Resolves when the page at the other end says anything: then it is awake. Rejects when the link is over. */
  async answers(): Promise<void> {
    if ((await this.view("/")) === null) throw new Gone();
  }

  /** A script wrote a cookie. */
  write(text: string, path: string): void {
    this.#say({ t: "write", text, path });
  }

  /** Hands a WebSocket on. */
  socket(path: string, protocols: readonly string[], port: MessagePort): void {
    this.#say({ t: "socket", path, protocols }, [port]);
  }

  #say(message: FromWorker, transfer: Transferable[] = []): void {
    if (!this.#isOver) this.#port.postMessage(message, transfer);
  }

  #hear(message: FromClient): void {
    this.heard = performance.now();
    if (message.t === "bye") return this.close();
    if (message.t === "jar") return this.#onJar();
    if (message.t === "viewed") {
      this.#views.get(message.id)?.(message.text);
      this.#views.delete(message.id);
      return;
    }
    const { id } = message;
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    switch (message.t) {
      case "head":
        if (!message.body) this.#waiting.delete(id);
        return waiting.head({ head: message, body: message.body ? this.#body(id, waiting) : null });
      case "data":
        waiting.granted -= message.bytes.length;
        return waiting.controller?.enqueue(message.bytes);
      case "end":
        this.#waiting.delete(id);
        return waiting.controller?.close();
      case "error":
        return this.#fail(id, waiting, new Failure(message.code, message.message, message.next));
    }
  }

  #body(id: number, waiting: Waiting): ReadableStream<Uint8Array<ArrayBuffer>> {
    const grant = (room: number): void => {
      const bytes = Math.min(room - waiting.granted, CREDIT_MAX);
      if (bytes < STEP || this.#waiting.get(id) !== waiting) return;
      waiting.granted += bytes;
      this.#say({ t: "credit", id, bytes });
    };
    return new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        start: (controller) => void (waiting.controller = controller),
        pull: (controller) => grant(controller.desiredSize ?? 0),
        cancel: () => {
          this.#waiting.delete(id);
          this.#say({ t: "abort", id });
        },
      },
      { highWaterMark: WINDOW, size: (chunk) => chunk?.length ?? 0 },
    );
  }

  #fail(id: number, waiting: Waiting, error: Error): void {
    this.#waiting.delete(id);
    if (waiting.controller !== null) waiting.controller.error(error);
    else waiting.failed(error);
  }
}
