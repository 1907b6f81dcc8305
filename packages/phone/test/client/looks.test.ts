/** The pages in states that are over too soon, or come too seldom, to be waited for: whether anything is wrong with how they look. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { build } from "vite";

import type { Gallery, Scene } from "./gallery.js";
import { withPhone } from "./steps.js";

/** The page's script, as the build makes it. */
async function bundled(): Promise<string> {
  const root = process.cwd();
  const made = await build({
    ...{ configFile: false, root, logLevel: "warn", envDir: false, publicDir: false },
    resolve: { alias: { tldts: join(root, "src/bridge/suffix.ts") } },
    build: {
      ...{ write: false, target: "es2022" },
      lib: { entry: join(root, "test/client/gallery.ts"), formats: ["iife"], name: "test", fileName: () => "test.js" },
    },
  });
  const [output] = Array.isArray(made) ? made : [made];
  if (output === undefined || !("output" in output)) throw new Error("the gallery was not built");
  return output.output[0].code;
}

test("nothing is wrong with pages that are seldom seen", async () => {
  await withPhone({ script: await bundled() }, async (phone) => {
    const { page } = phone;
    await page.goto(`${phone.served.client}/p/test.html`);
    const scenes = await page.evaluate(() => (window as unknown as { gallery: Gallery }).gallery.scenes());
    const wrongs: string[] = [];
    for (const scene of scenes) {
      await page.evaluate((name: Scene) => (window as unknown as { gallery: Gallery }).gallery.show(name), scene);
      await page.locator("h1").first().waitFor();
      if (scene === "leave") await page.getByRole("dialog").waitFor();
      await phone.picture(scene);
      wrongs.push(...(await phone.wrongs()).map((wrong) => `${scene}: ${wrong}`));
    }
    assert.ok(scenes.length > 20);
    assert.deepEqual(wrongs, []);
  });
});
