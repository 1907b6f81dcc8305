/** The core where there is no DOM, no WebCrypto, and a Response that takes no stream: as in React Native. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker, type MessagePort } from "node:worker_threads";

import type { OpenSocket } from "../src/index.js";
import { FakeHost } from "../src/testing.js";
import type { Setting } from "./runtime/phone.js";

/** Leads a socket of the other thread to the host. */
function bridge(openSocket: OpenSocket, url: string, port: MessagePort): void {
  const socket = openSocket(url, null);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => port.postMessage({ kind: "open" });
  socket.onmessage = ({ data }) => port.postMessage({ kind: "message", event: { data } });
  socket.onerror = () => port.postMessage({ kind: "error" });
  socket.onclose = ({ code, reason }) => port.postMessage({ kind: "close", event: { code, reason } });
  port.on("message", (message: Uint8Array<ArrayBuffer> | null) => (message === null ? socket.close() : socket.send(message)));
}

async function app(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (pathname === "/json") return Response.json({ word: "Grüße" });
  if (pathname === "/nothing") return new Response(null, { status: 204 });
  return new Response(`you said ${await request.text()}`, { headers: { "x-own": "1" } });
}

for (const streams of [false, true]) {
  test(`React Native ${streams ? "with a polyfill of streams" : "as it is"}: answers are whole, and what they say`, async () => {
    const fake = new FakeHost({ app, webSocket: (socket) => void (socket.onmessage = (message) => socket.send(message)) });
    const { openSocket } = fake.connections;
    assert.ok(openSocket !== undefined);
    const workerData: Setting = { link: fake.link(), streams };
    const worker = new Worker(new URL("runtime/phone.js", import.meta.url), { workerData });
    const told = await new Promise<Record<string, unknown>>((resolve, reject) => {
      worker.on("error", reject);
      worker.on("message", (message: { told: Record<string, unknown> } | { url: string; port: MessagePort }) => {
        if ("told" in message) resolve(message.told);
        else bridge(openSocket, message.url, message.port);
      });
    });
    const mebibytes = 1 << 20;
    const { form, blob, tooLong, again, ...rest } = told;
    assert.deepEqual(rest, {
      kind: 1,
      text: "you said Grüße",
      url: "http://localhost/notes",
      status: 200,
      header: "1",
      request: "you said of a Request",
      json: { word: "Grüße" },
      none: "",
      bytes: [...new TextEncoder().encode("you said ü")],
      long: 64 * mebibytes,
      isClosed: true,
      heard: "hello",
    });
    assert.match(String(tooLong), /^CPL-1602: The answer is too long/);
    assert.match(String(again), /^TypeError: Already read/);
    assert.match(String(form), /^TypeError: this runtime writes no FormData/);
    assert.match(String(blob), /^TypeError: this runtime reads no Blob/);
    await worker.terminate();
  });
}
