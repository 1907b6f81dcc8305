/** Frames by chance, from seeds: whatever comes, each request and the connection end, and with nothing but `Http2Error`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CANCEL, Http2Error } from "../src/http2/error.js";
import * as frames from "../src/http2/frame.js";
import { Connection, type Http2Response } from "../src/http2/index.js";
import type { ByteLink } from "../src/link.js";

const SEEDS = 600;
/** Milliseconds that all may take to end once the connection has. */
const LATE = 5_000;

/** Whole numbers below what is asked, the same for each seed. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A link whose other end is the test. */
class Feed implements ByteLink {
  #pieces: (Uint8Array | null)[] = [];
  #failure: { reason: unknown } | null = null;
  #wake: () => void = () => undefined;

  put(piece: Uint8Array | null): void {
    this.#pieces.push(piece);
    this.#wake();
  }

  async send(): Promise<void> {
    if (this.#failure) throw this.#failure.reason;
    await turn();
  }

  async receive(): Promise<Uint8Array | null> {
    for (;;) {
      if (this.#failure) throw this.#failure.reason;
      const piece = this.#pieces.shift();
      if (piece !== undefined) return piece;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(reason?: unknown): void {
    this.#failure ??= { reason: reason ?? new Error("the link is closed") };
    this.#wake();
  }
}

async function* body(below: (most: number) => number): AsyncGenerator<Uint8Array> {
  for (let piece = 0; piece < 5; piece += 1) {
    await turn();
    yield new Uint8Array(below(60_000));
  }
}

/** Does with an answer what an app may do. */
async function use(answer: Http2Response, below: (most: number) => number): Promise<void> {
  if (answer.duplex && below(2) === 0) {
    await answer.duplex.send(new Uint8Array(below(3_000)));
    answer.duplex.close(below(2) === 0 ? undefined : new Http2Error(CANCEL, "local", "enough"));
    return;
  }
  for (let piece = below(10); piece > 0; piece -= 1) {
    if ((await answer.body.receive()) === null) {
      await answer.trailers;
      return;
    }
  }
  answer.body.close();
}

function ask(connection: Connection, signal: AbortSignal, below: (most: number) => number): Promise<Http2Response> {
  const to = { authority: "host", path: "/" };
  switch (below(5)) {
    case 0: return connection.request({ ...to, method: "POST", body: body(below) });
    case 1: return connection.request({ ...to, method: "POST", body: new Uint8Array(below(100_000)) });
    case 2: return connection.request({ ...to, method: "CONNECT", protocol: "websocket" });
    case 3: return connection.request({ ...to, method: "GET", signal });
    default: return connection.request({ ...to, method: "GET" });
  }
}

/** What the server sends next. */
function next(below: (most: number) => number): Uint8Array[] {
  const id = below(10) === 0 ? below(12) : 1 + 2 * below(5);
  const noise = (most: number): Uint8Array => Uint8Array.from({ length: below(most) }, () => below(256));
  switch (below(14)) {
    case 0:
    case 1: return [frames.frame(frames.HEADERS, frames.FLAG_END_HEADERS | below(2), id, Uint8Array.of(0x88))];
    case 2: return [frames.frame(frames.HEADERS, frames.FLAG_END_HEADERS, id, Uint8Array.of(0x88, 0x0f, 0x0d, 1, 0x30 + below(10)))];
    case 3:
    case 4: return [frames.frame(frames.DATA, below(6) === 0 ? 1 : 0, id, new Uint8Array(below(16_384)))];
    case 5: return [frames.windowFrame(below(2) === 0 ? 0 : id, below(100_000))];
    case 6: return [frames.resetFrame(id, below(14))];
    case 7: return [frames.settingsFrame([[1 + below(8), below(70_000)]])];
    case 8: return [frames.frame(frames.PING, below(2), 0, new Uint8Array(8))];
    case 9: return below(4) > 0 ? [] : [frames.frame(frames.GOAWAY, 0, 0, Uint8Array.of(0, 0, 0, below(8), 0, 0, 0, below(3)))];
    case 10: return below(3) > 0 ? [] : [frames.frame(below(14), below(256), below(3) === 0 ? 0 : id, noise(30))];
    case 11: return [frames.frame(frames.HEADERS, frames.FLAG_END_HEADERS | below(2), id, Uint8Array.of(0x88, ...noise(20)))];
    case 12: return below(6) > 0 ? [] : [noise(40)].filter((piece) => piece.length > 0);
    default: {
      const whole = frames.frame(frames.DATA, 0, id, new Uint8Array(200));
      const at = 1 + below(whole.length - 1);
      return [whole.slice(0, at), whole.slice(at)];
    }
  }
}

async function play(seed: number): Promise<void> {
  const below = random(seed * 7_919);
  const feed = new Feed();
  const connection = Connection.open(feed, { linger: 5 });
  const abort = new AbortController();
  const reason = new Error("aborted");
  const pending: Promise<unknown>[] = [connection.closed];
  const watch = (made: Promise<unknown>): void => {
    pending.push(made.catch((error: unknown) => assert.ok(error instanceof Http2Error || error === reason, `seed ${seed}: ${String(error)}`)));
  };
  feed.put(frames.settingsFrame([[8, 1], [3, 1 + below(5)], [4, below(200_000)]]));
  for (let step = below(60); step >= 0; step -= 1) {
    if (step === 0 || below(4) === 0) watch(ask(connection, abort.signal, below).then((answer) => use(answer, below)));
    if (below(40) === 0) abort.abort(reason);
    if (below(50) === 0) watch(connection.ping());
    for (const piece of next(below)) feed.put(piece);
    if (below(3) === 0) await turn();
  }
  await turn();
  const end = below(3);
  if (end === 0) feed.put(null);
  else if (end === 1) feed.close(new Error("the link broke"));
  else connection.close();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`seed ${seed} does not end`)), LATE);
  });
  try {
    await Promise.race([Promise.all(pending), late]);
  } finally {
    clearTimeout(timer);
  }
}

test("whatever frames come, all that is under way ends, and says why", { timeout: 120_000 }, async () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) await play(seed);
});
