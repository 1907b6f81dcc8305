/** A server made by hand, at the other end of a link in memory: it sends what it is told, and sees what comes. */
import type { TestContext } from "node:test";
import { Connection, type Bounds } from "../../src/http2/index.js";
import { type Frame, frame, FrameReader, goawayFrame, headerFrames, SETTINGS, settingsFrame, FLAG_ACK } from "../../src/http2/frame.js";
import { encodeHeaders, type Header } from "../../src/http2/hpack.js";
import type { ByteLink } from "../../src/link.js";

const PREFACE = 24;

/** One direction. */
class Pipe {
  #pieces: Uint8Array[] = [];
  #ended = false;
  #failure: { reason: unknown } | null = null;
  #wake: () => void = () => undefined;

  push(piece: Uint8Array): void {
    if (piece.length > 0) this.#pieces.push(piece);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#wake();
  }

  async next(): Promise<Uint8Array | null> {
    for (;;) {
      if (this.#failure) throw this.#failure.reason;
      const piece = this.#pieces.shift();
      if (piece) return piece;
      if (this.#ended) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

export class HostileServer {
  readonly connection: Connection;
  readonly #down = new Pipe();
  readonly #up = new Pipe();
  readonly #reader = new FrameReader();
  #skip = PREFACE;
  /** While it is set, the link takes nothing more. */
  #stalled: Promise<void> | null = null;
  #unstall: () => void = () => undefined;
  /** What the connection closed its link with. */
  closedWith: { reason: unknown } | null = null;

  constructor(t: TestContext, bounds: Partial<Bounds> = {}) {
    const link: ByteLink = {
      send: async (bytes) => {
        await this.#stalled;
        if (this.closedWith) throw this.closedWith.reason;
        this.#up.push(bytes.slice());
      },
      receive: () => this.#down.next(),
      close: (reason) => {
        this.closedWith ??= { reason };
        this.#down.fail(reason);
        this.#up.end();
      },
    };
    this.connection = Connection.open(link, bounds);
    t.after(async () => {
      this.resume();
      this.connection.close();
      await this.connection.closed;
    });
  }

  stall(): void {
    this.#stalled = new Promise((resolve) => {
      this.#unstall = resolve;
    });
  }

  resume(): void {
    this.#stalled = null;
    this.#unstall();
  }

  send(...frames: readonly Uint8Array[]): void {
    this.#down.push(Buffer.concat(frames));
  }

  end(): void {
    this.#down.end();
  }

  breakOff(reason: unknown): void {
    this.#down.fail(reason);
  }

  /** Begins as a server does. */
  greet(...entries: readonly (readonly [number, number])[]): void {
    this.send(settingsFrame(entries), frame(SETTINGS, FLAG_ACK, 0, new Uint8Array(0)));
  }

  answer(stream: number, headers: readonly Header[], ends: boolean): void {
    this.send(headerFrames(stream, encodeHeaders(headers, new Set()), ends, 16_384));
  }

  /** The next frame of the client that is not about windows and settings, or of the type asked for; null: it ended. */
  async next(wanted?: number): Promise<Frame | null> {
    for (;;) {
      const its = this.#reader.next();
      if (its && (wanted === undefined ? its.type !== SETTINGS && its.type !== 8 : its.type === wanted)) return its;
      if (its) continue;
      const piece = await this.#up.next();
      if (piece === null) return null;
      const skipped = Math.min(this.#skip, piece.length);
      this.#skip -= skipped;
      this.#reader.push(piece.subarray(skipped));
    }
  }
}

/** A frame of any kind. */
export function raw(type: number, flags: number, stream: number, payload: readonly number[] | Uint8Array = []): Uint8Array {
  return frame(type, flags, stream, Uint8Array.from(payload));
}

export { goawayFrame };
