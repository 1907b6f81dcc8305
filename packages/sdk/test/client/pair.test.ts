import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { CoupletError, Host, MemoryStore, pair, restore, WebKey, type CredentialStore, type OpenSocket, type PairOptions, type PairState } from "../../src/index.js";
import * as onNode from "../../src/node.js";
import type { Control, Grant } from "../../src/protocol/message.js";
import { Secret, SecretText } from "../../src/protocol/secret.js";
import { FakeHost, FakeSession, type FakeHostOptions } from "../../src/testing.js";
import { openMemorySocket } from "../../src/testing/socket.js";
import { closes, DrivenClock, idle, ofCode, online, passing, staged } from "./stage.js";

/** Pairs in driven time. */
function pairing(fake: FakeHost, options: Partial<PairOptions> = {}, link = fake.link()) {
  const clock = new DrivenClock();
  const storage = options.storage ?? new MemoryStore();
  const states: PairState[] = [];
  const onState = (state: PairState): void => void states.push(state);
  const work = pair(link, { name: "Phone", onState, ...fake.connections, clock, ...options, storage });
  work.catch(() => {});
  return { clock, storage, states, work };
}

async function refused(fake: FakeHost, code: string, options: Partial<PairOptions> = {}, link?: string): Promise<void> {
  const { clock, storage, work } = pairing(fake, options, link);
  await assert.rejects(passing(clock, work, 150_000), ofCode(code));
  assert.equal((await storage.list()).length, 0, "nothing is kept");
  await clock.pass(2000);
  assert.equal(clock.pending, 0, "no alarm is left behind");
}

/** What the host says in place of each of its words, while this test runs. */
function says(t: TestContext, instead: (control: Control) => readonly Control[]): void {
  const { say } = FakeSession.prototype;
  t.mock.method(FakeSession.prototype, "say", function (this: FakeSession, control: Control) {
    for (const one of instead(control)) say.call(this, one);
  });
}

test("a device pairs by its link, asks the app, and comes back without a link", async () => {
  const app: FakeHostOptions["app"] = (request) => new Response(`hello from ${new URL(request.url).pathname}`);
  const stage = await staged({ app });
  const { clock, fake, host, storage, given } = stage;
  assert.deepEqual([host.name, host.fingerprint], ["Fake host", fake.fingerprint]);
  assert.equal(await (await host.fetch("/lab")).text(), "hello from /lab");
  assert.deepEqual(fake.devices, [{ id: host.deviceId, name: "Phone" }]);
  await closes(stage);

  const [again, ...others] = await restore({ storage, ...given });
  assert.ok(again !== undefined && others.length === 0);
  assert.equal(await (await passing(clock, again.fetch("/again"))).text(), "hello from /again");
  await closes({ clock, host: again });
  await assert.rejects(again.fetch("/"), ofCode("CPL-1602"));
});

test("the owner types what the device shows", async () => {
  const fake = new FakeHost({ asks: true });
  const { clock, states, work } = pairing(fake);
  await clock.pass(1000);
  const [connecting, approval] = states;
  assert.equal(connecting?.state, "connecting");
  assert.ok(approval?.state === "approval" && approval.hostName === "Fake host");
  assert.match(approval.checkCode, /^[0-9]{3} [0-9]{3}$/);
  await fake.approve(approval.checkCode);
  const host = await passing(clock, work);
  assert.deepEqual(states.map((it) => it.state), ["connecting", "approval", "finishing", "paired"]);
  await closes({ clock, host });
});

test("a connection that ends while the owner is asked leaves nothing behind", async () => {
  const fake = new FakeHost({ asks: true });
  const { clock, states, storage, work } = pairing(fake);
  await clock.pass(90_000);
  assert.equal(states.at(-1)?.state, "approval", "a host that waits for its owner may be silent");
  fake.cut();
  await assert.rejects(passing(clock, work), ofCode("CPL-1602"));
  assert.equal((await storage.list()).length, 0);
  await clock.pass(2000);
  assert.equal(clock.pending, 0);
});

test("who asks nobody is shown no code", async () => {
  const { clock, states, work } = pairing(new FakeHost());
  const host = await passing(clock, work);
  await clock.pass(1000);
  assert.deepEqual(states.map((it) => it.state), ["connecting", "finishing", "paired"]);
  await closes({ clock, host });
});

test("each refusal has its code, and nothing is kept", async () => {
  const fake = new FakeHost({ asks: true });
  const turnedAway = pairing(fake);
  await turnedAway.clock.pass(1000);
  await fake.reject();
  await assert.rejects(passing(turnedAway.clock, turnedAway.work), ofCode("CPL-1208"));
  const wrong = pairing(fake);
  await wrong.clock.pass(1000);
  for (const code of ["no code", "", "1"]) await assert.rejects(fake.approve(code), /another check code/);
  await assert.rejects(passing(wrong.clock, wrong.work), ofCode("CPL-1208"));
  await refused(fake, "CPL-1209");

  const open = new FakeHost();
  const link = open.link();
  const first = pairing(open, {}, link);
  await closes({ clock: first.clock, host: await passing(first.clock, first.work) });
  await refused(open, "CPL-1203", {}, link);
  await refused(open, "CPL-1201", {}, new FakeHost().link());
  for (const nonsense of ["", "COUPLET:AE", "https://example.org/", link.slice(0, -3)]) await refused(open, "CPL-1605", {}, nonsense);
  for (const name of ["", " ", "a\u202eb", "x".repeat(65)]) await refused(open, "CPL-1205", { name });
  open.isReachable = false;
  await refused(open, "CPL-1601");
});

test("nobody but this device says that its access is over, or that what it has stored is of no use", async (t) => {
  for (const code of ["CPL-1603", "CPL-1604", "CPL-1607"]) {
    // Who is at the host's address, without any key.
    const openSocket: OpenSocket = () =>
      openMemorySocket((socket) => {
        socket.onMessage = () => socket.close(4000, code);
        return true;
      });
    await refused(new FakeHost(), "CPL-1601", { openSocket });
  }
  // A host that somebody meant to pair with.
  says(t, (control) => [control.t === "grant" ? { t: "rejected", code: "CPL-1607" } : control]);
  await refused(new FakeHost(), "CPL-1602");
});

test("a link that names no way for this device says so", async () => {
  const fake = new FakeHost();
  await refused(fake, "CPL-1601", { lan: false });
});

test("what a program lacks where it runs is said to its user, when pairing and afterwards", async (t) => {
  const lacks = { next: "npm install ws" };
  const openSocket = (): never => {
    throw new CoupletError("CPL-1601", "This Node.js has no WebSocket", lacks);
  };
  const isSaid = (next: RegExp, message: RegExp) => (error: unknown): boolean => {
    assert.ok(ofCode((error as CoupletError).code)(error));
    assert.match((error as CoupletError).next, next);
    assert.match((error as CoupletError).message, message);
    return true;
  };
  for (const options of [{}, { address: "", relay: "relay.example" }]) {
    const { clock, work } = pairing(new FakeHost(options), { openSocket });
    await assert.rejects(passing(clock, work), isSaid(/npm install ws/, /has no WebSocket/), JSON.stringify(options));
  }
  const stage = await staged();
  await closes(stage);
  const [host] = await restore({ ...stage.given, storage: stage.storage, openSocket });
  assert.ok(host !== undefined);
  await stage.clock.pass(3000);
  assert.ok(host.state.state === "offline" && isSaid(/npm install ws/, /has no WebSocket/)(host.state.error));
  await closes({ clock: stage.clock, host });

  // Of a runtime that has neither, the core says the same of itself; and pages cannot take a relay's own CA.
  const own = globalThis.WebSocket;
  t.after(() => (globalThis.WebSocket = own));
  const far = new FakeHost({ address: "", relay: "relay.example" });
  const ofCa = pairing(far, { fetch: undefined, openSocket: undefined, relayCa: "-----BEGIN CERTIFICATE-----" });
  await assert.rejects(passing(ofCa.clock, ofCa.work), isSaid(/couplet\/node/, /own CA/));
  globalThis.WebSocket = undefined as unknown as typeof WebSocket;
  const bare = pairing(new FakeHost(), { openSocket: undefined });
  await assert.rejects(passing(bare.clock, bare.work), isSaid(/couplet\/node/, /has no WebSocket/));
});

test("a host whose secrets are not its system's is not paired with, and gets no claim", async () => {
  for (const rng of ["dev-urandom", ""]) {
    const fake = new FakeHost({ rng });
    let isGreeted = false;
    fake.tamper = (message) => {
      isGreeted = true;
      return [message];
    };
    await refused(fake, "CPL-1606");
    assert.equal(isGreeted, false);
    // Nor through a relay: it leads to the same host.
    await refused(new FakeHost({ rng, relay: "relay.example" }), "CPL-1606");
  }
  // Who says nothing of it is taken at its key.
  const silent = new FakeHost();
  const fetch = async (): Promise<Response> => new Response("<html>", { status: 200 });
  const { clock, work } = pairing(silent, { fetch });
  await closes({ clock, host: await passing(clock, work) });
});

test("a host that is known under another key is told from it", async () => {
  const stage = await staged({ name: "NAS" });
  const other = new FakeHost({ name: "NAS" });
  const { clock, work } = pairing(other, { storage: stage.storage });
  await assert.rejects(passing(clock, work), (error) => ofCode("CPL-1604")(error) && /known under another key/.test(String(error)));
  const meant = pairing(other, { storage: stage.storage, anotherHost: true });
  await closes({ clock: meant.clock, host: await passing(meant.clock, meant.work) });
  assert.equal((await stage.storage.list()).length, 2);
  await closes(stage);
});

test("so is one whose name only looks like that of a known host, and one that changes its name afterwards", async (t) => {
  const stage = await staged({ name: "Anna's NAS" });
  for (const name of ["ANNA\u2019S nas", "\uff21nna's NAS", "Annas-NAS", "Anna's  N\u200bA\u200bS", "\u202eAnna's NAS"]) {
    const { clock, work } = pairing(new FakeHost({ name, address: "192.0.2.2:7878" }), { storage: stage.storage });
    await assert.rejects(passing(clock, work), ofCode("CPL-1604"), name);
  }
  const other = pairing(new FakeHost({ name: "Anna's PC", address: "192.0.2.3:7878" }), { storage: stage.storage });
  await closes({ clock: other.clock, host: await passing(other.clock, other.work) });

  // The name that it grants is not the one that it had.
  says(t, (control) => [control.t === "grant" ? { ...control, grant: { ...control.grant, hostName: "Anna's NAS" } } : control]);
  const { clock, work } = pairing(new FakeHost({ name: "Bob's PC", address: "192.0.2.4:7878" }), { storage: stage.storage });
  const host = await passing(clock, work);
  assert.equal(host.name, "Bob's PC");
  await closes({ clock, host });
  await closes(stage);
});

test("what a host calls itself can be shown", async () => {
  const fake = new FakeHost({ asks: true, name: "\u202eNAS\u0007\n\u200b " + "x".repeat(200) });
  const { clock, states, work } = pairing(fake);
  await clock.pass(1000);
  const approval = states.at(-1);
  assert.ok(approval?.state === "approval" && approval.hostName === "NAS " + "x".repeat(60), JSON.stringify(approval));
  await fake.approve(approval.checkCode);
  const host = await passing(clock, work);
  assert.equal(host.name, approval.hostName);
  await online(clock, host);
  assert.equal(host.name, approval.hostName);
  await closes({ clock, host });
});

test("old news of addresses while a pairing is finished are no news", async (t) => {
  const news = (serial: bigint, address: string): Control => ({ t: "endpoints", serial, list: [{ kind: "lan", address }] });
  const list = [news(7n, "192.0.2.1:7878"), news(3n, "192.0.2.66:1"), { ...news(8n, ""), list: [] } as Control];
  says(t, (control) => (control.t === "paired" ? [...list, control] : [control]));
  const { clock, storage, work } = pairing(new FakeHost());
  const host = await passing(clock, work);
  const [kept] = await storage.list();
  assert.deepEqual([kept?.endpoints, Number(kept?.endpoints_serial)], [["lan 192.0.2.1:7878"], 7]);
  await closes({ clock, host });
});

test("a pairing can be called off at any time", async () => {
  const reason = new Error("the user left");
  for (const after of [0, 500, 1500]) {
    const fake = new FakeHost({ asks: true });
    const controller = new AbortController();
    const { clock, storage, work } = pairing(fake, { signal: controller.signal });
    await clock.pass(after);
    controller.abort(reason);
    await assert.rejects(passing(clock, work), reason);
    assert.equal((await storage.list()).length, 0);
    await clock.pass(2000);
    assert.equal(clock.pending, 0);
  }
});

test("a pairing that is called off after its grant, and before the host knows that it was taken, leaves nothing", async () => {
  const reason = new Error("the user left");
  for (const moment of ["saving", "saved"]) {
    const fake = new FakeHost();
    const storage = new MemoryStore();
    const controller = new AbortController();
    const save = storage.save.bind(storage);
    storage.save = async (credentials) => {
      await save(credentials);
      if (moment === "saving") controller.abort(reason);
    };
    const onState = ({ state }: PairState): void => {
      if (state === "finishing" && moment === "saved") controller.abort(reason);
    };
    const { clock, work } = pairing(fake, { signal: controller.signal, storage, onState });
    await assert.rejects(passing(clock, work), reason);
    assert.deepEqual(await storage.list(), [], "nothing is kept");
    await clock.pass(2000);
    assert.deepEqual(await restore({ storage, ...fake.connections, clock }), []);
    assert.deepEqual([clock.pending, fake.sessions.length], [0, 0]);
  }
});

test("the pairings that there were are as they were when a new one with their host is called off", async () => {
  const stage = await staged();
  const { clock, fake, storage, given } = stage;
  const cut = (after: number): void => {
    let seen = 0;
    fake.tamper = (sent) => (seen++ < after ? [sent] : []);
  };
  // One that is not finished stands beside it: the host's last word did not come.
  await closes(stage);
  cut(2);
  const again = pair(fake.link(), { name: "Phone", storage, ...given });
  await assert.rejects(passing(clock, again), ofCode("CPL-1602"));
  fake.tamper = (sent) => [sent];
  const before = await storage.list();
  assert.equal(before.length, 2);

  const controller = new AbortController();
  const onState = ({ state }: PairState): void => void (state === "finishing" && controller.abort());
  await assert.rejects(passing(clock, pair(fake.link(), { name: "Phone", storage, ...given, onState, signal: controller.signal })), { name: "AbortError" });
  assert.deepEqual(new Set((await storage.list()).map((it) => it.psk_id)), new Set(before.map((it) => it.psk_id)));
  const [host] = await restore({ storage, ...given });
  assert.ok(host !== undefined);
  await online(clock, host);
  await closes({ clock, host });
});

test("a store that fails loses nothing of the pairings that there are", async (t) => {
  const stage = await staged();
  const { clock, fake, storage, given } = stage;
  await closes(stage);
  const before = await storage.list();
  const again = (more: Partial<PairOptions>) => pair(fake.link(), { name: "Phone", storage, ...given, ...more });

  const controller = new AbortController();
  const onState = ({ state }: PairState): void => void (state === "finishing" && controller.abort());
  const failing: CredentialStore = {
    list: () => storage.list(),
    load: () => Promise.reject(new Error("the disk is away")),
    save: (form, news) => storage.save(form, news),
    drop: (form) => storage.drop(form),
    remove: (host) => storage.remove(host),
  };
  await assert.rejects(passing(clock, again({ storage: failing, onState, signal: controller.signal })), ofCode("CPL-1607"));
  assert.deepEqual(await storage.list(), before);
  // What a host says after its grant ends that pairing, and no other.
  says(t, (control) => [control.t === "paired" ? { t: "rejected", code: "CPL-1204" } : control]);
  await assert.rejects(passing(clock, again({})), ofCode("CPL-1204"));
  assert.deepEqual(await storage.list(), before);
});

test("news of a pairing that another page has leave a new one alone", async () => {
  const stage = await staged();
  const { clock, fake, storage, given } = stage;
  const onState = ({ state }: PairState): void => {
    if (state !== "finishing") return;
    fake.announce(["192.0.2.1:7878", "192.0.2.7:7878"]);
    // Its last word does not come.
    fake.tamper = () => [];
  };
  await assert.rejects(passing(clock, pair(fake.link(), { name: "Phone", storage, ...given, onState })), ofCode("CPL-1602"));
  const kept = await storage.load(stage.host.id);
  assert.deepEqual(kept.map((it) => it.paired_at !== undefined), [false, true]);
  assert.deepEqual(kept[1]?.endpoints, ["lan 192.0.2.1:7878", "lan 192.0.2.7:7878"], "the news of the old one are kept");
  fake.tamper = (sent) => [sent];
  await closes(stage);
  const [host] = await restore({ storage, ...given });
  assert.ok(host !== undefined);
  await online(clock, host);
  assert.equal((await storage.load(host.id)).length, 1, "the new one is finished");
  await closes({ clock, host });
});

test("called off once the host may take it for done, a pairing is kept, says so, and is finished by the next session", async () => {
  const fake = new FakeHost();
  let seen = 0;
  fake.tamper = (sent) => (seen++ < 2 ? [sent] : []);
  const controller = new AbortController();
  const reason = new Error("the user left");
  const { clock, storage, work, states } = pairing(fake, { signal: controller.signal });
  await clock.pass(100);
  assert.equal(states.at(-1)?.state, "finishing");
  controller.abort(reason);
  await assert.rejects(passing(clock, work), (error: Error) => ofCode("CPL-1602")(error) && error.cause === reason);
  fake.tamper = (sent) => [sent];
  const [host] = await restore({ storage, ...fake.connections, clock });
  assert.ok(host !== undefined);
  await online(clock, host);
  assert.equal((await storage.list())[0]?.paired_at !== undefined, true);
  await closes({ clock, host });
});

test("a connection that ends at any message leaves both unpaired, or a pairing that the next session finishes", async () => {
  const outcomes: string[] = [];
  for (let message = 0; message < 4; message += 1) {
    const fake = new FakeHost();
    let seen = 0;
    fake.tamper = (sent) => {
      if (seen++ !== message) return [sent];
      queueMicrotask(() => fake.cut());
      return [];
    };
    const { clock, storage, work } = pairing(fake);
    const paired = await passing(clock, work).catch((error: unknown) => error);
    fake.tamper = (sent) => [sent];
    const kept = (await storage.list()).length;
    outcomes.push(`${(paired as { code?: string }).code ?? "paired"} ${kept}`);
    if (paired instanceof Host) await passing(clock, paired.close());
    if (kept === 0) continue;
    const [host] = await restore({ storage, ...fake.connections, clock });
    assert.ok(host !== undefined);
    await online(clock, host);
    assert.equal((await storage.list())[0]?.paired_at !== undefined, true, "now it is finished");
    await closes({ clock, host });
  }
  // M2, the grant, `paired`; the fourth is of the session behind it.
  assert.deepEqual(outcomes, ["CPL-1601 0", "CPL-1602 0", "CPL-1602 1", "paired 1"]);
});

/** What may stand in place of a message, and what comes of it in place of M2: none of it pairs anybody. */
const CHANGES: readonly [(sent: Uint8Array) => Uint8Array, string][] = [
  // Whoever answers has not the host's key.
  [(sent) => sent.map((byte, at) => (at === 0 ? byte : byte ^ 0x55)), "CPL-1604"],
  [(sent) => sent.slice(0, -1), "CPL-1604"],
  // It speaks something else.
  [(sent) => sent.map((byte) => byte ^ 0x55), "CPL-1606"],
  [() => new Uint8Array(0), "CPL-1606"],
  // Nobody reads that much.
  [() => new Uint8Array(70_000), "CPL-1601"],
];

test("what comes in place of the host's messages pairs nobody", async () => {
  for (const [change, code] of CHANGES) {
    for (let message = 0; message < 3; message += 1) {
      const fake = new FakeHost();
      let seen = 0;
      fake.tamper = (sent) => [seen++ === message ? change(sent) : sent];
      const { clock, storage, work } = pairing(fake);
      await assert.rejects(passing(clock, work), ofCode(message === 0 ? code : "CPL-1602"));
      assert.ok((await storage.list()).every((one) => one.paired_at === undefined));
      await clock.pass(2000);
      assert.equal(clock.pending, 0);
    }
  }
});

test("a store that keeps nothing fails the pairing", async () => {
  const storage = new MemoryStore();
  storage.save = async () => {
    throw new Error("the disk is full");
  };
  const { clock, work } = pairing(new FakeHost(), { storage });
  await assert.rejects(passing(clock, work), ofCode("CPL-1607"));
  await idle();
});

test("what is missing is said: a place to keep credentials, a link, a name", async () => {
  const fake = new FakeHost();
  // Node.js has no IndexedDB: what it kept would be gone with the program.
  for (const lacking of [pair(fake.link(), { name: "Phone", ...fake.connections }), restore(), onNode.restore(), onNode.pair(fake.link(), { name: "Phone" })]) {
    await assert.rejects(lacking, (error: CoupletError) => ofCode("CPL-1607")(error) && /couplet\/node.*MemoryStore/.test(error.next));
  }
  assert.equal(fake.sessions.length, 0, "nobody was asked");
  type Loose = (link?: unknown, options?: unknown) => Promise<unknown>;
  for (const it of [pair, onNode.pair] as Loose[]) {
    await assert.rejects(it(fake.link()), { name: "TypeError", message: /name of this device is missing/ });
    await assert.rejects(it(fake.link(), { storage: new MemoryStore() }), { name: "TypeError", message: /name of this device is missing/ });
    await assert.rejects(it(undefined, { name: "Phone" }), { name: "TypeError", message: /link is missing/ });
  }
});

test("a key that the browser cannot use is no fault of the host's", async () => {
  const key = await WebKey.generate();
  assert.ok(key !== null);
  const off = (): never => {
    throw new DOMException("X25519 is off", "NotSupportedError");
  };
  const { subtle } = crypto;
  const lacking = { exportKey: subtle.exportKey.bind(subtle), importKey: subtle.importKey.bind(subtle), deriveBits: off };
  const storage = Object.assign(new MemoryStore(), { makeKey: () => WebKey.of(key.pair, lacking as unknown as SubtleCrypto) });
  const { clock, work } = pairing(new FakeHost(), { storage });
  await assert.rejects(passing(clock, work), ofCode("CPL-1607"));
});

test("a pairing that comes to nothing leaves no secret of its link, its grant or its key in memory", async (t) => {
  const wiped: string[] = [];
  const { wipe } = Secret.prototype;
  t.mock.method(Secret.prototype, "wipe", function (this: Secret) {
    wiped.push(this.kind);
    wipe.call(this);
  });
  const known = await staged({ name: "NAS" });
  await closes(known);
  const comesTo = async (fake: FakeHost, options: Partial<PairOptions>, kinds: readonly string[]): Promise<void> => {
    const link = fake.link();
    wiped.length = 0;
    const { clock, work } = pairing(fake, options, link);
    await assert.rejects(passing(clock, work));
    for (const kind of kinds) assert.ok(wiped.includes(kind), `${kind} of ${kinds.join()}`);
  };
  // Another host at a known one's address; a name that cannot be used; nobody there.
  await comesTo(new FakeHost({ name: "Other" }), { storage: known.storage }, ["offer"]);
  await comesTo(new FakeHost(), { name: "" }, ["offer"]);
  const away = new FakeHost();
  away.isReachable = false;
  await comesTo(away, {}, ["offer", "key", "psk"]);
  await comesTo(new FakeHost({ name: "NAS", address: "192.0.2.7:1" }), { storage: known.storage }, ["offer", "key"]);
  const controller = new AbortController();
  const onState = ({ state }: PairState): void => void (state === "finishing" && controller.abort());
  await comesTo(new FakeHost(), { onState, signal: controller.signal }, ["offer", "key", "psk", "room"]);
});

test("what a host grants has its form, or is nothing", async (t) => {
  let changed: Partial<Grant> = {};
  says(t, (control) => [control.t === "grant" ? { ...control, grant: { ...control.grant, ...changed } } : control]);
  for (const one of [{ deviceId: "1" }, { deviceId: "\u202e" }, { deviceToken: new SecretText("") }, { deviceToken: new SecretText("dev_x\r\nhost: y") }]) {
    changed = one;
    await refused(new FakeHost(), "CPL-1602");
  }
});
