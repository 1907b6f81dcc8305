/**
 * The SDK's types of answers are those of spec/openapi.json. Each type has two samples here, which the compiler holds to it: one
 * with all of its members, one with those that it must have. The schema takes both, has no member more, and demands none less.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Ajv2020 } from "ajv/dist/2020.js";

import { answered, type RelayAnswer } from "../src/api.js";
import { CoupletError, MemoryStore, pair, type App, type Health, type Me, type PairingFeature, type Problem, type RelayFeature, type Scope } from "../src/index.js";
import { FakeHost } from "../src/testing.js";
import { read } from "./protocol/repository.js";

/** The members that a type must have. */
type Needed<T> = { [K in keyof T as object extends Pick<T, K> ? never : K]: T[K] };
interface Schema {
  readonly required?: readonly string[];
  readonly properties?: Record<string, Schema & { readonly type?: string | readonly string[] }>;
}

const openapi = JSON.parse(read("spec/openapi.json")) as { components: { schemas: Record<string, Schema> } };
const { schemas } = openapi.components;

const ajv = new Ajv2020({ strict: false, validateFormats: false });
ajv.addSchema(openapi, "openapi.json");

/** What is wrong with a sample of this schema, if anything: a value, a member that it does not know, one that it lacks. */
function complaints(name: string, schema: Schema, full: object, least: object): string[] {
  const check = ajv.compile({ $ref: `openapi.json#/components/schemas/${name}` });
  const wrong: string[] = [];
  for (const sample of [full, least]) if (!check(sample)) wrong.push(ajv.errorsText(check.errors));
  const [known, has] = [Object.keys(schema.properties ?? {}), Object.keys(full)];
  wrong.push(...known.filter((it) => !has.includes(it)).map((it) => `the SDK does not know ${it}`));
  wrong.push(...has.filter((it) => !known.includes(it)).map((it) => `the host does not know ${it}`));
  const needed = new Set(schema.required ?? []);
  wrong.push(...Object.keys(least).filter((it) => !needed.has(it)).map((it) => `${it} may be absent`));
  return wrong;
}

/** Schemas that were compared. */
const held = new Set<string>();

function holds<T extends object>(name: string, full: Required<T>, least: Needed<T>): void {
  const schema = schemas[name];
  assert.ok(schema !== undefined, `${name} is gone`);
  assert.deepEqual(complaints(name, schema, full, least), [], name);
  held.add(name);
}

/** What these schemas are made of. */
function parts(...names: readonly string[]): Set<string> {
  const found = new Set(names);
  for (const name of found) {
    for (const [, part] of JSON.stringify(schemas[name]).matchAll(/"#\/components\/schemas\/([^"]+)"/g)) found.add(part ?? "");
  }
  return found;
}

const scope: Required<Scope> = { read_only: true, paths: ["/api"] };
const me: Required<Me> = {
  device_id: "00000000-0000-4000-8000-000000000000",
  device_name: "Phone",
  device_model: "Pixel 12",
  scope,
  expires_at: "2026-11-26T00:00:00Z",
  server_name: "Study",
  apps: [{ name: "notes" }],
};
const pairing: Required<PairingFeature> = {
  available: true,
  transport: "daemon-http",
  endpoint: "/pair",
  token_bits: 128,
  rng: "os-csprng",
};
const relay: Required<RelayFeature> = { available: true, connected: false };
const health: Required<Health> = { status: "ok", version: "3.1.0", features: { pairing, relay } };

test("what the SDK says of answers is what the host says of them", () => {
  holds<Scope>("Scope", scope, {});
  const { device_id, device_name, server_name } = me;
  holds<App>("AppInfo", { name: "notes" }, { name: "notes" });
  holds<Me>("MeAnswer", me, { device_id, device_name, scope: {}, server_name });
  // Absent and null are both said.
  holds<Me>("MeAnswer", { ...me, device_model: null, expires_at: null }, { device_id, device_name, scope, server_name });
  holds<PairingFeature>("PairingFeature", pairing, pairing);
  holds<RelayFeature>("RelayFeature", relay, relay);
  holds<Health["features"]>("Features", health.features, health.features);
  holds<Health>("Health", health, health);
  const least = { type: "urn:couplet:error:CPL-1203", title: "t", status: 410, detail: "d", code: "CPL-1203" };
  holds<Problem>("Problem", { ...least, request_id: "r" }, least);
  holds<Problem>("Problem", { ...least, request_id: null }, least);
  const missing = [...parts("MeAnswer", "Health", "Problem")].filter((name) => !held.has(name));
  assert.deepEqual(missing, [], "nothing that these are made of goes unseen");
  assert.ok(parts("MeAnswer").has("AppInfo") && held.has("AppInfo"));
  const grown = { ...schemas["AppInfo"], properties: { ...schemas["AppInfo"]?.properties, icon: { type: "string" } } };
  assert.deepEqual(complaints("AppInfo", grown, { name: "notes" }, { name: "notes" }), ["the SDK does not know icon"]);
});

test("a member that either side renames, drops, adds or types anew is found", () => {
  const schema = schemas["MeAnswer"] as Schema;
  const { device_id, device_name, server_name } = me;
  const least = { device_id, device_name, scope, server_name };
  const { server_name: renamed, ...rest } = me;
  const { server_name: _, ...leastRest } = least;
  assert.deepEqual(complaints("MeAnswer", schema, me, least), []);
  assert.notDeepEqual(complaints("MeAnswer", schema, { ...rest, host_name: renamed }, least), []);
  assert.notDeepEqual(complaints("MeAnswer", schema, me, { ...leastRest, host_name: renamed }), []);
  assert.notDeepEqual(complaints("MeAnswer", schema, me, leastRest), []);
  assert.notDeepEqual(complaints("MeAnswer", schema, me, { ...least, expires_at: null }), []);
  assert.notDeepEqual(complaints("MeAnswer", schema, { ...me, scope: { read_only: "yes" } }, least), []);
  const { server_name: property, ...others } = schema.properties ?? {};
  assert.ok(property !== undefined);
  const theirs = { ...schema, properties: { ...others, host_name: property } };
  assert.deepEqual(complaints("MeAnswer", theirs, me, least), ["the SDK does not know host_name", "the host does not know server_name"]);
  // And the compiler holds the samples to the type.
  // @ts-expect-error a name that the type has not
  const wrong: Required<Me> = { ...rest, host_name: renamed };
  assert.ok(wrong !== undefined);
});

test("what a relay answers to a device is what the protocol says of it", () => {
  const answer: Required<RelayAnswer> = { sid: "", relay_url: "", expires_at: "" };
  const said = /`POST \/pair` with [^.]*? asks for a session: `\{([^}]*)\}`/.exec(read("spec/protocol.md"))?.[1];
  assert.deepEqual(said?.split(", "), Object.keys(answer).map((name) => `"${name}"`));
});

test("a device asks what it is to its host, and is told by the host's code why not", async () => {
  const fake = new FakeHost({ name: "Study" });
  const host = await pair(fake.link(), { name: "Phone", storage: new MemoryStore(), ...fake.connections });
  const answer = await host.me();
  assert.deepEqual(answer, { device_id: host.deviceId, device_name: "Phone", scope: { read_only: false, paths: [] }, server_name: "Study", apps: [{ name: "app" }] });
  const { scope: limits, apps: _, ...rest } = answer;
  holds<Me>("MeAnswer", { ...me, ...answer, scope: { ...scope, ...limits } }, { ...rest, scope: limits });
  const stopped = host.me({ signal: AbortSignal.abort(new Error("enough")) });
  await assert.rejects(stopped, /enough/);
  await host.forget();
  await assert.rejects(host.me(), (error) => error instanceof CoupletError && error.code === "CPL-1608");
});

test("no host says that what a device has stored is of no use", async () => {
  for (const [said, code] of [["CPL-1103", "CPL-1103"], ["CPL-1607", "CPL-1602"], ["CPL-1603", "CPL-1602"]]) {
    await assert.rejects(answered(Response.json({ code: said }, { status: 401 })), { code });
  }
});
