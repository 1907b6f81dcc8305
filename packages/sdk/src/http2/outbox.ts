/** What waits to be sent, and the one task that sends it: the link takes one piece after the other. */
import type { ByteLink } from "../link.js";

/** How much is handed to the link at once, when it consists of small pieces. */
const TOGETHER = 65_536;
/** While so many bytes of answers wait, no more is read: a server that does not listen gets nothing more done. */
const CONTROL_MOST = 65_536;

interface Piece {
  readonly bytes: Uint8Array;
  /** Looked at once the piece's turn comes. */
  readonly wanted: () => boolean;
  readonly done: (sent: boolean) => void;
}

export class Outbox {
  readonly #link: ByteLink;
  readonly #failed: (cause: unknown) => void;
  #control: Uint8Array[] = [];
  #controlBytes = 0;
  #pieces: Piece[] = [];
  #running = false;
  #over = false;
  #waiting: (() => void)[] = [];

  /** `failed` hears of the link's failure, once. */
  constructor(link: ByteLink, failed: (cause: unknown) => void) {
    this.#link = link;
    this.#failed = failed;
  }

  /** Frames of the connection, and heads of requests: before all data, in order. */
  control(frames: Uint8Array): void {
    if (this.#over) return;
    this.#control.push(frames);
    this.#controlBytes += frames.length;
    this.#start();
  }

  /** Whether so much waits that reading has to wait, too. */
  get crowded(): boolean {
    return this.#controlBytes > CONTROL_MOST;
  }

  /** Resolves when it is no longer crowded, or all is over. */
  async calm(): Promise<void> {
    while (this.crowded && !this.#over) await this.#changed();
  }

  /**
   * Frames of one stream. Resolves once the link has taken them: true. False when they are dropped: when their turn
   * comes and they are not `wanted` any more, or when all is over.
   */
  data(bytes: Uint8Array, wanted: () => boolean): Promise<boolean> {
    if (this.#over) return Promise.resolve(false);
    return new Promise((done) => {
      this.#pieces.push({ bytes, wanted, done });
      this.#start();
    });
  }

  /** Sends this after what the link has already, and nothing besides or later. Resolves when it is sent, or cannot be. */
  async finish(last: Uint8Array): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    for (const piece of this.#pieces) piece.done(false);
    this.#pieces = [];
    this.#control = [last];
    this.#controlBytes = 0;
    this.#start();
    this.#wake();
    while (this.#running) await this.#changed();
  }

  /** Nothing is sent after this. */
  stop(): void {
    this.#over = true;
    this.#control = [];
    this.#controlBytes = 0;
    for (const piece of this.#pieces) piece.done(false);
    this.#pieces = [];
    this.#wake();
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    // What is asked for in one go is sent in one.
    void Promise.resolve().then(() => this.#run());
  }

  async #run(): Promise<void> {
    for (;;) {
      const control = this.#control;
      const bytes = this.#controlBytes;
      this.#control = [];
      const data = this.#nextData(bytes);
      const batch = [...control, ...data.map((piece) => piece.bytes)];
      if (batch.length === 0) break;
      try {
        await this.#link.send(together(batch));
      } catch (error) {
        for (const piece of data) piece.done(false);
        this.stop();
        this.#running = false;
        this.#failed(error);
        break;
      }
      this.#controlBytes -= Math.min(bytes, this.#controlBytes);
      for (const piece of data) piece.done(true);
      this.#wake();
    }
    this.#running = false;
    this.#wake();
  }

  #nextData(before: number): Piece[] {
    const taken: Piece[] = [];
    let bytes = before;
    let count = 0;
    for (const piece of this.#pieces) {
      if (bytes > 0 && bytes + piece.bytes.length > TOGETHER) break;
      count += 1;
      if (!piece.wanted()) {
        piece.done(false);
        continue;
      }
      taken.push(piece);
      bytes += piece.bytes.length;
    }
    this.#pieces.splice(0, count);
    return taken;
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

function together(batch: readonly Uint8Array[]): Uint8Array {
  const [only] = batch;
  if (only && batch.length === 1) return only;
  const out = new Uint8Array(batch.reduce((sum, bytes) => sum + bytes.length, 0));
  let at = 0;
  for (const bytes of batch) {
    out.set(bytes, at);
    at += bytes.length;
  }
  return out;
}
