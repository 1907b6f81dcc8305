/** HTTP/2, the host's end of it, as far as tests need it: requests to a function, with flow control both ways. */
import { joined, utf8 } from "../protocol/bytes.js";
import * as h2 from "../http2/frame.js";
import { decodeHeaders, encodeHeaders, type Header } from "../http2/hpack.js";
import { refusal } from "./apps.js";
import { FakeWebSocket } from "./websocket.js";

const PREFACE = /* @__PURE__ */ utf8("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const HEADERS_MAX = 16 * 1024;
/** What HTTP/2 begins with; and what a host takes of one body, and of all of them, before it says that there is room again. */
const WINDOW = 65_535;
const [STREAM_WINDOW, CONNECTION_WINDOW] = [256 * 1024, 1024 * 1024];
const [INITIAL_WINDOW, CONCURRENT, CONNECT] = [0x4, 0x3, 0x8];
const INTERNAL_ERROR = 0x2;

/** What answers. */
export type App = (request: Request) => Response | Promise<Response>;

/** What WebSockets are opened with. An answer in their place refuses them. */
export type SocketApp = (socket: FakeWebSocket) => Response | void;

interface Stream {
  readonly body: ReadableStreamDefaultController<Uint8Array> | null;
  readonly controller: AbortController;
  window: number;
  /** What came of its body that the device was not told of. */
  taken: number;
}

/** One session's server. */
export class FakeServer {
  readonly #send: (bytes: Uint8Array) => void;
  readonly #app: App;
  readonly #sockets: SocketApp;
  readonly #reader = new h2.FrameReader();
  readonly #streams = new Map<number, Stream>();
  #preface = new Uint8Array(0);
  #block: { readonly stream: number; readonly flags: number; readonly parts: Uint8Array[] } | null = null;
  #window = WINDOW;
  #taken = 0;
  #initialWindow = WINDOW;
  #roomed: (() => void)[] = [];
  #isOver = false;

  constructor(send: (bytes: Uint8Array) => void, app: App, sockets: SocketApp) {
    this.#send = send;
    this.#app = app;
    this.#sockets = sockets;
    send(h2.settingsFrame([[CONCURRENT, 64], [CONNECT, 1], [INITIAL_WINDOW, STREAM_WINDOW]]));
    send(h2.windowFrame(0, CONNECTION_WINDOW - WINDOW));
  }

  /** The device's bytes. Throws for what no client sends. */
  receive(bytes: Uint8Array): void {
    let rest = bytes;
    const missing = PREFACE.length - this.#preface.length;
    if (missing > 0) {
      this.#preface = joined(this.#preface, rest.subarray(0, missing));
      rest = rest.subarray(missing);
      if (!PREFACE.subarray(0, this.#preface.length).every((byte, at) => byte === this.#preface[at])) throw new Error("no HTTP/2");
    }
    if (rest.length > 0) this.#reader.push(rest);
    for (let frame = this.#reader.next(); frame !== null; frame = this.#reader.next()) this.#frame(frame);
  }

  /** The session is over: what is under way breaks off. */
  close(): void {
    this.#isOver = true;
    for (const stream of this.#streams.values()) {
      stream.controller.abort(new Error("the session is over"));
      try {
        stream.body?.error(new Error("the session is over"));
      } catch {
        // It has ended.
      }
    }
    this.#streams.clear();
    this.#room();
  }

  #frame(frame: h2.Frame): void {
    const { type, flags, stream: id } = frame;
    if (type === h2.SETTINGS && (flags & h2.FLAG_ACK) === 0) this.#settings(frame.payload);
    if (type === h2.PING && (flags & h2.FLAG_ACK) === 0) this.#send(h2.frame(h2.PING, h2.FLAG_ACK, 0, frame.payload));
    if (type === h2.WINDOW_UPDATE) this.#update(id, h2.readU32(frame.payload, 0));
    if (type === h2.HEADERS) {
      const ends = (flags & h2.FLAG_END_HEADERS) !== 0;
      this.#block = { stream: id, flags, parts: [h2.unpadded(frame).slice()] };
      if (ends) this.#head();
    }
    if (type === h2.CONTINUATION && this.#block !== null) {
      this.#block.parts.push(frame.payload.slice());
      if ((flags & h2.FLAG_END_HEADERS) !== 0) this.#head();
    }
    if (type === h2.DATA) this.#data(frame);
    if (type === h2.RST_STREAM) this.#reset(id);
  }

  #settings(payload: Uint8Array): void {
    for (let at = 0; at + 6 <= payload.length; at += 6) {
      const name = ((payload[at] ?? 0) << 8) | (payload[at + 1] ?? 0);
      if (name !== INITIAL_WINDOW) continue;
      const value = h2.readU32(payload, at + 2);
      for (const stream of this.#streams.values()) stream.window += value - this.#initialWindow;
      this.#initialWindow = value;
    }
    this.#send(h2.frame(h2.SETTINGS, h2.FLAG_ACK, 0, new Uint8Array(0)));
    this.#room();
  }

  #update(id: number, increment: number): void {
    const stream = this.#streams.get(id);
    if (id === 0) this.#window += increment;
    else if (stream !== undefined) stream.window += increment;
    this.#room();
  }

  #room(): void {
    const waiting = this.#roomed;
    this.#roomed = [];
    for (const go of waiting) go();
  }

  #data(frame: h2.Frame): void {
    const { stream: id, payload } = frame;
    const stream = this.#streams.get(id);
    try {
      if (payload.length > 0) {
        stream?.body?.enqueue(h2.unpadded(frame).slice());
        this.#took(id, stream, payload.length);
      }
      if ((frame.flags & h2.FLAG_END_STREAM) !== 0) stream?.body?.close();
    } catch {
      // The app wants no more of it.
    }
  }

  /** Makes room again once half of it is used up, as HTTP/2 servers do. */
  #took(id: number, stream: Stream | undefined, length: number): void {
    this.#taken += length;
    if (stream !== undefined) stream.taken += length;
    if (stream !== undefined && stream.taken >= STREAM_WINDOW / 2) {
      this.#send(h2.windowFrame(id, stream.taken));
      stream.taken = 0;
    }
    if (this.#taken >= CONNECTION_WINDOW / 2) {
      this.#send(h2.windowFrame(0, this.#taken));
      this.#taken = 0;
    }
  }

  #reset(id: number): void {
    const stream = this.#streams.get(id);
    this.#streams.delete(id);
    stream?.controller.abort(new Error("the device broke off"));
    try {
      stream?.body?.error(new Error("the device broke off"));
    } catch {
      // It has ended.
    }
    this.#room();
  }

  #head(): void {
    const block = this.#block;
    this.#block = null;
    if (block === null) return;
    const { headers, tooLong } = decodeHeaders(joined(...block.parts), HEADERS_MAX);
    const known = this.#streams.get(block.stream);
    // Trailers end a body.
    if (known !== undefined) return known.body?.close();
    if (tooLong) return this.#send(h2.headerFrames(block.stream, encodeHeaders([[":status", "431"]], new Set()), true, h2.PAYLOAD_MAX));
    const hasBody = (block.flags & h2.FLAG_END_STREAM) === 0;
    void this.#serve(block.stream, headers, hasBody);
  }

  async #serve(id: number, fields: readonly Header[], hasBody: boolean): Promise<void> {
    const of = (name: string): string => fields.find(([its]) => its === name)?.[1] ?? "";
    const controller = new AbortController();
    const made: { body: ReadableStreamDefaultController<Uint8Array> | null } = { body: null };
    const body = new ReadableStream<Uint8Array>({ start: (its) => void (made.body = its) });
    const stream: Stream = { body: made.body, controller, window: this.#initialWindow, taken: 0 };
    this.#streams.set(id, stream);
    try {
      if (of(":method") === "CONNECT") return await this.#connect(id, stream, of, fields, body);
      await this.#write(id, stream, await this.#answer(of, fields, hasBody ? body : null, controller.signal));
    } catch {
      if (this.#streams.get(id) === stream && !this.#isOver) this.#send(h2.resetFrame(id, INTERNAL_ERROR));
    } finally {
      this.#streams.delete(id);
    }
  }

  async #answer(
    of: (name: string) => string,
    fields: readonly Header[],
    body: ReadableStream<Uint8Array> | null,
    signal: AbortSignal,
  ): Promise<Response> {
    try {
      return await this.#app(request(of, fields, { method: of(":method"), body, duplex: "half", signal }));
    } catch (error) {
      // Whoever writes the test reads what their app threw.
      return refusal("CPL-1503", String(error));
    }
  }

  /** A WebSocket, for as long as either end wants it. */
  async #connect(
    id: number,
    stream: Stream,
    of: (name: string) => string,
    fields: readonly Header[],
    body: ReadableStream<Uint8Array>,
  ): Promise<void> {
    let written = Promise.resolve();
    const socket = new FakeWebSocket(request(of, fields, {}), (bytes) => {
      written = written.then(() => this.#give(id, stream, bytes)).catch(() => {});
    });
    const refused = this.#sockets(socket);
    if (refused instanceof Response) return this.#write(id, stream, refused);
    const head: Header[] = [[":status", "200"]];
    if (socket.protocol !== "") head.push(["sec-websocket-protocol", socket.protocol]);
    this.#send(h2.headerFrames(id, encodeHeaders(head, new Set()), false, h2.PAYLOAD_MAX));
    const reader = body.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        socket.receive(value);
      }
    } catch {
      // It breaks off.
    }
    socket.end();
    await written;
  }

  async #write(id: number, stream: Stream, answer: Response): Promise<void> {
    const fields: Header[] = [[":status", String(answer.status)]];
    for (const [name, value] of answer.headers) fields.push([name, value]);
    const reader = answer.body?.getReader();
    this.#send(h2.headerFrames(id, encodeHeaders(fields, new Set()), reader === undefined, h2.PAYLOAD_MAX));
    if (reader === undefined) return;
    stream.controller.signal.addEventListener("abort", () => void reader.cancel().catch(() => {}), { once: true });
    for (;;) {
      const { done, value } = await reader.read();
      await this.#give(id, stream, done ? null : value);
      if (done) return;
    }
  }

  /** Sends a part of a body as there is room for it, or its end. */
  async #give(id: number, stream: Stream, value: Uint8Array | null): Promise<void> {
    const isOver = (): boolean => this.#isOver || this.#streams.get(id) !== stream;
    if (value === null && !isOver()) this.#send(h2.frame(h2.DATA, h2.FLAG_END_STREAM, id, new Uint8Array(0)));
    for (let at = 0; value !== null && at < value.length; ) {
      const room = Math.min(this.#window, stream.window, h2.PAYLOAD_MAX, value.length - at);
      if (room <= 0) await new Promise<void>((resolve) => void this.#roomed.push(resolve));
      if (isOver()) throw new Error("the device wants no more of it");
      if (room <= 0) continue;
      this.#window -= room;
      stream.window -= room;
      this.#send(h2.frame(h2.DATA, 0, id, value.slice(at, at + room)));
      at += room;
    }
  }
}

function request(of: (name: string) => string, fields: readonly Header[], init: object): Request {
  const headers = new Headers(fields.filter(([name]) => !name.startsWith(":")).map(([name, value]) => [name, value]));
  return new Request(`http://${of(":authority")}${of(":path")}`, { headers, ...init });
}
