/** The store of browsers, over an IndexedDB in memory and the WebCrypto of Node.js. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { IndexedDbStore, restore, type StoredCredentials } from "../../src/index.js";
import { storedHost } from "../../src/client/store/form.js";
import { MemoryIndexedDb } from "./memory_indexed_db.js";
import { closes, ofCode, online, staged } from "./stage.js";
import { forms, holds } from "./stores.js";

/** A database that is there while the test runs. */
function database(t: TestContext): MemoryIndexedDb {
  const made = new MemoryIndexedDb();
  Object.defineProperty(globalThis, "indexedDB", { value: made.factory, configurable: true });
  t.after(() => Reflect.deleteProperty(globalThis, "indexedDB"));
  return made;
}

interface Row {
  readonly sealed: { readonly iv: Uint8Array<ArrayBuffer>; readonly bytes: ArrayBuffer };
}

/** Seals a row as the version before this one did: without its name. */
async function sealedBefore(there: MemoryIndexedDb, name: string, form: StoredCredentials, deviceKey?: unknown): Promise<void> {
  const key = there.table("keys").get("wrapping") as CryptoKey;
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const bytes = await crypto.subtle.encrypt({ name: "AES-GCM", iv }, key, new TextEncoder().encode(JSON.stringify(form)));
  const isPending = form.paired_at === undefined;
  there.table("credentials").set(name, { host: storedHost(form), isPending, ...(deviceKey === undefined ? {} : { deviceKey }), sealed: { iv, bytes } });
}

test("a browser's database keeps credentials", async (t) => {
  database(t);
  await holds(new IndexedDbStore());
});

test("what was moved to another name in the database is not opened there", async (t) => {
  const there = database(t);
  const [one, other] = await forms();
  assert.ok(one !== undefined && other !== undefined);
  const store = new IndexedDbStore();
  for (const form of [one, other]) await store.save(form);
  const rows = there.table("credentials");
  const [host, another] = [storedHost(one), storedHost(other)];
  const [row, foreign] = [rows.get(host) as Row, rows.get(another) as Row];
  // As it is; and as if it had always been this host's.
  for (const moved of [foreign, { ...row, sealed: foreign.sealed }]) {
    rows.set(host, moved);
    await assert.rejects(store.load(host), ofCode("CPL-1607"));
    const told: string[] = [];
    assert.deepEqual(await store.list(({ code }) => void told.push(code)), [other]);
    assert.deepEqual(told, ["CPL-1607"]);
  }
  // Nor is finished what was not.
  rows.clear();
  const { paired_at: _, ...pending } = one;
  await store.save(pending);
  rows.set(host, rows.get(`${host}.pending`));
  rows.delete(`${host}.pending`);
  await assert.rejects(store.load(host), ofCode("CPL-1607"));
});

test("what the version before sealed opens still, is sealed anew with its name, and leads back to the host", async (t) => {
  const there = database(t);
  const store = new IndexedDbStore();
  const stage = await staged({}, { storage: store });
  await closes(stage);
  const id = stage.host.id;
  const [form] = await store.load(id);
  assert.ok(form !== undefined && typeof form.device_key !== "string", "WebCrypto holds the key");
  await sealedBefore(there, id, { ...form, device_key: "" }, form.device_key);
  const { paired_at: _, ...pending } = { ...form, psk_id: "AAAAAAAAAAA", device_key: "" };
  await sealedBefore(there, `${id}.pending`, pending, form.device_key);
  const before = [...there.table("credentials").values()].map((row) => (row as Row).sealed.iv);
  const read = await store.load(id);
  assert.deepEqual(read.map((it) => it.psk_id), ["AAAAAAAAAAA", form.psk_id]);
  const after = [...there.table("credentials").values()].map((row) => (row as Row).sealed.iv);
  assert.ok(after.every((iv, at) => iv.toString() !== before[at]?.toString()), "both are written anew");
  const key = there.table("keys").get("wrapping") as CryptoKey;
  for (const [name, row] of there.table("credentials")) {
    const { iv, bytes } = (row as Row).sealed;
    await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: new TextEncoder().encode(name) }, key, bytes);
  }
  assert.deepEqual((await store.load(id)).map((it) => it.psk_id), ["AAAAAAAAAAA", form.psk_id]);
  const [host] = await restore({ ...stage.given, storage: store, id });
  assert.ok(host !== undefined);
  await online(stage.clock, host);
  await closes({ clock: stage.clock, host });
  // What an earlier version sealed of another host is that host's all the same.
  const [other] = await forms();
  assert.ok(other !== undefined);
  await sealedBefore(there, id, other);
  assert.deepEqual((await store.load(id)).map((it) => it.psk_id), ["AAAAAAAAAAA"], "one that can be read is enough");
  there.table("credentials").delete(`${id}.pending`);
  await assert.rejects(store.load(id), ofCode("CPL-1607"));
});
