import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { HEADERS } from "../../src/http2/frame.js";
import type { App } from "../../src/testing.js";
import { FakeServer } from "../../src/testing/server.js";
import { closes, idle, ofCode, passing, staged } from "./stage.js";

/** Says what came. */
async function mirror(request: Request): Promise<Response> {
  const { pathname, search, host } = new URL(request.url);
  const headers = Object.fromEntries(request.headers);
  return Response.json({ method: request.method, path: pathname + search, host, headers, body: await request.text() });
}

/** What collects garbage. */
function collector(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

test("a request reaches the app as it was asked for", async () => {
  const named: App = async (request) => new Response((await mirror(request)).body, { headers: { "x-app": "notes" } });
  const stage = await staged({ apps: { app: mirror, notes: named } });
  const { host } = stage;
  const seen = async (...asked: Parameters<typeof host.fetch>): Promise<Seen> => (await host.fetch(...asked)).json() as Promise<Seen>;

  const plain = await seen("/lab?a=1#part");
  assert.deepEqual([plain.method, plain.path, plain.host, plain.headers["accept"]], ["GET", "/lab?a=1", "localhost", "*/*"]);
  const whole = await seen(new URL("http://localhost/x"), { app: "notes", headers: { Cookie: "a=b", Host: "evil", TE: "x" } });
  assert.deepEqual([whole.host, whole.headers["couplet-app"], whole.headers["cookie"], whole.headers["te"]], ["localhost", undefined, "a=b", undefined]);
  assert.equal((await host.fetch("/", { app: "notes" })).headers.get("x-app"), "notes");
  const request = await seen(new Request("http://localhost/r", { method: "PUT", body: "text", headers: { "x-mine": "1" } }));
  assert.deepEqual([request.method, request.path, request.body, request.headers["x-mine"]], ["PUT", "/r", "text", "1"]);
  assert.equal((await seen("/e", { method: "post" })).headers["content-length"], "0");
  await closes(stage);
});

test("bodies of every kind are sent, with their type, and their length where it is known", async () => {
  const stage = await staged({ app: mirror });
  const { host } = stage;
  const bytes = new TextEncoder().encode("bytes");
  const form = new FormData();
  form.append("field", "value");
  form.append("file", new Blob(["contents"]), "name.txt");
  async function* slowly() {
    yield bytes;
    await idle();
    yield bytes;
  }
  const kinds: [BodyInit | AsyncIterable<Uint8Array>, string, RegExp, string | undefined][] = [
    ["text", "text", /^text\/plain;charset=UTF-8$/, "4"],
    [bytes, "bytes", /^$/, "5"],
    [bytes.buffer, "bytes", /^$/, "5"],
    [new DataView(bytes.buffer, 1, 3), "yte", /^$/, "3"],
    [new URLSearchParams({ a: "b c" }), "a=b+c", /^application\/x-www-form-urlencoded/, "5"],
    [new Blob(["blob"], { type: "image/x" }), "blob", /^image\/x$/, "4"],
    [form, "contents", /^multipart\/form-data; boundary=/, undefined],
    [new Blob(["stream"]).stream(), "stream", /^$/, undefined],
    [slowly(), "bytesbytes", /^$/, undefined],
  ];
  for (const [body, wanted, type, length] of kinds) {
    const seen = (await (await host.fetch("/", { method: "POST", body })).json()) as Seen;
    assert.ok(seen.body.includes(wanted), seen.body);
    assert.match(seen.headers["content-type"] ?? "", type);
    assert.equal(seen.headers["content-length"], length);
  }
  await closes(stage);
});

test("large bodies stream both ways, and who does not read holds the app back", async () => {
  let given = 0;
  const app = (request: Request): Response | Promise<Response> => {
    if (request.method === "POST") return request.arrayBuffer().then((all) => new Response(String(all.byteLength)));
    const body = new ReadableStream<Uint8Array>({
      pull(its) {
        if (given >= 40 << 20) return its.close();
        given += 64 << 10;
        its.enqueue(new Uint8Array(64 << 10));
      },
    });
    return new Response(body);
  };
  const stage = await staged({ app });
  const { clock, host } = stage;
  async function* parts() {
    for (let part = 0; part < 100; part += 1) yield new Uint8Array(100_000);
  }
  assert.equal(await (await passing(clock, host.fetch("/", { method: "POST", body: parts() }))).text(), "10000000");

  const answer = await host.fetch("/");
  await clock.pass(1000);
  assert.ok(given < 4 << 20, `${given} bytes without a reader`);
  let read = 0;
  const all = async () => {
    const reader = answer.body?.getReader();
    for (;;) {
      const next = await reader?.read();
      if (next === undefined || next.done) return;
      read += next.value.length;
    }
  };
  await passing(clock, all());
  assert.equal(read, 40 << 20);
  await closes(stage);
});

test("answers that the app has dropped take no place among those under way", { timeout: 60_000 }, async () => {
  const endless = (): Response => new Response(new ReadableStream<Uint8Array>({ pull: (its) => its.enqueue(new Uint8Array(64 << 10)) }));
  const stage = await staged({ app: (request) => (request.url.endsWith("/endless") ? endless() : new Response("done")) });
  const { host } = stage;
  const collect = collector();
  for (let at = 0; at < 64; at += 1) assert.equal((await host.fetch("/endless")).status, 200);
  const last = host.fetch("/");
  for (let turns = 0; turns < 50; turns += 1) {
    collect();
    await idle();
  }
  assert.equal(await (await last).text(), "done");
  await closes(stage);
});

test("a request is called off with its reason, whatever it is doing", async () => {
  let cancelled = 0;
  const app = (request: Request): Response | Promise<Response> => {
    request.signal.addEventListener("abort", () => (cancelled += 1));
    const isHanging = new URL(request.url).pathname === "/hang";
    return isHanging ? new Promise(() => {}) : new Response(new ReadableStream<Uint8Array>({ start: (its) => its.enqueue(new Uint8Array(5)) }));
  };
  const stage = await staged({ app });
  const { fake, clock, host } = stage;
  const reason = new Error("enough");
  const aborted = (): [AbortController, AbortSignal] => {
    const controller = new AbortController();
    return [controller, controller.signal];
  };
  await assert.rejects(host.fetch("/", { signal: AbortSignal.abort(reason) }), reason);

  const [head, waits] = aborted();
  const hanging = host.fetch("/hang", { signal: waits });
  await idle();
  head.abort(reason);
  await assert.rejects(hanging, reason);

  const [body, reads] = aborted();
  const text = (await host.fetch("/", { signal: reads })).text();
  await idle();
  body.abort(reason);
  await assert.rejects(text, reason);

  await (await host.fetch("/")).body?.cancel();
  await idle();
  assert.equal(cancelled, 3, "the app learns of it");

  // Also while there is no session.
  fake.isReachable = false;
  fake.cut();
  await clock.pass(100);
  const [none, away] = aborted();
  const nowhere = host.fetch("/", { signal: away });
  none.abort(reason);
  await assert.rejects(nowhere, reason);
  const late = host.fetch("/");
  late.catch(() => {});
  await clock.pass(9900);
  await clock.pass(200);
  await assert.rejects(late, ofCode("CPL-1601"));
  await closes(stage);
});

test("redirects are followed within the address, as fetch does", async () => {
  const app = (request: Request): Response => {
    const { pathname } = new URL(request.url);
    const [, status, to] = /^\/([0-9]{3})\/(.*)$/.exec(pathname) ?? [];
    if (status === undefined) return new Response(`${request.method} ${pathname} ${request.headers.get("content-type")}`);
    return new Response(null, { status: Number(status), headers: { location: to === "loop" ? "/302/loop" : decodeURIComponent(to ?? "") } });
  };
  const stage = await staged({ app });
  const { host } = stage;
  const ends = async (path: string, init = {}): Promise<string> => {
    const answer = await host.fetch(path, init);
    return `${answer.status} ${answer.redirected} ${await answer.text()}`;
  };
  const post = { method: "POST", body: "x" };
  assert.equal(await ends("/302/..%2Fthere"), "200 true GET /there null");
  assert.equal(await ends("/301/%2Fthere", post), "200 true GET /there null");
  assert.equal(await ends("/303/%2Fthere", post), "200 true GET /there null");
  assert.equal(await ends("/307/%2Fthere", post), "200 true POST /there text/plain;charset=UTF-8");
  assert.equal(await ends("/302/http%3A%2F%2Flocalhost%2Fthere"), "200 true GET /there null");
  assert.equal((await host.fetch("/302/%2Fthere")).url, "http://localhost/there");
  for (const path of ["/x?a=1#part", "/x?a=1#", "/302/%2Fx%3Fa=1#part"]) assert.equal((await host.fetch(path)).url, "http://localhost/x?a=1", path);
  // Elsewhere is nowhere that a session leads to: the app's answer is the answer.
  for (const to of ["http%3A%2F%2Felsewhere.example%2F", "ftp%3A%2F%2Flocalhost%2F", "http%3A%2F%2Flocalhost%3A8888%2F"]) {
    assert.equal((await host.fetch(`/302/${to}`)).status, 302);
  }
  assert.equal((await host.fetch("/302/there", { redirect: "manual" })).status, 302);
  await assert.rejects(host.fetch("/302/there", { redirect: "error" }), TypeError);
  await assert.rejects(host.fetch("/302/loop"), TypeError);
  async function* once() {
    yield new Uint8Array(1);
  }
  await assert.rejects(host.fetch("/307/%2Fthere", { method: "POST", body: once() }), TypeError);
  await closes(stage);
});

test("no path leads to another authority, nor to the host itself", async () => {
  const stage = await staged({ app: mirror, webSocket: () => assert.fail("it leads elsewhere") });
  const { host, fake } = stage;
  const elsewhere = ["couplet.internal", "other.example", "localhost:8888", "localhost.", "127.0.0.1"];
  const forms = ["//", "\\\\", "/\\", "\\/", "/\t/", "/\n\\", " //", "///", "http://", "HTTP:\\\\", "https://", "ws://", "http://user@", "//user:word@"];
  for (const form of forms) {
    for (const name of elsewhere) {
      const path = `${form}${name}/api/pair/me`;
      await assert.rejects(host.fetch(path, { method: "DELETE" }), TypeError, JSON.stringify(path));
      assert.throws(() => host.webSocket(path), TypeError, JSON.stringify(path));
    }
  }
  for (const scheme of ["https:", "wss:", "file:", "javascript:", "data:", "blob:http:"]) {
    await assert.rejects(host.fetch(`${scheme}//localhost/`), TypeError, scheme);
  }
  await assert.rejects(host.fetch(new Request("http://couplet.internal/api/pair/me")), TypeError);
  await assert.rejects(host.fetch(new URL("http://couplet.internal/api/pair/me")), TypeError);
  const path = async (given: string): Promise<string> => ((await (await host.fetch(given)).json()) as Seen).path;
  // What only looks like an address.
  assert.deepEqual(
    [await path("/x//couplet.internal"), await path("/http://other/"), await path("/.//couplet.internal/x"), await path("/..//y"), await path("//localhost/z")],
    ["/x//couplet.internal", "/http://other/", "//couplet.internal/x", "//y", "/z"],
  );
  assert.equal(fake.devices.length, 1);
  assert.equal((await host.me()).device_name, "Phone");
  await closes(stage);
});

test("an answer that the app does not get holds nothing open", async () => {
  const ended: string[] = [];
  const app = (request: Request): Response => {
    const { pathname } = new URL(request.url);
    const body = new ReadableStream<Uint8Array>({
      pull: (its) => its.enqueue(new Uint8Array(1 << 10)),
      cancel: () => void ended.push(pathname),
    });
    const answer = new Response(body, { status: pathname === "/600" ? 200 : 307, headers: { location: "/there" } });
    return pathname === "/600" ? (Object.defineProperty(answer, "status", { value: 600 }) as Response) : answer;
  };
  const stage = await staged({ app });
  const { host } = stage;
  async function* once() {
    yield new Uint8Array(1);
  }
  await assert.rejects(host.fetch("/error", { redirect: "error" }), TypeError);
  await assert.rejects(host.fetch("/again", { method: "POST", body: once() }), TypeError);
  await assert.rejects(host.fetch("/600"), ofCode("CPL-1602"));
  await idle();
  assert.deepEqual(ended, ["/error", "/again", "/600"]);
  assert.equal(stage.fake.sessions.length, 1, "the session goes on");
  await closes(stage);
});

test("what cannot be sent is refused before it is", async () => {
  const stage = await staged();
  const { host } = stage;
  for (const [url, init] of [
    ["ftp://localhost/", {}],
    ["http://user:word@localhost/", {}],
    ["", { method: "TRACE" }],
    ["/", { body: "x" }],
    ["/", { method: "CONNECT" }],
    ["/", { method: "a b" }],
    ["/", { method: "POST", body: 5 as unknown as string }],
  ] as const) {
    await assert.rejects(host.fetch(url, init), TypeError);
  }
  async function* words() {
    yield "text" as unknown as Uint8Array;
  }
  await assert.rejects(host.fetch("/", { method: "POST", body: words() }));
  assert.equal((await host.fetch("/")).status, 200, "the session is as it was");
  await closes(stage);
});

test("answers are Responses: without bodies where there are none, and with all headers", async () => {
  const app = (request: Request): Response => {
    const status = Number(new URL(request.url).pathname.slice(1));
    const headers = new Headers({ "x-one": "1" });
    headers.append("set-cookie", "a=1");
    headers.append("set-cookie", "b=2");
    return new Response([204, 304].includes(status) ? null : "body", { status, headers });
  };
  const stage = await staged({ app });
  const { host } = stage;
  for (const [status, text] of [[200, "body"], [204, ""], [304, ""], [404, "body"], [500, "body"]] as const) {
    const answer = await host.fetch(`/${status}`);
    assert.ok(answer instanceof Response);
    assert.deepEqual([answer.status, answer.ok, await answer.text()], [status, status < 300, text]);
    assert.deepEqual([answer.headers.get("x-one"), answer.headers.getSetCookie()], ["1", ["a=1", "b=2"]]);
  }
  await closes(stage);
});

test("a hundred requests share a session, of which 64 are under way at a time", async () => {
  let [now, most] = [0, 0];
  const app = async (): Promise<Response> => {
    most = Math.max(most, (now += 1));
    await idle();
    now -= 1;
    return new Response("done");
  };
  const stage = await staged({ app });
  const asked = Array.from({ length: 100 }, async () => (await stage.host.fetch("/")).text());
  assert.deepEqual(new Set(await Promise.all(asked)), new Set(["done"]));
  assert.ok(most > 1 && most <= 64, `${most}`);
  await closes(stage);
});

test("a request leaves nothing on the signal of the app, whatever becomes of it", async () => {
  const stage = await staged();
  const { clock, fake, host } = stage;
  const { signal } = new AbortController();
  await (await passing(clock, host.fetch("/", { signal }))).text();
  fake.isReachable = false;
  fake.cut();
  await clock.pass(100);
  for (let n = 0; n < 3; n += 1) await assert.rejects(passing(clock, host.fetch("/", { signal })), ofCode("CPL-1601"));
  assert.deepEqual(getEventListeners(signal, "abort"), []);
  await closes(stage);
});

test("nobody waits for the host on account of an answer that is over and that nobody reads", async () => {
  const stage = await staged({ app: ({ url }) => new Response(url.endsWith("/short") ? "short" : new ReadableStream({ pull: () => new Promise(() => {}) })) });
  const { clock, fake, host } = stage;
  let frames = 0;
  fake.tamper = (message) => {
    frames += 1;
    return [message];
  };
  const quiet = async (what: string): Promise<void> => {
    frames = 0;
    await clock.pass(120_000);
    // A sign of life every 25 seconds.
    assert.ok(frames <= 5, `${what}: ${frames}`);
  };
  await quiet("idle");
  const controller = new AbortController();
  const long = await passing(clock, host.fetch("/long", { signal: controller.signal }));
  controller.abort();
  await quiet("aborted");
  const short = await passing(clock, host.fetch("/short"));
  await quiet("not read");
  assert.deepEqual([long.status, await short.text()], [200, "short"]);
  await closes(stage);
});

test("a host that answers nothing of itself is not waited for, and an app is", async (t) => {
  const stage = await staged({ app: () => new Promise<Response>(() => {}) });
  const { clock, host } = stage;
  let isOver = false;
  const slow = host.fetch("/").finally(() => (isOver = true));
  slow.catch(() => {});
  await clock.pass(100);
  // It goes on to answer pings.
  const { receive } = FakeServer.prototype;
  t.mock.method(FakeServer.prototype, "receive", function (this: FakeServer, bytes: Uint8Array) {
    if (bytes[3] !== HEADERS) receive.call(this, bytes);
  });
  const began = clock.now();
  await assert.rejects(passing(clock, host.me()), ofCode("CPL-1602"));
  assert.ok(clock.now() - began <= 10_100);
  const reason = new Error("enough");
  await assert.rejects(passing(clock, host.me({ signal: AbortSignal.abort(reason) })), reason);
  await clock.pass(10 * 60_000);
  assert.deepEqual([isOver, host.state.state], [false, "direct"]);
  await closes(stage);
});
