import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

// An app installs `couplet` and needs no such file; here it is the one beside this folder.
export default defineConfig({
  base: "./",
  root: fileURLToPath(new URL(".", import.meta.url)),
  resolve: { alias: { couplet: fileURLToPath(new URL("../../dist/index.js", import.meta.url)) } },
  oxc: { jsx: { runtime: "automatic" } },
  build: { outDir: "../../build/examples/react", emptyOutDir: true, target: "es2022" },
});
