/** Each case of tests/tests/sealed has a twin among these tests, or a reason why only a host can do it: test/README.md says which. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const HERE = new URL("../../test/", import.meta.url);
const SEALED = new URL("../../../../tests/tests/sealed/", import.meta.url);

/** The cases of a file of Rust: functions that are tests. */
function cases(file: string, text: string): string[] {
  const found = text.matchAll(/#\[(?:tokio::)?test(?:\([^)]*\))?\]\s*(?:(?:\/\/[^\n]*|#\[[^\]]*\])\s*)*(?:pub )?(?:async )?fn (\w+)/g);
  return [...found].map(([, name]) => `${file.replace(/\.rs$/, "")}::${name}`);
}

/** The rows of the table. */
function rows(text: string): Map<string, string> {
  return new Map([...text.matchAll(/^\| `(\w+::\w+)` \| (.+) \|$/gm)].map(([, name = "", twin = ""]) => [name, twin]));
}

/** What is wrong with a twin, if anything. */
function complaint(twin: string): string | null {
  if (/^only a host can do it: .{5,}/.test(twin)) return null;
  const [, path = "", name = ""] = /^`([\w/.]+\.test\.ts)`: (.+)$/.exec(twin) ?? [];
  if (path === "" || !existsSync(new URL(path, HERE))) return `there is no ${path}`;
  const text = readFileSync(new URL(path, HERE), "utf8");
  return ['"', "`"].some((quote) => text.includes(quote + name + quote)) ? null : `${path} has no ${name}`;
}

test("each hostile case of the host has its twin here", () => {
  const files = readdirSync(SEALED).filter((name) => name.endsWith(".rs"));
  const found = files.flatMap((name) => cases(name, readFileSync(new URL(name, SEALED), "utf8")));
  // None is passed over because it is written in another way.
  const written = files.reduce((sum, name) => sum + readFileSync(new URL(name, SEALED), "utf8").split(/^#\[(?:tokio::)?test\b/m).length - 1, 0);
  assert.ok(found.length === written && found.length > 60, `${found.length} of ${written}`);
  const table = rows(readFileSync(new URL("README.md", HERE), "utf8"));
  assert.deepEqual([...table.keys()].sort(), [...found].sort());
  assert.deepEqual([...table].flatMap(([name, twin]) => complaint(twin)?.concat(`: ${name}`) ?? []), []);
});

test("a case without a twin is found, and a twin that there is not", () => {
  const text = "#[tokio::test(flavor = \"multi_thread\")]\n/// Why.\nasync fn a_new_case() {}\n\n#[test]\nfn another() {}\n";
  assert.deepEqual(cases("new.rs", text), ["new::a_new_case", "new::another"]);
  assert.deepEqual([...rows("| case | twin |\n| --- | --- |\n| `a::b` | c |\n")], [["a::b", "c"]]);
  for (const twin of ["", "only a host can do it: ", "`no.test.ts`: x", `\`twins.test.ts\`: no such ${"test"}`]) assert.ok(complaint(twin), twin);
  assert.equal(complaint("`twins.test.ts`: each hostile case of the host has its twin here"), null);
});
