/** Servers that do what HTTP/2 forbids: each bound has its test. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { type Bounds, Http2Error, type Http2Response } from "../src/http2/index.js";
import { CONTINUATION, DATA, GOAWAY, HEADERS, headerFrames, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, settingsFrame, WINDOW_UPDATE, windowFrame } from "../src/http2/frame.js";
import { encodeHeaders, type Header } from "../src/http2/hpack.js";
import { HostileServer, raw } from "./http2/hostile.js";

const GET = { method: "GET", authority: "host", path: "/" } as const;
const OK: Header[] = [[":status", "200"]];
const NO_ERROR = 0;
const PROTOCOL = 1;
const FLOW = 3;
const CLOSED = 5;
const SIZE = 6;
const CANCEL = 8;
const COMPRESSION = 9;
const CALM = 11;

const u32 = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

/** A server with one request under way, on stream 1. */
async function started(t: TestContext, bounds: Partial<Bounds> = {}): Promise<{ server: HostileServer; response: Promise<Http2Response> }> {
  const server = new HostileServer(t, bounds);
  server.greet();
  const response = server.connection.request(GET);
  response.catch(() => undefined);
  assert.equal((await server.next())?.type, HEADERS);
  return { server, response };
}

/** The connection ends, the server is told the code, and so is whoever waits. */
async function ends(server: HostileServer, code: number, response?: Promise<unknown>): Promise<void> {
  const goaway = await server.next(GOAWAY);
  assert.deepEqual([...(goaway?.payload ?? [])], [...u32(0), ...u32(code)]);
  const cause = await server.connection.closed;
  assert.ok(cause instanceof Http2Error && cause.code === code && cause.source === "violation", String(cause));
  assert.ok(server.closedWith);
  if (response) await assert.rejects(response, (error: unknown) => error === cause);
  await assert.rejects(server.connection.request(GET), Http2Error);
}

/** Only the stream ends, the server is told the code, and the connection works. */
async function resets(server: HostileServer, code: number, response: Promise<unknown>, stream = 1): Promise<void> {
  const reset = await server.next(RST_STREAM);
  assert.equal(reset?.stream, stream);
  assert.deepEqual([...(reset?.payload ?? [])], u32(code));
  await assert.rejects(response, (error: unknown) => error instanceof Http2Error && error.code === code && error.source === "violation");
  const other = server.connection.request(GET);
  const head = await server.next(HEADERS);
  server.answer(head?.stream ?? 0, OK, true);
  assert.equal((await other).status, 200);
}

const block = (...headers: Header[]): Uint8Array => encodeHeaders(headers, new Set());
const repeated = (frame: Uint8Array, times: number): Uint8Array => Buffer.concat(new Array<Uint8Array>(times).fill(frame));

const CONNECTION: readonly (readonly [what: string, code: number, frames: Uint8Array])[] = [
  ["a frame that is too long", SIZE, raw(DATA, 0, 1, new Uint8Array(16_385))],
  ["an unknown frame that is too long", SIZE, raw(0xee, 0, 1, new Uint8Array(16_385))],
  ["a push", PROTOCOL, raw(PUSH_PROMISE, 4, 1, [0, 0, 0, 2, 0x82])],
  ["DATA of no stream", PROTOCOL, raw(DATA, 0, 0, [1])],
  ["DATA of a stream of its own", PROTOCOL, raw(DATA, 0, 2, [1])],
  ["DATA of a stream that is yet to begin", PROTOCOL, raw(DATA, 0, 3, [1])],
  ["HEADERS of no stream", PROTOCOL, raw(HEADERS, 4, 0, [0x88])],
  ["HEADERS of a stream of its own", PROTOCOL, raw(HEADERS, 4, 2, [0x88])],
  ["HEADERS of a stream that is yet to begin", PROTOCOL, raw(HEADERS, 4, 3, [0x88])],
  ["RST_STREAM of a stream that is yet to begin", PROTOCOL, raw(RST_STREAM, 0, 3, u32(0))],
  ["RST_STREAM of no stream", PROTOCOL, raw(RST_STREAM, 0, 0, u32(0))],
  ["RST_STREAM of a wrong length", SIZE, raw(RST_STREAM, 0, 1, [0])],
  ["WINDOW_UPDATE of a stream that is yet to begin", PROTOCOL, raw(WINDOW_UPDATE, 0, 3, u32(1))],
  ["WINDOW_UPDATE of a wrong length", SIZE, raw(WINDOW_UPDATE, 0, 0, [0, 0, 1])],
  ["a window that grows by nothing", PROTOCOL, windowFrame(0, 0)],
  ["a window that is too large", FLOW, windowFrame(0, 0x7fff_ffff)],
  ["PRIORITY of a wrong length", SIZE, raw(PRIORITY, 0, 1, [0])],
  ["PRIORITY of no stream", PROTOCOL, raw(PRIORITY, 0, 0, [0, 0, 0, 0, 0])],
  ["PING of a wrong length", SIZE, raw(PING, 0, 0, [0])],
  ["PING of a stream", PROTOCOL, raw(PING, 0, 1, new Uint8Array(8))],
  ["SETTINGS of a wrong length", SIZE, raw(SETTINGS, 0, 0, [0])],
  ["SETTINGS of a stream", PROTOCOL, raw(SETTINGS, 0, 1)],
  ["an acknowledgement that says something", SIZE, raw(SETTINGS, 1, 0, [0, 1, 0, 0, 0, 0])],
  ["a push that is allowed", PROTOCOL, settingsFrame([[2, 1]])],
  ["a window of all streams that is too large", FLOW, settingsFrame([[4, 0x8000_0000]])],
  ["a window of all streams that makes one too large", FLOW, Buffer.concat([windowFrame(1, 0x7fff_0000), settingsFrame([[4, 0x7fff_ffff]])])],
  ["frames that are too short", PROTOCOL, settingsFrame([[5, 16_383]])],
  ["frames that are too long", PROTOCOL, settingsFrame([[5, 0x100_0000]])],
  ["an extended CONNECT of 2", PROTOCOL, settingsFrame([[8, 2]])],
  ["an extended CONNECT that is taken back", PROTOCOL, Buffer.concat([settingsFrame([[8, 1]]), settingsFrame([[8, 0]])])],
  ["GOAWAY of a wrong length", SIZE, raw(GOAWAY, 0, 0, u32(0))],
  ["GOAWAY of a stream", PROTOCOL, raw(GOAWAY, 0, 1, [...u32(1), ...u32(0)])],
  ["GOAWAY that is taken back", PROTOCOL, Buffer.concat([raw(GOAWAY, 0, 0, [...u32(1), ...u32(0)]), raw(GOAWAY, 0, 0, [...u32(3), ...u32(0)])])],
  ["padding longer than its frame", PROTOCOL, raw(DATA, 8, 1, [2, 0])],
  ["padding without a length", SIZE, raw(DATA, 8, 1)],
  ["HEADERS with padding longer than their frame", PROTOCOL, raw(HEADERS, 4 | 8, 1, [9, 0x88])],
  ["HEADERS without their priority", SIZE, raw(HEADERS, 4 | 0x20, 1, [0, 0])],
  ["CONTINUATION of nothing", PROTOCOL, raw(CONTINUATION, 4, 1, [0x88])],
  ["a header block cut off by DATA", PROTOCOL, Buffer.concat([raw(HEADERS, 0, 1, [0x88]), raw(DATA, 0, 1, [1])])],
  ["a header block cut off by a PING", PROTOCOL, Buffer.concat([raw(HEADERS, 0, 1, [0x88]), raw(PING, 0, 0, new Uint8Array(8))])],
  ["a header block cut off by an unknown frame", PROTOCOL, Buffer.concat([raw(HEADERS, 0, 1, [0x88]), raw(0xee, 0, 1)])],
  ["a header block that goes on in another stream", PROTOCOL, Buffer.concat([raw(HEADERS, 0, 1, [0x88]), raw(CONTINUATION, 4, 3, [0x88])])],
  ["a header block of too many parts", CALM, Buffer.concat([raw(HEADERS, 0, 1, [0x88]), repeated(raw(CONTINUATION, 0, 1, [0x0f, 0, 0]), 17)])],
  ["a header block of empty parts", CALM, Buffer.concat([raw(HEADERS, 0, 1), repeated(raw(CONTINUATION, 0, 1), 17)])],
  ["a header block that is too long", CALM, Buffer.concat([raw(HEADERS, 0, 1, new Uint8Array(16_384)), repeated(raw(CONTINUATION, 0, 1, new Uint8Array(16_384)), 4)])],
  ["a header of a table that there is not", COMPRESSION, raw(HEADERS, 4, 1, [0x88, 0xbe])],
  ["a header block that is none", COMPRESSION, raw(HEADERS, 4, 1, [0x00])],
  ["a table that is too large", COMPRESSION, raw(HEADERS, 4, 1, [0x21, 0x88])],
];

for (const [what, code, frames] of CONNECTION) {
  test(`${what} ends the connection`, async (t) => {
    const { server, response } = await started(t);
    server.send(frames);
    await ends(server, code, response);
  });
}

const STREAM: readonly (readonly [what: string, code: number, frames: Uint8Array])[] = [
  ["DATA before the head", PROTOCOL, raw(DATA, 0, 1, [1])],
  ["a window that grows by nothing", PROTOCOL, windowFrame(1, 0)],
  ["a window that is too large", FLOW, windowFrame(1, 0x7fff_ffff)],
  ["no status", PROTOCOL, headerFrames(1, block(["a", "b"]), true, 16_384)],
  ["an empty head", PROTOCOL, raw(HEADERS, 4, 1)],
  ["two statuses", PROTOCOL, headerFrames(1, block([":status", "200"], [":status", "200"]), true, 16_384)],
  ["a status that is none", PROTOCOL, headerFrames(1, block([":status", "20"]), true, 16_384)],
  ["a status with letters", PROTOCOL, headerFrames(1, block([":status", "2e1"]), true, 16_384)],
  ["a status behind a header", PROTOCOL, headerFrames(1, block(["a", "b"], [":status", "200"]), true, 16_384)],
  ["a pseudo-header of requests", PROTOCOL, headerFrames(1, block([":status", "200"], [":path", "/"]), true, 16_384)],
  ["an unknown pseudo-header", PROTOCOL, headerFrames(1, block([":status", "200"], [":x", "/"]), true, 16_384)],
  ["upper case", PROTOCOL, headerFrames(1, block([":status", "200"], ["A", "b"]), true, 16_384)],
  ["a name of nothing", PROTOCOL, headerFrames(1, block([":status", "200"], ["", "b"]), true, 16_384)],
  ["a blank in a name", PROTOCOL, headerFrames(1, block([":status", "200"], ["a b", "b"]), true, 16_384)],
  ["a colon in a name", PROTOCOL, headerFrames(1, block([":status", "200"], ["a:", "b"]), true, 16_384)],
  ["a line in a value", PROTOCOL, headerFrames(1, block([":status", "200"], ["a", "b\r\nc"]), true, 16_384)],
  ["a NUL in a value", PROTOCOL, headerFrames(1, block([":status", "200"], ["a", "b\0"]), true, 16_384)],
  ["a blank before a value", PROTOCOL, headerFrames(1, block([":status", "200"], ["a", " b"]), true, 16_384)],
  ["a tab behind a value", PROTOCOL, headerFrames(1, block([":status", "200"], ["a", "b\t"]), true, 16_384)],
  ...["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"].map(
    (name) => [`the header ${name}`, PROTOCOL, headerFrames(1, block([":status", "200"], [name, "x"]), true, 16_384)] as const,
  ),
  ["101", PROTOCOL, headerFrames(1, block([":status", "101"]), false, 16_384)],
  ["an interim answer that is the last", PROTOCOL, headerFrames(1, block([":status", "103"]), true, 16_384)],
  ["too many interim answers", CALM, repeated(headerFrames(1, block([":status", "103"]), false, 16_384), 33)],
  ["a length that is none", PROTOCOL, headerFrames(1, block([":status", "200"], ["content-length", "-1"]), false, 16_384)],
  ["two lengths", PROTOCOL, headerFrames(1, block([":status", "200"], ["content-length", "1"], ["content-length", "2"]), false, 16_384)],
  ["a body of nothing that has a length", PROTOCOL, headerFrames(1, block([":status", "200"], ["content-length", "1"]), true, 16_384)],
  ["a list that is too long", CANCEL, headerFrames(1, block([":status", "200"], ...Array.from({ length: 1_700 }, (): Header => ["accept", "12"])), true, 16_384)],
];

for (const [what, code, frames] of STREAM) {
  test(`${what}: the stream alone is reset`, async (t) => {
    const { server, response } = await started(t);
    server.send(frames);
    await resets(server, code, response);
  });
}

const BODY: readonly (readonly [what: string, code: number, head: Header[], frames: Uint8Array])[] = [
  ["a body longer than announced", PROTOCOL, [[":status", "200"], ["content-length", "1"]], raw(DATA, 0, 1, [1, 2])],
  ["a body shorter than announced", PROTOCOL, [[":status", "200"], ["content-length", "3"]], raw(DATA, 1, 1, [1, 2])],
  ["a body that trailers end too early", PROTOCOL, [[":status", "200"], ["content-length", "3"]], headerFrames(1, block(["a", "b"]), true, 16_384)],
  ["204 with a body", PROTOCOL, [[":status", "204"]], raw(DATA, 1, 1, [1])],
  ["304 with a body", PROTOCOL, [[":status", "304"], ["content-length", "1"]], raw(DATA, 1, 1, [1])],
  ["a second head", PROTOCOL, OK, headerFrames(1, block([":status", "200"]), false, 16_384)],
  ["trailers with a pseudo-header", PROTOCOL, OK, headerFrames(1, block([":status", "200"]), true, 16_384)],
  ["trailers in upper case", PROTOCOL, OK, headerFrames(1, block(["A", "b"]), true, 16_384)],
];

for (const [what, code, head, frames] of BODY) {
  test(`${what}: the stream alone is reset, and the reader hears of it`, async (t) => {
    const { server, response } = await started(t);
    server.answer(1, head, false);
    const { body, trailers } = await response;
    const reading = (async () => {
      for (let piece = await body.receive(); piece; piece = await body.receive());
    })();
    reading.catch(() => undefined);
    server.send(frames);
    await resets(server, code, reading);
    await assert.rejects(trailers, Http2Error);
  });
}

test("an answer to HEAD has no body", async (t) => {
  const server = new HostileServer(t);
  server.greet();
  const pending = server.connection.request({ ...GET, method: "HEAD" });
  await server.next(HEADERS);
  server.answer(1, [[":status", "200"], ["content-length", "5"]], false);
  const response = await pending;
  const reading = response.body.receive();
  reading.catch(() => undefined);
  server.send(raw(DATA, 1, 1, [1]));
  await resets(server, PROTOCOL, reading);
});

test("a server that does not begin with SETTINGS is none", async (t) => {
  for (const first of [raw(PING, 0, 0, new Uint8Array(8)), raw(HEADERS, 4, 1, [0x88]), raw(SETTINGS, 1, 0), raw(0xee, 0, 0)]) {
    const server = new HostileServer(t);
    const response = server.connection.request(GET);
    response.catch(() => undefined);
    server.send(first);
    await ends(server, PROTOCOL, response);
  }
});

test("HTTP/1.1 in answer is no HTTP/2", async (t) => {
  const server = new HostileServer(t);
  const response = server.connection.request(GET);
  response.catch(() => undefined);
  server.send(Buffer.from("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
  await ends(server, SIZE, response);
});

test("frames of a stream that has ended end the connection; of one that was reset they are passed over", async (t) => {
  for (const frames of [raw(DATA, 0, 1, [1]), raw(DATA, 1, 1), raw(HEADERS, 5, 1, [0x88])]) {
    const { server, response } = await started(t);
    server.answer(1, OK, true);
    await response;
    server.send(frames);
    await ends(server, CLOSED);
  }
  const { server, response } = await started(t, { streamWindow: 100_000 });
  server.answer(1, OK, false);
  (await response).body.close();
  await server.next(RST_STREAM);
  server.send(repeated(raw(DATA, 0, 1, new Uint8Array(10_000)), 10), raw(HEADERS, 5, 1, [0x88]), raw(RST_STREAM, 0, 1, u32(0)), windowFrame(1, 1));
  server.send(raw(PING, 0, 0, Buffer.from("12345678")));
  assert.deepEqual(Buffer.from((await server.next(PING))?.payload ?? []).toString(), "12345678");
  assert.equal(server.connection.accepting, true);
});

test("a stream that was reset can be sent no more than its window", async (t) => {
  const { server, response } = await started(t, { streamWindow: 100_000 });
  server.answer(1, OK, false);
  (await response).body.close();
  await server.next(RST_STREAM);
  server.send(repeated(raw(DATA, 0, 1, new Uint8Array(10_000)), 11));
  await ends(server, FLOW);
});

test("DATA and HEADERS after the end of an answer reset the stream that still sends", async (t) => {
  for (const frames of [raw(DATA, 0, 1, [1]), raw(HEADERS, 5, 1, [0x88])]) {
    const server = new HostileServer(t);
    server.greet();
    const never = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => undefined) }) };
    const response = server.connection.request({ ...GET, method: "POST", body: never });
    await server.next(HEADERS);
    server.answer(1, OK, true);
    assert.equal((await response).status, 200);
    server.send(frames);
    const reset = await server.next(RST_STREAM);
    assert.deepEqual([...(reset?.payload ?? [])], u32(CLOSED));
    assert.equal(server.connection.active, 0);
  }
});

test("more than the window of a stream resets it, and what it held is dropped", async (t) => {
  const { server, response } = await started(t, { streamWindow: 50_000 });
  server.answer(1, OK, false);
  const { body } = await response;
  server.send(repeated(raw(DATA, 0, 1, new Uint8Array(10_000)), 6));
  const reset = await server.next(RST_STREAM);
  assert.deepEqual([...(reset?.payload ?? [])], u32(FLOW));
  await assert.rejects(body.receive(), Http2Error);
});

test("padding counts, and is given back at once", async (t) => {
  const { server, response } = await started(t, { streamWindow: 20_000, connectionWindow: 65_535 });
  server.answer(1, OK, false);
  const { body } = await response;
  const padded = raw(DATA, 8, 1, [255, ...new Uint8Array(255)]);
  server.send(repeated(padded, 50));
  const update = await server.next(WINDOW_UPDATE);
  assert.ok(update);
  server.send(repeated(padded, 25), raw(DATA, 8 | 1, 1, [2, 7, 0, 0]));
  // Not the Buffer that the link gave.
  assert.deepEqual(await body.receive(), Uint8Array.of(7));
  assert.equal(await body.receive(), null);
});

test("a stream's window is not given back for what nobody has read", async (t) => {
  const { server, response } = await started(t, { streamWindow: 40_000, connectionWindow: 1 << 20 });
  server.answer(1, OK, false);
  const { body } = await response;
  server.send(repeated(raw(DATA, 0, 1, new Uint8Array(10_000)), 4));
  server.send(raw(PING, 0, 0, new Uint8Array(8)));
  const first = await server.next(PING);
  assert.ok(first);
  await body.receive();
  server.send(raw(PING, 0, 0, new Uint8Array(8)));
  assert.ok(await server.next(PING));
  await body.receive();
  const update = await server.next(WINDOW_UPDATE);
  assert.deepEqual([update?.stream, ...(update?.payload ?? [])], [1, ...u32(20_000)]);
});

const FLOODS: readonly (readonly [what: string, frame: Uint8Array])[] = [
  ["PINGs", raw(PING, 0, 0, new Uint8Array(8))],
  ["answers to PINGs that there were not", raw(PING, 1, 0, new Uint8Array(8))],
  ["SETTINGS", settingsFrame([])],
  ["acknowledgements", raw(SETTINGS, 1, 0)],
  ["unknown frames", raw(0xee, 0, 0)],
  ["PRIORITY", raw(PRIORITY, 0, 1, [0, 0, 0, 0, 0])],
  ["WINDOW_UPDATEs of the connection", windowFrame(0, 1)],
  ["WINDOW_UPDATEs of a stream", windowFrame(1, 1)],
  ["GOAWAYs", raw(GOAWAY, 0, 0, [...u32(1), ...u32(0)])],
  ["empty DATA", raw(DATA, 0, 1)],
  ["DATA of nothing but padding", raw(DATA, 8, 1, [1, 0])],
];

for (const [what, frame] of FLOODS) {
  test(`a flood of ${what} ends the connection`, async (t) => {
    const { server, response } = await started(t, { now: () => 0 });
    server.answer(1, OK, false);
    await response;
    server.send(repeated(frame, 1_100));
    await ends(server, CALM);
  });
}

for (const [what, frame] of [["RST_STREAMs", raw(RST_STREAM, 0, 1, u32(0))], ["WINDOW_UPDATEs", windowFrame(1, 1)], ["HEADERS", raw(HEADERS, 5, 1, [0x88])]] as const) {
  test(`a flood of ${what} for a stream that was reset ends the connection`, async (t) => {
    const { server, response } = await started(t, { now: () => 0 });
    server.answer(1, OK, false);
    (await response).body.close();
    await server.next(RST_STREAM);
    server.send(repeated(frame, 1_100));
    await ends(server, CALM);
  });
}

test("what comes slowly is no flood", async (t) => {
  let now = 0;
  const { server, response } = await started(t, { now: () => (now += 20) });
  server.send(repeated(raw(PING, 0, 0, new Uint8Array(8)), 5_000));
  server.answer(1, OK, true);
  assert.equal((await response).status, 200);
});

test("a server that takes no answers is read no further", async (t) => {
  let now = 0;
  const { server, response } = await started(t, { now: () => (now += 1_000) });
  server.stall();
  for (let index = 0; index < 200; index += 1) server.send(repeated(raw(PING, 0, 0, new Uint8Array(8)), 100));
  server.answer(1, OK, true);
  let answered = false;
  void response.then(() => {
    answered = true;
  });
  for (let turn = 0; turn < 100; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(answered, false);
  server.resume();
  assert.equal((await response).status, 200);
});

test("many small frames cost no more memory than their bytes", async (t) => {
  const { server, response } = await started(t, { streamWindow: 1 << 20 });
  server.answer(1, OK, false);
  const { body } = await response;
  const before = process.memoryUsage();
  for (let index = 0; index < 500; index += 1) server.send(repeated(raw(DATA, 0, 1, [index & 255]), 1_000));
  server.send(raw(PING, 0, 0, new Uint8Array(8)));
  assert.ok(await server.next(PING));
  const after = process.memoryUsage();
  const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
  assert.ok(grown < 64 << 20, `grew by ${grown >> 20} MiB`);
  let length = 0;
  let pieces = 0;
  server.send(raw(DATA, 1, 1));
  for (let piece = await body.receive(); piece; piece = await body.receive()) {
    for (const byte of piece) assert.equal(byte, Math.floor(length++ / 1_000) & 255);
    pieces += 1;
  }
  assert.equal(length, 500_000);
  assert.ok(pieces < 100, `${pieces} pieces`);
});

test("the code of an end is the one that was said", async (t) => {
  const { server, response } = await started(t);
  server.send(raw(RST_STREAM, 0, 1, u32(7)));
  await assert.rejects(response, (error: unknown) => error instanceof Http2Error && error.retryable && error.code === 7 && error.source === "peer");
  const other = server.connection.request(GET);
  assert.equal((await server.next(HEADERS))?.stream, 3);
  server.send(raw(RST_STREAM, 0, 3, u32(NO_ERROR)));
  await assert.rejects(other, (error: unknown) => error instanceof Http2Error && !error.retryable && error.code === 0);
});
