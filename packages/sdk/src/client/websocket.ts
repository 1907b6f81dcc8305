/** WebSockets to the apps behind a host: RFC 6455 over the stream of an extended CONNECT (RFC 8441), with the DOM's face. */
import type { Http2Response } from "../http2/index.js";
import type { ByteLink } from "../link.js";
import {
  type Listener,
  Listeners,
  type SocketCloseEvent,
  type SocketErrorEvent,
  type SocketEvent,
  type SocketEvents,
  type SocketMessageEvent,
} from "./websocket_events.js";
import {
  ABNORMAL,
  BINARY,
  CLOSE,
  closePayload,
  CONTINUATION,
  encodeFrame,
  type Incoming,
  MessageReader,
  NO_STATUS,
  PONG,
  TEXT,
  WebSocketViolation,
} from "./websocket_frames.js";

export type { SocketCloseEvent, SocketErrorEvent, SocketEvent, SocketMessageEvent };
export { WebSocketViolation };

/** The longest message that is taken, and how much may wait to be sent, in bytes. */
const MESSAGE_MAX = 64 << 20;
/** How many messages may wait to be sent, as empty ones count for no bytes. */
const QUEUE_MAX = 1 << 18;
/** Longer messages are sent in parts, so that an answer to a ping does not wait for all of one. */
const PART = 65_536;
/** Milliseconds that the other end has to answer a close. */
const CLOSE_WAIT = 5_000;

/** What an extended CONNECT gave. */
export interface OpenedSocket {
  readonly link: ByteLink;
  /** The one of the protocols that the app took; empty for none. */
  readonly protocol: string;
  /** `Sec-WebSocket-Extensions`; none is asked for, so that there must be none. */
  readonly extensions: string;
}

/** What a socket is made with. */
export interface SocketOptions {
  readonly url: string;
  /** What was asked for. */
  readonly protocols?: readonly string[];
  /** The link, once the app has answered. A rejection fails the socket. */
  readonly opened: Promise<OpenedSocket>;
  /** Called when the socket is closed before it is open: stop opening it. */
  readonly abort?: (() => void) | undefined;
  /** So many random bytes; what no one else can foresee (RFC 6455, 10.3). */
  readonly random?: ((count: number) => Uint8Array) | undefined;
  readonly messageMax?: number | undefined;
  /** Milliseconds that the other end has to answer a close. */
  readonly closeWait?: number | undefined;
}

/** What a request for a socket says (RFC 6455, 4.1; RFC 8441, 5: without a key). Throws a SyntaxError as the DOM does. */
export function socketHeaders(protocols: readonly string[]): [string, string][] {
  const headers: [string, string][] = [["sec-websocket-version", "13"]];
  for (const [at, protocol] of protocols.entries()) {
    if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(protocol) || protocols.indexOf(protocol) !== at) {
      throw named("SyntaxError", "a subprotocol is none, or stands there twice");
    }
  }
  if (protocols.length > 0) headers.push(["sec-websocket-protocol", protocols.join(", ")]);
  return headers;
}

/** What an answer to an extended CONNECT gave; null: the app opened no socket. */
export function openedSocket(response: Http2Response): OpenedSocket | null {
  if (!response.duplex) return null;
  const header = (name: string): string => response.headers.filter(([its]) => its === name).map(([, value]) => value).join(", ");
  return { link: response.duplex, protocol: header("sec-websocket-protocol"), extensions: header("sec-websocket-extensions") };
}

type Handler<Event> = ((this: CoupletWebSocket, event: Event) => void) | null;
type Events = SocketEvents<CoupletWebSocket>;

interface Outgoing {
  readonly opcode: number;
  /** null: a Blob that is being read; what was sent after it waits. */
  payload: Uint8Array | null;
}

/** A WebSocket, as the DOM has it. */
export class CoupletWebSocket {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSING = 2;
  static readonly CLOSED = 3;
  readonly CONNECTING = 0;
  readonly OPEN = 1;
  readonly CLOSING = 2;
  readonly CLOSED = 3;
  readonly url: string;
  readonly extensions = "";
  /** `blob` at first, as in the DOM; where no Blob can be made of bytes, an ArrayBuffer comes all the same. */
  binaryType: "blob" | "arraybuffer" = "blob";
  onopen: Handler<Events["open"]> = null;
  onmessage: Handler<Events["message"]> = null;
  onerror: Handler<Events["error"]> = null;
  onclose: Handler<Events["close"]> = null;
  readonly #options: SocketOptions;
  readonly #most: number;
  readonly #listeners = new Listeners<CoupletWebSocket>();
  #state: 0 | 1 | 2 | 3 = 0;
  #protocol = "";
  #link: ByteLink | null = null;
  #queue: Outgoing[] = [];
  #buffered = 0;
  #sending = false;
  /** The last ping that is not answered yet: earlier ones need no answer (RFC 6455, 5.5.3). */
  #pong: Uint8Array | null = null;
  /** A close that this end is to send, or has sent. */
  #closing: Uint8Array | null = null;
  #closeSent = false;
  /** The close of the other end. */
  #peer: { readonly code: number; readonly reason: string } | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(options: SocketOptions) {
    this.#options = options;
    this.#most = options.messageMax ?? MESSAGE_MAX;
    this.url = options.url;
    options.opened.then(
      (opened) => this.#open(opened),
      (error: unknown) => this.#fail(error),
    );
  }

  get readyState(): 0 | 1 | 2 | 3 {
    return this.#state;
  }

  /** The subprotocol that the app took; empty for none. */
  get protocol(): string {
    return this.#protocol;
  }

  /** Bytes of messages that wait to be sent. */
  get bufferedAmount(): number {
    return this.#buffered;
  }

  addEventListener<Type extends keyof Events>(
    type: Type,
    listener: Listener<Events[Type]> | null,
    options?: boolean | AddEventListenerOptions,
  ): void {
    this.#listeners.add(type, listener as Listener<never> | null, options);
  }

  removeEventListener<Type extends keyof Events>(type: Type, listener: Listener<Events[Type]> | null, _options?: unknown): void {
    this.#listeners.remove(type, listener as Listener<never> | null);
  }

  /** Queues a message. What does not fit into the queue fails the socket, as the DOM has it. */
  send(message: string | ArrayBuffer | ArrayBufferView | Blob): void {
    if (this.#state === 0) throw named("InvalidStateError", "the socket is not open yet");
    const blob = typeof Blob !== "undefined" && message instanceof Blob ? message : null;
    const text = typeof message === "string";
    // A copy, as the caller may change what was sent.
    const payload = blob === null ? (text ? new TextEncoder().encode(message) : bytesOf(message as ArrayBuffer).slice()) : null;
    this.#buffered += blob?.size ?? payload?.length ?? 0;
    if (this.#state !== 1) return;
    if (this.#buffered > this.#most || this.#queue.length >= QUEUE_MAX) {
      this.#state = 2;
      this.#failSoon(new Error("too much waits to be sent"));
      return;
    }
    const queued: Outgoing = { opcode: text ? TEXT : BINARY, payload };
    this.#queue.push(queued);
    if (blob !== null) void this.#load(blob, queued);
    this.#pump();
  }

  async #load(blob: Blob, queued: Outgoing): Promise<void> {
    try {
      queued.payload = new Uint8Array(await blob.arrayBuffer());
      this.#pump();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Says that this end is done, behind what is queued. Idempotent. */
  close(code?: number, reason = ""): void {
    if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
      throw named("InvalidAccessError", "the code is neither 1000 nor 3000 to 4999");
    }
    const text = new TextEncoder().encode(reason);
    if (text.length > 123) throw named("SyntaxError", "the reason is longer than 123 bytes");
    if (this.#state >= 2) return;
    if (this.#state === 0) {
      this.#state = 2;
      this.#options.abort?.();
      this.#failSoon(new Error("the socket was closed before it was open"));
      return;
    }
    this.#state = 2;
    this.#startClosing(closePayload(code ?? (text.length > 0 ? 1000 : null), text));
  }

  #open(opened: OpenedSocket): void {
    if (this.#state !== 0) {
      opened.link.close();
      return;
    }
    const { protocols = [] } = this.#options;
    this.#link = opened.link;
    if (opened.extensions !== "" || (opened.protocol !== "" && !protocols.includes(opened.protocol))) {
      this.#fail(new Error("the app took an extension or a subprotocol that it was not asked for"));
      return;
    }
    this.#protocol = opened.protocol;
    this.#state = 1;
    this.#dispatch("open", this.onopen, {});
    void this.#read(opened.link);
  }

  async #read(link: ByteLink): Promise<void> {
    const reader = new MessageReader(this.#most);
    try {
      for (let piece = await link.receive(); piece; piece = await link.receive()) {
        for (const incoming of reader.push(piece)) {
          this.#take(incoming);
          if (this.#peer || this.#isClosed) return;
          await settled();
        }
      }
      this.#fail(new Error("the connection ended without a close"));
    } catch (error) {
      this.#fail(error);
    }
  }

  #take(incoming: Incoming): void {
    switch (incoming.kind) {
      case "ping":
        if (this.#closeSent) return;
        this.#pong = incoming.bytes;
        this.#pump();
        return;
      case "pong":
        return;
      case "close":
        this.#peer = incoming;
        this.#answerClose(incoming.code);
        return;
    }
    // Once this end closes, the DOM gives no more messages.
    if (this.#state !== 1) return;
    const data = incoming.kind === "text" ? incoming.text : this.#binary(incoming.bytes);
    this.#dispatch("message", this.onmessage, { data, origin: this.url, lastEventId: "" });
  }

  #binary(bytes: Uint8Array<ArrayBuffer>): ArrayBuffer | Blob {
    const { buffer } = bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
    if (this.binaryType === "arraybuffer") return buffer;
    try {
      return new Blob([buffer]);
    } catch {
      return buffer;
    }
  }

  #answerClose(code: number): void {
    // What waits is not sent any more: the other end has said that it listens to nothing.
    this.#queue = [];
    if (!this.#closing) {
      this.#state = 2;
      this.#startClosing(closePayload(code === NO_STATUS ? null : code, new Uint8Array(0)));
    } else if (this.#closeSent && !this.#sending) this.#finish();
  }

  #startClosing(payload: Uint8Array): void {
    this.#closing = payload;
    this.#timer = setTimeout(() => this.#fail(new Error("the other end did not answer a close")), this.#options.closeWait ?? CLOSE_WAIT);
    this.#pump();
  }

  // Sending: one frame at a time, pongs between them.

  /** How much of the first message is sent; null: none of it. */
  #partial: number | null = null;

  #pump(): void {
    if (this.#sending || this.#state === 0 || this.#state === 3) return;
    this.#sending = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    const link = this.#link;
    try {
      for (let frame = this.#nextFrame(); frame && link; frame = this.#nextFrame()) {
        await link.send(frame.bytes);
        this.#buffered -= frame.counted;
        if (this.#state === 3) return;
      }
      this.#sending = false;
      if (this.#closeSent && this.#peer) this.#finish();
    } catch (error) {
      this.#sending = false;
      this.#fail(error);
    }
  }

  #nextFrame(): { readonly bytes: Uint8Array; readonly counted: number } | null {
    if (this.#closeSent) return null;
    if (this.#pong) {
      const pong = this.#pong;
      this.#pong = null;
      return { bytes: this.#frame(PONG, true, pong), counted: 0 };
    }
    const message = this.#queue[0];
    if (message) return message.payload && this.#nextPart(message.opcode, message.payload);
    if (!this.#closing) return null;
    this.#closeSent = true;
    return { bytes: this.#frame(CLOSE, true, this.#closing), counted: 0 };
  }

  #nextPart(opcode: number, payload: Uint8Array): { readonly bytes: Uint8Array; readonly counted: number } {
    const from = this.#partial ?? 0;
    const part = payload.subarray(from, from + PART);
    const final = from + part.length === payload.length;
    const bytes = this.#frame(this.#partial === null ? opcode : CONTINUATION, final, part);
    this.#partial = final ? null : from + part.length;
    if (final) this.#queue.shift();
    return { bytes, counted: part.length };
  }

  #frame(opcode: number, final: boolean, payload: Uint8Array): Uint8Array {
    const random = this.#options.random ?? ((count: number) => crypto.getRandomValues(new Uint8Array(count)));
    return encodeFrame(opcode, final, payload, random(4));
  }

  // The end.

  /** Both ends have said that they close (RFC 6455, 7.1.4). */
  #finish(): void {
    const { code, reason } = this.#peer ?? { code: ABNORMAL, reason: "" };
    this.#end(undefined, { code, reason, wasClean: true });
  }

  get #isClosed(): boolean {
    return this.#state === 3;
  }

  /** Events come after the call that brings them about has returned, as in the DOM. */
  #failSoon(error: unknown): void {
    void Promise.resolve().then(() => this.#fail(error));
  }

  /** Ends it without a closing handshake (RFC 6455, 7.1.7). */
  #fail(error: unknown): void {
    if (this.#isClosed) return;
    const message = error instanceof Error ? error.message : "the socket failed";
    this.#end({ error, message }, { code: ABNORMAL, reason: "", wasClean: false });
  }

  #end(error: { readonly error: unknown; readonly message: string } | undefined, close: object): void {
    if (this.#state === 3) return;
    this.#state = 3;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#queue = [];
    this.#pong = null;
    this.#leave(error);
    if (error) this.#dispatch("error", this.onerror, error);
    this.#dispatch("close", this.onclose, close);
  }

  /** The link ends; the other end is told why, if it is to blame and listens. */
  #leave(error: { readonly error: unknown } | undefined): void {
    const link = this.#link;
    if (!link) return;
    if (!error) {
      link.close();
      return;
    }
    if (!(error.error instanceof WebSocketViolation) || this.#closeSent || this.#sending) {
      link.close(error.error);
      return;
    }
    const timer = setTimeout(() => link.close(error.error), this.#options.closeWait ?? CLOSE_WAIT);
    const done = (): void => {
      clearTimeout(timer);
      link.close();
    };
    link.send(this.#frame(CLOSE, true, closePayload(error.error.code, new Uint8Array(0)))).then(done, done);
  }

  #dispatch(type: keyof Events, handler: Handler<never>, fields: object): void {
    this.#listeners.dispatch(this, type, handler as Listener<never> | null, fields);
  }
}

/** Between two messages whoever waits for the first goes on, as between two tasks of the DOM. */
async function settled(): Promise<void> {
  for (let tick = 0; tick < 8; tick += 1) await null;
}

function bytesOf(message: ArrayBuffer | ArrayBufferView): Uint8Array {
  if (ArrayBuffer.isView(message)) return new Uint8Array(message.buffer, message.byteOffset, message.byteLength);
  if (Object.prototype.toString.call(message) === "[object ArrayBuffer]") return new Uint8Array(message);
  throw new TypeError("a message is a text or bytes");
}

/** An error as the DOM throws it, where there is no DOMException. */
function named(name: string, message: string): Error {
  const error = new Error(message);
  error.name = name;
  return error;
}
