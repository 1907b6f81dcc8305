/** The stores of the React Native example, over keychains in memory: what they keep, and what a cut between two writes leaves. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { expoStore, keychainStore, type ExpoSecureStore, type ReactNativeKeychain } from "../examples/react-native/secure_store.js";
import { pair, restore, type CredentialStore } from "../src/index.js";
import { FakeHost } from "../src/testing.js";

/** As `expo-secure-store`: it does not tell what it has, and takes few characters in a key. */
function expo(): { readonly texts: Map<string, string>; readonly store: ExpoSecureStore; failAt: number } {
  const texts = new Map<string, string>();
  const checked = (key: string, options: { keychainAccessible?: number } = {}): string => {
    assert.match(key, /^[\w.-]+$/);
    assert.equal(options.keychainAccessible, 6, "it stays on this phone, and locked with it");
    return key;
  };
  const it = { texts, store: null as unknown as ExpoSecureStore, failAt: -1 };
  it.store = {
    AFTER_FIRST_UNLOCK_THIS_DEVICE_ONLY: 1,
    WHEN_UNLOCKED_THIS_DEVICE_ONLY: 6,
    getItemAsync: async (key, options) => texts.get(checked(key, options)) ?? null,
    setItemAsync: async (key, value, options) => {
      if (it.failAt-- === 0) throw new Error("cut");
      texts.set(checked(key, options), value);
    },
    deleteItemAsync: async (key, options) => void texts.delete(checked(key, options)),
  };
  return it;
}

/** As `react-native-keychain`. */
function keychain(texts = new Map<string, string>()): ReactNativeKeychain {
  return {
    ACCESSIBLE: { WHEN_UNLOCKED_THIS_DEVICE_ONLY: "AccessibleWhenUnlockedThisDeviceOnly" },
    getGenericPassword: async ({ service }) => {
      const password = texts.get(service);
      return password === undefined ? false : { password };
    },
    setGenericPassword: async (_, password, { service, accessible }) => {
      assert.equal(accessible, "AccessibleWhenUnlockedThisDeviceOnly");
      texts.set(service, password);
      return {};
    },
    resetGenericPassword: async ({ service }) => texts.delete(service),
    getAllGenericPasswordServices: async () => [...texts.keys(), "somebody.elses"],
  };
}

async function aLife(storage: CredentialStore): Promise<void> {
  const [fake, other] = [new FakeHost({ name: "Study" }), new FakeHost({ name: "Attic", address: "192.0.2.2:7878" })];
  for (const host of [fake, other]) {
    await (await pair(host.link(), { name: "Phone", storage, ...host.connections })).close();
  }
  assert.equal((await storage.list()).length, 2);
  const id = fake.fingerprint.toLowerCase();
  const [host] = await restore({ id, storage, ...fake.connections });
  assert.equal(await (await host?.fetch("/"))?.text(), "hello\n");
  await host?.forget();
  assert.equal((await storage.list()).length, 1);
}

test("the keychain of iOS and the key store of Android keep what a device needs to come back", async () => {
  await aLife(keychainStore(keychain()));
  const { texts, store } = expo();
  await aLife(expoStore(store));
  assert.deepEqual([...texts.keys()].filter((key) => key !== "couplet-index").length, 1);
});

test("a keychain that keeps nothing fails the pairing", async () => {
  const nothing = { ...keychain(), setGenericPassword: async () => false };
  const fake = new FakeHost();
  const work = pair(fake.link(), { name: "Phone", storage: keychainStore(nothing), ...fake.connections });
  await assert.rejects(work, { code: "CPL-1607" });
});

test("a phone that is switched off between two writes loses no name, and several writers lose none", async () => {
  for (const failAt of [0, 1, 2]) {
    const it = expo();
    const fake = new FakeHost();
    it.failAt = failAt;
    const work = pair(fake.link(), { name: "Phone", storage: expoStore(it.store), ...fake.connections });
    await assert.rejects(work, { code: "CPL-1607" });
    const again = expoStore(it.store);
    for (const key of it.texts.keys()) {
      if (key === "couplet-index") continue;
      assert.ok(JSON.parse(it.texts.get("couplet-index") ?? "[]").includes(key), `${key} is lost`);
    }
    assert.ok((await again.list()).every((one) => one.paired_at === undefined));
  }
  const { store } = expo();
  const storage = expoStore(store);
  const fakes = [1, 2, 3].map((at) => new FakeHost({ name: `Host ${at}`, address: `192.0.2.${at}:7878` }));
  const hosts = await Promise.all(fakes.map((it) => pair(it.link(), { name: "Phone", storage, ...it.connections })));
  assert.equal((await storage.list()).length, 3);
  await Promise.all(hosts.map((host) => host.close()));
});
