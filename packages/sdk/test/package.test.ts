import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

interface Package {
  readonly dependencies: Record<string, string>;
  readonly devDependencies: Record<string, string>;
  readonly sideEffects: readonly string[];
}

const description = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as Package;

test("what the package needs is pinned, and at run time it is noble alone", () => {
  const { dependencies, devDependencies } = description;
  for (const name of Object.keys(dependencies)) assert.match(name, /^@noble\//);
  for (const version of Object.values({ ...dependencies, ...devDependencies }))
    assert.match(version, /^\d+\.\d+\.\d+$/);
  assert.deepEqual(description.sideEffects, ["./dist/element.js"], "the element defines itself; nothing else does anything");
});
