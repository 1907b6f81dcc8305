/** Windows, limits and ends, frame by frame. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Http2Error } from "../src/http2/index.js";
import { DATA, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, settingsFrame, windowFrame } from "../src/http2/frame.js";
import { HostileServer, raw } from "./http2/hostile.js";

const GET = { method: "GET", authority: "host", path: "/" } as const;
const POST = { ...GET, method: "POST" } as const;
const END_STREAM = 1;
const u32 = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

/** Takes so many bytes of DATA, and whether they end the stream. Fails when more come. */
async function taken(server: HostileServer, stream: number, wanted: number): Promise<boolean> {
  let ends = false;
  for (let length = 0; length < wanted || (wanted === 0 && !ends); ) {
    const frame = await server.next(DATA);
    assert.equal(frame?.stream, stream);
    length += frame?.payload.length ?? 0;
    ends = ((frame?.flags ?? 0) & END_STREAM) !== 0;
    assert.ok(length <= wanted, `${length} of ${wanted}`);
  }
  return ends;
}

/** Sees that nothing but the answer to a PING comes. */
async function quiet(server: HostileServer): Promise<void> {
  server.send(raw(PING, 0, 0, new Uint8Array(8)));
  const frame = await server.next();
  assert.equal(frame?.type, PING);
}

test("a body goes as far as the stream's window, and on when it grows", async (t) => {
  const server = new HostileServer(t);
  server.greet([4, 10_000]);
  await quiet(server);
  const response = server.connection.request({ ...POST, body: new Uint8Array(25_000) });
  await server.next(HEADERS);
  assert.equal(await taken(server, 1, 10_000), false);
  await quiet(server);
  server.send(windowFrame(1, 1));
  assert.equal(await taken(server, 1, 1), false);
  await quiet(server);
  server.send(settingsFrame([[4, 24_999]]));
  assert.equal(await taken(server, 1, 14_999), true);
  server.answer(1, [[":status", "200"]], true);
  assert.equal((await response).status, 200);
});

test("windows that the server makes smaller go below zero (RFC 9113, 6.9.2)", async (t) => {
  const server = new HostileServer(t);
  server.greet([4, 10_000]);
  await quiet(server);
  const response = server.connection.request({ ...POST, body: new Uint8Array(12_000) });
  await server.next(HEADERS);
  assert.equal(await taken(server, 1, 10_000), false);
  // 10 000 are sent and 1 000 allowed: the window is at -9 000.
  server.send(settingsFrame([[4, 1_000]]), windowFrame(1, 9_000));
  await quiet(server);
  server.send(windowFrame(1, 500));
  assert.equal(await taken(server, 1, 500), false);
  server.send(settingsFrame([[4, 1_001]]));
  assert.equal(await taken(server, 1, 1), false);
  server.send(windowFrame(1, 100_000));
  assert.equal(await taken(server, 1, 1_499), true);
  server.answer(1, [[":status", "200"]], true);
  await response;
});

test("all streams together go as far as the connection's window, and each gets its share of what it grows", async (t) => {
  const server = new HostileServer(t);
  server.greet([4, 1_000_000]);
  await quiet(server);
  const responses = [0, 1].map(() => server.connection.request({ ...POST, body: new Uint8Array(200_000) }));
  await server.next(HEADERS);
  await server.next(HEADERS);
  const sent = new Map<number, number>([
    [1, 0],
    [3, 0],
  ]);
  let allowed = 65_535;
  for (let round = 0; round < 40 && allowed < 400_000; round += 1) {
    for (;;) {
      const total = [...sent.values()].reduce((sum, each) => sum + each);
      assert.ok(total <= allowed);
      if (total === allowed) break;
      const frame = await server.next(DATA);
      sent.set(frame?.stream ?? 0, (sent.get(frame?.stream ?? 0) ?? 0) + (frame?.payload.length ?? 0));
    }
    await quiet(server);
    const more = Math.min(10_000, 400_000 - allowed);
    allowed += more;
    server.send(windowFrame(0, more));
    if (round === 15) for (const each of sent.values()) assert.ok(each > 60_000, `${each} of ${allowed}`);
  }
  server.answer(1, [[":status", "200"]], true);
  server.answer(3, [[":status", "200"]], true);
  await Promise.all(responses);
});

test("a stream that is given up gives back what it had taken of the connection's window", async (t) => {
  const server = new HostileServer(t);
  server.greet([4, 1_000_000]);
  await quiet(server);
  for (let round = 0; round < 5; round += 1) {
    const controller = new AbortController();
    let give: (piece: Uint8Array) => void = () => undefined;
    const piece = new Promise<Uint8Array>((resolve) => {
      give = resolve;
    });
    const body = (async function* (): AsyncGenerator<Uint8Array> {
      yield await piece;
    })();
    const response = server.connection.request({ ...POST, body, signal: controller.signal });
    await server.next(HEADERS);
    controller.abort(new Error("enough"));
    await assert.rejects(response, /enough/);
    give(new Uint8Array(60_000));
    await quiet(server).catch(() => undefined);
  }
  const response = server.connection.request({ ...POST, body: new Uint8Array(65_535) });
  const head = await server.next(HEADERS);
  assert.equal(await taken(server, head?.stream ?? 0, 65_535), true);
  server.answer(head?.stream ?? 0, [[":status", "200"]], true);
  await response;
});

test("what is queued and no longer wanted is not sent behind its RST_STREAM", async (t) => {
  const server = new HostileServer(t);
  server.greet();
  await quiet(server);
  const controller = new AbortController();
  server.stall();
  const response = server.connection.request({ ...POST, body: new Uint8Array(60_000), signal: controller.signal });
  const other = server.connection.request({ ...POST, body: new Uint8Array(5_535) });
  for (let turn = 0; turn < 10; turn += 1) await null;
  controller.abort(new Error("enough"));
  await assert.rejects(response, /enough/);
  server.resume();
  const types: string[] = [];
  for (;;) {
    const frame = await server.next();
    types.push(`${frame?.type} ${frame?.stream}`);
    if (frame?.type === DATA && frame.flags & END_STREAM && frame.stream === 3) break;
  }
  const reset = types.indexOf(`${RST_STREAM} 1`);
  assert.ok(reset >= 0, types.join());
  assert.equal(types.indexOf(`${DATA} 1`, reset), -1);
  server.answer(3, [[":status", "200"]], true);
  assert.equal((await other).status, 200);
});

test("a server that allows no streams gets none until it does", async (t) => {
  const server = new HostileServer(t);
  server.greet([3, 0]);
  await quiet(server);
  const responses = [1, 2, 3].map(() => server.connection.request(GET));
  await quiet(server);
  server.send(settingsFrame([[3, 2]]));
  assert.equal((await server.next())?.stream, 1);
  assert.equal((await server.next())?.stream, 3);
  await quiet(server);
  server.answer(3, [[":status", "200"]], true);
  assert.equal((await server.next())?.stream, 5);
  server.answer(5, [[":status", "200"]], true);
  server.answer(1, [[":status", "200"]], true);
  for (const response of responses) assert.equal((await response).status, 200);
});

test("SETTINGS are acknowledged, each once", async (t) => {
  const server = new HostileServer(t);
  server.send(settingsFrame([[3, 5]]), settingsFrame([]), settingsFrame([[0x7777, 1]]));
  // The first one is this end's own.
  const own = await server.next(SETTINGS);
  assert.deepEqual([...(own?.payload.subarray(0, 12) ?? [])], [0, 1, ...u32(0), 0, 2, ...u32(0)]);
  for (let count = 0; count < 3; count += 1) {
    const frame = await server.next(SETTINGS);
    assert.deepEqual([frame?.flags, frame?.payload.length], [1, 0]);
  }
});

test("after GOAWAY requests that the server has not looked at may be sent again, and no others", async (t) => {
  const server = new HostileServer(t);
  server.greet([3, 2]);
  await quiet(server);
  const [first, second, third] = [1, 2, 3].map(() => server.connection.request(GET));
  await server.next(HEADERS);
  await server.next(HEADERS);
  server.send(raw(GOAWAY, 0, 0, [...u32(1), ...u32(0), ...Buffer.from("bye")]));
  const retryable = (error: unknown): boolean => error instanceof Http2Error && error.retryable && error.source === "peer";
  await assert.rejects(second ?? Promise.resolve(), retryable);
  await assert.rejects(third ?? Promise.resolve(), retryable);
  assert.equal(server.connection.accepting, false);
  await assert.rejects(server.connection.request(GET), retryable);
  server.answer(1, [[":status", "200"]], false);
  const response = await first;
  server.send(raw(DATA, 1, 1, [1]));
  assert.deepEqual([...((await response?.body.receive()) ?? [])], [1]);
  assert.equal(await response?.body.receive(), null);
  assert.equal(await server.connection.closed, undefined);
  assert.ok(server.closedWith);
});

test("a link that breaks, in every state, fails what is under way with the typed error", async (t) => {
  const gone = new Error("gone");
  const broken = (error: unknown): boolean => error instanceof Http2Error && error.source === "link" && error.cause === gone && !error.retryable;
  const silent = new HostileServer(t);
  const early = silent.connection.request(GET);
  silent.breakOff(gone);
  await assert.rejects(early, broken);
  assert.ok(broken(await silent.connection.closed));
  const server = new HostileServer(t);
  server.greet();
  await quiet(server);
  const waiting = server.connection.request(GET);
  const reading = server.connection.request(GET);
  const whole = server.connection.request(GET);
  for (let count = 0; count < 3; count += 1) await server.next(HEADERS);
  server.answer(3, [[":status", "200"]], false);
  server.answer(5, [[":status", "200"]], false);
  server.send(raw(DATA, 1, 5, [7]));
  const { body } = await reading;
  const { body: kept } = await whole;
  const piece = body.receive();
  const ping = server.connection.ping();
  server.breakOff(gone);
  await assert.rejects(waiting, broken);
  await assert.rejects(piece, broken);
  await assert.rejects(ping, broken);
  // What has come as a whole can still be read.
  assert.deepEqual([...((await kept.receive()) ?? [])], [7]);
  assert.equal(await kept.receive(), null);
});

test("a link that ends is a failure only when something is under way", async (t) => {
  const idle = new HostileServer(t);
  idle.greet();
  await quiet(idle);
  idle.end();
  assert.equal(await idle.connection.closed, undefined);
  await assert.rejects(idle.connection.request(GET), (error: unknown) => error instanceof Http2Error && error.retryable);
  const busy = new HostileServer(t);
  busy.greet();
  await quiet(busy);
  const response = busy.connection.request(GET);
  await busy.next(HEADERS);
  busy.end();
  await assert.rejects(response, (error: unknown) => error instanceof Http2Error && error.source === "link" && !error.retryable);
  assert.ok((await busy.connection.closed) instanceof Http2Error);
  const cut = new HostileServer(t);
  cut.greet();
  cut.send(Uint8Array.of(0, 0, 8, 6));
  cut.end();
  assert.ok((await cut.connection.closed) instanceof Http2Error);
});

test("closing says GOAWAY, and does not wait for a link that takes nothing", async (t) => {
  const server = new HostileServer(t);
  server.greet();
  await quiet(server);
  const response = server.connection.request(GET);
  await server.next(HEADERS);
  server.connection.close();
  await assert.rejects(response, Http2Error);
  assert.deepEqual([...((await server.next(GOAWAY))?.payload ?? [])], [...u32(0), ...u32(0)]);
  assert.equal(await server.connection.closed, undefined);
  const stalled = new HostileServer(t);
  stalled.greet();
  await quiet(stalled);
  stalled.stall();
  const other = stalled.connection.request(GET);
  stalled.connection.close(new Error("leaving"));
  await assert.rejects(other, /leaving/);
  assert.match(String(await stalled.connection.closed), /leaving/);
  assert.match(String(stalled.closedWith?.reason), /leaving/);
});

test("frames may come in any pieces", async (t) => {
  const server = new HostileServer(t);
  const whole: Uint8Array[] = [];
  const send = server.send.bind(server);
  server.send = (...frames) => void whole.push(...frames);
  server.greet();
  server.answer(1, [[":status", "200"], ["a", "b".repeat(300)]], false);
  server.send(raw(DATA, 8, 1, [3, 1, 2, 3, 0, 0, 0]), raw(DATA, 1, 1, new Uint8Array(5_000)));
  const response = server.connection.request(GET);
  await server.next(HEADERS);
  for (const byte of Buffer.concat(whole)) send(Uint8Array.of(byte));
  const { body } = await response;
  let length = 0;
  for (let piece = await body.receive(); piece; piece = await body.receive()) length += piece.length;
  assert.equal(length, 5_003);
});

test("a body is read by one reader at a time", async (t) => {
  const server = new HostileServer(t);
  server.greet();
  const pending = server.connection.request(GET);
  await server.next(HEADERS);
  server.answer(1, [[":status", "200"]], false);
  const { body } = await pending;
  const first = body.receive();
  await assert.rejects(body.receive(), Http2Error);
  server.send(raw(DATA, 1, 1, [1]));
  assert.equal((await first)?.length, 1);
});

test("a half that the server leaves open is given up after a while", async (t) => {
  const server = new HostileServer(t, { linger: 500 });
  server.greet([8, 1]);
  const pending = server.connection.request({ ...GET, method: "CONNECT", protocol: "echo" });
  await server.next(HEADERS);
  server.answer(1, [[":status", "200"]], false);
  const { duplex } = await pending;
  duplex?.close();
  assert.deepEqual([(await server.next())?.flags], [END_STREAM]);
  // Nothing is sent behind the end of this half.
  await assert.rejects(duplex?.send(Uint8Array.of(1)) ?? Promise.resolve(), Http2Error);
  await quiet(server);
  // What still comes is passed over, until the end is.
  server.send(raw(DATA, 0, 1, [1]));
  assert.equal((await server.next(RST_STREAM))?.stream, 1);
  assert.equal(server.connection.active, 0);
});
