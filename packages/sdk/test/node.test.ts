/** What the SDK opens in Node.js, beside a real server: a program whose pairing came to nothing ends by itself. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { test, type TestContext } from "node:test";

import { nodeFetch } from "../src/node/connections.js";
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
    const script = `import { MemoryStore, pair } from "${new URL("../src/node.js", import.meta.url)}";
      await pair(process.env.LINK, { name: "Script", storage: new MemoryStore() }).catch(({ code }) => console.log(code));`;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", script], { env: { ...process.env, LINK: link } });
    t.after(() => child.kill());
    let out = "";
    child.stdout.on("data", (text) => (out += text));
    child.stderr.pipe(process.stderr);
    const said = once(child.stdout, "data").then(() => performance.now());
    const [status] = (await once(child, "close")) as [number];
    assert.deepEqual([status, out], [0, "CPL-1601\n"], head);
    // What is said is the last thing that it waits for.
    assert.ok(performance.now() - (await said) < 1500, "it ends when it is done");
    assert.deepEqual([connections.size, asked()], [0, 1], head);
  }
});

test("an answer that has no body has no end that is waited for", { timeout: 20_000 }, async (t) => {
  for (const status of ["204 None", "205 Reset", "304 Same"]) {
    const { port, connections } = await endless(t, `HTTP/1.1 ${status}\r\ntransfer-encoding: chunked\r\n\r\n4000\r\n${"x".repeat(0x4000)}\r\n`);
    const answer = await nodeFetch(`http://127.0.0.1:${port}/`, {}, null);
    assert.deepEqual([answer.status, answer.body], [Number(status.slice(0, 3)), null]);
    while (connections.size > 0 && !t.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 5));
  }
});

test("an answer that fetch would refuse is an error, and so is none", { timeout: 20_000 }, async (t) => {
  for (const head of [HEADS[2] ?? "", HEADS[3] ?? ""]) {
    const { port, connections } = await endless(t, head);
    await assert.rejects(nodeFetch(`http://127.0.0.1:${port}/`, {}, null), head);
    while (connections.size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
});
