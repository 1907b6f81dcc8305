// The files whose size is held to a budget, as an app ships them: everything that `import "couplet"` can reach, and the element with it.
import { defineConfig } from "vite";

const entry = process.env.ENTRY ?? "index";

export default defineConfig({
  build: {
    target: "es2022",
    outDir: entry === "index" ? "build/bundle" : `build/bundle-${entry}`,
    minify: true,
    lib: { entry: `dist/${entry}.js`, formats: ["es"], fileName: () => "couplet.js" },
    rolldownOptions: { output: { codeSplitting: false, minify: true } },
  },
});
