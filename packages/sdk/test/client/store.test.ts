import assert from "node:assert/strict";
import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { CoupletError, KeyValueStore, MemoryStore, pair, restore, type CredentialStore, type Fetch, type StoredCredentials } from "../../src/index.js";
import { FileStore } from "../../src/node.js";
import { readForm, storedHost, writeForm } from "../../src/client/store/form.js";
import { FakeHost } from "../../src/testing.js";
import { closes, DrivenClock, ofCode, onDisk, online, passing, staged } from "./stage.js";
import { forms, holds } from "./stores.js";

test("memory keeps credentials", () => holds(new MemoryStore()));

test("whatever keeps texts under keys keeps credentials, as keychains do", async () => {
  const texts = new Map<string, string>([["another app's", "x"]]);
  const seen = new Set<string>();
  await holds(
    new KeyValueStore({
      get: async (key) => texts.get(key) ?? null,
      set: async (key, value) => void (seen.add(key), texts.set(key, value)),
      delete: async (key) => void texts.delete(key),
      keys: async () => [...texts.keys()],
    }),
  );
  for (const key of seen) assert.match(key, /^[A-Za-z0-9._-]+$/);
  assert.equal(texts.get("another app's"), "x");
});

test("files keep credentials, for their owner alone", async () => {
  const parent = await mkdtemp(join(tmpdir(), "couplet-"));
  const folder = join(parent, "hosts");
  try {
    const store = new FileStore(folder);
    await holds(store);
    const [name = ""] = await readdir(folder);
    assert.match(name, /^[a-z2-7-]{19}\.json$/);
    const path = join(folder, name);
    assert.deepEqual([(await stat(folder)).mode & 0o777, (await stat(path)).mode & 0o777], [0o700, 0o600]);
    const whole = await readFile(path, "utf8");

    await chmod(path, 0o640);
    await assert.rejects(store.list(), ofCode("CPL-1607"));
    await chmod(path, 0o600);
    await chmod(folder, 0o750);
    await assert.rejects(store.list(), ofCode("CPL-1607"));
    await chmod(folder, 0o700);
    await writeFile(path, whole.slice(0, 100));
    await assert.rejects(store.list(), ofCode("CPL-1607"));
    await writeFile(path, " ".repeat(70_000));
    await assert.rejects(store.list(), ofCode("CPL-1607"));
    await rm(path);
    await writeFile(join(parent, "elsewhere"), whole, { mode: 0o600 });
    await symlink(join(parent, "elsewhere"), path);
    await assert.rejects(store.list(), "a link is not followed");
    await assert.rejects(store.load("../../etc/passwd"), ofCode("CPL-1608"));
  } finally {
    await rm(parent, { recursive: true });
  }
});

test("one damaged entry hides no other, is named, stays, and can be removed or paired over", async () => {
  const parent = await mkdtemp(join(tmpdir(), "couplet-"));
  const texts = new Map<string, string>();
  const keychain = new KeyValueStore({
    get: async (key) => texts.get(key) ?? null,
    set: async (key, value) => void texts.set(key, value),
    delete: async (key) => void texts.delete(key),
    keys: async () => [...texts.keys()],
  });
  const write = async (host: string, text: string) => writeFile(join(parent, "hosts", `${host}.json`), text, { mode: 0o600 });
  const stores = [
    [keychain, async (host: string, text: string) => void texts.set(`couplet.${host}`, text)],
    [onDisk(new FileStore(join(parent, "hosts"))), write],
  ] as const;
  try {
    for (const [store, overwrite] of stores) {
      const stage = await staged({ relay: "relay.example" }, { storage: store });
      const good = stage.host.id;
      await closes(stage);
      const [other] = await forms();
      assert.ok(other !== undefined);
      const bad = storedHost(other);
      await store.save(other);
      for (const damage of ["{", JSON.stringify({ ...other, psk: "" }), "5"]) {
        await overwrite(bad, damage);
        const told: string[] = [];
        const { given } = stage;
        const hosts = await restore({ ...given, storage: store, onUnusable: ({ code, message }) => void told.push(`${code} ${message}`) });
        assert.deepEqual(hosts.map((it) => it.id), [good]);
        for (const host of hosts) await passing(stage.clock, host.close());
        assert.ok(told.length === 1 && told[0]?.startsWith("CPL-1607"), String(told));
        if (damage === "{") assert.ok(told[0]?.includes(bad), String(told));
        // Nobody is kept from pairing.
        const fake = new FakeHost({ address: "192.0.2.9:1", name: "Another" });
        const paired = await passing(stage.clock, pair(fake.link(), { ...fake.connections, clock: stage.clock, name: "Phone", storage: store }));
        await passing(stage.clock, paired.close());
        assert.equal(await store.remove(paired.id), true);
      }
      await overwrite(bad, "{");
      await store.save(other);
      assert.deepEqual(await store.load(bad), [other], "what is damaged can be replaced");
      await overwrite(bad, "{");
      await assert.rejects(store.load(bad), ofCode("CPL-1607"), "it is not as if it were not there");
      assert.deepEqual([await store.remove(bad), (await store.list()).length], [true, 1]);
    }
    const [, files] = stores;
    const [other] = await forms();
    assert.ok(other !== undefined);
    await files[1](storedHost(other), JSON.stringify({ version: 2 }));
    await assert.rejects(files[0].save(other), ofCode("CPL-1607"), "a later version's is not");
  } finally {
    await rm(parent, { recursive: true });
  }
});

test("a number of news that cannot be counted is no news, and ends nothing", async () => {
  const stage = await staged();
  const { clock, fake, host, storage, given } = stage;
  const list = [{ kind: "lan", address: "192.0.2.66:1" }] as const;
  for (const serial of [2n ** 64n - 1n, 2n ** 53n]) fake.sessions[0]?.say({ t: "endpoints", list, serial });
  await clock.pass(1000);
  assert.equal(host.state.state, "direct");
  fake.sessions[0]?.say({ t: "endpoints", list: [...list, { kind: "lan", address: "192.0.2.1:7878" }], serial: 2n ** 53n - 1n });
  await clock.pass(1000);
  await closes(stage);
  const [form] = await storage.list();
  assert.deepEqual([form?.endpoints_serial, form?.endpoints.length], [Number.MAX_SAFE_INTEGER, 2]);
  // As `couplet connect` writes what such a host says.
  const text = JSON.stringify(form).replace(/"endpoints_serial":[0-9]+/, '"endpoints_serial":18446744073709551615');
  const beyond = new MemoryStore();
  await beyond.save(JSON.parse(text) as StoredCredentials);
  const [again] = await restore({ ...given, storage: beyond });
  assert.ok(again !== undefined);
  await online(clock, again);
  await closes({ clock, host: again });
});

test("a form is read as it was written, and what is damaged or newer is refused", async () => {
  const [form] = await forms();
  assert.ok(form !== undefined);
  assert.deepEqual(writeForm(await readForm(form)), form);
  // The secret parts print nothing.
  const read = await readForm(form);
  const printed = JSON.stringify(read, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
  for (const secret of [form.psk, form.device_key, form.device_token, form.room_secret]) {
    assert.ok(typeof secret === "string" && !printed.includes(secret));
  }
  const newer = { ...form, endpoints: [...form.endpoints, "satellite 7"], more: 1 };
  assert.equal((await readForm(newer)).endpoints.length, 2, "what a newer version added is passed over");
  const damages: Partial<Record<keyof StoredCredentials, unknown>>[] = [
    ...[{ version: 2 }, { version: 0 }, { psk: "AAAA" }, { psk: 5 }, { host_key: "" }, { device_key: "=" }, { suites: -1 }],
    ...[{ endpoints: ["lan nonsense"] }, { endpoints: ["relay a b"] }, { endpoints: 5 }, { room_number: 0.5 }, { device_id: null }],
  ];
  for (const damage of damages) {
    await assert.rejects(readForm({ ...form, ...damage } as StoredCredentials), ofCode("CPL-1607"), JSON.stringify(damage));
  }
  await assert.rejects(readForm(null as unknown as StoredCredentials), ofCode("CPL-1607"));
});

test("one damaged host hides no other, and if there is no other it is said", async () => {
  const stage = await staged();
  const { storage, given } = stage;
  await closes(stage);
  const [form] = await storage.list();
  assert.ok(form !== undefined);
  const damaged = { ...form, psk: "" };
  const store = (all: StoredCredentials[]): CredentialStore => Object.assign(new MemoryStore(), { list: async () => all });
  await assert.rejects(restore({ ...given, storage: store([damaged]) }), ofCode("CPL-1607"));
  const [host, ...others] = await restore({ ...given, storage: store([damaged, form]) });
  assert.ok(host !== undefined && others.length === 0);
  await host.close();
  assert.deepEqual(await restore({ ...given, storage: new MemoryStore() }), []);
  assert.deepEqual(await restore({ ...given, storage, id: "another" }), []);
});

test("what is stored under one host's name never leads to another", async () => {
  const parent = await mkdtemp(join(tmpdir(), "couplet-"));
  const texts = new Map<string, string>();
  const keychain = new KeyValueStore({
    get: async (key) => texts.get(key) ?? null,
    set: async (key, value) => void texts.set(key, value),
    delete: async (key) => void texts.delete(key),
    keys: async () => [...texts.keys()],
  });
  const path = (host: string): string => join(parent, `${host}.json`);
  const files = onDisk(new FileStore(parent));
  // A store of an app's own, which gives what it has.
  const inner: CredentialStore = new MemoryStore();
  let swapped: (readonly [string, string]) | null = null;
  const own: CredentialStore = {
    list: (unusable) => inner.list(unusable),
    load: (host) => inner.load(swapped?.[0] === host ? swapped[1] : host),
    save: (form, news) => inner.save(form, news),
    drop: (form) => inner.drop(form),
    remove: (host) => inner.remove(host),
  };
  const stores: readonly (readonly [CredentialStore, (at: string, of: string) => Promise<unknown>])[] = [
    [keychain, async (at, of) => texts.set(`couplet.${at}`, texts.get(`couplet.${of}`) ?? "")],
    [files, async (at, of) => writeFile(path(at), await readFile(path(of), "utf8"))],
    [own, async (at, of) => (swapped = [at, of])],
  ];
  try {
    for (const [storage, swap] of stores) {
      const clock = new DrivenClock();
      const heard: (string | null)[] = [];
      const app = (request: Request): Response => (heard.push(request.headers.get("x-secret")), new Response("the other one"));
      const [one, other] = [new FakeHost({ name: "NAS" }), new FakeHost({ name: "Attic", address: "192.0.2.2:7878", app })];
      const at = (url: string) => (url.includes("192.0.2.2") ? other : one).connections;
      const given = { ...one.connections, clock, storage, openSocket: (url: string, ca: string | null) => at(url).openSocket!(url, ca), fetch: ((url, init, ca) => at(url).fetch!(url, init, ca)) as Fetch };
      const there = await passing(clock, pair(other.link(), { name: "Phone", ...given }));
      await online(clock, there);
      await passing(clock, there.close());
      const host = await passing(clock, pair(one.link(), { name: "Phone", ...given }));
      await online(clock, host);
      await swap(host.id, there.id);
      one.cut();
      await clock.pass(2000);
      await online(clock, host);
      assert.equal(await (await passing(clock, host.fetch("/", { headers: { "x-secret": "1234" } }))).text(), "hello\n");
      assert.deepEqual([host.name, heard], ["NAS", []], "what was meant for one host went to no other");
      await closes({ clock, host });
      if (storage !== own) {
        await assert.rejects(storage.load(host.id), ofCode("CPL-1607"));
        const told: string[] = [];
        const onUnusable = ({ code }: CoupletError): void => void told.push(code);
        const back = await restore({ ...given, onUnusable });
        assert.deepEqual([back.map((it) => it.id), told], [[there.id], ["CPL-1607"]]);
        for (const it of back) await closes({ clock, host: it });
      }
      assert.equal(await passing(clock, host.forget()), false, "nobody is told in its place");
      assert.deepEqual([one.devices.length, other.devices.length], [1, 1]);
    }
  } finally {
    await rm(parent, { recursive: true });
  }
});
