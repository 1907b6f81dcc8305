/** What aborted requests, tables and GOAWAYs leave behind for the requests after them. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { ServerHttp2Stream } from "node:http2";
import { test } from "node:test";
import { ENHANCE_YOUR_CALM, Http2Error } from "../src/http2/error.js";
import { frame, GOAWAY } from "../src/http2/frame.js";
import { requestHead } from "../src/http2/headers.js";
import { HostileServer } from "./http2/hostile.js";
import { running, text } from "./http2/server.js";

const GET = { method: "GET", authority: "host", path: "/" } as const;
const POST = { method: "POST", authority: "host", path: "/" } as const;

test("an aborted upload whose source goes on leaves the connection's window to the others", { timeout: 20_000 }, async (t) => {
  const closed: Promise<unknown>[] = [];
  const { connection } = await running(t, (stream: ServerHttp2Stream, headers) => {
    stream.resume();
    if (headers["x-stays"] === "1") {
      closed.push(once(stream, "close"));
      stream.respond({ ":status": 200 });
      return;
    }
    stream.on("end", () => {
      stream.respond({ ":status": 200 });
      stream.end("all");
    });
  });
  for (let round = 0; round < 4; round += 1) {
    let give: () => void = () => undefined;
    const given = new Promise<void>((resolve) => {
      give = resolve;
    });
    const body = {
      async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
        yield new Uint8Array(10);
        await given;
        yield new Uint8Array(60_000);
      },
    };
    const abort = new AbortController();
    await connection.request({ ...POST, body, headers: [["x-stays", "1"]], signal: abort.signal });
    abort.abort();
    give();
    await closed[round];
    await connection.ping();
  }
  // More than a connection's first window.
  const { body } = await connection.request({ ...POST, body: new Uint8Array(200_000) });
  assert.equal(await text(body), "all");
});

test("answers that nobody reads hold no other answer back", { timeout: 20_000 }, async (t) => {
  const bounds = { streams: 64, streamWindow: 65_535, connectionWindow: 100_000 };
  const { connection } = await running(t, (stream, headers) => {
    stream.respond({ ":status": 200 });
    stream.end(Buffer.alloc(headers["x-large"] === "1" ? 1 << 20 : 50_000, "x"));
  }, { maxSessionMemory: 100 }, bounds);
  // As long as those are that stay within their window, which are over, or not, which go on.
  const unread = [];
  for (let at = 0; at < 63; at += 1) unread.push(await connection.request({ ...GET, headers: [["x-large", String(at % 2)]] }));
  assert.equal((await text((await connection.request(GET)).body)).length, 50_000);
  // They are as they were for who reads them after all.
  for (const { body } of unread.slice(0, 2)) assert.ok((await text(body)).length >= 50_000);
});

test("a server that allows no header table takes every request (RFC 7541, 4.2)", { timeout: 20_000 }, async (t) => {
  const { connection } = await running(
    t,
    (stream) => {
      stream.respond({ ":status": 200 });
      stream.end("x");
    },
    { settings: { headerTableSize: 0 } },
  );
  // Its settings are acknowledged, and in force.
  await connection.ping();
  for (let round = 0; round < 3; round += 1) assert.equal(await text((await connection.request(GET)).body), "x");
});

test("the code of a GOAWAY is why the connection ended", { timeout: 20_000 }, async (t) => {
  const server = new HostileServer(t);
  server.greet();
  server.send(frame(GOAWAY, 0, 0, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, ENHANCE_YOUR_CALM)));
  const cause = await server.connection.closed;
  assert.ok(cause instanceof Http2Error);
  assert.deepEqual([cause.code, cause.source], [ENHANCE_YOUR_CALM, "peer"]);
});

test("a request that waited for its turn leaves nothing at its signal", { timeout: 20_000 }, async (t) => {
  const { connection } = await running(t, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("x");
  }, {}, { streams: 1 });
  const { signal } = new AbortController();
  let listening = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...given: Parameters<typeof add>) => (listening++, add(...given));
  signal.removeEventListener = (...given: Parameters<typeof remove>) => (listening--, remove(...given));
  const answers = await Promise.all([1, 2, 3].map(async () => text((await connection.request({ ...GET, signal })).body)));
  assert.deepEqual(answers, ["x", "x", "x"]);
  assert.equal(listening, 0);
});

test("values of headers have no blank at either end, and no line breaks (RFC 9113, 8.2.1)", () => {
  const head = (value: string) => requestHead({ ...GET, headers: [["a", value]] });
  for (const value of ["", "x", "x y", "x\ty", "\u00e9 z"]) assert.deepEqual(head(value).at(-1), ["a", value]);
  for (const value of [" ", " x", "x ", "\tx", "x\t", "x\ny", "x\r", "\0"]) assert.throws(() => head(value), Http2Error);
});
