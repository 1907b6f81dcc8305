import assert from "node:assert/strict";
import { once } from "node:events";
import { constants } from "node:http2";
import { test } from "node:test";
import { Http2Error } from "../src/http2/index.js";
import { running, text } from "./http2/server.js";

const GET = { method: "GET", authority: "host", path: "/" } as const;
const POST = { ...GET, method: "POST" } as const;

/** A body of pieces that come one by one; what became of it. */
function source(pieces: Iterable<Uint8Array | Promise<Uint8Array>>): { body: AsyncIterable<Uint8Array>; ended: Promise<"ended"> } {
  let settle: (how: "ended") => void = () => undefined;
  const ended = new Promise<"ended">((resolve) => {
    settle = resolve;
  });
  const body = (async function* () {
    try {
      for (const piece of pieces) yield await piece;
    } finally {
      settle("ended");
    }
  })();
  return { body, ended };
}

function* endless(): Generator<Uint8Array> {
  for (;;) yield new Uint8Array(10_000);
}

test("a GET is answered by Node's server", async (t) => {
  const { connection } = await running(t, (stream, headers) => {
    stream.respond({ ":status": 200, "content-type": "text/plain" });
    stream.end(`${String(headers[":method"])} ${String(headers[":path"])} ${String(headers[":authority"])} ${String(headers["x-a"])}`);
  });
  const response = await connection.request({ ...GET, path: "/a?b", headers: [["X-A", "1"], ["Host", "other"]] });
  assert.equal(response.status, 200);
  assert.deepEqual(response.headers.find(([name]) => name === "content-type"), ["content-type", "text/plain"]);
  assert.equal(await text(response.body), "GET /a?b host 1");
  assert.equal(await response.body.receive(), null);
  assert.deepEqual(await response.trailers, []);
  assert.equal(response.duplex, null);
  connection.close();
  assert.equal(await connection.closed, undefined);
  await assert.rejects(connection.request(GET), (error: unknown) => error instanceof Http2Error && error.retryable);
});

test("a body is sent, as bytes and piece by piece, and comes back with trailers", async (t) => {
  const { connection } = await running(t, (stream) => {
    stream.respond({ ":status": 201 }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "2" }));
    stream.pipe(stream);
  });
  const bytes = await connection.request({ ...POST, body: new TextEncoder().encode("hello") });
  assert.equal(bytes.status, 201);
  assert.equal(await text(bytes.body), "hello");
  assert.deepEqual(await bytes.trailers, [["x-sum", "2"]]);
  const pieces = source([Buffer.from("a"), new Uint8Array(0), Buffer.from("b".repeat(200_000)), Promise.resolve(Buffer.from("c"))]);
  const streamed = await connection.request({ ...POST, body: pieces.body });
  assert.equal(await text(streamed.body), `a${"b".repeat(200_000)}c`);
  assert.equal(await pieces.ended, "ended");
  const empty = await connection.request({ ...POST, body: new Uint8Array(0) });
  assert.equal(await text(empty.body), "");
});

test("HEAD, 204 and 304 have no body, whatever their length says", async (t) => {
  const { connection } = await running(t, (stream, headers) => {
    const status = Number(String(headers[":path"]).slice(1));
    stream.respond({ ":status": status, "content-length": 1000 }, { endStream: true });
  });
  for (const [method, status] of [["HEAD", 200], ["GET", 204], ["GET", 304]] as const) {
    const response = await connection.request({ ...GET, method, path: `/${status}` });
    assert.equal(response.status, status);
    assert.equal(await response.body.receive(), null);
  }
});

test("interim answers are passed over", async (t) => {
  const { connection } = await running(t, (stream) => {
    stream.additionalHeaders({ ":status": 103, link: "</a>" });
    stream.additionalHeaders({ ":status": 100 });
    stream.respond({ ":status": 200 });
    stream.end("done");
  });
  const response = await connection.request(GET);
  assert.equal(response.status, 200);
  assert.equal(await text(response.body), "done");
});

test("an answer may come while the body goes, and the server may stop it", async (t) => {
  const { connection } = await running(t, (stream) => {
    stream.respond({ ":status": 413 });
    stream.end("too much");
    stream.once("data", () => stream.close(constants.NGHTTP2_NO_ERROR));
  });
  const { body, ended } = source(endless());
  const response = await connection.request({ ...POST, body });
  assert.equal(response.status, 413);
  assert.equal(await text(response.body), "too much");
  assert.equal(await ended, "ended");
});

test("a body goes on after its answer has ended, when the server reads it", async (t) => {
  let seen = 0;
  let settle: (total: number) => void = () => undefined;
  const total = new Promise<number>((resolve) => {
    settle = resolve;
  });
  const { connection } = await running(t, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("early");
    stream.on("data", (piece: Buffer) => {
      seen += piece.length;
    });
    stream.on("end", () => settle(seen));
  });
  let go: () => void = () => undefined;
  const later = new Promise<void>((resolve) => {
    go = resolve;
  });
  const { body } = source([new Uint8Array(1), later.then(() => new Uint8Array(300_000))]);
  const response = await connection.request({ ...POST, body });
  assert.equal(await text(response.body), "early");
  go();
  assert.equal(await total, 300_001);
});

test("an aborted request is cancelled at the server, before and after its head came", async (t) => {
  const codes: number[] = [];
  const { server, connection } = await running(t, (stream, headers) => {
    stream.on("close", () => codes.push(stream.rstCode));
    if (headers[":path"] === "/head") {
      stream.respond({ ":status": 200 });
      stream.write("a");
    }
    server.emit("seen", stream);
  });
  const early = new AbortController();
  const seen = once(server, "seen");
  const { body, ended } = source(endless());
  const pending = connection.request({ ...POST, signal: early.signal, body });
  const [stream] = (await seen) as [import("node:http2").ServerHttp2Stream];
  early.abort(new Error("enough"));
  await assert.rejects(pending, /enough/);
  assert.equal(await ended, "ended");
  if (!stream.closed) await once(stream, "close");
  const late = new AbortController();
  const seenLate = once(server, "seen");
  const response = await connection.request({ ...GET, path: "/head", signal: late.signal });
  const [other] = (await seenLate) as [import("node:http2").ServerHttp2Stream];
  assert.equal(Buffer.from((await response.body.receive()) ?? []).toString(), "a");
  const reading = response.body.receive();
  late.abort(new Error("now"));
  await assert.rejects(reading, /now/);
  await assert.rejects(response.body.receive(), /now/);
  await assert.rejects(response.trailers, /now/);
  if (!other.closed) await once(other, "close");
  assert.deepEqual(codes, [constants.NGHTTP2_CANCEL, constants.NGHTTP2_CANCEL]);
  const aborted = AbortSignal.abort(new Error("before"));
  await assert.rejects(connection.request({ ...GET, signal: aborted }), /before/);
  assert.equal(connection.active, 0);
});

test("a body that fails resets its stream, and the request says why", async (t) => {
  const { server, connection } = await running(t, (stream) => {
    stream.on("close", () => server.emit("code", stream.rstCode));
    stream.resume();
  });
  const code = once(server, "code");
  const cause = new Error("the disk is gone");
  const body = (async function* (): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(10);
    await Promise.resolve();
    throw cause;
  })();
  await assert.rejects(connection.request({ ...POST, body }), (error: unknown) => error instanceof Http2Error && error.cause === cause);
  assert.deepEqual(await code, [constants.NGHTTP2_CANCEL]);
});

test("closing a body cancels its stream; one that has come as a whole is only dropped", async (t) => {
  const { server, connection } = await running(t, (stream) => {
    stream.on("close", () => server.emit("code", stream.rstCode));
    stream.respond({ ":status": 200 });
    stream.write("a");
  });
  const code = once(server, "code");
  const response = await connection.request(GET);
  response.body.close(new Error("unwanted"));
  await assert.rejects(response.body.receive(), /unwanted/);
  assert.deepEqual(await code, [constants.NGHTTP2_CANCEL]);
});

test("requests run next to each other, as many as the server lets, and the rest waits its turn", async (t) => {
  let running_ = 0;
  let most = 0;
  const { connection } = await running(
    t,
    (stream, headers) => {
      running_ += 1;
      most = Math.max(most, running_);
      stream.on("close", () => {
        running_ -= 1;
      });
      setImmediate(() => {
        stream.respond({ ":status": 200 });
        stream.end(String(headers[":path"]));
      });
    },
    { settings: { maxConcurrentStreams: 5 } },
  );
  // The server's settings have come with its first answer.
  await text((await connection.request(GET)).body);
  const all = await Promise.all(
    Array.from({ length: 200 }, async (_, index) => text((await connection.request({ ...GET, path: `/${index}` })).body)),
  );
  assert.deepEqual(all, Array.from({ length: 200 }, (_, index) => `/${index}`));
  assert.equal(most, 5);
});

test("the queue is bounded, and a waiting request can be aborted", async (t) => {
  const { connection } = await running(t, () => undefined, { settings: { maxConcurrentStreams: 1 } }, { queue: 2, streams: 1 });
  const first = connection.request(GET);
  const controller = new AbortController();
  const second = connection.request({ ...GET, signal: controller.signal });
  const third = connection.request(GET);
  await assert.rejects(connection.request(GET), (error: unknown) => error instanceof Http2Error && error.retryable);
  controller.abort(new Error("no more"));
  await assert.rejects(second, /no more/);
  assert.equal(connection.active, 2);
  connection.close(new Error("done"));
  await assert.rejects(first, /done/);
  await assert.rejects(third, (error: unknown) => error instanceof Http2Error && error.retryable);
  assert.match(String(await connection.closed), /done/);
});

test("after a GOAWAY what is under way ends well, and nothing new begins", async (t) => {
  const { server, connection } = await running(t, (stream) => {
    stream.session?.goaway(constants.NGHTTP2_NO_ERROR, stream.id);
    stream.session?.ping(Buffer.alloc(8), () => {
      server.emit("told");
      stream.respond({ ":status": 200 });
      stream.end("last");
    });
  });
  const told = once(server, "told");
  const pending = connection.request(GET);
  await told;
  assert.equal(connection.accepting, false);
  await assert.rejects(connection.request(GET), (error: unknown) => error instanceof Http2Error && error.retryable);
  assert.equal(await text((await pending).body), "last");
  assert.equal(await connection.closed, undefined);
});

test("draining lets what is under way end", async (t) => {
  const { connection } = await running(t, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("last");
  });
  const pending = connection.request(GET);
  connection.drain();
  await assert.rejects(connection.request(GET), Http2Error);
  assert.equal(await text((await pending).body), "last");
  assert.equal(await connection.closed, undefined);
});

test("pings are answered both ways", async (t) => {
  const { connection } = await running(t, (stream) => {
    stream.session?.ping(Buffer.from("12345678"), (error, _duration, payload) => {
      stream.respond({ ":status": error ? 500 : 200 });
      stream.end(payload);
    });
  });
  await connection.ping();
  assert.equal(await text((await connection.request(GET)).body), "12345678");
});

test("an extended CONNECT gives both directions, and each ends for itself", async (t) => {
  const { connection } = await running(
    t,
    (stream, headers) => {
      assert.equal(headers[":protocol"], "echo");
      stream.respond({ ":status": 200 });
      stream.on("data", (piece: Buffer) => stream.write(piece));
      stream.on("end", () => stream.end("bye"));
    },
    { settings: { enableConnectProtocol: true } },
  );
  const { duplex } = await connection.request({ ...GET, method: "CONNECT", protocol: "echo" });
  assert.ok(duplex);
  await duplex.send(Buffer.from("one"));
  assert.equal(Buffer.from((await duplex.receive()) ?? []).toString(), "one");
  await Promise.all([duplex.send(Buffer.from("two")), duplex.send(new Uint8Array(0)), duplex.send(Buffer.from("three"))]);
  let came = "";
  while (came.length < 8) came += Buffer.from((await duplex.receive()) ?? []).toString();
  assert.equal(came, "twothree");
  const reading = duplex.receive();
  duplex.close();
  await assert.rejects(reading, Http2Error);
  await assert.rejects(duplex.send(Buffer.from("four")), Http2Error);
  // The server ends its half; the stream is no longer under way.
  while (connection.active > 0) await connection.ping();
});

test("a refused CONNECT, and a server without it, give no link", async (t) => {
  const refusing = await running(
    t,
    (stream) => {
      stream.respond({ ":status": 403 });
      stream.end("no");
    },
    { settings: { enableConnectProtocol: true } },
  );
  const response = await refusing.connection.request({ ...GET, method: "CONNECT", protocol: "echo" });
  assert.equal(response.status, 403);
  assert.equal(response.duplex, null);
  assert.equal(await text(response.body), "no");
  while (refusing.connection.active > 0) await refusing.connection.ping();
  const without = await running(t, (stream) => stream.respond({ ":status": 200 }, { endStream: true }));
  await assert.rejects(without.connection.request({ ...GET, method: "CONNECT", protocol: "echo" }), Http2Error);
  assert.equal((await without.connection.request(GET)).status, 200);
});

test("closing a link for a reason, or one that still sends, breaks it off", async (t) => {
  const { server, connection } = await running(
    t,
    (stream) => {
      stream.on("close", () => server.emit("code", stream.rstCode));
      stream.respond({ ":status": 200 });
    },
    { settings: { enableConnectProtocol: true } },
  );
  for (const reason of [new Error("off"), undefined]) {
    const { duplex } = await connection.request({ ...GET, method: "CONNECT", protocol: "echo" });
    assert.ok(duplex);
    const code = once(server, "code");
    const sending = reason ? Promise.reject(reason) : duplex.send(new Uint8Array(10 << 20));
    sending.catch(() => undefined);
    duplex.close(reason);
    await assert.rejects(sending);
    assert.deepEqual(await code, [constants.NGHTTP2_CANCEL]);
  }
});

test("requests that cannot be sent are refused at this end", async (t) => {
  const { connection } = await running(t, (stream) => stream.respond({ ":status": 200 }, { endStream: true }), {
    settings: { maxHeaderListSize: 2_000 },
  });
  assert.equal((await connection.request(GET)).status, 200);
  const unfit = [
    { ...GET, method: "GE T" },
    { ...GET, method: "CONNECT" },
    { ...GET, protocol: "websocket" },
    { ...GET, path: "" },
    { ...GET, path: "/a b" },
    { ...GET, authority: "a b" },
    { ...GET, scheme: "1" },
    ...[":path", "a b", "", "connection", "Upgrade", "transfer-encoding", "keep-alive"].map((name) => ({ ...GET, headers: [[name, "x"]] as [string, string][] })),
    ...["a\nb", "a\0", " a", "a\r", "\u0100"].map((value) => ({ ...GET, headers: [["x", value]] as [string, string][] })),
    { ...GET, headers: [["te", "gzip"]] as [string, string][] },
    { ...GET, headers: [["x", "y".repeat(2_000)]] as [string, string][] },
  ];
  for (const init of unfit) await assert.rejects(connection.request(init), Http2Error, JSON.stringify(init));
  assert.equal((await connection.request({ ...GET, headers: [["te", "trailers"]] })).status, 200);
  assert.equal(connection.active, 0);
});

test("headers that fill many frames arrive", async (t) => {
  const value = "v".repeat(50_000);
  const { connection } = await running(
    t,
    (stream, headers) => {
      stream.respond({ ":status": 200, "x-back": String(headers["x-long"]) });
      stream.end();
    },
    { settings: { maxHeaderListSize: 1 << 20 }, maxSendHeaderBlockLength: 1 << 20 },
  );
  const response = await connection.request({ ...GET, headers: [["x-long", value]] });
  assert.deepEqual(response.headers.find(([name]) => name === "x-back"), ["x-back", value]);
});
