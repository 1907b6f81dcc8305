import assert from "node:assert/strict";
import { test } from "node:test";

import { MemoryStore, pair, restore, type Fetch } from "../../src/index.js";
import { AttemptError } from "../../src/client/attempt.js";
import { Backoff } from "../../src/client/backoff.js";
import { Climbs } from "../../src/client/climbs.js";
import { Pauses, pauseAfter } from "../../src/client/pauses.js";
import { FakeHost } from "../../src/testing.js";
import { closes, DrivenClock, ofCode, online, passing, reaches, staged } from "./stage.js";

const RELAY = "relay.example";

function problem(status: number, code: string, headers: Record<string, string> = {}, more: object = {}): Response {
  const body = JSON.stringify({ type: "x", title: "\u001b[2J the relay's own words", status, detail: "d", code, ...more });
  return new Response(body, { status, headers });
}

/** A device that is paired through the relay alone, and what it asks of it. */
async function relayed() {
  const asked: Record<string, string>[] = [];
  const fake = new FakeHost({ relay: RELAY, address: "" });
  const { fetch: inner } = fake.connections;
  const fetch: Fetch = (url, init, ca) => {
    asked.push(JSON.parse(String(init.body)) as Record<string, string>);
    assert.deepEqual([init.redirect, init.credentials], ["manual", "omit"]);
    return inner!(url, init, ca);
  };
  const clock = new DrivenClock();
  const storage = new MemoryStore();
  const given = { ...fake.connections, clock, fetch, lan: false };
  const host = await passing(clock, pair(fake.link(), { name: "Phone", storage, ...given }));
  await online(clock, host);
  return { fake, clock, storage, given, host, asked };
}

test("a device pairs through a relay, and comes back by its rooms", async () => {
  const stage = await relayed();
  const { asked, host } = stage;
  assert.deepEqual(host.state, { state: "relay", relay: RELAY });
  assert.ok(asked[0]?.["pairing_token_hash"] !== undefined && asked[1]?.["secret_hash"] !== undefined);
  assert.ok(asked[0]["room_id"] !== asked[1]["room_id"]);
  await closes(stage);
});

test("a locked room has another behind it, which is written down once the host has spoken there", async () => {
  const stage = await relayed();
  const { fake, clock, host, asked, storage } = stage;
  await clock.pass(3000);
  let locked = 2;
  fake.relayAnswer = () => (locked-- > 0 ? problem(423, "CPL-1805", { "retry-after": "900" }) : undefined) as unknown as Response;
  const before = asked.length;
  fake.cut();
  await clock.pass(500);
  await reaches(clock, host, "relay");
  assert.equal(new Set(asked.slice(before).map((it) => it["room_id"])).size, 3);
  assert.equal((await storage.list())[0]?.room_number, 2);
  await closes(stage);
});

test("rooms that the relay does not know are asked for twice, and then not for a minute, and two", async () => {
  const stage = await relayed();
  const { fake, clock, host, asked } = stage;
  await clock.pass(3000);
  fake.relayAnswer = () => problem(401, "CPL-1801");
  const before = asked.length;
  fake.cut();
  await clock.pass(55_000);
  assert.equal(asked.length - before, 2);
  const { state } = host;
  assert.ok(state.state === "offline" && state.error.code === "CPL-1801" && !state.error.message.includes("own words"));
  await clock.pass(60_000);
  assert.equal(asked.length - before, 4);
  await clock.pass(110_000);
  assert.equal(asked.length - before, 6);
  fake.relayAnswer = null;
  await reaches(clock, host, "relay", 16 * 60_000);
  await closes(stage);
});

test("Retry-After is kept to, within bounds", async () => {
  const wait = (code: string, told: number | null, refusals = 0): number =>
    pauseAfter(new AttemptError("relay", { code, retryAfter: told === null ? null : told * 1000 }), refusals).wait / 1000;
  for (const [code, told, waits] of [
    ["CPL-1806", 120, 120],
    ["CPL-1806", 1e9, 900],
    ["CPL-1806", null, 1],
    ["CPL-1805", 900, 60],
    ["CPL-1826", 1, 1],
    ["CPL-1807", 1e9, 30],
    ["CPL-1819", null, 0],
  ] as const) {
    assert.equal(wait(code, told), waits, code);
  }
  assert.deepEqual([0, 1, 2, 3, 4, 5].map((n) => wait("CPL-1801", 1, n)), [60, 120, 240, 480, 900, 900]);

  const stage = await relayed();
  const { fake, clock, asked, host } = stage;
  await clock.pass(3000);
  fake.relayAnswer = () => problem(429, "CPL-1806", { "retry-after": "300" });
  fake.cut();
  await clock.pass(100);
  const before = asked.length;
  await clock.pass(290_000);
  assert.equal(asked.length, before);
  fake.relayAnswer = null;
  await reaches(clock, host, "relay", 60_000);
  await closes(stage);
});

test("a pause counts for one relay, for one account where it is of the account, and not for ever", () => {
  const clock = new DrivenClock();
  const pauses = new Pauses(clock);
  const of = (code: string): AttemptError => new AttemptError("relay", { code });
  pauses.failed("a", of("CPL-1801"), null);
  assert.ok(pauses.on("a", null) !== null && pauses.on("b", null) === null);
  clock.sleep(60_000);
  assert.equal(pauses.on("a", null), null);
  pauses.failed("a", of("CPL-1801"), null);
  clock.sleep(60_000);
  assert.ok(pauses.on("a", null) !== null, "the second time it is longer");
  pauses.failed("b", of("CPL-1827"), "old");
  assert.ok(pauses.on("b", "old") !== null && pauses.on("b", "new") === null);
  pauses.clear();
  assert.equal(pauses.on("a", null), null);
  for (let n = 0; n < 100; n += 1) pauses.failed(`r${n}`, of("CPL-1801"), null);
  assert.equal([...Array(100).keys()].filter((n) => pauses.on(`r${n}`, null) !== null).length, 8);
});

test("a room that leads nowhere is left at once, and the second time slowly", () => {
  const ups = (climbs: Climbs, code: string | null, tries: number): number[] =>
    Array.from({ length: tries }, () => (climbs.failed("r", code), climbs.up("r")));
  const climbs = new Climbs();
  assert.deepEqual(ups(climbs, null, 9), [1, 2, 3, 4, 5, 6, 7, 8, 0]);
  assert.deepEqual(ups(climbs, null, 17), [...Array<number>(15).fill(0), 1, 1]);
  assert.equal(climbs.failed("r", "CPL-1801"), true);
  climbs.clear();
  assert.deepEqual(ups(climbs, "CPL-1807", 17), [...Array<number>(15).fill(0), 1, 1]);
  assert.deepEqual(ups(climbs, "CPL-1805", 40), Array<number>(40).fill(1));
  climbs.failed("r", "CPL-1801");
  assert.equal(climbs.failed("r", "CPL-1801"), false);
});

test("waits grow to their limit and differ", () => {
  const most = new Backoff(() => Uint8Array.of(255, 255));
  assert.deepEqual([...Array(9)].map(() => most.wait()), [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000]);
  most.reset();
  assert.equal(most.wait(), 200);
  const spread = new Backoff((length) => crypto.getRandomValues(new Uint8Array(length)));
  assert.ok(new Set([...Array(32)].map(() => spread.wait())).size > 16);
});

test("what a relay says is a hint: it is said in our words, and leads nowhere else", async () => {
  const sid = "ab".repeat(16);
  const leads = (relay_url: string, its = sid): Response => Response.json({ sid: its, relay_url, expires_at: "" });
  const account = { host_email: "ann@example.org", device_email: "\u001b[2J" };
  const answers: [Response | Error, string, RegExp][] = [
    [problem(409, "CPL-1803"), "CPL-1803", /as many sessions/],
    [problem(410, "CPL-1804"), "CPL-1804", /already used/],
    [problem(503, "CPL-1807"), "CPL-1807", /not connected/],
    [problem(403, "CPL-1802", {}, account), "CPL-1802", /as ann@example.org, this device as nobody/],
    [problem(403, "CPL-1604"), "CPL-1823", /status 403/],
    [new Response("<html>", { status: 404 }), "CPL-1823", /status 404/],
    [new Response(null, { status: 302, headers: { location: "https://evil.example" } }), "CPL-1823", /status 302/],
    [new Response("x".repeat(20_000)), "CPL-1823", /names no session/],
    [leads("https://evil.example"), "CPL-1823", /node/],
    [leads(`http://${RELAY}`), "CPL-1823", /node/],
    [leads(`https://${RELAY}/`), "CPL-1823", /node/],
    [leads(`https://${RELAY}`, "../../x"), "CPL-1823", /no session/],
    [new TypeError("fetch failed"), "CPL-1819", /reached/],
    [leads(`https://away.${RELAY}`), "CPL-1821", /WebSockets/],
  ];
  for (const [answer, code, text] of answers) {
    const fake = new FakeHost({ relay: RELAY, address: "" });
    const fetch: Fetch = async () => {
      if (answer instanceof Error) throw answer;
      return answer;
    };
    const clock = new DrivenClock();
    const work = pair(fake.link(), { name: "Phone", storage: new MemoryStore(), ...fake.connections, fetch, clock });
    const error: unknown = await passing(clock, work).catch((it: unknown) => it);
    assert.ok(ofCode(code)(error));
    assert.match((error as Error).message, text);
    assert.ok(!(error as Error).message.includes("own words"));
    await clock.pass(2000);
    assert.equal(clock.pending, 0);
  }
});

test("a relay that does not answer is given up", async () => {
  const fake = new FakeHost({ relay: RELAY, address: "" });
  const fetch: Fetch = (_, init) =>
    new Promise((_, reject) => init.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
  const clock = new DrivenClock();
  const work = pair(fake.link(), { name: "Phone", storage: new MemoryStore(), ...fake.connections, fetch, clock });
  await assert.rejects(passing(clock, work), ofCode("CPL-1819"));
  assert.equal(clock.pending, 0);
});

test("the account is asked for at each use, and is not kept", async () => {
  const fake = new FakeHost({ relay: RELAY, address: "" });
  const shown: unknown[] = [];
  const fetch: Fetch = (url, init, ca) => {
    shown.push((JSON.parse(String(init.body)) as { account?: string }).account);
    return fake.connections.fetch!(url, init, ca);
  };
  let n = 0;
  const [clock, storage] = [new DrivenClock(), new MemoryStore()];
  const given = { ...fake.connections, fetch, clock, storage, account: { relay: "Relay.EXAMPLE", token: () => `token.${(n += 1)}` } };
  const host = await passing(clock, pair(fake.link(), { name: "Phone", ...given }));
  await online(clock, host);
  assert.deepEqual(shown, ["token.1", "token.2"]);
  assert.ok(!JSON.stringify(await storage.list()).includes("token."));
  await closes({ clock, host });
  const none = async (): Promise<string> => {
    throw new Error("signed out");
  };
  for (const token of ["two words", "", none, () => new Promise<string>(() => {})]) {
    const bad = pair(fake.link(), { name: "Phone", ...given, storage: new MemoryStore(), account: { relay: RELAY, token } });
    await assert.rejects(passing(clock, bad), ofCode("CPL-1817"));
  }
  for (const relay of ["", "https://relay.example", "relay.example/x", undefined as unknown as string]) {
    await assert.rejects(pair(fake.link(), { name: "Phone", ...given, account: { relay, token: "t" } }), TypeError);
    await assert.rejects(restore({ ...given, account: { relay, token: "t" } }), TypeError);
  }
});

test("no other relay is shown the account, whatever a link or a host names", async () => {
  for (const [named, isShown] of [[RELAY, true], ["RELAY.example", true], ["relay.example:8443", false], ["example", false], [`x.${RELAY}`, false]] as const) {
    const fake = new FakeHost({ relay: RELAY, address: "" });
    const shown: string[] = [];
    const fetch: Fetch = (url, init, ca) => {
      shown.push(String(init.body));
      return fake.connections.fetch!(url, init, ca);
    };
    let asked = 0;
    const token = (): string => `canary.${(asked += 1)}`;
    const given = { ...fake.connections, fetch, clock: new DrivenClock(), account: { relay: named, token } };
    const host = await passing(given.clock, pair(fake.link(), { name: "Phone", ...given, storage: new MemoryStore() }));
    await online(given.clock, host);
    assert.equal(shown.length, 2);
    assert.ok(shown.every((body) => body.includes("canary.") === isShown), `${named}: ${shown.join(" ")}`);
    assert.equal(asked > 0, isShown, "who is not shown it is no reason to ask for it");
    await closes({ clock: given.clock, host });
  }
});

test("an account that is not there keeps nobody from the local network", async () => {
  const account = { relay: RELAY, token: () => new Promise<string>(() => {}) };
  const fake = new FakeHost({ relay: RELAY });
  const [clock, storage] = [new DrivenClock(), new MemoryStore()];
  const given = { ...fake.connections, clock, storage, account };
  const host = await passing(clock, pair(fake.link(), { name: "Phone", ...given }), 2000);
  await online(clock, host);
  assert.equal(host.state.state, "direct");
  await closes({ clock, host });
});

test("the local network comes before the relay, which leads there where it does not", async () => {
  const stage = await staged({ relay: RELAY });
  const { clock, fake, host, storage, given } = stage;
  assert.equal(host.state.state, "direct");
  await closes(stage);
  // The page's way: the relay alone.
  const [again] = await restore({ storage, ...given, lan: false });
  assert.ok(again !== undefined);
  await online(clock, again);
  assert.equal(again.state.state, "relay");
  // On the local network again.
  assert.equal(fake.sessions.length, 1);
  await closes({ clock, host: again });
});

test("nothing of what a relay was asked goes on once it has answered", async () => {
  const signals: AbortSignal[] = [];
  const fake = new FakeHost({ address: "", relay: RELAY });
  fake.relayAnswer = () => new Response(null, { status: 205 });
  const clock = new DrivenClock();
  const fetch: Fetch = (url, init, ca) => {
    if (init.signal) signals.push(init.signal);
    return fake.connections.fetch!(url, init, ca);
  };
  await assert.rejects(passing(clock, pair(fake.link(), { name: "Phone", storage: new MemoryStore(), ...fake.connections, clock, fetch })), ofCode("CPL-1823"));
  assert.deepEqual(signals.map((it) => it.aborted), [true]);
});
