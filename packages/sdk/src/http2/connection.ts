/** A client's connection (RFC 9113): many requests over one link. */
import type { ByteLink } from "../link.js";
import { BlockReader } from "./block.js";
import * as codes from "./error.js";
import { FRAME_SIZE_ERROR, Http2Error, NO_ERROR, PROTOCOL_ERROR, StreamViolation, typed, violation } from "./error.js";
import { ReceiveWindow, SendWindow, WINDOW_FIRST } from "./flow.js";
import * as frames from "./frame.js";
import { type Frame, FrameReader } from "./frame.js";
import { type RequestInit, requestHead } from "./headers.js";
import { decodeHeaders, encodeHeaders, type Header, listSize } from "./hpack.js";
import { Ledger } from "./ledger.js";
import { Outbox } from "./outbox.js";
import { Past } from "./past.js";
import { appliedSettings, type Bounds, BOUNDS, ownSettings, PEER_FIRST, type PeerSettings } from "./settings.js";
import { type Http2Response, Stream, type StreamOwner } from "./stream.js";

/** What every connection begins with (RFC 9113, 3.4). */
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/** The last stream that there can be (RFC 9113, 5.1.1). */
const STREAM_MAX = 0x7fff_ffff;
/**
 * Says before the first block that this end's header table is empty, and stays so: a server that allows no table waits for
 * that (RFC 7541, 4.2 and 6.3).
 */
const NO_TABLE = 0x20;
/** What a SETTINGS frame costs of the ledger: all streams may have to be gone through. */
const SETTINGS_COST = 10;
/** PINGs of this end that wait for their answer at most. */
const PINGS = 16;
/** Milliseconds that the link has to take the last frame. */
const FAREWELL = 1_000;

interface Queued {
  readonly init: RequestInit;
  readonly head: Header[];
  readonly resolve: (response: Http2Response) => void;
  readonly reject: (reason: unknown) => void;
  /** Its stream listens to the signal from here on. */
  readonly begun?: () => void;
}

/** A connection with a server, which has been reached by whatever the link is. */
export class Connection {
  /** Resolves once it is over: with the cause, or undefined when it ended as it should. Never rejects. */
  readonly closed: Promise<unknown>;
  /** Resolves when it takes no more requests while some are under way, which go on. Otherwise it ends. */
  readonly retired: Promise<void>;
  readonly #link: ByteLink;
  readonly #bounds: Bounds;
  readonly #sensitive: ReadonlySet<string>;
  readonly #outbox: Outbox;
  readonly #ledger: Ledger;
  readonly #window = new SendWindow(WINDOW_FIRST);
  readonly #receive: ReceiveWindow;
  readonly #blocks: BlockReader;
  readonly #streams = new Map<number, Stream>();
  readonly #past = new Past();
  readonly #owner: StreamOwner;
  #peer: PeerSettings = PEER_FIRST;
  #greeted = false;
  #queue: Queued[] = [];
  #next = 1;
  /** The last stream that the server looks at, once it has said so. */
  #lastTaken: number | null = null;
  /** Why the server ends it, when that is for no good reason. */
  #goneFor: Http2Error | undefined;
  #draining = false;
  #over = false;
  #pings: { readonly resolve: () => void; readonly reject: (reason: unknown) => void }[] = [];
  #end: (cause: unknown) => void = () => undefined;
  #retire: () => void = () => undefined;

  /** Begins a connection: its preface is sent at once. The link is the connection's from here on. */
  static open(link: ByteLink, bounds: Partial<Bounds> = {}): Connection {
    return new Connection(link, { ...BOUNDS, ...bounds });
  }

  private constructor(link: ByteLink, bounds: Bounds) {
    this.#link = link;
    this.#bounds = bounds;
    this.#sensitive = new Set(bounds.sensitive);
    this.#ledger = new Ledger(bounds.now);
    this.#receive = new ReceiveWindow(bounds.connectionWindow);
    this.#blocks = new BlockReader(bounds.headerList);
    this.#outbox = new Outbox(link, (cause) => this.#broke(cause));
    this.closed = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.retired = new Promise((resolve) => {
      this.#retire = resolve;
    });
    this.#owner = {
      bounds,
      outbox: this.#outbox,
      window: this.#window,
      frameSize: () => Math.min(this.#peer.frameSize, frames.PAYLOAD_MAX),
      earn: () => this.#ledger.earn(),
      over: (stream, left) => this.#streamOver(stream, left),
    };
    this.#outbox.control(new TextEncoder().encode(PREFACE));
    this.#outbox.control(frames.settingsFrame(ownSettings(bounds)));
    const more = bounds.connectionWindow - WINDOW_FIRST;
    if (more > 0) this.#outbox.control(frames.windowFrame(0, more));
    void this.#read();
  }

  /** Whether a new request would be sent. False once either end is about to stop: open another connection. */
  get accepting(): boolean {
    return !this.#over && !this.#draining && this.#lastTaken === null && this.#next <= STREAM_MAX;
  }

  /** Requests under way, and waiting for their turn. */
  get active(): number {
    return this.#streams.size + this.#queue.length;
  }

  /**
   * Sends a request; resolves with the head of its answer. Rejects with the signal's reason when it is aborted, else
   * with an `Http2Error`. An answer may come while the request's body still goes, which goes on then unless the server
   * stops it.
   */
  async request(init: RequestInit): Promise<Http2Response> {
    const head = requestHead(init);
    if (init.signal?.aborted) throw init.signal.reason;
    if (listSize(head) > this.#peer.headerList) {
      throw new Http2Error(PROTOCOL_ERROR, "local", "the request's headers are longer than the server takes");
    }
    if (!this.accepting) throw this.#unsent();
    if (this.#queue.length >= this.#bounds.queue) {
      throw new Http2Error(codes.REFUSED_STREAM, "local", "too many requests are under way", { retryable: true });
    }
    return new Promise((resolve, reject) => this.#enqueue({ init, head, resolve, reject }));
  }

  /** Asks whether the server is there; resolves with its answer. Bound the wait yourself. */
  async ping(): Promise<void> {
    if (this.#over) throw this.#unsent();
    if (this.#pings.length >= PINGS) throw new Http2Error(NO_ERROR, "local", "too many pings wait for their answer");
    return new Promise((resolve, reject) => {
      this.#pings.push({ resolve, reject });
      this.#outbox.control(frames.frame(frames.PING, 0, 0, new Uint8Array(8)));
    });
  }

  /** Takes no new requests, and ends once those that are under way have. */
  drain(): void {
    this.#draining = true;
    this.#rejectQueue();
    this.#endWhenIdle();
  }

  /** Ends it at once. What is under way rejects, with the reason if one is given. Idempotent. */
  close(reason?: unknown): void {
    this.#finish(NO_ERROR, reason ?? new Http2Error(NO_ERROR, "local", "the connection has been closed"), reason);
  }

  #unsent(): Http2Error {
    return new Http2Error(NO_ERROR, this.#lastTaken === null ? "local" : "peer", "the connection takes no more requests", {
      retryable: true,
    });
  }

  // What this end sends.

  #enqueue(queued: Queued): void {
    const { signal } = queued.init;
    if (!signal) {
      this.#queue.push(queued);
      this.#advance();
      return;
    }
    const aborted = (): void => {
      this.#queue = this.#queue.filter((other) => other !== waiting);
      queued.reject(signal.reason);
    };
    const unlisten = (): void => signal.removeEventListener("abort", aborted);
    const waiting: Queued = {
      ...queued,
      begun: unlisten,
      reject: (reason) => {
        unlisten();
        queued.reject(reason);
      },
    };
    signal.addEventListener("abort", aborted, { once: true });
    this.#queue.push(waiting);
    this.#advance();
  }

  /** Begins as many of the waiting requests as may be under way. */
  #advance(): void {
    while (this.accepting && this.#streams.size < Math.min(this.#peer.maxStreams, this.#bounds.streams)) {
      const queued = this.#queue[0];
      // Whether the server has extended CONNECT is known with its settings, which are on their way.
      if (!queued || (queued.init.protocol !== undefined && !this.#greeted)) return;
      this.#queue.shift();
      queued.begun?.();
      this.#begin(queued);
    }
    if (!this.accepting) this.#rejectQueue();
  }

  #begin({ init, head, resolve, reject }: Queued): void {
    if (init.protocol !== undefined && !this.#peer.extendedConnect) {
      reject(new Http2Error(PROTOCOL_ERROR, "peer", "the server has no extended CONNECT"));
      return;
    }
    let block: Uint8Array;
    try {
      block = encodeHeaders(head, this.#sensitive);
    } catch (error) {
      reject(error);
      return;
    }
    const { body, protocol } = init;
    const ends = protocol === undefined && (!body || (body instanceof Uint8Array && body.length === 0));
    const stream = new Stream(this.#next, this.#owner, init, this.#peer.initialWindow, { resolve, reject });
    this.#next += 2;
    this.#streams.set(stream.id, stream);
    if (stream.id === 1) block = Uint8Array.of(NO_TABLE, ...block);
    this.#outbox.control(frames.headerFrames(stream.id, block, ends, this.#owner.frameSize()));
    stream.begin(ends);
  }

  #streamOver(stream: Stream, left: number | null): void {
    this.#streams.delete(stream.id);
    if (left !== null) this.#past.add(stream.id, left);
    this.#advance();
    this.#endWhenIdle();
  }

  // How it ends.

  #rejectQueue(): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const { reject } of queue) reject(this.#unsent());
  }

  #endWhenIdle(): void {
    if (this.accepting) return;
    if (this.#streams.size === 0) this.#finish(NO_ERROR, this.#unsent(), this.#goneFor);
    else this.#retire();
  }

  /** The link broke, or ended. */
  #broke(cause: unknown): void {
    this.#fail(null, new Http2Error(codes.INTERNAL_ERROR, "link", "the link broke", { cause }));
  }

  #fail(code: number | null, error: Http2Error): void {
    this.#finish(code, error, error);
  }

  /**
   * All is over. `code`: what the server is told, null for nothing; `error`: what is under way hears; `cause`: what
   * `closed` resolves with.
   */
  #finish(code: number | null, error: unknown, cause: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#rejectQueue();
    for (const stream of [...this.#streams.values()]) stream.fail(error);
    for (const ping of this.#pings) ping.reject(error);
    this.#pings = [];
    if (code === null) this.#leave(cause);
    else void this.#farewell(code).then(() => this.#leave(cause));
  }

  async #farewell(code: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | null = null;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FAREWELL);
    });
    await Promise.race([this.#outbox.finish(frames.goawayFrame(code)), late]);
    if (timer !== null) clearTimeout(timer);
  }

  #leave(cause: unknown): void {
    this.#outbox.stop();
    // Why is known before the link is over.
    this.#end(cause);
    this.#link.close(cause);
  }

  // What the server sends.

  async #read(): Promise<void> {
    const reader = new FrameReader();
    while (!this.#over) {
      let piece: Uint8Array | null;
      try {
        piece = await this.#link.receive();
      } catch (error) {
        this.#broke(error);
        return;
      }
      if (this.#over) return;
      if (piece === null) {
        this.#ended(reader.unfinished);
        return;
      }
      try {
        reader.push(piece);
        for (let frame = reader.next(); frame && !this.#over; frame = reader.next()) {
          this.#onFrame(frame);
          if (this.#outbox.crowded) await this.#outbox.calm();
        }
      } catch (error) {
        const known = typed(error);
        this.#fail(known.code, known);
      }
    }
  }

  /** The link ended without breaking. */
  #ended(amid: boolean): void {
    if (!amid && this.#streams.size === 0 && this.#pings.length === 0) {
      this.#lastTaken ??= STREAM_MAX;
      this.#finish(null, this.#unsent(), undefined);
      return;
    }
    this.#fail(null, new Http2Error(NO_ERROR, "link", "the server ended the connection"));
  }

  #onFrame(frame: Frame): void {
    if (!this.#greeted && frame.type !== frames.SETTINGS) throw violation(PROTOCOL_ERROR, "the server begins without SETTINGS");
    this.#blocks.check(frame);
    switch (frame.type) {
      case frames.DATA:
        return this.#onData(frame);
      case frames.HEADERS:
      case frames.CONTINUATION:
        return this.#onHeaders(frame);
      case frames.RST_STREAM:
        return this.#onReset(frame);
      case frames.SETTINGS:
        return this.#onSettings(frame);
      case frames.PUSH_PROMISE:
        throw violation(PROTOCOL_ERROR, "the server pushes");
      case frames.PING:
        return this.#onPing(frame);
      case frames.GOAWAY:
        return this.#onGoaway(frame);
      case frames.WINDOW_UPDATE:
        return this.#onWindow(frame);
      case frames.PRIORITY:
        expect(frame, 5, true);
    }
    // PRIORITY says nothing to a client, and an unknown frame nothing to anybody (RFC 9113, 5.5).
    this.#ledger.charge();
  }

  /** The stream that the frame belongs to; null: it is over. Throws when there was none yet. */
  #streamOf(frame: Frame): Stream | null {
    const { stream } = frame;
    if (stream === 0 || stream % 2 === 0 || stream >= this.#next) {
      throw violation(PROTOCOL_ERROR, "a frame belongs to a stream that there is not");
    }
    return this.#streams.get(stream) ?? null;
  }

  /** Does what a frame asks of its stream; what only that stream has to pay for resets it. */
  #within(stream: Stream, act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof StreamViolation)) throw error;
      stream.reset(error.code, error);
    }
  }

  #onData(frame: Frame): void {
    const size = frame.payload.length;
    const stream = this.#streamOf(frame);
    // Given back at once: an answer that nobody reads holds its own stream back, and no other. What all of them may hold
    // is bounded by the windows of the streams.
    if (!this.#receive.accept(size)) throw violation(codes.FLOW_CONTROL_ERROR, "more came than the window allows");
    const increment = this.#receive.release(size);
    if (increment > 0) this.#outbox.control(frames.windowFrame(0, increment));
    const piece = frames.unpadded(frame);
    const ends = (frame.flags & frames.FLAG_END_STREAM) !== 0;
    if (piece.length === 0 && !ends) this.#ledger.charge();
    if (stream) {
      this.#within(stream, () => stream.onData(piece, size, frame.shared, ends));
      return;
    }
    this.#past.check(frame.stream, size);
  }

  #onHeaders(frame: Frame): void {
    this.#streamOf(frame);
    if (frame.payload.length === 0) this.#ledger.charge();
    const block = this.#blocks.push(frame);
    if (!block) return;
    const stream = this.#streams.get(block.stream);
    const decoded = decodeHeaders(block.bytes, this.#bounds.headerList);
    if (stream) {
      this.#within(stream, () => stream.onHeaders(decoded, block.ends));
      return;
    }
    this.#ledger.charge();
    this.#past.check(block.stream, 0);
  }

  #onReset(frame: Frame): void {
    expect(frame, 4, true);
    const stream = this.#streamOf(frame);
    if (stream) stream.onReset(frames.readU32(frame.payload, 0));
    else this.#ledger.charge();
  }

  #onSettings(frame: Frame): void {
    expect(frame, null, false);
    if (frame.flags & frames.FLAG_ACK) {
      if (!this.#greeted) throw violation(PROTOCOL_ERROR, "the server begins with an acknowledgement");
      expect(frame, 0, false);
      this.#ledger.charge();
      return;
    }
    if (this.#greeted) this.#ledger.charge(SETTINGS_COST);
    const before = this.#peer.initialWindow;
    this.#peer = appliedSettings(this.#peer, frame.payload);
    this.#greeted = true;
    const difference = this.#peer.initialWindow - before;
    for (const stream of this.#streams.values()) {
      if (difference > 0) stream.window.grow(difference);
      else stream.window.take(-difference);
    }
    this.#outbox.control(frames.frame(frames.SETTINGS, frames.FLAG_ACK, 0, new Uint8Array(0)));
    this.#advance();
  }

  #onPing(frame: Frame): void {
    expect(frame, 8, false);
    if (!(frame.flags & frames.FLAG_ACK)) {
      this.#ledger.charge();
      this.#outbox.control(frames.frame(frames.PING, frames.FLAG_ACK, 0, frame.payload));
      return;
    }
    const ping = this.#pings.shift();
    if (ping) ping.resolve();
    else this.#ledger.charge();
  }

  #onGoaway(frame: Frame): void {
    if (frame.payload.length < 8) throw violation(FRAME_SIZE_ERROR, "a GOAWAY frame is too short");
    expect(frame, null, false);
    this.#ledger.charge();
    const last = frames.readU32(frame.payload, 0) & STREAM_MAX;
    const code = frames.readU32(frame.payload, 4);
    if (this.#lastTaken !== null && last > this.#lastTaken) throw violation(PROTOCOL_ERROR, "the server takes back its GOAWAY");
    this.#lastTaken = last;
    if (code !== NO_ERROR) this.#goneFor = new Http2Error(code, "peer", "the server ended the connection");
    for (const stream of [...this.#streams.values()]) {
      if (stream.id <= last) continue;
      const error = new Http2Error(code, "peer", "the server ends the connection without this request", { retryable: true });
      stream.fail(error, 0);
    }
    this.#rejectQueue();
    this.#endWhenIdle();
  }

  #onWindow(frame: Frame): void {
    expect(frame, 4, null);
    const increment = frames.readU32(frame.payload, 0) & STREAM_MAX;
    this.#ledger.charge();
    if (frame.stream === 0) {
      if (increment === 0) throw violation(PROTOCOL_ERROR, "the server makes a window larger by nothing");
      this.#window.grow(increment);
      return;
    }
    const stream = this.#streamOf(frame);
    if (!stream) return;
    this.#within(stream, () => {
      if (increment === 0) throw new StreamViolation(PROTOCOL_ERROR, "the server makes a window larger by nothing");
      stream.window.grow(increment, (code, message) => new StreamViolation(code, message));
    });
  }
}

/** Throws when a frame has not this length (null: any), or belongs to a stream and must not, or the other way round. */
function expect(frame: Frame, length: number | null, ofStream: boolean | null): void {
  if (length !== null && frame.payload.length !== length) throw violation(FRAME_SIZE_ERROR, "a frame has a wrong length");
  if (ofStream !== null && (frame.stream !== 0) !== ofStream) throw violation(PROTOCOL_ERROR, "a frame belongs to the wrong stream");
}
