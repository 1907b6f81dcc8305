/** Headers: what a browser would send to the app's own host, whatever the app says. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { answerHeaders, isAllowed, requestHeaders, siteOf } from "../../src/bridge/headers.js";
import { Flood } from "../../src/bridge/flood.js";
import { Gate } from "../../src/bridge/gate.js";
import { newLabel } from "../../src/bridge/index.js";
import { originOf } from "../../src/bridge/keeper.js";
import type { RequestMessage } from "../../src/wire/messages.js";
import { CREDIT_MAX } from "../../src/wire/limits.js";

const request: RequestMessage = {
  t: "request", id: 1, method: "GET", path: "/", headers: [], body: null, mode: "cors", destination: "empty", referrer: null, asker: "app", credentials: true,
};
const headers = (change: Partial<RequestMessage>, cookie = ""): { [name: string]: string } => Object.fromEntries(requestHeaders({ ...request, ...change }, cookie));

it("are the page's own, without what only browsers say", () => {
  const forged = ["cookie", "host", "origin", "referer", "sec-fetch-site", "sec-x", "proxy-authorization", "couplet-app", "x-couplet-device-id", "content-length", "te", "upgrade", "connection"];
  const made = headers({ headers: [...forged.map((name) => [name, "forged"] as const), ["x-mine", "1"], ["range", "bytes=0-"]] }, "a=1");
  assert.ok(!Object.values(made).includes("forged"));
  assert.deepEqual(made, { "x-mine": "1", range: "bytes=0-", cookie: "a=1", "sec-fetch-dest": "empty", "sec-fetch-mode": "cors", "sec-fetch-site": "same-origin" });
  assert.ok(isAllowed("authorization") && isAllowed("x-xsrftoken") && isAllowed("content-type"));
});

it("say who asks as the app knows itself", () => {
  assert.equal(headers({ referrer: "/a?b" })["referer"], "http://localhost/a?b");
  assert.equal(headers({})["origin"], undefined);
  assert.equal(headers({ method: "POST" })["origin"], "http://localhost");
  assert.equal(headers({ method: "POST", mode: "navigate", referrer: "/form" })["origin"], "http://localhost");
  assert.equal(headers({ method: "POST", mode: "navigate", asker: "unknown" })["origin"], "null");
  assert.equal(headers({ mode: "navigate", asker: "person" })["sec-fetch-site"], "none");
  assert.equal(headers({ mode: "navigate", asker: "unknown" })["sec-fetch-site"], "cross-site");
  assert.equal(headers({ mode: "navigate", referrer: "/" })["sec-fetch-site"], "same-origin");
});

it("have the cookies that a browser sends from where they come from", () => {
  const site = (change: Partial<RequestMessage>): string => siteOf({ ...request, mode: "navigate", ...change });
  assert.equal(site({ asker: "person", destination: "iframe" }), "strict");
  assert.equal(site({ asker: "app", destination: "iframe" }), "strict");
  assert.equal(site({ asker: "unknown", destination: "document" }), "lax");
  assert.equal(site({ asker: "unknown", destination: "iframe" }), "none");
  assert.equal(site({ asker: "unknown", destination: "document", mode: "cors" }), "none");
});

it("ask for what is compressed, but for parts, media and events", () => {
  assert.equal(headers({})["accept-encoding"], "gzip");
  assert.equal(headers({ destination: "video" })["accept-encoding"], undefined);
  assert.equal(headers({ headers: [["range", "bytes=1-2"]] })["accept-encoding"], undefined);
  assert.equal(headers({ headers: [["accept", "text/event-stream"]] })["accept-encoding"], undefined);
});

it("of answers are kept back where they mean something else here", () => {
  const kept = answerHeaders([["set-cookie", "a"], ["service-worker-allowed", "/"], ["nel", "x"], ["etag", "1"], ["content-type", "x"]]);
  assert.deepEqual(kept, [["etag", "1"], ["content-type", "x"]]);
});

it("labels and the apps' origin make an origin, or nothing does", () => {
  const label = newLabel();
  assert.match(label, /^[a-z2-7]{26}$/);
  assert.notEqual(label, newLabel());
  assert.equal(originOf("https://*.apps.example:8443", label), `https://${label}.apps.example:8443`);
  for (const wrong of ["", "x", `${label}a`, label.toUpperCase(), `${label.slice(1)}.`, "evil.example/aaaaaaaaaaaaa"]) {
    assert.throws(() => originOf("https://*.apps.example", wrong), TypeError);
  }
  for (const pattern of ["https://apps.example", "javascript:*.x", "https://*.apps.example/x", "https://*.*.example", "https://x@*.example", "https://*evil", "*"]) {
    assert.throws(() => originOf(pattern, label), TypeError, pattern);
  }
});

it("too many messages are too many within one second", () => {
  const flood = new Flood(3);
  assert.deepEqual([0, 1, 2, 3].map((now) => flood.isTooMuch(now)), [false, false, false, true]);
  assert.equal(flood.isTooMuch(1001), false);
});

it("what may go out waits for what is let through", async () => {
  const gate = new Gate(10);
  await gate.passable();
  gate.spend(15);
  let passed = false;
  const waiting = gate.passable().then(() => (passed = true));
  gate.grant(5);
  await Promise.resolve();
  assert.equal(passed, false);
  gate.grant(1);
  await waiting;
  gate.grant(Number.MAX_SAFE_INTEGER);
  gate.spend(CREDIT_MAX);
  void gate.passable().then(() => assert.fail("more than all went through"));
  await new Promise((resolve) => setImmediate(resolve));
});
