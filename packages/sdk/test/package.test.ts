/** The package as an app installs it: what is in it, that it is found by every way of resolution, and that it leaves nothing unasked. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { build } from "vite";

interface Package {
  readonly dependencies: Record<string, string>;
  readonly devDependencies: Record<string, string>;
  readonly sideEffects: readonly string[];
  readonly exports: Record<string, Record<string, string>>;
}

const PACKAGE = fileURLToPath(new URL("../../", import.meta.url));
/** An app beside it, in whose node_modules it lies as it is packed. */
const APP = join(PACKAGE, "build/app");
const TSC = join(PACKAGE, "node_modules/typescript/bin/tsc");

const description = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8")) as Package;
let packed: string[] = [];

/** npm, as it comes with Node.js. */
function npm(): string {
  const [bin, name] = [dirname(process.execPath), "node_modules/npm/bin/npm-cli.js"];
  return [join(bin, "../lib", name), join(bin, name)].find((path) => existsSync(path)) ?? assert.fail("there is no npm");
}

before(() => {
  const options = { cwd: PACKAGE, encoding: "utf8" } as const;
  const said = execFileSync(process.execPath, [npm(), "pack", "--dry-run", "--json", "--ignore-scripts", "--offline"], options);
  packed = (JSON.parse(said) as [{ files: { path: string }[] }])[0].files.map(({ path }) => path);
  rmSync(APP, { recursive: true, force: true });
  mkdirSync(APP, { recursive: true });
  for (const path of packed) cpSync(join(PACKAGE, path), join(APP, "node_modules/couplet", path));
  writeFileSync(join(APP, "package.json"), '{ "name": "app", "type": "module" }');
});

/** What the compiler says to this text, which is an app's. */
function compiled(name: string, text: string, options: object): string {
  writeFileSync(join(APP, name), text);
  const compilerOptions = { target: "es2022", strict: true, noEmit: true, types: [], exactOptionalPropertyTypes: true, ...options };
  writeFileSync(join(APP, "tsconfig.json"), JSON.stringify({ compilerOptions, files: [name] }));
  return spawnSync(process.execPath, [TSC, "--project", APP], { encoding: "utf8" }).stdout;
}

test("what the package needs is pinned, and at run time it is noble alone", () => {
  const { dependencies, devDependencies } = description;
  for (const name of Object.keys(dependencies)) assert.match(name, /^@noble\//);
  for (const version of Object.values({ ...dependencies, ...devDependencies }))
    assert.match(version, /^\d+\.\d+\.\d+$/);
  assert.deepEqual(description.sideEffects, ["./dist/element.js"], "the element defines itself; nothing else does anything");
});

test("the package has its licenses, its maps and all that it exports, and nothing else", () => {
  const own = packed.filter((path) => !/^dist\/[a-z0-9_/]+\.(js|js\.map|d\.ts)$/.test(path));
  assert.deepEqual(own.sort(), ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "package.json"]);
  for (const name of ["LICENSE-APACHE", "LICENSE-MIT"]) {
    assert.equal(readFileSync(join(PACKAGE, name), "utf8"), readFileSync(join(PACKAGE, "../..", name), "utf8"));
  }
  for (const path of Object.values(description.exports).flatMap((entry) => Object.values(entry))) assert.ok(packed.includes(path.slice(2)), path);
  for (const path of packed.filter((it) => it.endsWith(".js.map"))) {
    const { sourcesContent } = JSON.parse(readFileSync(join(PACKAGE, path), "utf8")) as { readonly sourcesContent?: readonly string[] };
    assert.ok(sourcesContent?.every((text) => text !== ""), `${path} shows its source`);
  }
});

test("Node.js imports and requires it by its names", () => {
  const names = Object.keys(description.exports).map((name) => name.replace(/^\./, "couplet"));
  const script = `for (const name of ${JSON.stringify(names)}) {
    const [imported, required] = [await import(name), process.getBuiltinModule("module").createRequire(${JSON.stringify(join(APP, "x.js"))})(name)];
    console.log(name, Object.keys(imported).length > 0 || name === "couplet/react", imported === required);
  }`;
  writeFileSync(join(APP, "all.js"), script);
  const said = execFileSync(process.execPath, [join(APP, "all.js")], { encoding: "utf8" });
  assert.deepEqual(said.trim().split("\n"), names.map((name) => `${name} true true`));
});

const USES = `
import { isOnline, pair, type App, type CloseReason, type FinalState, type Host, type OnlineState, type SocketMessageEvent, type State } from "couplet";
import { FileStore, restore } from "couplet/node";
import { FakeHost } from "couplet/testing";
import { CoupletConnect, ENGLISH } from "couplet/element";
declare const state: State;
export const endpoint: string | null = isOnline(state) && state.state === "direct" ? state.endpoint : null;
export const used: [App, CloseReason, FinalState, OnlineState, SocketMessageEvent<unknown>] | null = null;
export const hosts: Promise<Host[]> = restore({ storage: new FileStore("/tmp/x") });
export const host = pair(new FakeHost({ apps: { notes: () => new Response() } }).link(), { name: "x", lan: true });
export const words: string = ENGLISH.pair;
document.addEventListener("couplet-paired", ({ detail }) => detail.host.name);
export const element: CoupletConnect | null = document.querySelector("couplet-connect");
`;

for (const [module, moduleResolution] of [["node16", "node16"], ["nodenext", "nodenext"], ["esnext", "bundler"]] as const) {
  test(`its types are found and whole under ${moduleResolution}`, () => {
    assert.equal(compiled("uses.ts", USES, { module, moduleResolution, lib: ["es2022", "dom"] }), "");
  });
}

test("types need the names of the DOM, or an app that does not look into packages", () => {
  const text = 'import { restore } from "couplet";\nexport const hosts = restore();\n';
  const options = { module: "node16", moduleResolution: "node16", lib: ["es2022"] };
  assert.match(compiled("bare.ts", text, options), /node_modules\/couplet\/dist\/.*(BodyInit|HeadersInit|RequestInit)/);
  assert.equal(compiled("bare.ts", text, { ...options, skipLibCheck: true }), "");
});

test("TSX knows the element", () => {
  const options = { module: "esnext", moduleResolution: "bundler", lib: ["es2022", "dom"], jsx: "react-jsx" };
  const element = (attributes: string): string => `import "couplet/element";
import type {} from "couplet/react";
export const page = <couplet-connect ${attributes} />;
`;
  const good = 'device-name="Tablet" id="x" options={{ lan: true }} texts={{ pair: "x" }} oncouplet-paired={({ detail }) => detail.host.name}';
  assert.equal(compiled("page.tsx", element(good), options), "");
  assert.match(compiled("page.tsx", element("options={5}"), options), /page\.tsx\(3,.*ConnectOptions/);
});

test("an import of which nothing is used leaves nothing in a bundle", async () => {
  const size = async (text: string): Promise<number> => {
    writeFileSync(join(APP, "bundled.js"), text);
    const built = await build({
      root: APP,
      configFile: false,
      logLevel: "silent",
      build: { write: false, target: "es2022", lib: { entry: join(APP, "bundled.js"), formats: ["es"], fileName: "out" } },
    });
    const [output] = Array.isArray(built) ? built : [built];
    assert.ok(output !== undefined && "output" in output);
    return output.output.reduce((sum, chunk) => sum + ("code" in chunk ? chunk.code.trim().length : 0), 0);
  };
  assert.equal(await size('import { pair, restore } from "couplet";\nimport "couplet";\nimport "couplet/node";\nimport "couplet/testing";\n'), 0);
  assert.ok((await size('import { pair } from "couplet";\nglobalThis.pair = pair;\n')) > 10_000);
  assert.ok((await size('import "couplet/element";\n')) > 10_000, "the element defines itself");
});
