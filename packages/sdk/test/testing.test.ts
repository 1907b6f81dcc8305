/** The host in memory as the tests of apps use it: what it does is what a real one does. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { MemoryStore, pair, restore, type PairState } from "../src/index.js";
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
  // As the host says it.
  const init = { status: 403, headers: { "content-type": "application/problem+json" } };
  const webSocket = (): Response => Response.json({ type: `urn:couplet:error:${code}`, code }, init);
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
