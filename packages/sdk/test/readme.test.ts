/**
 * README.md is true: each `ts` block compiles against the package as an app sees it, and those marked `run` are run, in their order,
 * with a host in memory in place of a real one. What they print stands behind them: `// prints 200`.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { KNOWN_CODES } from "../src/protocol/error.js";
import type { FakeHost } from "../src/testing.js";
import type { Host } from "../src/index.js";

const PACKAGE = new URL("../../", import.meta.url);
const FOLDER = new URL("build/readme/", PACKAGE);

interface Snippet {
  readonly name: string;
  readonly text: string;
  readonly isRun: boolean;
}

const readme = readFileSync(new URL("README.md", PACKAGE), "utf8");

/** Blocks of any other language would pass unnoticed. */
function snippets(text: string): Snippet[] {
  const found: Snippet[] = [];
  for (const [, kind = "", body = ""] of text.matchAll(/^```(\S.*)\n([^]*?)^```$/gm)) {
    assert.ok(kind === "ts" || kind === "ts run", `what is ${kind}?`);
    found.push({ name: `snippet${found.length}`, text: body, isRun: kind === "ts run" });
  }
  return found;
}

/** What stands around a snippet: a module of its own, with a link and a host. */
const AROUND = `import type { Host } from "couplet";
declare global {
  const link: string;
  const host: Host;
  function show(text: string): void;
}
`;

/** In place of "couplet", for those that run: all of it, with the connections of a host in memory. */
const INSTEAD = `import * as couplet from "couplet";
export * from "couplet";
const given = (options) => ({ storage: globalThis.storage, ...globalThis.fake.connections, ...options });
const kept = (hosts) => (globalThis.opened.push(...hosts), hosts);
export const pair = async (link, options) => {
  const onState = (state) => {
    options.onState?.(state);
    // A snippet with a host of its own is its owner as well.
    if (state.state === "approval" && !options.openSocket) void globalThis.fake.approve(state.checkCode);
  };
  return kept([await couplet.pair(link, given({ ...options, onState }))])[0];
};
export const restore = async (options) => kept(await couplet.restore(given(options)));
`;

/** Examples in the comments of a module, which leave out what they import. */
function commented(path: string, imports: string, isRun: boolean): Snippet[] {
  const source = readFileSync(new URL(path, PACKAGE), "utf8");
  return [...source.matchAll(/^ \* ```ts\n([^]*?)^ \* ```$/gm)].map(([, body = ""], at) => ({
    name: `${path.replace(/\W/g, "_")}_${at}`,
    text: imports + body.replace(/^ \* ?/gm, ""),
    isRun,
  }));
}

interface Around {
  fake: FakeHost;
  storage: unknown;
  link: string;
  host: Host;
  opened: Host[];
  show: (text: string) => void;
}

function compile(found: readonly Snippet[]): void {
  rmSync(FOLDER, { recursive: true, force: true });
  mkdirSync(FOLDER, { recursive: true });
  for (const { name, text } of found) writeFileSync(new URL(`${name}.ts`, FOLDER), `${text}\nexport {};\n`);
  writeFileSync(new URL("around.ts", FOLDER), AROUND);
  writeFileSync(new URL("instead.js", FOLDER), INSTEAD);
  const options = {
    extends: "../../tsconfig.json",
    compilerOptions: { types: ["node"], noEmit: false, outDir: "js", rootDir: ".", noUnusedLocals: false },
    include: ["*.ts"],
  };
  writeFileSync(new URL("tsconfig.json", FOLDER), JSON.stringify(options));
  const tsc = fileURLToPath(new URL("node_modules/typescript/bin/tsc", PACKAGE));
  try {
    execFileSync(process.execPath, [tsc, "--project", fileURLToPath(FOLDER)], { encoding: "utf8" });
  } catch (error) {
    assert.fail(`README.md: ${(error as { stdout?: string }).stdout}`);
  }
}

/** What a snippet prints. */
async function run(snippet: Snippet): Promise<string[]> {
  const file = new URL(`js/${snippet.name}.js`, FOLDER);
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.replaceAll('from "couplet"', 'from "../instead.js"'));
  const printed: string[] = [];
  const log = console.log;
  console.log = (...values: unknown[]) => void printed.push(values.join(" "));
  try {
    await import(file.href);
  } finally {
    console.log = log;
  }
  return printed;
}

test("each snippet of the documentation compiles, runs and prints what it says", async () => {
  const testing = 'import assert from "node:assert/strict";\nimport { MemoryStore, pair } from "couplet";\nimport { FakeHost } from "couplet/testing";\n';
  const examples = [
    ...commented("src/testing.ts", testing, true),
    ...commented("src/element.ts", "declare function start(host: Host): void;\nimport type { Host } from \"couplet\";\n", false),
  ];
  assert.equal(examples.length, 2);
  const found = [...snippets(readme), ...examples];
  // What needs a page is only compiled.
  assert.deepEqual(found.filter((it) => !it.isRun && !it.text.includes("couplet/element")), []);
  compile(found);
  // As an app installs it: by its name.
  const [name, fakes] = ["couplet", "couplet/testing"];
  const couplet = (await import(name)) as typeof import("../src/index.js");
  const { FakeHost } = (await import(fakes)) as typeof import("../src/testing.js");
  const around = globalThis as unknown as Around;
  around.fake = new FakeHost({
    asks: true,
    apps: {
      notes: async (request) =>
        request.method === "POST" ? new Response(`noted: ${await request.text()}`, { status: 201 }) : new Response("notes"),
      wiki: () => new Response("wiki"),
    },
    webSocket: (socket) => void (socket.protocol = socket.protocols[0] ?? ""),
  });
  around.storage = new couplet.MemoryStore();
  const shown: string[] = [];
  around.show = (text) => void shown.push(text);
  for (const snippet of found.filter((it) => it.isRun)) {
    // Each has a link that is good, and a host that is there.
    around.link = around.fake.link();
    const onState = (state: { state: string; checkCode?: string }): void => {
      if (state.checkCode !== undefined) void around.fake.approve(state.checkCode);
    };
    const options = { name: "Kitchen tablet", storage: new couplet.MemoryStore(), ...around.fake.connections };
    around.host = await couplet.pair(around.fake.link(), { ...options, onState });
    around.opened = [around.host];
    // It has a session.
    await around.host.me();
    const wanted = [...snippet.text.matchAll(/\/\/ prints (.*)$/gm)].map(([, text]) => text);
    assert.deepEqual(await run(snippet), wanted, snippet.text);
    await Promise.all(around.opened.map((host) => host.close()));
  }
  assert.ok(shown.some((text) => text.startsWith("Type ")) && shown.includes("on your network"), shown.join("\n"));
});

test("what is no snippet of TypeScript is found", () => {
  assert.throws(() => snippets("```sh\nls\n```\n"), /what is sh/);
  assert.deepEqual(snippets("```ts\na\n```\n\n```ts run\nb\n```\n").map((it) => it.isRun), [false, true]);
});

test("the codes that the documentation speaks of are those that the SDK knows", () => {
  const named = [...readme.matchAll(/CPL-[0-9]{4}/g)].map(([code]) => code);
  assert.ok(named.length > 10);
  for (const code of named) assert.ok((KNOWN_CODES as readonly string[]).includes(code), code);
});
