import assert from "node:assert/strict";
import { once } from "node:events";
import { type ServerHttp2Stream } from "node:http2";
import { test, type TestContext } from "node:test";
import { WebSocket as Peer } from "ws";
import { CoupletWebSocket, openedSocket, type SocketCloseEvent, socketHeaders, type SocketMessageEvent } from "../src/client/websocket.js";
import { running } from "./http2/server.js";

type Socket = CoupletWebSocket;

/** The `ws` package at the server's end of an extended CONNECT (RFC 8441). */
function peerOf(stream: ServerHttp2Stream, maxPayload = 0): Peer {
  const Made = Peer as unknown as new (address: null, protocols: undefined, options: object) => Peer;
  const peer = new Made(null, undefined, { closeTimeout: 30_000 });
  const internal = peer as unknown as { setSocket(socket: unknown, head: Buffer, options: object): void };
  internal.setSocket(Object.assign(stream, { setNoDelay: () => stream }), Buffer.alloc(0), {
    allowSynchronousEvents: true,
    maxPayload,
    skipUTF8Validation: false,
  });
  peer.on("error", () => undefined);
  return peer;
}

interface Pair {
  readonly socket: Socket;
  readonly peer: Peer;
}

async function pair(t: TestContext, protocols: readonly string[] = [], chosen = protocols[0]): Promise<Pair> {
  const { server, connection } = await running(
    t,
    (stream, headers) => {
      assert.equal(headers[":method"], "CONNECT");
      assert.equal(headers[":protocol"], "websocket");
      assert.equal(headers["sec-websocket-version"], "13");
      stream.respond({ ":status": 200, ...(chosen === undefined ? {} : { "sec-websocket-protocol": chosen }) });
      server.emit("peer", peerOf(stream));
    },
    { settings: { enableConnectProtocol: true } },
  );
  const ready = once(server, "peer");
  const opened = connection
    .request({ method: "CONNECT", protocol: "websocket", authority: "host", path: "/socket", headers: socketHeaders(protocols) })
    .then((response) => {
      const its = openedSocket(response);
      assert.ok(its);
      return its;
    });
  const socket = new CoupletWebSocket({ url: "wss://host/socket", protocols, opened });
  socket.binaryType = "arraybuffer";
  const [peer] = (await ready) as [Peer];
  return { socket, peer };
}

function event<Type extends "open" | "message" | "close" | "error">(socket: Socket, type: Type): Promise<never> {
  return new Promise((resolve) => {
    socket.addEventListener(type, resolve as (its: object) => void, { once: true });
  });
}

async function opened(pair: Pair): Promise<Pair> {
  if (pair.socket.readyState !== pair.socket.OPEN) await event(pair.socket, "open");
  return pair;
}

test("messages go both ways, text and bytes, short and long", async (t) => {
  const { socket, peer } = await opened(await pair(t, ["chat", "other"]));
  assert.equal(socket.protocol, "chat");
  assert.equal(socket.readyState, CoupletWebSocket.OPEN);
  peer.on("message", (message: Buffer, binary: boolean) => peer.send(message, { binary }));
  for (const length of [0, 1, 125, 126, 65_535, 65_536, 1_000_000]) {
    const back = event(socket, "message") as Promise<SocketMessageEvent<Socket>>;
    socket.send("ä".repeat(length));
    assert.equal((await back).data, "ä".repeat(length));
    const bytes = Uint8Array.from({ length }, (_, index) => index * 7);
    const other = event(socket, "message") as Promise<SocketMessageEvent<Socket>>;
    socket.send(length % 2 === 0 ? bytes : bytes.buffer);
    const { data } = await other;
    assert.ok(data instanceof ArrayBuffer);
    assert.deepEqual(new Uint8Array(data), bytes);
  }
  assert.equal(socket.bufferedAmount, 0);
});

test("many messages keep their order, and a promise for each sees it", async (t) => {
  const { socket, peer } = await opened(await pair(t));
  peer.on("message", (message: Buffer) => peer.send(message.toString()));
  for (let index = 0; index < 2_000; index += 1) socket.send(String(index));
  for (let index = 0; index < 2_000; index += 1) {
    const { data } = (await event(socket, "message")) as SocketMessageEvent<Socket>;
    assert.equal(data, String(index));
  }
});

test("a blob comes unless an ArrayBuffer is asked for", async (t) => {
  const { socket, peer } = await opened(await pair(t));
  socket.binaryType = "blob";
  const message = event(socket, "message") as Promise<SocketMessageEvent<Socket>>;
  peer.send(Buffer.from("abc"));
  const { data } = await message;
  assert.ok(data instanceof Blob);
  assert.equal(await data.text(), "abc");
});

test("fragments of the other end are one message, and its pings are answered between ours", async (t) => {
  const { socket, peer } = await opened(await pair(t));
  const message = event(socket, "message") as Promise<SocketMessageEvent<Socket>>;
  const pong = once(peer, "pong");
  peer.send("one ", { fin: false });
  peer.ping("now");
  peer.send("two ", { fin: false });
  peer.send("three", { fin: true });
  assert.equal((await message).data, "one two three");
  assert.deepEqual(await pong, [Buffer.from("now")]);
  const arrived = once(peer, "message");
  const between = once(peer, "pong");
  let done = false;
  void arrived.then(() => {
    done = true;
  });
  socket.send(new Uint8Array(8 << 20));
  peer.ping("amid");
  await between;
  assert.equal(done, false);
  const [bytes] = (await arrived) as [Buffer];
  assert.equal(bytes.length, 8 << 20);
});

test("this end closes, and the other answers", async (t) => {
  const { socket, peer } = await opened(await pair(t));
  const closed = event(socket, "close") as Promise<SocketCloseEvent<Socket>>;
  const seen = once(peer, "close");
  const last = once(peer, "message");
  socket.send("last");
  socket.close(3_456, "über");
  assert.equal(socket.readyState, CoupletWebSocket.CLOSING);
  socket.close();
  assert.deepEqual((await last)[0], Buffer.from("last"));
  const { code, reason, wasClean } = await closed;
  // What the other end says in turn is its own affair: `ws` echoes the code and the reason.
  assert.deepEqual([code, reason, wasClean], [3_456, "über", true]);
  assert.deepEqual(await seen, [3_456, Buffer.from("über")]);
  assert.equal(socket.readyState, CoupletWebSocket.CLOSED);
  socket.send("ignored");
  assert.equal(socket.bufferedAmount, 7);
});

test("the other end closes", async (t) => {
  const { socket, peer } = await opened(await pair(t));
  const closed = event(socket, "close") as Promise<SocketCloseEvent<Socket>>;
  const seen = once(peer, "close");
  peer.close(1_001, "away");
  const { code, reason, wasClean } = await closed;
  assert.deepEqual([code, reason, wasClean], [1_001, "away", true]);
  assert.equal((await seen)[0], 1_001);
});

test("a close without a code has none", async (t) => {
  const { socket, peer } = await opened(await pair(t));
  const closed = event(socket, "close") as Promise<SocketCloseEvent<Socket>>;
  const seen = once(peer, "close");
  socket.close();
  assert.equal((await closed).code, 1_005);
  assert.equal((await seen)[0], 1_005);
});

test("a connection that ends without a close fails the socket", async (t) => {
  const { socket, peer } = await opened(await pair(t));
  const errored = event(socket, "error");
  const closed = event(socket, "close") as Promise<SocketCloseEvent<Socket>>;
  peer.terminate();
  await errored;
  const { code, wasClean } = await closed;
  assert.deepEqual([code, wasClean], [1_006, false]);
});

test("an app that takes a protocol it was not asked for is left", async (t) => {
  const { socket } = await pair(t, ["a"], "b");
  const { code } = (await event(socket, "close")) as SocketCloseEvent<Socket>;
  assert.equal(code, 1_006);
  assert.equal(socket.protocol, "");
});

test("a Blob is sent as its bytes, in its place among other messages, and one that cannot be read fails the socket", async (t) => {
  const { socket, peer } = await opened(await pair(t));
  const came: string[] = [];
  peer.on("message", (data: Buffer, isBinary) => void came.push(`${isBinary ? "bytes" : "text"} ${data.toString()}`));
  const ended = once(peer, "close");
  socket.send("one");
  socket.send(new Blob(["two, ", "three"]));
  assert.equal(socket.bufferedAmount, 13);
  socket.send("four");
  socket.send(new Blob([]));
  socket.close(1000);
  await ended;
  assert.deepEqual(came, ["text one", "bytes two, three", "text four", "bytes "]);

  const second = await opened(await pair(t));
  const failed = event(second.socket, "error") as Promise<{ message: string }>;
  class Gone extends Blob {
    override arrayBuffer = async () => assert.fail("the file is gone");
  }
  second.socket.send(new Gone(["x"]));
  assert.equal((await failed).message, "the file is gone");
});
