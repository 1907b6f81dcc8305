/** What an app stored goes with its pairing, whether the app is open or not. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type Stage, startNotesStage } from "../support/browser.js";
import { NOTHING_STORED, storeAll, storedBy } from "../support/stored.js";

describe("what an app stored", { timeout: 120_000 }, () => {
  let stage = undefined as unknown as Stage;
  before(async () => void ({ stage } = await startNotesStage()));
  after(() => stage?.close());

  const wipeApp = (label: string): Promise<boolean> =>
    stage.page.evaluate(([its, apps]) => window.couplet.wipeApp(its, apps), [label, stage.served.apps] as const);

  it("is what the test thinks", async () => {
    const shown = await stage.open("notes", "/two");
    await storeAll(await shown.at("/two"));
    const { workers, ...stored } = (await storedBy(stage.page, shown.origin, false)) as typeof NOTHING_STORED;
    assert.deepEqual([stored, workers], [{ databases: ["base"], local: 1, session: 1, caches: ["cache"], files: ["folder"], cookies: "own=1" }, 1]);
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("is gone when the app has just been closed", async () => {
    const shown = await stage.open("notes", "/two");
    await storeAll(await shown.at("/two"));
    await shown.frame().evaluate(() => fetch("/renew/x"));
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
    assert.equal(await wipeApp(shown.label), true);
    assert.equal(await stage.page.locator("iframe.app, iframe.keeper").count(), 0);
    assert.deepEqual(await storedBy(stage.page, shown.origin), NOTHING_STORED);
  });

  it("is gone also of an app whose frames are shut, and nobody joins for that", async () => {
    const shown = await stage.open("notes", "/two");
    await storeAll(await shown.at("/two"));
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
    const said = await stage.page.evaluate(() => {
      const all: unknown[] = [];
      window.addEventListener("message", ({ data }) => void all.push((data as { couplet: unknown }).couplet));
      return ((window as unknown as { said: unknown[] }).said = all).length;
    });
    assert.equal(said, 0);
    assert.equal(await wipeApp(shown.label), true);
    assert.deepEqual(await stage.page.evaluate(() => (window as unknown as { said: unknown[] }).said), ["begun", "wiped"]);
    assert.equal(await stage.page.locator("iframe.keeper").count(), 0);
    assert.deepEqual(await storedBy(stage.page, shown.origin), NOTHING_STORED);
  });

  it("is said to stay where something holds on to it", async () => {
    const shown = await stage.open("notes", "/two");
    const frame = await shown.at("/two");
    await frame.evaluate(
      () =>
        new Promise((opened) => {
          const request = indexedDB.open("held");
          request.onsuccess = () => opened(((window as unknown as { held: unknown }).held = request.result) && null);
        }),
    );
    assert.equal(await wipeApp(shown.label), false);
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
    assert.equal(await wipeApp(shown.label), true);
  });

  it("is asked for by nobody but the client's page", async () => {
    const shown = await stage.open("notes", "/two");
    const frame = await shown.at("/two");
    await storeAll(frame);
    const [popup] = await Promise.all([
      stage.context.waitForEvent("page"),
      frame.evaluate(() => void window.open("/.couplet/keeper#wipe")),
    ]);
    await popup.waitForLoadState();
    await popup.evaluate(() => new Promise((heard) => setTimeout(heard, 0, window.postMessage({ couplet: "wipe" }))));
    assert.equal(await popup.evaluate(() => localStorage.length), 1);
    await popup.close();
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("is said to stay where nobody answers, and a label that is none is refused", async () => {
    const error = await stage.page.evaluate((apps) => window.couplet.wipeApp("x", apps).catch((cause: Error) => cause.name), stage.served.apps);
    assert.equal(error, "TypeError");
    await stage.served.close();
    const label = await stage.page.evaluate(() => window.couplet.label());
    assert.equal(await wipeApp(label), false);
    assert.equal(await stage.page.locator("iframe.keeper").count(), 0);
  });
});
