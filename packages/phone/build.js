// Builds dist/client, the client's pages, and dist/app, what shows apps. Files with fixed names: the relay embeds them one by
// one, and a rebuild that changes nothing changes no byte.
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

import { wireVersion } from "./version.js";

const root = dirname(fileURLToPath(import.meta.url));
const dist = resolve(process.argv[2] ?? join(root, "dist"));
const from = (...path) => join(root, ...path);

// So that parts of two builds know each other as such.
const define = { WIRE: JSON.stringify(wireVersion(root)) };

const shared = {
  configFile: false,
  root,
  logLevel: "warn",
  envDir: false,
  resolve: { alias: { tldts: from("src/bridge/suffix.ts") } },
};
const target = "es2022";

/** One script without imports, for a page, a worker, or to stand before an app's own scripts. */
async function script(entry, folder, name, more = {}) {
  await build({
    ...shared,
    define: { ...define, ...more },
    publicDir: false,
    build: {
      target,
      outDir: join(dist, folder),
      emptyOutDir: false,
      minify: true,
      copyPublicDir: false,
      lib: { entry: from(entry), formats: ["iife"], name: "couplet", fileName: () => name },
      rolldownOptions: { output: { codeSplitting: false, exports: "none", minify: true } },
    },
  });
}

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
await build({
  ...shared,
  define,
  base: "/p/",
  publicDir: from("public"),
  build: {
    target,
    outDir: join(dist, "client"),
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: false,
    rolldownOptions: {
      output: { entryFileNames: "phone.js", assetFileNames: "phone[extname]", codeSplitting: false },
    },
  },
});
// What the client's worker keeps, and holds to this.
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const files = readdirSync(join(dist, "client"), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name))
  .map((path) => [relative(join(dist, "client"), path), sha256(readFileSync(path))])
  .sort(([one], [other]) => (one < other ? -1 : 1));
const SHELL = JSON.stringify({ hash: sha256(JSON.stringify(files)), files });
await script("src/client/worker.ts", "client", "worker.js", { SHELL });
for (const name of ["keeper", "worker", "shim", "stray"]) await script(`src/app/${name}.ts`, "app", `${name}.js`);
for (const name of ["keeper.html", "stray.html", "page.css"]) cpSync(from("src/app", name), join(dist, "app", name));
