/** WebSockets, the app's end of them, as far as tests need it (RFC 6455, 5). */
import { joined, utf8, view } from "../protocol/bytes.js";

const [TEXT, BINARY, CLOSE, PING, PONG] = [0x1, 0x2, 0x8, 0x9, 0xa];

/** A WebSocket that a device has opened, as the app behind the host has it. */
export class FakeWebSocket {
  /** Its address, and what the device asked for. */
  readonly request: Request;
  /** The app that it is for. */
  app = "";
  /** The subprotocols that the device can speak. Set {@link FakeWebSocket.protocol} to one of them, before anything is sent. */
  readonly protocols: readonly string[];
  protocol = "";
  onmessage: (message: string | Uint8Array) => void = () => {};
  onclose: (code: number, reason: string) => void = () => {};
  readonly #write: (bytes: Uint8Array | null) => void;
  #held: Uint8Array = new Uint8Array(0);
  #message: { readonly opcode: number; readonly parts: Uint8Array[] } | null = null;
  #isOver = false;

  /** `write`: sends bytes, and with null ends the stream. */
  constructor(request: Request, write: (bytes: Uint8Array | null) => void) {
    this.request = request;
    this.protocols = (request.headers.get("sec-websocket-protocol") ?? "").split(/, */).filter((it) => it !== "");
    this.#write = write;
  }

  send(message: string | Uint8Array): void {
    if (typeof message === "string") this.#frame(TEXT, utf8(message));
    else this.#frame(BINARY, message);
  }

  /** Says goodbye. */
  close(code = 1000, reason = ""): void {
    if (this.#isOver) return;
    this.#frame(CLOSE, joined(Uint8Array.of(code >> 8, code & 0xff), utf8(reason)));
    this.end(code, reason);
  }

  /** The device's bytes. */
  receive(bytes: Uint8Array): void {
    this.#held = joined(this.#held, bytes);
    for (;;) {
      const [first = 0, second = 0] = this.#held;
      const short = second & 0x7f;
      const extended = short < 126 ? 0 : short === 126 ? 2 : 8;
      const head = 2 + extended + 4;
      if (this.#held.length < head) return;
      const length =
        extended === 0 ? short : extended === 2 ? view(this.#held).getUint16(2) : Number(view(this.#held).getBigUint64(2));
      if (this.#held.length < head + length) return;
      const mask = this.#held.subarray(head - 4, head);
      const payload = this.#held.slice(head, head + length).map((byte, at) => byte ^ (mask[at & 3] ?? 0));
      this.#held = this.#held.slice(head + length);
      this.#take(first, payload);
    }
  }

  /** The stream is over. */
  end(code = 1006, reason = ""): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#write(null);
    this.onclose(code, reason);
  }

  #take(first: number, payload: Uint8Array): void {
    const opcode = first & 0x0f;
    if (opcode === PING) return this.#frame(PONG, payload);
    if (opcode === CLOSE) {
      const code = payload.length >= 2 ? view(payload).getUint16(0) : 1005;
      if (!this.#isOver) this.#frame(CLOSE, payload);
      return this.end(code, new TextDecoder().decode(payload.subarray(2)));
    }
    if (opcode === TEXT || opcode === BINARY) this.#message = { opcode, parts: [] };
    this.#message?.parts.push(payload);
    const message = this.#message;
    if ((first & 0x80) === 0 || message === null) return;
    this.#message = null;
    const whole = joined(...message.parts);
    this.onmessage(message.opcode === TEXT ? new TextDecoder().decode(whole) : whole);
  }

  #frame(opcode: number, payload: Uint8Array): void {
    if (this.#isOver) return;
    const { length } = payload;
    const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
    const head = new Uint8Array(2 + extended);
    head[0] = 0x80 | opcode;
    head[1] = extended === 0 ? length : extended === 2 ? 126 : 127;
    if (extended === 2) view(head).setUint16(2, length);
    if (extended === 8) view(head).setBigUint64(2, BigInt(length));
    this.#write(joined(head, payload));
  }
}
