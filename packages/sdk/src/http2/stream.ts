/** One request and its answer (RFC 9113, 5.1 and 8.1; RFC 8441, 5). */
import type { ByteLink } from "../link.js";
import * as codes from "./error.js";
import { CANCEL, Http2Error, NO_ERROR, PROTOCOL_ERROR, STREAM_CLOSED, StreamViolation } from "./error.js";
import { ReceiveWindow, SendWindow } from "./flow.js";
import { dataFrames, resetFrame, windowFrame } from "./frame.js";
import { answerHead, contentLength, type RequestInit, trailers } from "./headers.js";
import type { Decoded, Header } from "./hpack.js";
import { Inbox } from "./inbox.js";
import type { Outbox } from "./outbox.js";
import type { Bounds } from "./settings.js";

/** How much of a body is cut into frames at once. */
const PIECE = 65_536;
/** Interim answers (1xx) of one request at most. */
const INTERIM = 32;

/** A body, read with back pressure: the server may send as much again as was taken. */
export interface Http2Body {
  /** The next bytes, never empty; null: that was all. One call at a time. Rejects when the answer broke off. */
  receive(): Promise<Uint8Array | null>;
  /** What is not read yet is not wanted: a stream that is not over is reset. Later calls reject with the reason. */
  close(reason?: unknown): void;
}

/** An answer's head, and what follows it. */
export interface Http2Response {
  readonly status: number;
  /** In the order in which they came, names in lower case. */
  readonly headers: Header[];
  /** What is not read holds up to a window of memory: read it or close it. */
  readonly body: Http2Body;
  /** What came behind the body; none for most. Rejects when the answer broke off. */
  readonly trailers: Promise<Header[]>;
  /** Both directions, when an extended CONNECT was taken; null for any other answer. `body` is the same stream. */
  readonly duplex: ByteLink | null;
}

/** What a stream needs of its connection. */
export interface StreamOwner {
  readonly bounds: Bounds;
  readonly outbox: Outbox;
  readonly window: SendWindow;
  frameSize(): number;
  /** The server has been sent something that it answers with others. */
  earn(): void;
  /** Both halves are over. `left`: what the server may still send to a stream that this end reset; null: nothing. */
  over(stream: Stream, left: number | null): void;
}

interface Waiting {
  readonly resolve: (piece: Uint8Array | null) => void;
  readonly reject: (reason: unknown) => void;
}

export class Stream {
  readonly id: number;
  readonly window: SendWindow;
  readonly #owner: StreamOwner;
  readonly #init: RequestInit;
  readonly #inbox = new Inbox();
  readonly #receive: ReceiveWindow;
  /** The answer's head has come. */
  #answered = false;
  #interim = 0;
  #localOver = false;
  #remoteOver = false;
  /** Why there is nothing more to read; set for good once it is. */
  #failure: { readonly reason: unknown } | null = null;
  /** Nothing more is sent: the body is dropped. */
  #mute = false;
  #discards = false;
  #waiting: Waiting | null = null;
  #iterator: AsyncIterator<Uint8Array> | null = null;
  #sending: Promise<void> = Promise.resolve();
  #sends = 0;
  /** What the answer announced and has not sent yet; null: it has not said. */
  #expected: number | null = null;
  #reported = false;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #unlisten: () => void = () => undefined;
  readonly #settle: { resolve: (response: Http2Response) => void; reject: (reason: unknown) => void };
  readonly #trailers: Promise<Header[]>;
  #resolveTrailers: (list: Header[]) => void = () => undefined;
  #rejectTrailers: (reason: unknown) => void = () => undefined;

  constructor(
    id: number,
    owner: StreamOwner,
    init: RequestInit,
    window: number,
    settle: { resolve: (response: Http2Response) => void; reject: (reason: unknown) => void },
  ) {
    this.id = id;
    this.#owner = owner;
    this.#init = init;
    this.#settle = settle;
    this.window = new SendWindow(window);
    this.#receive = new ReceiveWindow(owner.bounds.streamWindow);
    this.#trailers = new Promise((resolve, reject) => {
      this.#resolveTrailers = resolve;
      this.#rejectTrailers = reject;
    });
    // Nobody has to ask for them.
    this.#trailers.catch(() => undefined);
  }

  /** The request's head has been queued; `ends`: it is all of the request. */
  begin(ends: boolean): void {
    const { signal, body, protocol } = this.#init;
    if (signal) {
      const aborted = (): void => this.reset(CANCEL, signal.reason);
      signal.addEventListener("abort", aborted, { once: true });
      this.#unlisten = () => signal.removeEventListener("abort", aborted);
    }
    if (ends) this.#endLocal();
    else if (protocol === undefined && body) void this.#upload(body);
  }

  /** A block of headers: the answer's head, an interim one, or what follows the body. */
  onHeaders({ headers, tooLong }: Decoded, ends: boolean): void {
    if (this.#remoteOver) throw new StreamViolation(STREAM_CLOSED, "headers came after the end");
    if (tooLong) throw new StreamViolation(CANCEL, "the headers are longer than this end takes");
    if (this.#answered) {
      if (!ends) throw new StreamViolation(PROTOCOL_ERROR, "headers came amid a body");
      this.#endRemote(trailers(headers));
      return;
    }
    const head = answerHead(headers);
    if (head.status < 200) {
      this.#interim += 1;
      if (this.#interim > INTERIM) throw new StreamViolation(codes.ENHANCE_YOUR_CALM, "too many interim answers come");
      if (ends || head.status === 101) throw new StreamViolation(PROTOCOL_ERROR, "an interim answer is wrong");
      return;
    }
    this.#answered = true;
    const opened = this.#init.protocol !== undefined && head.status < 300;
    const empty = this.#init.method === "HEAD" || head.status === 204 || head.status === 304;
    const announced = contentLength(head.headers);
    this.#expected = empty ? 0 : opened ? null : announced;
    if (this.#init.protocol !== undefined && !opened) this.#sayEnd();
    if (ends) this.#endRemote([]);
    this.#settle.resolve({
      status: head.status,
      headers: head.headers,
      body: { receive: () => this.#take(), close: (reason) => this.#closeBody(reason) },
      trailers: this.#trailers,
      duplex: opened ? this.#duplex() : null,
    });
  }

  /** Part of the body; `size` counts its padding, too. */
  onData(piece: Uint8Array, size: number, shared: boolean, ends: boolean): void {
    const problem = this.#problem(piece, size);
    if (problem) throw problem;
    if (!this.#discards) {
      if (piece.length > 0) this.#deliver(piece, shared);
      this.#credit(size - piece.length);
    }
    if (ends) this.#endRemote([]);
  }

  #problem(piece: Uint8Array, size: number): StreamViolation | null {
    if (!this.#receive.accept(size)) return new StreamViolation(codes.FLOW_CONTROL_ERROR, "more came than the window allows");
    if (this.#remoteOver) return new StreamViolation(STREAM_CLOSED, "data came after the end");
    if (!this.#answered) return new StreamViolation(PROTOCOL_ERROR, "data came before an answer");
    if (this.#expected === null) return null;
    this.#expected -= piece.length;
    return this.#expected < 0 ? new StreamViolation(PROTOCOL_ERROR, "a body is longer than announced") : null;
  }

  /** RST_STREAM came (RFC 9113, 6.4). */
  onReset(code: number): void {
    if (this.#remoteOver) {
      // The answer is whole, and stands. The server wants no more of the request (RFC 9113, 8.1).
      this.#stopSending();
      this.#localOver = true;
      this.#report(null);
      return;
    }
    const retryable = code === codes.REFUSED_STREAM;
    const what = code === NO_ERROR ? "the server ended the answer before its end" : "the server reset the stream";
    this.fail(new Http2Error(code, "peer", what, { retryable }));
  }

  /** Ends the stream with RST_STREAM, unless both halves are over, and what is not read yet with the reason. */
  reset(code: number, reason: unknown): void {
    if (this.#reported) {
      this.#drop(reason);
      return;
    }
    this.#owner.outbox.control(resetFrame(this.id, code));
    this.#drop(reason);
    this.#giveUp(reason, this.#remoteOver ? 0 : this.#receive.left);
  }

  /** It is over without a frame of this end. An answer that has come as a whole stays. `left` as the owner's. */
  fail(reason: unknown, left: number | null = null): void {
    if (this.#reported) return;
    if (!this.#remoteOver) this.#drop(reason);
    this.#giveUp(reason, left);
  }

  #giveUp(reason: unknown, left: number | null): void {
    this.#localOver = true;
    this.#remoteOver = true;
    this.#settle.reject(reason);
    this.#rejectTrailers(reason);
    this.#stopSending();
    this.#report(left);
  }

  #drop(reason: unknown): void {
    this.#failure ??= { reason };
    this.#inbox.clear();
    this.#waiting?.reject(reason);
    this.#waiting = null;
    this.#unlisten();
  }

  #stopSending(): void {
    this.#mute = true;
    this.window.wake();
    this.#owner.window.wake();
    const iterator = this.#iterator;
    this.#iterator = null;
    // What the iterator's owner makes of it is no longer this stream's.
    void (async () => iterator?.return?.())().catch(() => undefined);
  }

  #report(left: number | null): void {
    if (this.#reported || !this.#localOver || !this.#remoteOver) return;
    this.#reported = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#inbox.empty) this.#unlisten();
    this.#owner.over(this, left);
  }

  #endRemote(list: Header[]): void {
    if (this.#expected !== null && this.#expected > 0) {
      throw new StreamViolation(PROTOCOL_ERROR, "a body is shorter than announced");
    }
    this.#remoteOver = true;
    this.#resolveTrailers(list);
    if (this.#inbox.empty) this.#waiting?.resolve(null);
    if (this.#inbox.empty) this.#waiting = null;
    this.#report(null);
  }

  #endLocal(): void {
    this.#localOver = true;
    this.#report(null);
  }

  #deliver(piece: Uint8Array, shared: boolean): void {
    const waiting = this.#waiting;
    if (!waiting) {
      this.#inbox.push(piece, shared);
      return;
    }
    this.#waiting = null;
    this.#credit(piece.length);
    waiting.resolve(piece);
  }

  #credit(bytes: number): void {
    if (bytes === 0 || this.#remoteOver) return;
    const increment = this.#receive.release(bytes);
    if (increment === 0) return;
    this.#owner.outbox.control(windowFrame(this.id, increment));
  }

  #take(): Promise<Uint8Array | null> {
    if (this.#failure) return Promise.reject(this.#failure.reason);
    if (this.#waiting) return Promise.reject(new Http2Error(NO_ERROR, "local", "the body is being read already"));
    const piece = this.#inbox.shift();
    if (piece) {
      this.#credit(piece.length);
      if (this.#inbox.empty && this.#reported) this.#unlisten();
      return Promise.resolve(piece);
    }
    if (this.#remoteOver) return Promise.resolve(null);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  #closeBody(reason: unknown): void {
    const why = reason ?? new Http2Error(CANCEL, "local", "the body has been closed");
    if (this.#remoteOver && !this.#failure) this.#drop(why);
    else this.reset(CANCEL, why);
  }

  async #upload(body: AsyncIterable<Uint8Array> | Uint8Array): Promise<void> {
    try {
      if (body instanceof Uint8Array) await this.#write(body, true);
      else {
        const iterator = body[Symbol.asyncIterator]();
        this.#iterator = iterator;
        for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
          if (!(next.value instanceof Uint8Array)) throw new TypeError("a body consists of Uint8Array");
          if (next.value.length > 0) await this.#write(next.value, false);
          if (this.#mute) return;
        }
        this.#iterator = null;
        if (!this.#mute) await this.#write(new Uint8Array(0), true);
      }
    } catch (cause) {
      this.#iterator = null;
      this.reset(CANCEL, new Http2Error(CANCEL, "local", "the request's body failed", { cause }));
    }
  }

  /** Sends so much as both windows allow, until all is sent or the stream wants no more. */
  async #write(bytes: Uint8Array, ends: boolean): Promise<void> {
    let at = 0;
    do {
      const size = await this.#room(Math.min(bytes.length - at, PIECE));
      if (this.#mute) {
        this.#owner.window.restore(size);
        return;
      }
      const last = ends && at + size === bytes.length;
      const frames = dataFrames(this.id, bytes.subarray(at, at + size), last, this.#owner.frameSize());
      this.#owner.earn();
      const sent = await this.#owner.outbox.data(frames, () => !this.#mute);
      if (!sent) this.#owner.window.restore(size);
      if (this.#mute) return;
      at += size;
      if (last) this.#endLocal();
    } while (at < bytes.length);
  }

  /** Waits for room in both windows and takes it; how many bytes, of so many. */
  async #room(wanted: number): Promise<number> {
    const connection = this.#owner.window;
    if (this.#mute) return 0;
    while (wanted > 0 && Math.min(this.window.left, connection.left) <= 0) {
      await (this.window.left <= 0 ? this.window : connection).changed();
      if (this.#mute) return 0;
    }
    const size = wanted === 0 ? 0 : Math.min(wanted, this.window.left, connection.left);
    this.window.take(size);
    connection.take(size);
    return size;
  }

  #sayEnd(): void {
    void this.#write(new Uint8Array(0), true);
  }

  /** Both directions as one link (RFC 8441, 5). */
  #duplex(): ByteLink {
    return {
      receive: () => this.#take(),
      send: (bytes) => this.#send(bytes),
      close: (reason) => this.#closeDuplex(reason),
    };
  }

  #send(bytes: Uint8Array): Promise<void> {
    this.#sends += 1;
    const sending = this.#sending.then(async () => {
      // Behind a close nothing is sent: this half has ended.
      if (!this.#mute && !this.#failure && bytes.length > 0) await this.#write(bytes, false);
      this.#sends -= 1;
      if (this.#failure) throw this.#failure.reason;
      if (this.#mute) throw new Http2Error(NO_ERROR, "peer", "the server takes no more");
    });
    this.#sending = sending.catch(() => undefined);
    return sending;
  }

  /**
   * Without a reason, and with nothing left to send, this half ends as a TCP connection would: with END_STREAM. The
   * server has a while to end its own half.
   */
  #closeDuplex(reason: unknown): void {
    if (this.#failure) return;
    const why = reason ?? new Http2Error(CANCEL, "local", "the link has been closed");
    if (reason !== undefined || this.#sends > 0) {
      this.reset(CANCEL, why);
      return;
    }
    this.#discards = true;
    this.#drop(why);
    if (this.#localOver) return;
    this.#sayEnd();
    if (this.#remoteOver) return;
    this.#timer = setTimeout(() => this.#expire(why), this.#owner.bounds.linger);
  }

  /** The server did not end its half in time. */
  #expire(why: unknown): void {
    if (this.#reported) return;
    this.#owner.outbox.control(resetFrame(this.id, CANCEL));
    this.#giveUp(why, this.#receive.left);
  }
}
