/** The host in memory as the tests of apps use it: what it does is what a real one does. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { MemoryStore, pair, restore, type CoupletWebSocket, type PairState, type Problem } from "../src/index.js";
import { FakeHost } from "../src/testing.js";
import { closes, DrivenClock, ofCode, passing, reaches, staged } from "./client/stage.js";

test("two wrong check codes are forgiven, and the third turns the device away", async () => {
  for (const wrong of [2, 3]) {
    const [fake, clock] = [new FakeHost({ asks: true }), new DrivenClock()];
    let code = "";
    const onState = (state: PairState): void => void (state.state === "approval" && (code = state.checkCode));
    const work = pair(fake.link(), { name: "Phone", storage: new MemoryStore(), ...fake.connections, clock, onState });
    work.catch(() => {});
    await clock.pass(1000);
    const other = code === "000 000" ? "000 001" : "000 000";
    for (let n = 0; n < wrong; n += 1) await assert.rejects(fake.approve(other), /another check code/);
    if (wrong === 3) {
      await assert.rejects(passing(clock, work), ofCode("CPL-1208"));
      continue;
    }
    await fake.approve(code);
    await closes({ clock, host: await passing(clock, work) });
  }
});

test("a device that has gone does not ask any more", async () => {
  const [fake, clock, gone] = [new FakeHost({ asks: true }), new DrivenClock(), new AbortController()];
  const given = { storage: new MemoryStore(), ...fake.connections, clock };
  const first = pair(fake.link(), { name: "First", ...given, signal: gone.signal });
  first.catch(() => {});
  await clock.pass(1000);
  gone.abort();
  await assert.rejects(passing(clock, first));
  const codes: string[] = [];
  const onState = (state: PairState): void => void (state.state === "approval" && codes.push(state.checkCode));
  const second = pair(fake.link(), { name: "Second", ...given, onState });
  await clock.pass(1000);
  await fake.approve(codes[0] ?? "");
  await closes({ clock, host: await passing(clock, second) });
  assert.deepEqual(fake.devices.map((it) => it.name), ["Second"]);
});

test("access ends, in the session or when the device comes back", async () => {
  const stage = await staged();
  stage.fake.expire(stage.host.deviceId);
  await reaches(stage.clock, stage.host, "expired");
  const [again] = await restore({ ...stage.given, storage: stage.storage });
  assert.ok(again !== undefined, "what is stored is good once the owner extends it");
  await reaches(stage.clock, again, "expired");
  assert.equal(stage.fake.devices.length, 1, "its owner still sees it");
});

test("an app that throws is answered for, and one refuses WebSockets with an answer of its own", async () => {
  const app = (): never => {
    throw new Error("a mistake in the app");
  };
  const code = "CPL-1106";
  const headers = { "content-type": "application/problem+json" };
  const webSocket = (): Response => Response.json({ type: `urn:couplet:error:${code}`, code }, { status: 403, headers });
  const stage = await staged({ app, webSocket });
  const answer = await stage.host.fetch("/");
  assert.equal(answer.status, 502);
  assert.match(await answer.text(), /CPL-1503.*|.*a mistake in the app/);
  const socket = stage.host.webSocket("/");
  const error = await new Promise<{ readonly error?: unknown }>((resolve) => socket.addEventListener("error", resolve as () => void));
  assert.equal((error.error as { code?: string }).code, code);
  await closes(stage);
});

test("a network that swallows everything is no answer, and no session", async () => {
  const stage = await staged();
  stage.fake.tamper = () => [];
  await assert.rejects(passing(stage.clock, stage.host.fetch("/")), ofCode("CPL-1602"));
  stage.fake.tamper = (message) => [message];
  assert.equal(await (await passing(stage.clock, stage.host.fetch("/"))).text(), "hello\n");
  await closes(stage);
});

/** The code that an answer says, and its status. */
async function said(answer: Response): Promise<[number, string]> {
  const { code, status, type } = (await answer.json()) as Problem;
  assert.deepEqual([status, type], [answer.status, `urn:couplet:error:${code}`]);
  return [answer.status, code];
}

/** The code that refuses a WebSocket. */
function refused(socket: CoupletWebSocket): Promise<unknown> {
  return new Promise((resolve) => socket.addEventListener("error", ({ error }) => resolve((error as { code?: unknown }).code)));
}

test("apps are found by their names, and a device is told of them; what names another is refused as a host does", async () => {
  const app = (name: string) => (): Response => new Response(name);
  const opened: string[] = [];
  const stage = await staged({ apps: { notes: app("notes"), wiki: app("wiki") }, webSocket: ({ app }) => void opened.push(app) });
  const { host } = stage;
  const text = async (...asked: Parameters<typeof host.fetch>): Promise<string> => (await host.fetch(...asked)).text();
  assert.deepEqual([await text("/"), await text("/", { app: "wiki" })], ["notes", "wiki"]);
  assert.deepEqual(await said(await host.fetch("/", { app: "constructor" })), [404, "CPL-1505"]);
  assert.equal(await refused(host.webSocket("/", [], { app: "nonsense" })), "CPL-1505");
  await new Promise((resolve) => host.webSocket("/", [], { app: "wiki" }).addEventListener("open", resolve));
  assert.deepEqual(opened, ["wiki"]);
  assert.deepEqual((await host.me()).apps, [{ name: "notes" }, { name: "wiki" }]);
  assert.equal((await host.fetch("/", { headers: { "x-long": "x".repeat(20_000) } })).status, 431);
  await closes(stage);
});

test("a device keeps to its scope, as at a host", async () => {
  const stage = await staged({ scope: { read_only: true, paths: ["/api", "/photos/"] }, webSocket: () => {} });
  const { host } = stage;
  const cases: [string, string, number, string][] = [
    ["GET", "/api", 200, ""],
    ["HEAD", "/api/x?y=//%20", 200, ""],
    ["GET", "/photos/", 200, ""],
    ["GET", "/apix", 403, "CPL-1106"],
    ["GET", "/", 403, "CPL-1106"],
    ["POST", "/api", 403, "CPL-1105"],
    ["GET", "/api/%2e%2e/x", 403, "CPL-1106"],
    ["GET", "/api/a%20b", 400, "CPL-1107"],
    ["GET", "/api//x", 400, "CPL-1107"],
  ];
  for (const [method, path, status, code] of cases) {
    const answer = await host.fetch(path, { method });
    if (code === "") assert.equal(answer.status, status, path);
    else assert.deepEqual(await said(answer), [status, code], `${method} ${path}`);
  }
  assert.equal(await refused(host.webSocket("/api")), "CPL-1105");
  assert.deepEqual((await host.me()).scope, { read_only: true, paths: ["/api", "/photos/"] });
  await closes(stage);
});
