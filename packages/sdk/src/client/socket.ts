/** The WebSocket beneath a session: bounded both ways, as what a page is given is not. */
import { CoupletError } from "../protocol/error.js";
import { FRAME_MAX } from "../protocol/frame.js";
import { AttemptError, unsupported } from "./attempt.js";
import { reasonOf, type Clock } from "./clock.js";

/** What is used of a WebSocket. That of browsers is one, those of Node.js and of `ws`, and React Native's. */
export interface Socket {
  binaryType: string;
  /** 1: open (RFC 6455; WebSockets Standard). */
  readonly readyState: number;
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(message: Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
  /** Cuts it off at once, where it can. */
  terminate?(): void;
}

/**
 * Opens a WebSocket, without a subprotocol. `relayCa`: whose certificates count besides the system's, in PEM; browsers
 * cannot be told.
 */
export type OpenSocket = (url: string, relayCa: string | null) => Socket;

/** How much may have come and not been read: more than HTTP/2 lets a host send unasked. */
const WAITING_BYTES = 12 << 20;
const WAITING = 16_384;
/** How much may wait to be sent before a sender waits. */
const SEND_BYTES = 256 * 1024;
/** How long the peer is given to take the last words, in milliseconds. */
const CLOSING = 1000;

/** What a host may say before there are keys (spec/protocol.md, 3). Other codes are not its to say. */
const HINTS = new Set([
  ...["CPL-1201", "CPL-1203", "CPL-1218", "CPL-1208", "CPL-1103"],
  ...["CPL-1207", "CPL-1606", "CPL-1701", "CPL-1013"],
]);

/** How a connection ended. */
export interface WireEnd {
  /** The other end sent what does not belong here, or more than anybody reads. */
  readonly isBroken: boolean;
  /** An error code as the reason of its close frame: a hint. */
  readonly hint: string | null;
}

/** A WebSocket as a queue of binary messages. */
export class Wire {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #waiting: Uint8Array[] = [];
  #bytes = 0;
  #end: WireEnd | null = null;
  #wake: (() => void) | null = null;
  /** Who waits until little waits to be sent. */
  readonly #drains = new Set<() => void>();
  /** Called whenever something comes. */
  onHeard: () => void = () => {};

  private constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
  }

  /**
   * Opens one.
   *
   * @throws {AttemptError} `noConnection`, `unsupported`. Rejects with the signal's reason.
   */
  static open(url: string, openSocket: (url: string) => Socket, clock: Clock, signal: AbortSignal): Promise<Wire> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(reasonOf(signal));
      let socket: Socket;
      try {
        socket = openSocket(url);
      } catch (cause) {
        // A page served over https may not open ws.
        return reject(cause instanceof CoupletError ? unsupported(cause) : new AttemptError("noConnection", { cause }));
      }
      socket.binaryType = "arraybuffer";
      const wire = new Wire(socket, clock);
      let isOpen = false;
      const stop = (): void => {
        wire.cut();
        reject(reasonOf(signal));
      };
      const settle = (): void => signal.removeEventListener("abort", stop);
      signal.addEventListener("abort", stop, { once: true });
      socket.onopen = () => {
        isOpen = true;
        settle();
        resolve(wire);
      };
      // `close` follows, with what there is to know.
      socket.onerror = () => {};
      socket.onmessage = ((event: { readonly data: unknown }) => wire.#hear(event.data)) as (event: never) => void;
      socket.onclose = ((event: { readonly code?: number; readonly reason?: unknown }) => {
        const { code, reason } = event;
        const isHint = code === 4000 && typeof reason === "string" && HINTS.has(reason);
        wire.#finish({ isBroken: false, hint: isHint ? reason : null });
        settle();
        if (!isOpen) reject(new AttemptError("noConnection"));
      }) as (event: never) => void;
    });
  }

  /** Whether it is over, for this end: what came before can still be received. */
  get isOver(): boolean {
    return this.#end !== null;
  }

  /** Hands a message over. It is sent, or the connection ends. */
  send(message: Uint8Array<ArrayBuffer>): void {
    if (this.#end !== null || this.#socket.readyState !== 1) return;
    try {
      this.#socket.send(message);
    } catch {
      this.cut();
    }
  }

  /**
   * Waits until little waits to be sent. No WebSocket tells: it is looked at now and then, more seldom each time, and whenever
   * something comes, as the alarms of a page in the background are a minute late.
   */
  async drained(): Promise<void> {
    for (let pause = 2; this.#end === null && this.#socket.bufferedAmount > SEND_BYTES; pause = Math.min(2 * pause, 32)) {
      await new Promise<void>((resolve) => {
        const look = (): void => {
          off();
          this.#drains.delete(look);
          resolve();
        };
        const off = this.#clock.after(pause, look);
        this.#drains.add(look);
      });
    }
  }

  /** The next message; null: it is over. One waits at a time. */
  async receive(): Promise<Uint8Array | null> {
    for (;;) {
      const message = this.#waiting.shift();
      if (message !== undefined) {
        this.#bytes -= message.length;
        return message;
      }
      if (this.#end !== null) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** How it ended, once it has. */
  get end(): WireEnd | null {
    return this.#end;
  }

  /** Closes it: what was sent is on its way, for a second at most. What came is not read any more. */
  close(): void {
    if (this.#end === null) {
      this.#finish({ isBroken: false, hint: null });
      this.#waiting.length = 0;
      this.#quiet();
      const off = this.#clock.after(CLOSING, () => this.#socket.terminate?.());
      this.#socket.onclose = () => off();
      this.#shut();
    }
  }

  /** Ends it at once. */
  cut(): void {
    this.#finish({ isBroken: false, hint: null });
    this.#waiting.length = 0;
    this.#quiet();
    this.#shut();
    this.#socket.terminate?.();
  }

  #shut(): void {
    try {
      this.#socket.close(1000);
    } catch {
      // It is closed already, or was never open.
    }
  }

  /** An error that nobody listens for would end a Node.js program. */
  #quiet(): void {
    this.#socket.onmessage = null;
    this.#socket.onopen = null;
    this.#socket.onerror = () => {};
  }

  #look(): void {
    for (const look of [...this.#drains]) look();
  }

  #hear(message: unknown): void {
    if (this.#end !== null) return;
    this.#look();
    this.onHeard();
    const bytes = message instanceof ArrayBuffer ? new Uint8Array(message) : message instanceof Uint8Array ? message : null;
    const fits = bytes !== null && bytes.length <= FRAME_MAX;
    if (!fits || this.#waiting.length >= WAITING || this.#bytes + bytes.length > WAITING_BYTES) {
      this.#finish({ isBroken: true, hint: null });
      this.#quiet();
      this.#shut();
      return;
    }
    this.#waiting.push(bytes);
    this.#bytes += bytes.length;
    this.#ring();
  }

  #finish(end: WireEnd): void {
    this.#end ??= end;
    this.#look();
    this.#ring();
  }

  #ring(): void {
    this.#wake?.();
    this.#wake = null;
  }
}
