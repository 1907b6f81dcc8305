/** What happens to the worker, the tab and the session meanwhile. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type App, startNotes } from "../apps/notes.js";
import { type Shown, type Stage, startStage } from "../support/browser.js";
import { until } from "../support/until.js";

describe("an app that is open", { timeout: 180_000 }, () => {
  let [notes, stage, shown] = [] as unknown as [App, Stage, Shown];
  before(async () => {
    notes = await startNotes();
    stage = await startStage({ notes: notes.url });
    shown = await stage.open("notes", "/two");
    await shown.at("/two");
  });
  after(async () => {
    await stage?.close();
    await notes?.close();
  });

  it("goes on when its worker was stopped", async () => {
    const session = await stage.context.newCDPSession(stage.page);
    await session.send("ServiceWorker.enable");
    const frame = shown.frame();
    await frame.evaluate(async () => {
      await fetch("/renew/kept");
    });
    for (let turn = 0; turn < 3; turn += 1) {
      await session.send("ServiceWorker.stopAllWorkers");
      const seen = await frame.evaluate(async () => (await (await fetch("/echo")).json()) as { headers: { cookie: string } });
      assert.equal(seen.headers.cookie, "_xsrf=kept");
    }
    await session.send("ServiceWorker.stopAllWorkers");
    await frame.evaluate(() => location.assign("/"));
    await shown.at("/");
    await session.detach();
  });

  it("comes back after a reload that goes round its worker", async () => {
    const session = await stage.context.newCDPSession(stage.page);
    await session.send("Network.enable");
    await session.send("Network.setBypassServiceWorker", { bypass: true });
    const asked = stage.served.asked.length;
    await shown.frame().evaluate(() => location.assign("/two"));
    // The page that stands there says so; what it sets up is to go through again.
    await until(() => stage.served.asked.slice(asked).some(({ path }) => path === "/.couplet/stray.js"));
    await session.send("Network.setBypassServiceWorker", { bypass: false });
    await stage.page.waitForFunction((label) => (window.couplet.state(label) as { title?: string }).title === "Two", shown.label);
    await session.detach();
  });

  it("says what happened when the host is gone, and shows again when it is back", async () => {
    await shown.frame().evaluate(() => location.assign("/"));
    await shown.at("/");
    notes.refuse(true);
    await shown.frame().evaluate(() => location.assign("/two"));
    await shown.at("/two");
    const text = await shown.frame().textContent("main");
    assert.match(text ?? "", /CPL-\d{4}/);
    notes.refuse(false);
    await shown.frame().click("main a");
    await shown.frame().waitForFunction(() => document.title === "Two");
  });
});
