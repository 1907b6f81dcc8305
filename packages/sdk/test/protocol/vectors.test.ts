import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";

import { read, VECTORS } from "./repository.js";
import { signature } from "./signature_vectors.js";
import * as readers from "./vectors.js";

/** Everything that stands in a vectors file. */
type Value = string | number | null | readonly Value[] | { readonly [key: string]: Value };
type Reader = (vectors: never) => void | Promise<void>;

const READERS: Record<string, Reader> = {
  "check_code.json": readers.checkCode,
  "derivations.json": readers.derivations,
  "frames.json": readers.frames,
  "handshake.json": readers.handshake,
  "noise.json": readers.noise,
  "offer.json": readers.offer,
  "rekey.json": readers.rekey,
  "rooms.json": readers.rooms,
  "signature.json": signature,
};

/** The same, crossing out of `unread` each value that is looked at. */
function tracked(value: Value, path: string, unread: Set<string>): Value {
  if (typeof value !== "object" || value === null) {
    unread.add(path);
    return value;
  }
  const inner: Record<string, Value> = {};
  for (const [key, part] of Object.entries(value)) inner[key] = tracked(part, `${path}.${key}`, unread);
  return new Proxy(Array.isArray(value) ? Object.assign([], inner) : inner, {
    get(target, key, receiver): unknown {
      unread.delete(`${path}.${String(key)}`);
      return Reflect.get(target, key, receiver);
    },
  }) as Value;
}

const files = readdirSync(VECTORS).filter((file) => file.endsWith(".json"));

test("there is a reader for every file of vectors, and a file for every reader", () => {
  assert.deepEqual(files.sort(), Object.keys(READERS).sort());
});

for (const file of files) {
  test(`every vector of ${file}`, async () => {
    const reader = READERS[file];
    assert.ok(reader !== undefined, `${file} has no reader`);
    const unread = new Set<string>();
    const vectors = tracked(JSON.parse(read(`spec/vectors/${file}`)) as Value, "", unread);
    assert.ok(unread.size > 0);
    await reader(vectors as never);
    assert.deepEqual([...unread], [], "values that no reader has looked at");
  });
}
