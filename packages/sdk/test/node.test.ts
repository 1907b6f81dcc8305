/** What the SDK opens in Node.js, beside a real server: a program whose pairing came to nothing ends by itself; and what it sees of the network. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import dgram from "node:dgram";
import { EventEmitter, once } from "node:events";
import { createServer, type Server } from "node:http";
import { syncBuiltinESMExports } from "node:module";
import type { AddressInfo, Socket } from "node:net";
import { test, type TestContext } from "node:test";

import { nodeFetch, nodeNetwork, nodeSockets } from "../src/node/connections.js";
import { FakeHost } from "../src/testing.js";

/** A server whose answers begin with these bytes and never end, and the connections that it holds. */
async function endless(t: TestContext, head: string): Promise<{ port: number; connections: Set<Socket>; asked: () => number }> {
  const connections = new Set<Socket>();
  let asked = 0;
  const server: Server = createServer();
  server.on("connection", (socket: Socket) => {
    connections.add(socket);
    socket.on("close", () => connections.delete(socket)).on("error", () => {});
  });
  server.on("request", (request) => {
    asked += 1;
    request.socket.write(head);
  });
  // No WebSocket is here.
  server.on("upgrade", (_, socket) => socket.destroy());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of connections) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, connections, asked: () => asked };
}

async function gone(connections: Set<Socket>): Promise<void> {
  await Promise.all([...connections].map((connection) => once(connection, "close")));
}

const HEADS = [
  "HTTP/1.1 503 Busy\r\ncontent-length: 100000\r\n\r\nwait",
  "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
  "HTTP/1.1 799 Strange\r\ncontent-length: 5\r\n\r\n",
  "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
  "HTTP/1.1 204 None\r\n\r\n",
];

test("a script that pairs in vain ends by itself, and leaves no connection open, whatever the host answers", async (t) => {
  for (const head of HEADS) {
    const { port, connections, asked } = await endless(t, head);
    const link = new FakeHost({ address: `127.0.0.1:${port}` }).link();
    // What waits for a time, and would keep the program: nothing does once all is said.
    const script = `const timers = new Set(), { setTimeout: set, clearTimeout: clear } = globalThis;
      globalThis.setTimeout = (call, time) => {
        const timer = set(() => (timers.delete(timer), call()), time);
        timers.add(timer);
        return timer;
      };
      globalThis.clearTimeout = (timer) => (timers.delete(timer), clear(timer));
      const { MemoryStore, pair } = await import("${new URL("../src/node.js", import.meta.url)}");
      await pair(process.env.LINK, { name: "Script", storage: new MemoryStore() }).catch(({ code }) => console.log(code));
      await new Promise(setImmediate);
      console.log([...timers].filter((timer) => timer.hasRef()).length);`;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", script], { env: { ...process.env, LINK: link } });
    t.after(() => child.kill());
    let out = "";
    child.stdout.on("data", (text) => (out += text));
    child.stderr.pipe(process.stderr);
    const [status] = (await once(child, "close")) as [number];
    assert.deepEqual([status, out], [0, "CPL-1601\n0\n"], head);
    assert.equal(asked(), 1, head);
    await gone(connections);
  }
});

test("an answer that has no body has no end that is waited for", { timeout: 20_000 }, async (t) => {
  for (const status of ["204 None", "205 Reset", "304 Same"]) {
    const { port, connections } = await endless(t, `HTTP/1.1 ${status}\r\ntransfer-encoding: chunked\r\n\r\n4000\r\n${"x".repeat(0x4000)}\r\n`);
    const answer = await nodeFetch(`http://127.0.0.1:${port}/`, {}, null);
    assert.deepEqual([answer.status, answer.body], [Number(status.slice(0, 3)), null]);
    await gone(connections);
  }
});

test("an answer that fetch would refuse is an error, and so is none", { timeout: 20_000 }, async (t) => {
  for (const head of [HEADS[2] ?? "", HEADS[3] ?? ""]) {
    const { port, connections } = await endless(t, head);
    await assert.rejects(nodeFetch(`http://127.0.0.1:${port}/`, {}, null), head);
    await gone(connections);
  }
});

test("another address of this machine is another network; none at all is waited for", async (t) => {
  let address: string | null = "10.0.0.2";
  let [opened, closed] = [0, 0];
  /** As much of a socket as asks for the way to an address. */
  class Way extends EventEmitter {
    connect(): void {
      queueMicrotask(() => (address === null ? this.emit("error", new Error("no way")) : this.emit("connect")));
    }
    address = () => ({ address });
    unref = () => this;
    close = () => void (closed += 1);
  }
  t.mock.method(dgram, "createSocket", () => ((opened += 1), new Way()));
  syncBuiltinESMExports();
  t.mock.timers.enable({ apis: ["setInterval"] });
  const told: string[] = [];
  const stop = nodeNetwork((change) => void told.push(change));
  /** Lets it look once more. */
  const looks = async (from: string | null): Promise<string[]> => {
    address = from;
    t.mock.timers.tick(2000);
    for (let turns = 0; turns < 5; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    return told.splice(0);
  };
  try {
    assert.deepEqual(await looks("10.0.0.2"), []);
    assert.deepEqual(await looks("10.0.0.2"), []);
    assert.deepEqual(await looks("192.168.1.2"), ["moved"]);
    assert.deepEqual(await looks(null), []);
    assert.deepEqual(await looks("192.168.1.2"), [], "it came back as it was");
    assert.deepEqual(await looks("10.0.0.2"), ["moved"]);
    stop();
    assert.deepEqual(await looks("10.0.0.3"), [], "nobody wants to know");
    assert.ok(opened > 0 && closed === opened, "no socket stays");
  } finally {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  }
});

test("a WebSocket of Node.js that bounds no message is not used", async () => {
  for (const version of ["5.29.0", "6.21.2", "6.24.1", "7.24.4", "7.27.0", "8.0.3"]) {
    const open = await nodeSockets(Promise.resolve(null), version);
    assert.throws(() => open("ws://127.0.0.1:1/", null), { code: "CPL-1601", next: /npm install ws/ }, version);
  }
  for (const version of ["6.25.0", "7.28.0", "8.1.0", "9.0.0", undefined]) {
    const open = await nodeSockets(Promise.resolve(null), version);
    const socket = open("ws://127.0.0.1:1/", null);
    socket.onerror = () => {};
    socket.close();
  }
});
