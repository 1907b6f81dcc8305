/** What a session that the host no longer serves as it should comes to, and what keeps trying. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { MemoryStore, restore, WebKey, type Clock, type CredentialStore, type OpenSocket, type Socket } from "../../src/index.js";
import * as h2 from "../../src/http2/frame.js";
import type { FakeSession } from "../../src/testing.js";
import { FakeServer } from "../../src/testing/server.js";
import { closes, DrivenClock, ofCode, online, passing, reaches, staged, type Stage } from "./stage.js";

const REFUSED_STREAM = 7;

/** Refuses so many requests, as a host does that has not looked at them. */
function refuses(t: TestContext, { fake }: Stage, times: number): { left: number } {
  const count = { left: times };
  const { receive } = FakeServer.prototype;
  t.mock.method(FakeServer.prototype, "receive", function (this: FakeServer, bytes: Uint8Array) {
    const isRequest = bytes[3] === h2.HEADERS && count.left > 0;
    if (!isRequest) return receive.call(this, bytes);
    count.left -= 1;
    for (const session of fake.sessions) session.data(h2.resetFrame(h2.readU32(bytes, 5), REFUSED_STREAM));
  });
  return count;
}

function goaway(last: number): Uint8Array {
  const payload = new Uint8Array(8);
  new DataView(payload.buffer).setUint32(0, last);
  return h2.frame(h2.GOAWAY, 0, 0, payload);
}

test("a request that the host refuses unseen is sent again in the same session, and not for ever", async (t) => {
  const stage = await staged();
  const { clock, fake, host } = stage;
  await clock.pass(3000);
  const [session] = fake.sessions;
  const count = refuses(t, stage, 3);
  const began = clock.now();
  assert.equal(await (await passing(clock, host.fetch("/", { method: "POST", body: "x" }))).text(), "hello\n");
  assert.ok(clock.now() - began < 1000);
  assert.ok(count.left === 0 && fake.sessions[0] === session);

  count.left = Infinity;
  const refused = host.fetch("/");
  refused.catch(() => {});
  await clock.pass(8000);
  const reason = new Error("enough");
  const controller = new AbortController();
  const left = host.fetch("/", { signal: controller.signal });
  left.catch(() => {});
  await clock.pass(500);
  controller.abort(reason);
  await assert.rejects(passing(clock, left), reason);
  await clock.pass(1500);
  await assert.rejects(passing(clock, refused), ofCode("CPL-1610"));
  count.left = 0;
  assert.equal((await passing(clock, host.fetch("/"))).status, 200);
  await closes(stage);
});

test("a host that takes no more requests in a session gets another one, and what is under way goes on", async () => {
  const parts: ReadableStreamDefaultController<Uint8Array>[] = [];
  const app = (request: Request): Response =>
    request.url.endsWith("/long") ? new Response(new ReadableStream<Uint8Array>({ start: (its) => void parts.push(its) })) : new Response("hello");
  const stage = await staged({ app });
  const { clock, fake, host } = stage;
  for (let n = 0; n < 8; n += 1) {
    await clock.pass(3000);
    const long = await passing(clock, host.fetch("/long"));
    const session = fake.sessions.at(-1);
    session?.data(goaway(0x7fff_ffff));
    await clock.pass(50);
    assert.equal(host.state.state, "direct", "the next one is open");
    const began = clock.now();
    assert.equal(await (await passing(clock, host.fetch("/"))).text(), "hello");
    assert.ok(clock.now() - began < 100);
    assert.ok(fake.sessions.length <= 5, "and they are not without end");
    parts.at(-1)?.enqueue(new TextEncoder().encode("late"));
    if (n % 2 === 0) continue;
    parts.at(-1)?.close();
    assert.equal(await passing(clock, long.text()), "late");
    await clock.pass(100);
    assert.ok(session !== undefined && !fake.sessions.includes(session), "it ends with what was under way");
  }
  // Closed, all of them are.
  await closes(stage);
  assert.deepEqual(fake.sessions, []);
});

test("a generator that gives nothing for a while ends nothing, and nothing else that fails ends it unseen", async () => {
  let isBroken = false;
  const random = (length: number): Uint8Array<ArrayBuffer> => {
    if (isBroken) throw new Error("no entropy");
    return crypto.getRandomValues(new Uint8Array(length));
  };
  const stage = await staged({}, { random });
  const { clock, fake, host } = stage;
  isBroken = true;
  fake.cut();
  await clock.pass(10_000);
  assert.equal(host.state.state, "offline");
  isBroken = false;
  await clock.pass(10_000);
  await online(clock, host);
  assert.equal((await passing(clock, host.fetch("/"))).status, 200);
  await closes(stage);

  // Time that cannot be waited for: it is said that it is over.
  const after = DrivenClock.prototype.after;
  const own = await staged();
  await own.clock.pass(3000);
  own.clock.after = () => {
    throw new Error("no alarms");
  };
  own.fake.cut();
  await own.clock.pass(100);
  own.clock.after = after;
  assert.equal(own.host.state.state, "closed");
  await assert.rejects(own.host.fetch("/"), ofCode("CPL-1602"));
  await own.host.close();
});

test("locks or news of the network that do not work keep nobody from the host", async () => {
  const stage = await staged();
  const { storage, given, clock } = stage;
  await closes(stage);
  const fails = (): never => {
    throw new Error("it is not installed");
  };
  for (const lacks of [{ network: fails }, { network: () => fails }, { locks: { request: fails } }]) {
    const [host] = await restore({ storage, ...given, ...lacks });
    assert.ok(host !== undefined);
    await reaches(clock, host, "direct");
    await closes({ clock, host });
  }
});

test("a host that breaks the rules of HTTP/2 is said to, and a session behind it is tried", async () => {
  const stage = await staged();
  const { clock, fake, host } = stage;
  await clock.pass(3000);
  const reasons: string[] = [];
  host.on("state", (state) => void (state.state === "offline" && reasons.push(state.reason.kind)));
  fake.sessions[0]?.data(h2.frame(h2.PUSH_PROMISE, h2.FLAG_END_HEADERS, 1, new Uint8Array(8)));
  await clock.pass(100);
  assert.deepEqual(reasons, ["broken"]);
  await online(clock, host);
  await closes(stage);
});

test("what is wrong with one way, or with one pairing, leaves the others", async (t) => {
  const stage = await staged({ relay: "relay.example" });
  const { clock, fake, storage, given } = stage;
  await closes(stage);
  const [form] = await storage.list();
  assert.ok(form !== undefined);
  await storage.save({ ...form, room_number: 0xffff_ffff });
  fake.relayAnswer = () => Response.json({ code: "CPL-1801" }, { status: 401 });
  const { openSocket } = fake.connections;
  const slow: OpenSocket = (url, ca) => later(clock, 400, () => openSocket!(url, ca));
  const [host] = await restore({ storage, ...given, openSocket: slow });
  assert.ok(host !== undefined);
  await reaches(clock, host, "direct", 5000);
  await closes({ clock, host });
  fake.relayAnswer = null;
  const [far] = await restore({ storage, ...given, lan: false });
  assert.ok(far !== undefined);
  await reaches(clock, far, "relay", 5000);
  await closes({ clock, host: far });

  // The key of an unfinished one is one that the browser cannot use.
  const key = await WebKey.generate();
  assert.ok(key !== null);
  const { deriveBits } = crypto.subtle;
  t.mock.method(SubtleCrypto.prototype, "deriveBits", function (this: SubtleCrypto, ...given: Parameters<SubtleCrypto["deriveBits"]>) {
    if (given[1] === key.pair.privateKey) throw new DOMException("X25519 is off", "NotSupportedError");
    return deriveBits.apply(this, given);
  });
  const { paired_at: _, ...pending } = form;
  const forms = [{ ...pending, psk_id: "AAAAAAAAAAA", device_key: key.pair }, form];
  const own: CredentialStore = Object.assign(new MemoryStore(), { list: async () => forms, load: async () => forms });
  const [again] = await restore({ storage: own, ...given });
  assert.ok(again !== undefined);
  await reaches(clock, again, "direct", 5000);
  await closes({ clock, host: again });
});

/** A socket that takes its time to open. */
function later(clock: Clock, milliseconds: number, open: () => Socket): Socket {
  let inner: Socket | null = null;
  const outer: Socket = {
    binaryType: "arraybuffer",
    get readyState() {
      return inner?.readyState ?? 0;
    },
    bufferedAmount: 0,
    ...{ onopen: null, onmessage: null, onerror: null, onclose: null },
    send: (message) => inner?.send(message),
    close: () => {
      off();
      inner?.close();
    },
  };
  const off = clock.after(milliseconds, () => {
    inner = open();
    inner.binaryType = "arraybuffer";
    inner.onopen = (event) => outer.onopen?.(event);
    inner.onmessage = (event) => outer.onmessage?.(event);
    inner.onclose = (event) => outer.onclose?.(event);
  });
  return outer;
}

test("a host that floods with messages, or with what means nothing, is left", async () => {
  const stage = await staged();
  const { clock, fake, host } = stage;
  const list = [{ kind: "lan", address: "192.0.2.1:7878" }] as const;
  const floods: ((session: FakeSession, n: number) => void)[] = [
    (session, n) => session.say({ t: "endpoints", list, serial: BigInt(n + 1) }),
    (session) => session.pad(),
  ];
  for (const flood of floods) {
    await clock.pass(3000);
    const [session] = fake.sessions;
    assert.ok(session !== undefined);
    const reasons: string[] = [];
    const off = host.on("state", (state) => void (state.state === "offline" && reasons.push(state.reason.kind)));
    for (let n = 0; n < 900; n += 1) flood(session, n);
    await clock.pass(10_000);
    assert.deepEqual(reasons, []);
    for (let n = 0; n < 2000; n += 1) flood(session, 1000 + n);
    await clock.pass(100);
    assert.deepEqual(reasons, ["broken"]);
    off();
    await online(clock, host);
  }
  await closes(stage);
});

test("a host that has no place again and again is waited for longer each time, unless somebody wants a session", async () => {
  for (const [reason, pause] of [["replaced", 5000], ["busy", 1000]] as const) {
    const stage = await staged();
    const { clock, fake, host } = stage;
    const taken = async (most: number): Promise<number> => {
      await clock.pass(3000);
      fake.closeSessions(reason);
      const began = clock.now();
      await clock.pass(1);
      await reaches(clock, host, "direct", most);
      return clock.now() - began;
    };
    for (const times of [1, 2, 4, 8]) {
      const waited = await taken(60_000);
      // Besides, up to half a second and what the new session takes.
      assert.ok(waited >= pause * times && waited < pause * times + 500, `${reason} ${times}: ${waited}`);
    }
    await clock.pass(3000);
    fake.closeSessions(reason);
    const began = clock.now();
    await clock.pass(1);
    assert.equal((await passing(clock, host.fetch("/"))).status, 200);
    assert.ok(clock.now() - began < 10_000);
    // One that held is where it begins anew.
    await clock.pass(61_000);
    assert.ok((await taken(60_000)) < pause + 500);
    await closes(stage);
  }
});
