/** Long bodies: any length in the same memory. `COUPLET_SDK_BYTES` says how many bytes each has; 64 MiB unless told. */
import assert from "node:assert/strict";
import type { ServerHttp2Stream } from "node:http2";
import { test, type TestContext } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { running } from "./http2/server.js";

const MIB = 1 << 20;
const PIECE = 256 << 10;
const SIZE = Math.ceil(Number(process.env["COUPLET_SDK_BYTES"] ?? 64 * MIB) / PIECE) * PIECE;
/** What both ends together may hold beyond what they had before: the windows and the socket's queues. Less than any body here. */
const MEMORY = 32 * MIB;
/** What is held is looked at after so many pieces: it takes some milliseconds. */
const PIECES_A_LOOK = 16;
const POST = { method: "POST", authority: "host", path: "/" } as const;

/** Numbers that no piece shares with the one before: what is lost, doubled or out of order shows. */
function fill(piece: Uint8Array, at: number): Uint8Array {
  new DataView(piece.buffer, piece.byteOffset).setUint32(0, at / PIECE);
  return piece;
}

/** Sees that pieces of PIECE bytes come as `fill` made them, however they are cut. */
class Check {
  #at = 0;
  readonly #head = Buffer.alloc(4);

  push(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length; ) {
      const within = this.#at % PIECE;
      if (within < 4) {
        this.#head[within] = bytes[from] ?? 0;
        if (within === 3) assert.equal(this.#head.readUInt32BE(), Math.floor(this.#at / PIECE));
      }
      const step = within < 4 ? 1 : Math.min(PIECE - within, bytes.length - from);
      this.#at += step;
      from += step;
    }
  }

  get length(): number {
    return this.#at;
  }
}

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

/** What the program holds now, in bytes, without what it does not need any more. */
function held(): number {
  gc();
  // V8 counts the buffers that a collection has let go of until the next one begins.
  gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Runs it, and sees how much more the process held at most meanwhile, each time that it was asked to look. */
async function measured(t: TestContext, run: (look: () => void) => Promise<void>): Promise<void> {
  const before = held();
  let [most, looks] = [0, 0];
  const cpu = process.cpuUsage();
  const began = performance.now();
  await run(() => {
    looks += 1;
    if (looks % PIECES_A_LOOK === 0) most = Math.max(most, held() - before);
  });
  most = Math.max(most, held() - before);
  const seconds = (performance.now() - began) / 1000;
  const used = process.cpuUsage(cpu);
  const rate = SIZE / MIB / seconds;
  const busy = (used.user + used.system) / 1e6;
  t.diagnostic(`${rate.toFixed(0)} MiB/s, ${busy.toFixed(1)} s of both ends' processor, held ${(most / MIB).toFixed(0)} MiB`);
  assert.ok(looks >= SIZE / PIECE, `looked ${looks} times`);
  assert.ok(most < MEMORY, `held ${most / MIB} MiB`);
}

function send(stream: ServerHttp2Stream): void {
  let sent = 0;
  const go = (): void => {
    while (sent < SIZE) {
      const at = sent;
      sent += PIECE;
      if (!stream.write(fill(new Uint8Array(PIECE), at))) {
        stream.once("drain", go);
        return;
      }
    }
    stream.end();
  };
  go();
}

/** Reads a long answer; `taken` is given every piece. */
async function download(t: TestContext, taken: (piece: Uint8Array) => void): Promise<void> {
  const { connection } = await running(t, (stream) => {
    // Node resets a stream whose request nobody took, without its END_STREAM.
    stream.resume();
    stream.respond({ ":status": 200 });
    send(stream);
  });
  await measured(t, async (look) => {
    const { body } = await connection.request({ ...POST, method: "GET" });
    const check = new Check();
    let seen = 0;
    for (let piece = await body.receive(); piece; piece = await body.receive()) {
      check.push(piece);
      taken(piece);
      for (; seen + PIECE <= check.length; seen += PIECE) look();
    }
    assert.equal(check.length, SIZE);
  });
}

/** Sends a long body; `taken` is given every piece that comes. */
async function upload(t: TestContext, taken: (piece: Uint8Array) => void): Promise<void> {
  const check = new Check();
  const { connection } = await running(t, (stream) => {
    // Its window of a connection is 64 KiB unless told, whatever its streams' are.
    stream.session?.setLocalWindowSize(16 * MIB);
    stream.on("data", (piece: Buffer) => {
      check.push(piece);
      taken(piece);
    });
    stream.on("end", () => {
      stream.respond({ ":status": 204 });
      stream.end();
    });
  }, { settings: { initialWindowSize: 1 << 20 } });
  await measured(t, async (look) => {
    async function* body(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < SIZE; at += PIECE) {
        yield fill(new Uint8Array(PIECE), at);
        look();
      }
    }
    const { status } = await connection.request({ ...POST, body: body() });
    assert.equal(status, 204);
    assert.equal(check.length, SIZE);
  });
}

test("a long answer comes in constant memory", (t) => download(t, () => {}));

test("a long body is sent in constant memory", (t) => upload(t, () => {}));

test("whoever held every piece would be found out", { skip: SIZE < 2 * MEMORY || SIZE > 8 * MEMORY }, async (t) => {
  const kept: Uint8Array[] = [];
  await assert.rejects(download(t, (piece) => void kept.push(piece)), /^AssertionError.*: held/);
  kept.length = 0;
  await assert.rejects(upload(t, (piece) => void kept.push(piece)), /^AssertionError.*: held/);
});

test("who reads slowly holds the server back, and nobody else", async (t) => {
  let written = 0;
  const { connection } = await running(t, (stream, headers) => {
    stream.respond({ ":status": 200 });
    if (headers[":path"] === "/quick") {
      stream.end("quick");
      return;
    }
    const go = (): void => {
      while (written < 64 * MIB) {
        written += PIECE;
        if (!stream.write(new Uint8Array(PIECE))) {
          stream.once("drain", go);
          return;
        }
      }
      stream.end();
    };
    go();
  });
  const slow = await connection.request({ ...POST, method: "GET" });
  await connection.ping();
  const { body } = await connection.request({ ...POST, method: "GET", path: "/quick" });
  assert.equal(Buffer.from((await body.receive()) ?? []).toString(), "quick");
  // The stream's window, and what Node's server queues in front of it.
  assert.ok(written <= 4 * MIB, `${written} bytes came for a reader that takes none`);
  slow.body.close();
});
