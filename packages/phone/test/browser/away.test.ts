/** An app that cannot be shown: whose fault it is, and what to do. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { failure, type Stage, startNotesStage } from "../support/browser.js";

describe("an app that cannot be shown", { timeout: 120_000 }, () => {
  let stage = undefined as unknown as Stage;
  before(async () => void ({ stage } = await startNotesStage()));
  after(() => stage?.close());

  it("says so when the browser refuses workers", async () => {
    const page = await stage.another();
    // As browsers do where a person denies pages all storage; whole.test.ts has such a browser.
    await page.addInitScript(() => {
      if (window.parent === window) return;
      ServiceWorkerContainer.prototype.register = () => Promise.reject(new DOMException("denied", "SecurityError"));
    });
    const { label } = await stage.open("notes", "/two", undefined, page);
    assert.match(await failure(page, label), /This browser did not start.*private browsing/);
    await page.close();
  });

  it("says so where there are no workers at all", async () => {
    const page = await stage.another();
    await page.addInitScript(() => {
      if (window.parent !== window) Object.defineProperty(Navigator.prototype, "serviceWorker", { value: undefined });
    });
    const { label } = await stage.open("notes", "/two", undefined, page);
    assert.match(await failure(page, label), /This browser did not start/);
    await page.close();
  });

  it("shows after a reload when what keeps its cookies did not answer once", async () => {
    await stage.page.evaluate(() => window.couplet.holdsJar());
    const { label, at } = await stage.open("notes", "/two");
    await stage.page.waitForFunction((its) => window.couplet.state(its)?.phase !== "opening", label);
    await stage.page.evaluate((its) => window.couplet.reload(its), label);
    await stage.page.waitForFunction((its) => window.couplet.state(its)?.phase !== "failed", label);
    await at("/two");
    await stage.page.evaluate((its) => window.couplet.close(its), label);
  });

  it("blames the server when the worker's script does not come", async () => {
    stage.served.changed.set("worker.js", () => null);
    const { label } = await stage.open("notes", "/two");
    assert.match(await failure(stage.page, label), /does not answer.*certificate for them/);
    stage.served.changed.clear();
  });

  it("blames the server when its address does not answer, and shows once it does", async () => {
    const nowhere = "https://*.apps.localhost:9";
    const label = await stage.page.evaluate(() => window.couplet.label());
    // The page's own policy lets it lead nowhere else: as a name that is missing does.
    await stage.page.evaluate(([its, apps]) => window.couplet.open("notes", its, apps, "/two"), [label, nowhere] as const);
    assert.match(await failure(stage.page, label), /does not answer.*certificate for them/);
    await stage.served.close();
    const shown = await stage.open("notes", "/two");
    assert.match(await failure(stage.page, shown.label), /does not answer/);
    await stage.served.again();
    await stage.page.evaluate((its) => window.couplet.reload(its), shown.label);
    await shown.at("/two");
  });
});
