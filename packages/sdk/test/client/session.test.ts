import assert from "node:assert/strict";
import { test } from "node:test";

import { MemoryStore, pair, restore, type Change, type Fetch, type OpenSocket, type State } from "../../src/index.js";
import { FakeHost } from "../../src/testing.js";
import { closes, idle, ofCode, online, passing, reaches, slowed, staged } from "./stage.js";

test("a session that breaks is opened anew, and what was under way breaks off", async () => {
  const part = new Uint8Array(1000).fill(7);
  const app = (request: Request): Response => {
    const isSlow = new URL(request.url).pathname === "/slow";
    // Half of an answer, and no end.
    const body = new ReadableStream<Uint8Array>({ start: (its) => its.enqueue(part) });
    return isSlow ? new Response(body) : new Response("whole");
  };
  const stage = await staged({ app });
  const { clock, fake, host } = stage;
  const answer = await host.fetch("/slow");
  const reader = answer.body?.getReader();
  assert.equal((await reader?.read())?.value?.length, 1000);
  fake.cut();
  await assert.rejects(reader?.read() ?? Promise.resolve(), ofCode("CPL-1602"));
  await idle();
  assert.equal(host.state.state, "offline");
  assert.equal(await (await passing(clock, host.fetch("/"))).text(), "whole");
  await closes(stage);
});

test("an upload over a slow line is not given up", async () => {
  const length = 1 << 20;
  const stage = await staged({ app: async (request) => new Response(String((await request.arrayBuffer()).byteLength)) });
  const { clock, fake, given, storage } = stage;
  await closes(stage);
  const { openSocket } = fake.connections;
  assert.ok(openSocket !== undefined);
  // Between two signs of life the host takes half of what it has room for: more than twenty seconds.
  const slow: OpenSocket = (url, ca) => slowed(clock, openSocket(url, ca), 6 * 1024);
  const [host] = await restore({ storage, ...given, openSocket: slow });
  assert.ok(host !== undefined);
  await online(clock, host);
  const answer = await passing(clock, host.fetch("/", { method: "POST", body: new Uint8Array(length) }), 300_000);
  assert.equal(await (await passing(clock, Promise.resolve(answer))).text(), String(length));
  await closes({ clock, host });
});

test("each CLOSE means what it says", async () => {
  for (const reason of ["done", "leaving", "changed", "tooOld"] as const) {
    const stage = await staged();
    await stage.clock.pass(3000);
    stage.fake.closeSessions(reason);
    await stage.clock.pass(100);
    assert.equal(stage.host.state.state, "direct", `${reason}: it is back at once`);
    await closes(stage);
  }
  for (const [reason, wait] of [["busy", 1000], ["replaced", 5000]] as const) {
    const stage = await staged();
    await stage.clock.pass(3000);
    stage.fake.closeSessions(reason);
    await stage.clock.pass(wait - 50);
    const { state } = stage.host;
    assert.ok(state.state === "offline" && state.reason.kind === "closed" && state.reason.reason === reason);
    await reaches(stage.clock, stage.host, "direct", 2000);
    await closes(stage);
  }
});

test("a revoked device knows it at once, and keeps nothing", async () => {
  const app = (): Response => new Response(new ReadableStream<Uint8Array>({}));
  const stage = await staged({ app });
  const { clock, fake, host, storage } = stage;
  const states: State[] = [];
  host.on("state", (state) => states.push(state));
  const body = (await host.fetch("/")).text();
  const head = host.fetch("/", { method: "POST", body: new ReadableStream<Uint8Array>({}) });
  await idle();
  fake.revoke();
  await assert.rejects(body, ofCode("CPL-1603"));
  await (await head.catch(() => null))?.body?.cancel().catch(() => {});
  await clock.pass(100);
  assert.deepEqual(states.map((it) => it.state), ["direct", "revoked"]);
  assert.equal((await storage.list()).length, 0);
  await assert.rejects(host.fetch("/"), ofCode("CPL-1603"));
  await clock.pass(60_000);
  assert.equal(clock.pending, 0, "it is not tried again");
});

test("what is being written when the host revokes does not come back", async () => {
  const storage = new MemoryStore();
  const { clock, fake, host } = await staged({}, { storage });
  let write = (): void => {};
  const written = new Promise<void>((resolve) => (write = resolve));
  const save = storage.save.bind(storage);
  storage.save = async (credentials) => {
    await written;
    return save(credentials);
  };
  fake.announce(["192.0.2.1:7878", "192.0.2.7:7878"]);
  await clock.pass(10);
  fake.revoke();
  await clock.pass(10);
  write();
  await reaches(clock, host, "revoked");
  assert.equal((await storage.list()).length, 0);
});

test("access that ends is the end, and what is kept waits for the owner to extend it", async () => {
  const { clock, fake, host, storage } = await staged();
  fake.closeSessions("expired");
  await clock.pass(100);
  assert.equal(host.state.state, "expired");
  assert.equal((await storage.list()).length, 1);
  await assert.rejects(host.fetch("/"), ofCode("CPL-1603"));
});

test("nothing is given up because of what somebody says before there are keys", async () => {
  const stage = await staged();
  const { clock, fake, host, storage } = stage;
  // It knows no such device: whoever answers at the address of a host that is away.
  const stranger = new FakeHost();
  let isStranger = true;
  const given = { ...stage.given, openSocket: (url: string, ca: string | null) => {
    const { openSocket } = isStranger ? stranger.connections : fake.connections;
    assert.ok(openSocket !== undefined);
    return openSocket(url, ca);
  } };
  await closes({ clock, host });
  const [again] = await restore({ storage, ...given });
  assert.ok(again !== undefined);
  await clock.pass(5000);
  const { state } = again;
  assert.ok(state.state === "offline" && state.reason.kind === "unreachable");
  assert.deepEqual(state.reason.attempts.map((it) => `${it.kind} ${it.code}`), ["refused CPL-1103"]);
  assert.equal((await storage.list()).length, 1);
  isStranger = false;
  await online(clock, again);
  await closes({ clock, host: again });
});

test("frames that were changed, lost, repeated, reordered or made up end the session, and nothing of them arrives", async () => {
  const held: Uint8Array[] = [];
  const changes: Record<string, (frame: Uint8Array) => readonly Uint8Array[]> = {
    changed: (frame) => [frame.map((byte, at) => (at === 40 ? byte ^ 1 : byte))],
    lost: () => [],
    repeated: (frame) => [frame, frame],
    reordered: (frame) => (held.push(frame) < 2 ? [] : held.splice(0).reverse()),
    cut: (frame) => [frame.slice(0, 3)],
    empty: () => [new Uint8Array(0)],
    ofAnotherEpoch: (frame) => [frame.map((byte, at) => (at === 3 ? byte ^ 1 : byte))],
    long: () => [new Uint8Array(16_641)],
    madeUp: () => [crypto.getRandomValues(new Uint8Array(276))],
  };
  for (const [name, change] of Object.entries(changes)) {
    const stage = await staged({ app: () => new Response("hello hello") });
    const { clock, fake, host } = stage;
    await clock.pass(3000);
    let isOn = true;
    fake.tamper = (frame) => (isOn ? change(frame) : [frame]);
    const answers: string[] = [];
    const ask = async () => answers.push(await (await host.fetch("/")).text());
    const asked = Promise.allSettled([ask(), ask()]);
    await clock.pass(9000);
    isOn = false;
    await passing(clock, asked);
    assert.ok(answers.every((text) => text === "hello hello"), name);
    assert.ok(name === "repeated" || answers.length === 0, `${name}: ${answers.length}`);
    held.length = 0;
    assert.equal(await (await passing(clock, host.fetch("/"))).text(), "hello hello", name);
    await closes(stage);
  }
});

test("a host that breaks the order of a session is left, and one that floods as well", async () => {
  const { clock, fake, host } = await staged();
  await clock.pass(3000);
  for (const session of fake.sessions) session.say({ t: "paired" });
  await clock.pass(50);
  assert.ok(host.state.state !== "offline" || host.state.reason.kind === "broken");
  await online(clock, host);
  await clock.pass(3000);
  const states: State[] = [];
  host.on("state", (state) => states.push(state));
  for (const session of fake.sessions) for (let n = 0; n < 20_000; n += 1) session.raw(new Uint8Array(0));
  await clock.pass(100);
  assert.ok(states.some((it) => it.state === "offline" && it.reason.kind === "broken"));
  await online(clock, host);
  await closes({ clock, host });
});

test("a host that says nothing is given up after a minute, and one that answers is not", async () => {
  const stage = await staged();
  const { clock, fake, host } = stage;
  await clock.pass(10 * 60_000);
  assert.equal(host.state.state, "direct", "it is asked, and answers");
  fake.tamper = () => [];
  // It was asked 25 s after its last word at the latest.
  await clock.pass(34_000);
  assert.equal(host.state.state, "direct");
  await clock.pass(26_000);
  assert.equal(host.state.state, "offline");
  fake.tamper = (frame) => [frame];
  await online(clock, host);
  await closes(stage);
});

test("a page in the background, whose alarms come once a minute, keeps its session and its WebSockets, and is answered", async () => {
  const heard: unknown[] = [];
  const stage = await staged({ webSocket: (socket) => void (socket.onmessage = (message) => socket.send(message)) });
  const { clock, fake, host } = stage;
  const socket = host.webSocket("/");
  socket.addEventListener("message", ({ data }) => void heard.push(data));
  await clock.pass(1000);
  const [session] = fake.sessions;
  const states: string[] = [];
  host.on("state", ({ state }) => void states.push(state));
  for (let minute = 0; minute < 10; minute += 1) {
    clock.sleep(60_000);
    await clock.pass(0);
    socket.send(`minute ${minute}`);
    const answer = host.fetch("/");
    clock.sleep(59_000);
    await clock.pass(0);
    assert.equal(await (await answer).text(), "hello\n");
  }
  await idle();
  assert.deepEqual([states, fake.sessions, heard.length], [["direct"], [session], 10]);
  socket.close();
  await clock.pass(1000);
  await closes(stage);
});

test("a page that was asleep asks before it gives the host up", async () => {
  let changed: (change: Change) => void = () => {};
  const stage = await staged({}, { network: (tell) => ((changed = tell), () => {}) });
  const { clock, fake, host } = stage;
  clock.sleep(30 * 60_000);
  await clock.pass(5000);
  assert.equal(host.state.state, "direct", "the host was there all the while");
  fake.tamper = () => [];
  clock.sleep(30 * 60_000);
  changed("woke");
  await clock.pass(4900);
  assert.equal(host.state.state, "direct");
  await clock.pass(200);
  assert.equal(host.state.state, "offline", "it did not answer in time");
  fake.tamper = (frame) => [frame];
  await online(clock, host);
  await closes(stage);
});

test("a request that waits for a dead host learns of it within ten seconds", async () => {
  const stage = await staged();
  const { clock, fake, host } = stage;
  await clock.pass(3000);
  fake.tamper = () => [];
  const answer = host.fetch("/");
  answer.catch(() => {});
  await clock.pass(10_500);
  await assert.rejects(answer, ofCode("CPL-1602"));
  fake.tamper = (frame) => [frame];
  await online(clock, host);
  await closes(stage);
});

test("keys change after a quarter of an hour, and a session ends after twelve", async () => {
  const stage = await staged();
  const { clock, host } = stage;
  await clock.pass(60 * 60_000);
  assert.equal(await (await host.fetch("/")).text(), "hello\n", "the host opens frames of later epochs");
  const states: State[] = [];
  host.on("state", (state) => states.push(state));
  await clock.pass(11 * 3600_000 + 60_000);
  assert.deepEqual(states.map((it) => it.state), ["direct", "offline", "direct"]);
  assert.ok(states.some((it) => it.state === "offline" && it.reason.kind === "closed" && it.reason.reason === "tooOld"));
  await closes(stage);
});

test("another network is another race, at once", async () => {
  let changed: (change: Change) => void = () => {};
  const stage = await staged({}, { network: (tell) => ((changed = tell), () => {}) });
  const { clock, fake, host } = stage;
  await clock.pass(3000);
  const before = fake.sessions[0];
  changed("moved");
  await clock.pass(10);
  assert.equal(host.state.state, "direct");
  assert.notEqual(fake.sessions[0], before);
  // Without a session, the wait is cut short.
  fake.isReachable = false;
  fake.cut();
  await clock.pass(5 * 60_000);
  await reaches(clock, host, "offline", 50);
  fake.isReachable = true;
  changed("moved");
  await reaches(clock, host, "direct", 50);
  await closes(stage);
});

test("credentials that are cleared while it runs end it with an error of their own", async () => {
  const stage = await staged();
  const { clock, fake, host, storage } = stage;
  await clock.pass(3000);
  await storage.remove(host.id);
  assert.equal(await (await host.fetch("/")).text(), "hello\n", "the session is good until it ends");
  fake.cut();
  await clock.pass(1000);
  assert.equal(host.state.state, "forgotten");
  await assert.rejects(host.fetch("/"), ofCode("CPL-1608"));
  assert.equal((await storage.list()).length, 0, "nothing is written again");
});

test("a store that fails while it runs keeps nobody from the host", async () => {
  const storage = new MemoryStore();
  const stage = await staged({}, { storage });
  const { clock, fake, host } = stage;
  await clock.pass(3000);
  storage.load = async () => {
    throw new Error("the disk is away");
  };
  fake.announce(["192.0.2.1:7878", "192.0.2.9:7878"]);
  fake.cut();
  await clock.pass(100);
  await online(clock, host);
  await closes(stage);
});

test("the newest addresses are kept, and older ones do not come back", async () => {
  const stage = await staged();
  const { clock, fake, storage } = stage;
  fake.announce(["192.0.2.1:7878", "192.0.2.7:7878"]);
  await clock.pass(10);
  const kept = async () => (await storage.list())[0]?.endpoints;
  assert.deepEqual(await kept(), ["lan 192.0.2.1:7878", "lan 192.0.2.7:7878"]);
  for (const session of fake.sessions) session.say({ t: "endpoints", list: [], serial: 9n });
  for (const session of fake.sessions) session.say({ t: "endpoints", list: [{ kind: "lan", address: "192.0.2.8:1" }], serial: 1n });
  await clock.pass(10);
  assert.deepEqual(await kept(), ["lan 192.0.2.1:7878", "lan 192.0.2.7:7878"]);
  await closes(stage);
});

test("a host that was closed before is told that it is forgotten, and so is one that is not there any more", async () => {
  const stage = await staged();
  const { clock, fake, host, storage } = stage;
  await closes(stage);
  const states: string[] = [];
  host.on("state", ({ state }) => void states.push(state));
  assert.equal(await passing(clock, host.forget()), true);
  assert.deepEqual([fake.devices, await storage.list(), states.at(-1)], [[], [], "forgotten"]);
  assert.equal(await passing(clock, host.forget()), false, "nothing is there to say it with");

  const away = await staged();
  await closes(away);
  away.fake.isReachable = false;
  assert.equal(await passing(away.clock, away.host.forget()), false);
  assert.deepEqual([away.fake.devices.length, await away.storage.list()], [1, []]);

  const revoked = await staged();
  revoked.fake.revoke();
  await reaches(revoked.clock, revoked.host, "revoked");
  assert.equal(await passing(revoked.clock, revoked.host.forget()), true);
  for (const one of [stage, away, revoked]) {
    await one.clock.pass(2000);
    assert.equal(one.clock.pending, 0, "no alarm is left behind");
  }
});

test("a host forgets and is forgotten", async () => {
  const { clock, fake, host, storage } = await staged();
  assert.equal(await passing(clock, host.forget()), true);
  assert.equal(host.state.state, "forgotten");
  assert.deepEqual([fake.devices.length, (await storage.list()).length], [0, 0]);
  await assert.rejects(host.fetch("/"), ofCode("CPL-1608"));
  await clock.pass(2000);
  assert.equal(clock.pending, 0);

  // One that is away is forgotten all the same.
  const away = await staged();
  away.fake.isReachable = false;
  away.fake.cut();
  assert.equal(await passing(away.clock, away.host.forget()), false, "its owner still sees the device");
  assert.deepEqual([away.host.state.state, (await away.storage.list()).length], ["forgotten", 0]);
});

test("a pairing that came to nothing does not stand in the way of the one before it", async () => {
  for (const relay of [false, true]) {
    const stage = await staged({ relay: "relay.example", ...(relay ? { address: "" } : {}) });
    const { clock, fake, host, storage, given } = stage;
    await closes(stage);
    const [finished] = await storage.list();
    assert.ok(finished !== undefined);
    // Granted, and dropped by the host, which knows it no more; its rooms are gone as well.
    const { paired_at: _, ...rest } = finished;
    const secret = "A".repeat(43);
    await storage.save({ ...rest, psk_id: "AAAAAAAAAAA", room_secret: secret });
    let refusals = 0;
    const fetch: Fetch = (url, init, ca) => {
      const isUnknown = (refusals += 1) <= 2;
      return isUnknown ? Promise.resolve(Response.json({ code: "CPL-1801" }, { status: 401 })) : given.fetch!(url, init, ca);
    };
    const [again] = await restore({ storage, ...given, ...(relay ? { fetch } : {}) });
    assert.ok(again !== undefined && again.id === host.id);
    await reaches(clock, again, relay ? "relay" : "direct", 2000);
    assert.equal(fake.sessions.length, 1);
    await closes({ clock, host: again });
  }
});

test("a host that was revoked in the pairing of before and not in this one is not given up", async () => {
  const stage = await staged();
  const { clock, fake, host, storage, given } = stage;
  await closes(stage);
  const [old] = await storage.list();
  const again = await passing(clock, pair(fake.link(), { name: "Phone", storage, ...given }));
  await online(clock, again);
  await closes({ clock, host: again });
  const [young] = await storage.list();
  assert.ok(old !== undefined && young !== undefined && old.psk_id !== young.psk_id);
  // The old one as if it had never been finished: it is tried first.
  const { paired_at: _, ...pending } = old;
  await storage.save(pending);
  fake.revoke(host.deviceId);
  const [third] = await restore({ storage, ...given });
  assert.ok(third !== undefined);
  await reaches(clock, third, "direct", 5000);
  assert.equal((await storage.load(third.id)).length, 2, "nothing is wiped while another pairing is good");
  await closes({ clock, host: third });
});

test("who answers with another key is told from the host, and is confirmed nothing", async () => {
  const stage = await staged();
  const { clock, fake, host } = stage;
  await clock.pass(3000);
  fake.tamper = (message) => [message.map((byte, at) => (at === 0 ? byte : byte ^ 1))];
  fake.cut();
  await clock.pass(2000);
  const { state } = host;
  assert.ok(state.state === "offline" && state.error.code === "CPL-1604" && state.reason.kind === "unreachable");
  assert.ok(state.reason.attempts.every((it) => it.kind === "wrongKey"));
  assert.equal(fake.sessions.length, 0);
  fake.tamper = (message) => [message];
  await online(clock, host);
  await closes(stage);
});

test("what an app's listener throws disturbs nothing", async () => {
  const thrown: unknown[] = [];
  const caught = (error: unknown): void => void thrown.push(error);
  const before = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", caught);
  try {
    const stage = await staged();
    stage.host.on("state", () => {
      throw new Error("the app's own");
    });
    await stage.clock.pass(3000);
    stage.fake.cut();
    await stage.clock.pass(100);
    await online(stage.clock, stage.host);
    assert.ok(thrown.length >= 3);
    await closes(stage);
  } finally {
    process.removeListener("uncaughtException", caught);
    for (const listener of before) process.on("uncaughtException", listener);
  }
});

test("a host that says without end where it is fills no memory, and wears no disk out", async () => {
  const storage = new MemoryStore();
  let saves = 0;
  const save = storage.save.bind(storage);
  storage.save = async (credentials, news) => {
    saves += 1;
    await idle();
    return save(credentials, news);
  };
  const stage = await staged({}, { storage });
  const { clock, fake } = stage;
  const kept = async () => (await storage.list())[0]?.endpoints;
  saves = 0;
  for (let n = 1; n <= 500; n += 1) {
    fake.announce([`192.0.2.${1 + (n % 200)}:7878`, "192.0.2.1:7878"]);
    if (n % 10 === 0) await clock.pass(10);
  }
  await clock.pass(1000);
  assert.ok(saves <= 2, `${saves} writes`);
  assert.deepEqual(await kept(), ["lan 192.0.2.101:7878", "lan 192.0.2.1:7878"]);
  for (let n = 1; n <= 5; n += 1) {
    fake.announce(["192.0.2.101:7878", "192.0.2.1:7878"]);
    await clock.pass(2000);
  }
  assert.ok(saves <= 2, "it is where it was");
  // What was heard just before the end is kept as well.
  fake.announce(["192.0.2.1:7878"]);
  await clock.pass(10);
  fake.announce(["192.0.2.1:7878", "192.0.2.9:7878"]);
  await idle();
  await closes(stage);
  assert.deepEqual(await kept(), ["lan 192.0.2.1:7878", "lan 192.0.2.9:7878"]);
});
