/** What comes over the ports of an app is its word: only what it says well is heard. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { HEADERS_LENGTH_MAX, HEADERS_MAX, PATH_MAX } from "../../src/wire/limits.js";
import { parseFromFrame, parseFromKeeper } from "../../src/wire/frames.js";
import { parseFromSocket, parseFromWorker, parseRefused } from "../../src/wire/messages.js";
import { isView, ownPath } from "../../src/wire/own.js";

const request = {
  t: "request", id: 1, method: "GET", path: "/x?y", headers: [["Accept", "*/*"]], body: null, mode: "cors", destination: "empty", referrer: "/z", asker: "app", credentials: true,
};

it("reads a request, in lower case", () => {
  assert.deepEqual(parseFromWorker(request), { ...request, headers: [["accept", "*/*"]] });
  const body = new Blob(["x"]);
  assert.equal((parseFromWorker({ ...request, method: "POST", body }) as { body: unknown }).body, body);
  assert.equal("extra" in (parseFromWorker({ ...request, extra: 1 }) ?? {}), false);
});

it("hears nothing that is none", () => {
  const wrong: readonly object[] = [
    { id: -1 }, { id: 1.5 }, { id: 2 ** 32 }, { id: "1" }, { id: undefined },
    { method: "" }, { method: "GET /" }, { method: "GET\r\n" }, { method: "x".repeat(33) }, { method: null },
    { path: "" }, { path: "x" }, { path: "http://x/" }, { path: "/ " }, { path: "/\n" }, { path: "/\u00e4" }, { path: `/${"x".repeat(PATH_MAX)}` }, { path: ["/"] },
    { headers: null }, { headers: {} }, { headers: [["a"]] }, { headers: [["a", "b", "c"]] }, { headers: [["", "x"]] }, { headers: [["a b", "x"]] },
    { headers: [["a:", "x"]] }, { headers: [["a", "x\r\ny"]] }, { headers: [["a", "\u0000"]] }, { headers: [["a", "\u0100"]] }, { headers: [["a", " x"]] }, { headers: [["a", 1]] },
    { headers: [["a", "x".repeat(HEADERS_LENGTH_MAX)]] }, { headers: Array.from({ length: HEADERS_MAX + 1 }, () => ["a", ""]) },
    { body: "x" }, { body: new ArrayBuffer(1) }, { body: undefined },
    { mode: "websocket" }, { mode: "" }, { destination: "X" }, { destination: "a b" }, { destination: 1 }, { destination: "" }, { referrer: "http://x/" }, { referrer: undefined }, { credentials: "include" }, { asker: "nobody" }, { asker: undefined },
    { t: "constructor" }, { t: "__proto__" }, { t: null }, { t: ["request"] },
  ];
  for (const change of wrong) assert.equal(parseFromWorker({ ...request, ...change }), null, JSON.stringify(change));
  for (const data of [null, undefined, 0, "", "request", [], () => 0, new Date(0), Object.create(null)]) assert.equal(parseFromWorker(data), null);
});

it("tells who waits for what cannot be done", () => {
  assert.deepEqual(parseRefused({ ...request, path: `/${"x".repeat(PATH_MAX)}` }), { t: "request", id: 1, why: "path" });
  assert.deepEqual(parseRefused({ ...request, headers: [["a", "x".repeat(HEADERS_LENGTH_MAX)]] }), { t: "request", id: 1, why: "headers" });
  assert.deepEqual(parseRefused({ ...request, mode: "new" }), { t: "request", id: 1, why: "unreadable" });
  assert.deepEqual(parseRefused({ t: "view", id: 2, path: 5 }), { t: "view", id: 2, why: "unreadable" });
  for (const data of [null, 1, [], { ...request, id: -1 }, { ...request, t: "credit" }, { t: "socket", id: 1 }]) assert.equal(parseRefused(data), null);
  assert.equal((parseFromWorker({ ...request, destination: "of-the-future" }) as { destination: string }).destination, "of-the-future");
});

it("hears of frames what they may say, and no more of it", () => {
  assert.deepEqual(parseFromKeeper({ couplet: "begun" }), { couplet: "begun", wire: "" });
  assert.deepEqual(parseFromKeeper({ couplet: "failed", why: "constructor" }), { couplet: "failed", why: "denied" });
  assert.deepEqual(parseFromKeeper({ couplet: "wiped", isAll: 1 }), { couplet: "wiped", isAll: false });
  for (const data of [null, 1, "join", [], { couplet: ["join"] }, { couplet: "page", path: "/", title: "" }]) assert.equal(parseFromKeeper(data), null);
  assert.deepEqual(parseFromFrame({ couplet: "page", path: "/", title: "x".repeat(999) }), { couplet: "page", path: "/", title: "x".repeat(200), canGoBack: false });
  assert.deepEqual(parseFromFrame({ couplet: "stray", path: {} }), { couplet: "stray", path: "/" });
  assert.deepEqual(parseFromFrame({ couplet: "leave", url: "https://x.example" }), { couplet: "leave", url: "https://x.example/" });
  for (const url of ["javascript:0", "data:,x", "/x", null, `https://x/${"x".repeat(PATH_MAX)}`]) assert.equal(parseFromFrame({ couplet: "leave", url }), null);
  for (const data of [null, { couplet: "join" }, { couplet: "page", path: "x", title: "" }, { couplet: "page", path: `/${"x".repeat(PATH_MAX)}`, title: "" }]) assert.equal(parseFromFrame(data), null);
});

it("hears the rest within its bounds", () => {
  assert.deepEqual(parseFromWorker({ t: "abort", id: 0 }), { t: "abort", id: 0 });
  assert.equal(parseFromWorker({ t: "abort" }), null);
  assert.deepEqual(parseFromWorker({ t: "credit", id: 1, bytes: 1 }), { t: "credit", id: 1, bytes: 1 });
  for (const bytes of [-1, 0.5, 2 ** 20 + 1, Number.NaN, Number.POSITIVE_INFINITY, "1"]) assert.equal(parseFromWorker({ t: "credit", id: 1, bytes }), null);
  assert.equal(parseFromWorker({ t: "write", text: "x".repeat(4097), path: "/" }), null);
  assert.equal(parseFromWorker({ t: "write", text: "a=1", path: "x" }), null);
  assert.deepEqual(parseFromWorker({ t: "view", id: 1, path: "/" }), { t: "view", id: 1, path: "/" });
  assert.deepEqual(parseFromWorker({ t: "socket", path: "/", protocols: ["a"] }), { t: "socket", path: "/", protocols: ["a"] });
  for (const protocols of [undefined, "a", ["a", "a"], ["a b"], [""], [1], Array.from({ length: 33 }, (_, at) => `p${at}`)]) {
    assert.equal(parseFromWorker({ t: "socket", path: "/", protocols }), null);
  }
});

it("hears of a socket what the DOM lets a page say", () => {
  assert.deepEqual(parseFromSocket({ t: "send", data: "x" }), { t: "send", data: "x" });
  for (const data of [1, null, {}, new Uint8Array(1)]) assert.equal(parseFromSocket({ t: "send", data }), null);
  assert.deepEqual(parseFromSocket({ t: "close", code: 4000, reason: "r" }), { t: "close", code: 4000, reason: "r" });
  assert.deepEqual(parseFromSocket({ t: "close", code: undefined, reason: "" }), { t: "close", code: undefined, reason: "" });
  for (const code of [1001, 999, 5000, "1000", 3000.5]) assert.equal(parseFromSocket({ t: "close", code, reason: "" }), null);
  assert.equal(parseFromSocket({ t: "close", code: 1000, reason: "x".repeat(124) }), null);
  for (const data of [null, 1, [], { t: "open" }]) assert.equal(parseFromSocket(data), null);
});

it("knows the app's own addresses", () => {
  const origin = "https://l.apps.example:8443";
  const path = (url: string): string | null => ownPath(new URL(url), origin);
  assert.equal(path(`${origin}/a?b#c`), "/a?b#c");
  assert.equal(path("wss://l.apps.example:8443/a"), "/a");
  assert.equal(path("ws://localhost:8888/a"), "/a");
  assert.equal(path("https://l.apps.example/a"), null);
  assert.equal(path("https://m.apps.example:8443/a"), null);
  assert.equal(path("blob:https://l.apps.example:8443/1"), null);
  assert.equal(path("data:text/html,x"), null);
  assert.equal(isView(new URL("ftp://localhost/")), false);
});
