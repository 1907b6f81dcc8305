/** WebSockets in memory: one end as a device's program has it, the other for the host. */
import type { Socket } from "../client/socket.js";

/** The host's end. */
export interface HostSocket {
  send(message: Uint8Array): void;
  /** Ends it; without a code as when a connection breaks. */
  close(code?: number, reason?: string): void;
  onMessage: (message: Uint8Array) => void;
  onClose: () => void;
}

type Listener = ((event: never) => void) | null;

/** The device's end. Events come in their order, each in a task of its own kind: never while something is being sent. */
class DeviceSocket implements Socket {
  binaryType = "blob";
  readyState = 0;
  bufferedAmount = 0;
  onopen: Listener = null;
  onmessage: Listener = null;
  onerror: Listener = null;
  onclose: Listener = null;
  readonly #host: HostSocket;
  #isOver = false;

  constructor(connect: (socket: HostSocket) => boolean) {
    const host: HostSocket = {
      send: (message) => {
        const bytes = message.slice().buffer;
        this.#later(() => this.onmessage?.({ data: bytes } as never));
      },
      close: (code = 1006, reason = "") => this.#end(code, reason),
      onMessage: () => {},
      onClose: () => {},
    };
    this.#host = host;
    queueMicrotask(() => {
      if (!connect(host)) {
        this.onerror?.({} as never);
        this.#end(1006, "");
      } else if (!this.#isOver) {
        this.readyState = 1;
        this.onopen?.({} as never);
      }
    });
  }

  send(message: Uint8Array): void {
    if (this.readyState !== 1) throw new Error("the socket is not open");
    const bytes = message.slice();
    queueMicrotask(() => {
      if (!this.#isOver) this.#host.onMessage(bytes);
    });
  }

  close(): void {
    if (this.#isOver) return;
    // What was sent arrives before the end does.
    queueMicrotask(() => {
      this.#host.onClose();
      this.#end(1000, "");
    });
  }

  #end(code: number, reason: string): void {
    if (this.#isOver) return;
    queueMicrotask(() => {
      if (this.#isOver) return;
      this.#isOver = true;
      this.readyState = 3;
      this.onclose?.({ code, reason } as never);
      this.#host.onClose();
    });
  }

  #later(call: () => void): void {
    queueMicrotask(() => {
      if (!this.#isOver) call();
    });
  }
}

/** Opens one. `connect` is given the host's end, and says whether anybody is there. */
export function openMemorySocket(connect: (socket: HostSocket) => boolean): Socket {
  return new DeviceSocket(connect);
}
