/** Long bodies: any length in the same memory. `COUPLET_SDK_BYTES` says how many bytes each has; 64 MiB unless told. */
import assert from "node:assert/strict";
import type { ServerHttp2Stream } from "node:http2";
import { test } from "node:test";
import { running } from "./http2/server.js";

const MIB = 1 << 20;
const PIECE = 256 << 10;
const SIZE = Math.ceil(Number(process.env["COUPLET_SDK_BYTES"] ?? 64 * MIB) / PIECE) * PIECE;
/** What both ends together may hold beyond what they had before: the windows, the socket's queues, and garbage not yet collected. */
const MEMORY = 160 * MIB;
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

/** Runs it, and sees how much the process grew at most meanwhile. */
async function measured(t: { diagnostic(text: string): void }, run: () => Promise<void>): Promise<void> {
  const before = process.memoryUsage().rss;
  let most = before;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 20);
  const began = performance.now();
  const cpu = process.cpuUsage();
  try {
    await run();
  } finally {
    clearInterval(timer);
  }
  const seconds = (performance.now() - began) / 1000;
  const used = process.cpuUsage(cpu);
  const rate = SIZE / MIB / seconds;
  const busy = (used.user + used.system) / 1e6;
  t.diagnostic(`${rate.toFixed(0)} MiB/s, ${busy.toFixed(1)} s of both ends' processor, grew by ${((most - before) / MIB).toFixed(0)} MiB`);
  assert.ok(most - before < MEMORY, `grew by ${(most - before) / MIB} MiB`);
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

test("a long answer comes in constant memory", async (t) => {
  const { connection } = await running(t, (stream) => {
    // Node resets a stream whose request nobody took, without its END_STREAM.
    stream.resume();
    stream.respond({ ":status": 200 });
    send(stream);
  });
  await measured(t, async () => {
    const { body } = await connection.request({ ...POST, method: "GET" });
    const check = new Check();
    for (let piece = await body.receive(); piece; piece = await body.receive()) check.push(piece);
    assert.equal(check.length, SIZE);
  });
});

test("a long body is sent in constant memory", async (t) => {
  const check = new Check();
  const { connection } = await running(t, (stream) => {
    // Its window of a connection is 64 KiB unless told, whatever its streams' are.
    stream.session?.setLocalWindowSize(16 * MIB);
    stream.on("data", (piece: Buffer) => check.push(piece));
    stream.on("end", () => {
      stream.respond({ ":status": 204 });
      stream.end();
    });
  }, { settings: { initialWindowSize: 1 << 20 } });
  async function* body(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < SIZE; at += PIECE) yield fill(new Uint8Array(PIECE), at);
  }
  await measured(t, async () => {
    const { status } = await connection.request({ ...POST, body: body() });
    assert.equal(status, 204);
    assert.equal(check.length, SIZE);
  });
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
