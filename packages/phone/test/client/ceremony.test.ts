/** The ceremony step by step, with a host in memory; and the words for every error there is. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { AttemptError, CoupletError, MemoryStore, type CredentialStore } from "../../../sdk/src/index.js";
import { KNOWN_CODES, titleOf } from "../../../sdk/src/protocol/error.js";
import { FakeHost } from "../../../sdk/src/testing.js";
import type { AppStore, Ended } from "../../src/client/app_store.js";
import { next, OWNER, proposed, unreadable, type Ceremony } from "../../src/client/ceremony.js";
import { Client, type Word } from "../../src/client/client.js";
import type { Config } from "../../src/client/config.js";
import { Quiet } from "../../src/client/quiet.js";
import { Sweeper } from "../../src/client/sweeper.js";
import { readLink } from "../../src/client/link.js";
import type { Route, Shared } from "../../src/client/shared.js";
import { isElsewhere, saidOf, saidOfStep, statusOf } from "../../src/client/status.js";
import { texts } from "../../src/client/texts.js";
import { kindOf, troubleOf } from "../../src/client/trouble.js";

test("every code has a kind of its own words, with what happened, what to do and where to go", () => {
  const faults = new Set(["CPL-1114", "CPL-1900"]);
  for (const code of KNOWN_CODES) {
    const trouble = troubleOf(new CoupletError(code));
    assert.equal(trouble.kind === "fault", faults.has(code), `${code} is of the kind ${trouble.kind}`);
    assert.ok(trouble.title.length > 5 && /[.]$/.test(trouble.title), code);
    assert.ok(trouble.next.length > 5, code);
    assert.ok(trouble.acts.length > 0, code);
    assert.equal(trouble.code, code);
    // What the title says is not said again.
    assert.equal(trouble.message.includes(titleOf(code) ?? "?"), false, code);
  }
  for (const kind of Object.keys(texts.trouble.title)) assert.ok(/[.]$/.test(texts.trouble.title[kind as "fault"]), kind);
});

test("codes of later versions, and errors of others, are a fault that gives nothing away", () => {
  const later = troubleOf(new CoupletError("CPL-9999", "Something new", { next: "Update." }));
  assert.deepEqual([later.kind, later.message, later.next], ["fault", "Something new.", "Update."]);
  const other = troubleOf(new Error("COUPLET:SECRET"));
  assert.equal(JSON.stringify(other).includes("SECRET"), false);
  assert.equal(other.next, texts.trouble.again);
});

test("a network that is gone, a wrong key and another key are told apart", () => {
  assert.equal(kindOf(new CoupletError("CPL-1601"), { isOnline: false }), "noNetwork");
  assert.equal(kindOf(new CoupletError("CPL-1819"), { isOnline: false }), "noNetwork");
  assert.equal(kindOf(new CoupletError("CPL-1208"), { isOnline: false, isLate: true }), "rejected");
  assert.equal(kindOf(new CoupletError("CPL-1804")), "used");
  assert.equal(kindOf(new CoupletError("CPL-1804"), { isLate: true }), "expired");
  const wrong = new AttemptError("wrongKey");
  assert.equal(kindOf(new CoupletError("CPL-1604", "The host cannot be reached:", { cause: wrong })), "wrongKey");
  const other = troubleOf(new CoupletError("CPL-1604", "Kitchen is known under another key\nknown:   AAAA\noffered: BBBB"));
  assert.equal(other.kind, "otherKey");
  assert.deepEqual(other.details, ["known:   AAAA", "offered: BBBB"]);
  assert.deepEqual(other.acts, ["hosts", "another"]);
});

test("the steps: only what belongs to one leads on", () => {
  const link = readLink(new FakeHost({ relay: "relay.example" }).link());
  const asked = { link, name: "Phone" };
  const confirm = proposed(link, "Phone");
  const connecting = next(confirm, { is: "begun", name: "Ann" });
  assert.deepEqual(connecting, { step: "connecting", link, name: "Ann" });
  const told = { is: "told", state: { state: "approval", checkCode: "123 456", hostName: "Kitchen" }, now: 1000 } as const;
  const approval = next(connecting, told);
  assert.deepEqual(approval, { step: "approval", link, name: "Ann", checkCode: "123 456", hostName: "Kitchen", until: 1000 + OWNER });
  const finishing = next(approval, { is: "told", state: { state: "finishing" }, now: 0 });
  assert.equal(finishing.step, "finishing");
  assert.deepEqual(next(finishing, { is: "paired", hostName: "Kitchen" }), { step: "paired", hostName: "Kitchen" });
  // What comes late changes nothing.
  assert.equal(next(confirm, told), confirm);
  assert.equal(next(confirm, { is: "paired", hostName: "Evil" }), confirm);
  const trouble = troubleOf(new CoupletError("CPL-1208"));
  assert.equal(next(confirm, { is: "failed", trouble }), confirm);
  const failed = next(approval, { is: "failed", trouble });
  assert.deepEqual(failed, { step: "failed", trouble, asked: { ...asked, name: "Ann" } });
  assert.equal(next(failed, told), failed);
  assert.equal(next(failed, { is: "begun", name: "Ann" }).step, "connecting");
  assert.equal(next(failed, { is: "renaming" }).step, "confirm");
  // A name is said at the name.
  const named = next(connecting, { is: "failed", trouble: troubleOf(new CoupletError("CPL-1205", "it is empty")) });
  assert.ok(named.step === "confirm" && named.refused.startsWith("It is empty."));
  const none = unreadable(trouble);
  assert.equal(next(none, { is: "begun", name: "x" }), none);
});

test("how a host stands, in words", () => {
  const error = new CoupletError("CPL-1601");
  const since = new Date();
  const offline = (reason: "replaced" | "busy") => ({ state: "offline", since, error, reason: { kind: "closed", reason } }) as const;
  assert.match(statusOf({ state: "relay", relay: "relay.example" }).path, /relay\.example/);
  assert.equal(isElsewhere(offline("replaced")), true);
  assert.equal(isElsewhere(offline("busy")), false);
  assert.equal(statusOf(offline("busy")).look, "offline");
  assert.equal(statusOf({ state: "connecting" }).word, "Connecting");
  assert.equal(saidOf({ state: "revoked", error }, "Kitchen"), "");
  assert.match(saidOf(offline("replaced"), "Kitchen"), /another tab/);
});

test("each step of a pairing is said, beside the title of its page", () => {
  const asked = { link: readLink(new FakeHost({ relay: "relay.example" }).link()), name: "Phone" };
  const said = (now: Ceremony): string => saidOfStep(now);
  assert.equal(said({ step: "connecting", ...asked }), texts.connecting.lead);
  assert.equal(said({ step: "approval", ...asked, checkCode: "012 345", hostName: "Kitchen", until: 0 }), "Check code 0 1 2 3 4 5. Type it at Kitchen.");
  assert.equal(said({ step: "finishing", ...asked, hostName: "Kitchen" }), "Finishing…");
  assert.equal(said({ step: "paired", hostName: "Kitchen" }), "Opening…");
  assert.equal(said({ step: "failed", trouble: troubleOf(new CoupletError("CPL-1208")), asked }), new CoupletError("CPL-1208").next);
});

/** A phone without a page, and a host in memory. */
function phone(fake: FakeHost, storage: CredentialStore = new MemoryStore(), config: () => Promise<Config> = async () => ({ apps: null })) {
  const heard: { ticks: number; forgotten: (Ended | undefined)[]; kept: (readonly string[])[]; routes: Route[]; words: Word[] } = {
    ...{ ticks: 0, forgotten: [], kept: [], routes: [], words: [] },
  };
  const apps: AppStore = {
    label: async () => "a".repeat(26),
    jar: () => ({ load: async () => null, save: async () => {} }),
    forget: async (of) => void heard.forgotten.push(of),
    keepOnly: async (paired) => void heard.kept.push(await paired()),
    leavings: async () => [],
    cleared: async () => {},
  };
  const client = new Client({
    storage,
    apps,
    given: fake.connections,
    device: async () => ({ name: "Test phone", model: undefined, platform: undefined }),
    config,
    isOnline: () => true,
    tick: () => void (heard.ticks += 1),
    turn: (route) => void heard.routes.push(route),
    tell: (word) => void heard.words.push(word),
    wipe: async () => true,
    clear: async () => true,
  });
  const until = (isSo: (shared: Shared) => boolean): Promise<Shared> =>
    new Promise((resolve) => {
      const look = (): void => void (isSo(client.cell.value) && (off(), resolve(client.cell.value)));
      const off = client.cell.watch(look);
      queueMicrotask(look);
    });
  return { client, heard, until, storage };
}

test("from a link to a host, and its end", async () => {
  const fake = new FakeHost({ asks: true, relay: "relay.example" });
  const { client, heard, until, storage } = phone(fake);
  await client.begin(fake.link(), { at: "home" });
  assert.equal(client.cell.value.ceremony?.step, "confirm");
  const pairing = client.pair("Ann");
  const { ceremony } = await until((shared) => shared.ceremony?.step === "approval");
  assert.equal(client.isBusy, true);
  await fake.approve((ceremony as Extract<Ceremony, { step: "approval" }>).checkCode);
  await pairing;
  await until((shared) => shared.open?.apps?.length === 1);
  assert.equal(heard.ticks, 1);
  assert.deepEqual(heard.routes.map((route) => route.at), ["pair", "host", "host"]);
  assert.deepEqual(fake.devices.map((device) => device.name), ["Ann"]);
  fake.expire();
  await until((shared) => shared.open?.state.state === "expired" && shared.hosts?.length === 0);
  assert.deepEqual(await storage.list(), []);
  assert.equal(heard.forgotten.length, 1);
});

test("a pairing that is left lets go of the host", async () => {
  const fake = new FakeHost({ asks: true, relay: "relay.example" });
  const { client, until, storage } = phone(fake);
  await client.begin(fake.link(), { at: "home" });
  void client.pair("Ann");
  await until((shared) => shared.ceremony?.step === "approval");
  client.go("home");
  assert.equal(client.cell.value.ceremony, null);
  assert.deepEqual(await storage.list(), []);
  assert.deepEqual(fake.devices, []);
});

test("a new pairing of another tab outlives the end of the old one", async () => {
  const fake = new FakeHost({ relay: "relay.example" });
  const { client, heard, until, storage } = phone(fake);
  await client.begin(fake.link(), { at: "home" });
  await client.pair("Old");
  const { open } = await until((shared) => shared.open?.apps?.length === 1);
  const other = phone(fake, storage);
  await other.client.begin(fake.link(), { at: "home" });
  await other.client.pair("New");
  await other.until((shared) => shared.open?.apps?.length === 1);
  const device = fake.devices.find(({ name }) => name === "Old")?.id ?? "";
  fake.expire(device);
  await until((shared) => shared.open?.isGone === true);
  // What the new one's apps have stored stays as well.
  assert.deepEqual(heard.forgotten, [{ host: open?.id, device }]);
  await client.list();
  assert.equal((await storage.list()).length, 1, open?.name ?? "");
  await other.client.session?.close();
});

test("what is kept of apps is held to the pairings that there are then, not to those of a list that was read before", async () => {
  const fake = new FakeHost({ relay: "relay.example" });
  const storage = new MemoryStore();
  const other = phone(fake, storage);
  const { client, heard } = phone(fake, storage);
  const list = storage.list.bind(storage);
  let looks = 0;
  storage.list = async (unusable) => {
    const forms = await list(unusable);
    // Another tab pairs after the first look.
    if ((looks += 1) === 1) {
      await other.client.begin(fake.link(), { at: "home" });
      await other.client.pair("Other");
    }
    return forms;
  };
  await client.begin(null, { at: "home" });
  assert.deepEqual(heard.kept, [[fake.fingerprint.toLowerCase()]]);
  await other.client.session?.close();
});

test("a server that does not answer is asked once in each pause, however often the page was looked at", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let asked = 0;
  const { client } = phone(new FakeHost(), undefined, async () => {
    asked += 1;
    throw new TypeError("away");
  });
  const settled = async (): Promise<void> => {
    for (let turns = 0; turns < 20; turns += 1) await Promise.resolve();
  };
  for (let looks = 0; looks < 4; looks += 1) {
    client.look();
    await settled();
  }
  assert.equal(asked, 4);
  for (const pauses of [1, 2, 3]) {
    t.mock.timers.tick(10_000);
    await settled();
    assert.equal(asked, 4 + pauses);
  }
});

test("an app that was told no is not heard for a while, each time for longer", () => {
  let now = 0;
  const quiet = new Quiet(() => now);
  const silence = (): number => {
    quiet.answered("a", false);
    const from = now;
    while (!quiet.isHeard("a")) now += 1000;
    return now - from;
  };
  assert.equal(quiet.isHeard("a"), true);
  assert.deepEqual([silence(), silence(), silence()], [5000, 10_000, 20_000]);
  quiet.answered("a", false);
  assert.equal(quiet.isHeard("b"), true);
  for (let times = 0; times < 20; times += 1) assert.ok(silence() <= 300_000);
  quiet.answered("a", true);
  assert.equal(quiet.isHeard("a"), true);
  assert.equal(silence(), 5000);
});

test("what apps have left is swept one after the other, once a round, with what is thrown away meanwhile", async () => {
  const left = new Set(["one", "two", "away"]);
  const [wiped, states]: [string[], string[]] = [[], []];
  let isAway = true;
  const sweeper: Sweeper = new Sweeper({
    apps: { leavings: async () => [...left], cleared: async (label) => void left.delete(label) },
    wipe: async (label) => {
      wiped.push(label);
      if (label === "one" && left.size === 3) {
        left.add("late");
        void sweeper.sweep();
      }
      if (label === "away" && isAway) throw new Error("no answer");
      return true;
    },
    onState: (state) => void states.push(state),
  });
  const rounds = [sweeper.sweep(), sweeper.sweep()];
  assert.deepEqual(await Promise.all(rounds), [false, false]);
  assert.deepEqual([wiped, [...left]], [["one", "two", "away", "late"], ["away"]]);
  isAway = false;
  assert.equal(await sweeper.sweep(), true);
  assert.equal(left.size, 0);
  assert.deepEqual(states, ["going", "left", "going", "none"]);
  // What cannot be read is not taken for removed, and is no news of apps either.
  const broken = { leavings: () => Promise.reject(new Error("denied")), cleared: async () => {} };
  const unread = new Sweeper({ apps: broken, wipe: async () => true, onState: (state) => void states.push(state) });
  assert.equal(await unread.sweep(), false);
  assert.equal(states.at(-1), "none");
});
