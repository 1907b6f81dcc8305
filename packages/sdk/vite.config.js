// The one file whose size is held to a budget: everything that `import "couplet"` can reach, as an app ships it.
import { defineConfig } from "vite";

export default defineConfig({
  build: {
    target: "es2022",
    outDir: "build/bundle",
    minify: true,
    lib: { entry: "dist/index.js", formats: ["es"], fileName: () => "couplet.js" },
    rolldownOptions: { output: { codeSplitting: false, minify: true } },
  },
});
