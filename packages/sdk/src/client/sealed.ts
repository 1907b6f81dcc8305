/**
 * A session over a WebSocket, as a byte stream (spec/protocol.md, 4). What is not a byte of the stream goes past it:
 * closing, and the messages of either end.
 */
import type { ByteLink } from "../link.js";
import { wipe } from "../protocol/bytes.js";
import type { Endpoint } from "../protocol/endpoint.js";
import { CoupletError } from "../protocol/error.js";
import { DATA_MAX, type CloseReason } from "../protocol/frame.js";
import { decodeControl, encodeControl, type Control } from "../protocol/message.js";
import { SESSION_TIME, type Opened, type Session } from "../protocol/session.js";
import { GRACE, isLate, type Clock } from "./clock.js";
import type { Wire } from "./socket.js";

/** How a session ended. */
export type Ending =
  /** The host closed it, or this end did. */
  | { readonly by: "host" | "us"; readonly reason: CloseReason }
  /** The connection ended without a CLOSE. A frame could not be opened, or the host broke the protocol. Nothing came. */
  | { readonly by: "truncated" | "broken" | "silent" };

/** How long a device waits for any sign of its host, in milliseconds. */
const SILENCE = 60_000;
/**
 * A page does not see the pings of its WebSocket. So after this time without a word it asks the host for one itself; and
 * who was suspended, whose alarms come late, asks before it gives anybody up, and waits for the answer.
 */
const QUIET = 25_000;
/** How slow a line may be, in bytes a millisecond; and how long what was sent may be on its way for that, in milliseconds. */
const SLOWEST = 4.096;
const LONGEST = 60_000;

const TEXTS = {
  host: "the host closed the session",
  us: "the session was closed",
  truncated: "the connection ended before the session was closed",
  broken: "the session broke: a frame could not be opened or was out of place",
  silent: "the host has been silent for too long",
} as const;

/** A sealed session, the device's end. */
export class SealedStream implements ByteLink {
  readonly #wire: Wire;
  readonly #session: Session;
  readonly #clock: Clock;
  readonly #began: number;
  #heardAt: number;
  #arrivesAt = 0;
  /** When the host was asked for a sign that has not come. */
  #askedAt: number | null = null;
  /** It was asked once more, as this end had slept. */
  #isAskedAgain = false;
  #calledOff: () => void = () => {};
  #ending: Ending | null = null;
  #resolve: (ending: Ending) => void = () => {};
  /** How it ended. Never rejects. */
  readonly ended: Promise<Ending>;
  #ask: () => void = () => {};
  /** The host said where else it is. */
  onEndpoints: (list: readonly Endpoint[], serial: bigint) => void = () => {};
  /** Bytes of the stream came: the host has taken the `confirm`. Called each time. */
  onData: () => void = () => {};

  /** Takes the socket over which the handshake went. */
  constructor(wire: Wire, session: Session, clock: Clock) {
    this.#wire = wire;
    this.#session = session;
    this.#clock = clock;
    this.#began = clock.now();
    this.#heardAt = this.#began;
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    wire.onHeard = () => {
      this.#heardAt = clock.now();
      this.#askedAt = null;
      this.#isAskedAgain = false;
    };
  }

  /**
   * Gives the host up when it is silent from now on. `ask` asks it for any sign of life: what HTTP/2 has a PING for. While a
   * pairing waits for its owner the host may be silent for longer, as far as a page can see.
   */
  watch(ask: () => void): void {
    this.#ask = ask;
    this.#heardAt = this.#clock.now();
    this.#watch();
  }

  /** Whether it is over. */
  get isOver(): boolean {
    return this.#ending !== null;
  }

  /** How it ended, once it has. */
  get ending(): Ending | null {
    return this.#ending;
  }

  /** What that is to who still wanted something of it. */
  get error(): CoupletError {
    return this.#error();
  }

  /** When anything came last, by the clock. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** When what was sent has reached the host over as slow a line as may be, by the clock. */
  get arrivesAt(): number {
    return this.#arrivesAt;
  }

  /**
   * The host's next message, before HTTP begins. Unknown ones are passed over.
   *
   * @throws {CoupletError} The session is over, or the host sent data, for which it is too early: that ends it.
   */
  async control(): Promise<Control> {
    for (;;) {
      const opened = await this.#open();
      if (opened === null) throw this.#error();
      if (opened.kind === "data") throw this.#end({ by: "broken" });
      if (opened.kind !== "control") continue;
      const control = this.#decode(opened.data);
      if (control !== null) return control;
    }
  }

  /** Sends a message. */
  say(control: Control): void {
    const message = encodeControl(control);
    this.#seal("control", message);
    wipe(message);
  }

  async send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += DATA_MAX) {
      const piece = bytes.subarray(at, at + DATA_MAX);
      this.#seal("data", piece);
      const now = this.#clock.now();
      this.#arrivesAt = Math.min(Math.max(this.#arrivesAt, now) + piece.length / SLOWEST, now + LONGEST);
      await this.#wire.drained();
    }
    if (this.#ending !== null) throw this.#error();
  }

  /** The next bytes; null only when the host has closed the session: any other end is an error. */
  async receive(): Promise<Uint8Array | null> {
    for (;;) {
      const opened = await this.#open();
      if (opened === null) return null;
      if (opened.kind === "control") this.#hear(opened.data);
      if (opened.kind !== "data" || opened.data.length === 0) continue;
      this.onData();
      return opened.data;
    }
  }

  /** As {@link SealedStream.leave}, for whom it is a stream of bytes. */
  close(): void {
    this.leave("leaving");
  }

  /** Closes the session: everything over it breaks off at once, and the host is told why. The first reason counts. */
  leave(reason: CloseReason): void {
    if (this.#ending !== null) return;
    try {
      this.#wire.send(this.#session.sealer.sealClose(reason));
    } catch {
      // It is over all the same.
    }
    this.#end({ by: "us", reason });
  }

  /** The way is gone: nobody is told. */
  abandon(): void {
    if (this.#ending === null) this.#end({ by: "truncated" });
  }

  /** The next frame that carries something; null once the host has closed the session. */
  async #open(): Promise<Opened | null> {
    for (;;) {
      if (this.#ending !== null) return this.#over();
      const frame = await this.#wire.receive();
      if (this.#ending !== null) return this.#over();
      if (frame === null) throw this.#end({ by: this.#wire.end?.isBroken === true ? "broken" : "truncated" });
      const opened = this.#opened(frame);
      if (opened.kind === "close") {
        this.#end({ by: "host", reason: this.#session.opener.closed ?? "done" });
        return null;
      }
      if (opened.kind === "data" || opened.kind === "control") return opened;
    }
  }

  #over(): null {
    if (this.#ending?.by === "host") return null;
    throw this.#error();
  }

  #opened(frame: Uint8Array): Opened {
    try {
      return this.#session.opener.open(frame);
    } catch {
      throw this.#end({ by: "broken" });
    }
  }

  /** A message of the host while HTTP runs. Only the news of its addresses has a place there. */
  #hear(message: Uint8Array): void {
    const control = this.#decode(message);
    if (control === null) return;
    if (control.t !== "endpoints") throw this.#end({ by: "broken" });
    this.onEndpoints(control.list, control.serial);
  }

  #decode(message: Uint8Array): Control | null {
    try {
      return decodeControl(message);
    } catch {
      throw this.#end({ by: "broken" });
    } finally {
      wipe(message);
    }
  }

  /** Seals a frame, with a new key when it is time for one. */
  #seal(kind: "data" | "control", piece: Uint8Array): void {
    if (this.#ending !== null) throw this.#error();
    const { sealer } = this.#session;
    const now = this.#clock.now() - this.#began;
    try {
      if (sealer.keyUpdateDue(now)) this.#wire.send(sealer.sealKeyUpdate(now));
      this.#wire.send(sealer.seal(kind, piece));
    } catch {
      throw this.#end({ by: "broken" });
    }
  }

  /** The session is over; the first reason counts. */
  #end(ending: Ending): CoupletError {
    if (this.#ending === null) {
      this.#ending = ending;
      this.#calledOff();
      this.#session.sealer.wipe();
      this.#session.opener.wipe();
      if (ending.by === "truncated" || ending.by === "silent") this.#wire.cut();
      else this.#wire.close();
      this.#resolve(ending);
    }
    return this.#error();
  }

  #error(): CoupletError {
    return new CoupletError("CPL-1602", TEXTS[this.#ending?.by ?? "truncated"]);
  }

  /** Sets the next alarm: for whichever comes first. */
  #watch(): void {
    if (this.#ending !== null) return;
    const now = this.#clock.now();
    const asked = this.#askedAt;
    const due = asked === null ? this.#heardAt + QUIET : Math.max(this.#heardAt + SILENCE, asked + GRACE);
    const wait = Math.max(Math.min(due, this.#began + SESSION_TIME) - now, 0);
    this.#calledOff = this.#clock.after(wait, () => this.#alarm(now + wait));
  }

  #alarm(due: number): void {
    const now = this.#clock.now();
    if (now - this.#began >= SESSION_TIME) return this.leave("tooOld");
    const quiet = now - this.#heardAt;
    const isSilent = this.#askedAt !== null && quiet >= SILENCE && now - this.#askedAt >= GRACE;
    // The answer may lie in the socket.
    const isAsleep = isSilent && !this.#isAskedAgain && isLate(this.#clock, due);
    if (isSilent && !isAsleep) {
      this.#end({ by: "silent" });
      return;
    }
    this.#isAskedAgain ||= isAsleep;
    if (isAsleep || (this.#askedAt === null && quiet >= QUIET)) {
      this.#askedAt = now;
      this.#ask();
    }
    this.#watch();
  }
}
