/** What `<couplet-connect>` does and says, without a page; tests/tests/sdk/element.rs looks at it in a browser. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { define, ENGLISH } from "../src/element.js";
import { Connector, type ConnectOptions, type View } from "../src/element/connector.js";
import { canScan } from "../src/element/scan.js";
import { CoupletError, MemoryStore, type Host } from "../src/index.js";
import { FakeHost, type FakeHostOptions } from "../src/testing.js";
import { DrivenClock, passing } from "./client/stage.js";

/** A connector, and what it has told. */
function connecting(options: FakeHostOptions = {}, more: ConnectOptions = {}) {
  const [fake, clock] = [new FakeHost(options), new DrivenClock()];
  const given: ConnectOptions = { ...fake.connections, clock, storage: new MemoryStore(), ...more };
  const views: View[] = [];
  const hosts: [Host, boolean][] = [];
  const errors: unknown[] = [];
  const connector = new Connector({
    changed: (view) => void views.push(view),
    paired: (host, restored) => void hosts.push([host, restored]),
    failed: (error) => void errors.push(error),
  });
  const names = (): string[] => views.map((it) => (it.view === "host" ? it.state.state : it.view));
  const reaches = async (name: string): Promise<void> => {
    for (let passed = 0; names().at(-1) !== name && passed < 60_000; passed += 50) await clock.pass(50);
    assert.equal(names().at(-1), name, names().join(" "));
  };
  const ended = async (): Promise<void> => {
    connector.stop();
    await clock.pass(10_000);
    assert.equal(clock.pending, 0, "no alarm is left behind");
  };
  return { fake, clock, given, connector, views, names, hosts, errors, reaches, ended };
}

test("from nothing to a host, back after a reload, and forgotten", async () => {
  const stage = connecting({ asks: true });
  const { connector, clock, fake, given } = stage;
  await connector.restore(given);
  assert.deepEqual(stage.names(), ["restoring", "unpaired"]);
  const work = connector.pair(fake.link(), "Page", given);
  await stage.reaches("approval");
  const view = connector.view;
  assert.ok(view.view === "approval" && view.hostName === "Fake host");
  assert.match(view.checkCode, /^[0-9]{3} [0-9]{3}$/);
  await fake.approve(view.checkCode);
  await passing(clock, work);
  await stage.reaches("direct");
  assert.equal(stage.hosts.length, 1);
  assert.equal(connector.host, stage.hosts[0]?.[0]);
  assert.deepEqual(fake.devices.map((it) => it.name), ["Page"]);
  connector.stop();
  assert.equal(connector.host, null);

  await connector.restore(given);
  await stage.reaches("direct");
  assert.deepEqual(stage.hosts.map(([, restored]) => restored), [false, true]);
  await passing(clock, connector.forget());
  assert.deepEqual(stage.names().slice(-2), ["leaving", "unpaired"]);
  assert.deepEqual([fake.devices, await given.storage?.list()], [[], []]);
  await stage.ended();
});

test("what comes to nothing is told once, with its code and what to do", async () => {
  const stage = connecting();
  await stage.connector.pair("https://example.org/", "Page", stage.given);
  const [error, ...others] = stage.errors;
  assert.ok(error instanceof CoupletError && error.code === "CPL-1605" && others.length === 0);
  assert.deepEqual(stage.names(), ["connecting", "failed"]);
  const trouble = ENGLISH.error(error);
  assert.ok(trouble.message.length > 5 && trouble.next === error.next && trouble.code === "CPL-1605");
  await stage.ended();
});

test("a pairing that is called off says nothing more, whatever becomes of it", async () => {
  const stage = connecting({ asks: true });
  const { connector, fake, clock } = stage;
  const work = connector.pair(fake.link(), "Page", stage.given);
  await stage.reaches("approval");
  connector.cancel();
  await passing(clock, work);
  await clock.pass(2000);
  assert.deepEqual(stage.names(), ["connecting", "approval", "unpaired"]);
  assert.deepEqual([stage.errors, stage.hosts, fake.devices], [[], [], []]);
  await stage.ended();
});

test("whoever is told of a host may let go of it at once, and hears no more of it", async () => {
  for (const word of ["changed", "paired"]) {
    const { fake, clock, given } = connecting();
    const shown: string[] = [];
    let paired = 0;
    const leaves = (now: string): void => {
      if (now === word) void connector.forget();
    };
    const connector: Connector = new Connector({
      changed: (view) => {
        shown.push(view.view);
        if (view.view === "host") leaves("changed");
      },
      paired: () => {
        paired += 1;
        leaves("paired");
      },
      failed: () => {},
    });
    await passing(clock, connector.pair(fake.link(), "Page", given));
    await clock.pass(20_000);
    assert.deepEqual(shown.slice(-3), ["host", "leaving", "unpaired"]);
    assert.deepEqual([connector.view, fake.devices, paired], [{ view: "unpaired" }, [], word === "paired" ? 1 : 0]);
    connector.stop();
    await clock.pass(10_000);
    assert.equal(clock.pending, 0);
  }
});

test("a host that goes away is offline with its cause, comes back, and revokes", async () => {
  const stage = connecting();
  const { connector, fake, clock } = stage;
  await passing(clock, connector.pair(fake.link(), "Page", stage.given));
  await stage.reaches("direct");
  fake.isReachable = false;
  fake.cut();
  await stage.reaches("offline");
  const { view } = connector;
  assert.ok(view.view === "host" && view.state.state === "offline");
  const cause = ENGLISH.cause(view.state);
  assert.ok(cause.message.length > 5 && cause.next.length > 5);
  fake.isReachable = true;
  connector.retry();
  await stage.reaches("direct");
  fake.revoke();
  await stage.reaches("revoked");
  await passing(clock, connector.forget());
  assert.deepEqual(stage.names().slice(-2), ["leaving", "unpaired"]);
  await stage.ended();
});

test("a connection that the app has closed is opened again, and forgotten at its host as well", async () => {
  const stage = connecting();
  const { connector, fake, clock, given } = stage;
  await passing(clock, connector.pair(fake.link(), "Page", given));
  await stage.reaches("direct");
  const closed = async (): Promise<void> => {
    const { host } = connector;
    assert.ok(host !== null);
    await passing(clock, host.close());
    await stage.reaches("closed");
  };
  await closed();
  await passing(clock, connector.reopen(given));
  await stage.reaches("direct");
  assert.equal(fake.devices.length, 1);
  await closed();
  await passing(clock, connector.forget());
  assert.deepEqual(connector.view, { view: "unpaired" });
  assert.deepEqual([fake.devices, await given.storage?.list()], [[], []]);
  await stage.ended();
});

test("a host that could not be told that it is forgotten is named", async () => {
  const stage = connecting({ name: "Study" });
  const { connector, fake, clock, given } = stage;
  await passing(clock, connector.pair(fake.link(), "Page", given));
  await stage.reaches("direct");
  fake.isReachable = false;
  fake.cut();
  await stage.reaches("offline");
  await passing(clock, connector.forget());
  assert.deepEqual(connector.view, { view: "unpaired", untold: "Study" });
  assert.deepEqual([fake.devices.length, await given.storage?.list()], [1, []]);
  await stage.ended();
});

test("one of several hosts is held, and by its id the one that is meant", async () => {
  const storage = new MemoryStore();
  const first = connecting({ name: "Attic", address: "192.0.2.1:7878" }, { storage });
  const second = connecting({ name: "Study", address: "192.0.2.2:7878" }, { storage });
  for (const stage of [second, first]) {
    await passing(stage.clock, stage.connector.pair(stage.fake.link(), "Page", stage.given));
    await stage.ended();
  }
  await first.connector.restore(first.given);
  assert.equal(first.connector.host?.name, "Attic");
  const id = second.fake.fingerprint.toLowerCase();
  await second.connector.restore({ ...second.given, id });
  assert.equal(second.connector.host?.name, "Study");
  await first.ended();
  await second.ended();
});

test("what cannot be read is an error, and no page is needed to import the element", async () => {
  const storage = new MemoryStore();
  storage.list = async () => {
    throw new Error("no disk");
  };
  const stage = connecting({}, { storage });
  await stage.connector.restore(stage.given);
  assert.deepEqual(stage.names(), ["restoring", "failed"]);
  assert.equal((stage.errors[0] as CoupletError).code, "CPL-1607");
  define();
  assert.equal(await canScan(null), false);
});
