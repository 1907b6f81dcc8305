import assert from "node:assert/strict";
import { test } from "node:test";

import type { CoupletWebSocket } from "../../src/index.js";
import type { FakeWebSocket } from "../../src/testing.js";
import { resetFrame } from "../../src/http2/frame.js";
import { closes, idle, ofCode, staged } from "./stage.js";

/** Resolves with the next event of a kind. */
function next(socket: CoupletWebSocket, kind: "open" | "message" | "close" | "error"): Promise<{ data?: unknown; code?: number }> {
  return new Promise((resolve) => socket.addEventListener(kind, (event) => resolve(event as never), { once: true }));
}

function echo(socket: FakeWebSocket): void {
  socket.protocol = socket.protocols[1] ?? "";
  socket.onmessage = (message) => socket.send(message);
}

test("a WebSocket with an app behind the host is one like any other", async () => {
  const opened: FakeWebSocket[] = [];
  const app = (): Response => new Response(null);
  const stage = await staged({
    apps: { first: app, lab: app },
    webSocket: (socket) => {
      opened.push(socket);
      echo(socket);
    },
  });
  const { host } = stage;
  const socket = host.webSocket("/kernels?id=1", ["one", "two"], { app: "lab", headers: { "x-mine": "1", upgrade: "h2c" } });
  assert.deepEqual([socket.readyState, socket.url], [0, "ws://localhost/kernels?id=1"]);
  await next(socket, "open");
  assert.equal(socket.protocol, "two");
  const { headers, url } = opened[0]?.request ?? new Request("http://none");
  assert.deepEqual([url, opened[0]?.app, headers.get("x-mine"), headers.get("upgrade")], ["http://localhost/kernels?id=1", "lab", "1", null]);
  assert.equal(headers.get("couplet-app"), null, "it does not reach the app");
  socket.binaryType = "arraybuffer";
  for (const message of ["hello", "", "x".repeat(100_000)]) {
    const came = next(socket, "message");
    socket.send(message);
    assert.equal((await came).data, message);
  }
  const came = next(socket, "message");
  socket.send(new Uint8Array(200_000).fill(9));
  const bytes = new Uint8Array((await came).data as ArrayBuffer);
  assert.ok(bytes.length === 200_000 && bytes.every((byte) => byte === 9));
  const closed = next(socket, "close");
  socket.close(3001, "bye");
  assert.equal((await closed).code, 3001);
  await closes(stage);
});

test("a WebSocket ends with its session, with the app's close, and when it is given up", async () => {
  const opened: FakeWebSocket[] = [];
  const closes_: string[] = [];
  const stage = await staged({
    webSocket: (socket) => {
      opened.push(socket);
      socket.onclose = (code) => closes_.push(`${code}`);
    },
  });
  const { fake, clock, host } = stage;
  const first = host.webSocket("/");
  await next(first, "open");
  const byApp = next(first, "close");
  opened[0]?.close(4001, "done");
  assert.equal((await byApp).code, 4001);

  const second = host.webSocket("/");
  await next(second, "open");
  const bySession = next(second, "close");
  fake.cut();
  assert.equal((await bySession).code, 1006);
  await clock.pass(1000);

  const controller = new AbortController();
  fake.isReachable = false;
  fake.cut();
  await clock.pass(10);
  const third = host.webSocket("/", [], { signal: controller.signal });
  const failed = next(third, "close");
  controller.abort(new Error("enough"));
  assert.equal((await failed).code, 1006);
  const fourth = host.webSocket("/");
  const left = next(fourth, "close");
  fourth.close();
  assert.equal((await left).code, 1006);
  fake.isReachable = true;
  await clock.pass(60_000);
  await idle();
  assert.equal(opened.length, 2, "what was given up is not opened later");
  assert.deepEqual(closes_, ["4001", "1006"]);
  await closes(stage);
});

test("an app that takes no WebSockets fails it, and the session goes on", async () => {
  const stage = await staged();
  const { host } = stage;
  const socket = host.webSocket("/");
  const failed = next(socket, "error") as Promise<{ error?: unknown }>;
  assert.equal((await next(socket, "close")).code, 1006);
  assert.ok(ofCode("CPL-1503")((await failed).error));
  assert.equal((await host.fetch("/")).status, 200);
  assert.throws(() => host.webSocket("ftp://x/"), TypeError);
  assert.throws(() => host.webSocket("/", ["a", "a"]), { name: "SyntaxError" });
  await closes(stage);
});

test("what the host resets just before it says that the device is revoked says so as well", async () => {
  const stage = await staged({ webSocket: () => {}, app: () => new Response(new ReadableStream({ start: (it) => it.enqueue(new Uint8Array(1)) })) });
  const { clock, fake, host } = stage;
  const socket = host.webSocket("/");
  await next(socket, "open");
  const reader = (await host.fetch("/")).body?.getReader();
  await reader?.read();
  const failed = next(socket, "error") as Promise<{ error?: unknown }>;
  const broken = (async () => {
    for (;;) if ((await reader?.read())?.done !== false) return;
  })();
  broken.catch(() => {});
  // The streams that this device has opened so far.
  for (const stream of [1, 3]) fake.sessions[0]?.data(resetFrame(stream, 8));
  await clock.pass(100);
  fake.revoke();
  await assert.rejects(broken, ofCode("CPL-1603"));
  assert.ok(ofCode("CPL-1603")((await failed).error));
  await closes(stage);
});

test("a WebSocket whose device is revoked says that, and one that breaks off says so", async () => {
  const take = (): void => {};
  const error = async (end: (stage: Awaited<ReturnType<typeof staged>>) => void): Promise<unknown> => {
    const stage = await staged({ webSocket: take });
    const socket = stage.host.webSocket("/");
    await next(socket, "open");
    const failed = next(socket, "error") as Promise<{ error?: unknown }>;
    end(stage);
    const { error } = await failed;
    await closes(stage);
    return error;
  };
  assert.ok(ofCode("CPL-1603")(await error(({ fake }) => fake.revoke())));
  assert.ok(ofCode("CPL-1603")(await error(({ fake }) => fake.expire())));
  assert.ok(ofCode("CPL-1602")(await error(({ fake }) => fake.cut())));
});

test("an app's answer is not the host's word, and nothing that it says ends a pairing", async () => {
  const problem = (code: string) => ({ type: `urn:couplet:error:${code}`, title: "", status: 403, detail: "", code });
  const answers: readonly (readonly [unknown, string, string])[] = [
    [problem("CPL-1603"), "application/problem+json", "CPL-1602"],
    [problem("CPL-1607"), "application/problem+json", "CPL-1602"],
    [problem("CPL-1103"), "application/problem+json", "CPL-1602"],
    [{ code: "CPL-1501" }, "application/problem+json", "CPL-1602"],
    [problem("CPL-1501"), "application/json", "CPL-1602"],
    [null, "application/problem+json", "CPL-1602"],
    [problem("CPL-1105"), "application/problem+json", "CPL-1105"],
    [problem("CPL-1501"), "Application/Problem+JSON; charset=utf-8", "CPL-1501"],
  ];
  for (const [body, type, code] of answers) {
    const stage = await staged({ webSocket: () => Response.json(body, { status: 403, headers: { "content-type": type } }) });
    const failed = next(stage.host.webSocket("/"), "error") as Promise<{ error?: unknown }>;
    assert.ok(ofCode(code)((await failed).error));
    await closes(stage);
  }
});
