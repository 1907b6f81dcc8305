/** One app in several tabs: they have one worker, and pages of the client of which some are asleep, or have lost the host. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import type { Frame, Page } from "playwright-core";
import type { App } from "../apps/notes.js";
import { type Shown, type Stage, startNotesStage } from "../support/browser.js";
import { until } from "../support/until.js";

describe("an app in two tabs", { timeout: 180_000 }, () => {
  let [notes, stage, second] = [] as unknown as [App, Stage, Page];
  before(async () => void ({ notes, stage } = await startNotesStage()));
  after(() => stage?.close());
  afterEach(async () => {
    await second.close();
    await stage.page.evaluate(() => window.couplet.leads("host"));
  });

  const status = (frame: Frame): Promise<number> => frame.evaluate(async () => (await fetch("/echo")).status);
  const cookies = (frame: Frame): Promise<string | undefined> =>
    frame.evaluate(async () => ((await (await fetch("/echo")).json()) as { headers: { cookie?: string } }).headers.cookie);

  /** Opens it in the first tab, and lets that be as it is when the second one opens it. */
  async function both(between: (one: Shown) => Promise<void>): Promise<{ readonly one: Shown; readonly other: Shown }> {
    const one = await stage.open("notes", "/two");
    await one.at("/two");
    second = await stage.another();
    await between(one);
    await second.bringToFront();
    const other = await stage.open("notes", "/login", one.label, second);
    await other.at("/login");
    await other.frame().waitForFunction(() => document.title === "Login");
    return { one, other };
  }

  for (const way of ["refused", "nowhere"] as const) {
    it(`shows in the second when what the first asks for is ${way === "refused" ? "refused" : "never answered"}`, async () => {
      const { one } = await both(async () => stage.page.evaluate((to) => window.couplet.leads(to), way));
      assert.equal(await status(one.frame()), 200, "through the other page, which has the host");
      await stage.page.evaluate(() => window.couplet.leads("host"));
      await second.close();
      await stage.page.bringToFront();
      assert.equal(await status(one.frame()), 200, "and goes on when that is closed");
      await stage.page.evaluate((label) => window.couplet.close(label), one.label);
    });
  }

  it("shows in the second when the page of the first is asleep, also after the worker was stopped", async () => {
    const session = await stage.context.newCDPSession(stage.page);
    const { one, other } = await both(async (its) => {
      await session.send("Debugger.enable");
      await session.send("Debugger.pause");
      stage.page.evaluate(() => 0).catch(() => {});
      await new Promise((paused) => session.once("Debugger.paused", paused));
      // Once it is longer ago than a page that was heard is taken to be awake.
      await its.frame().evaluate(() => void setTimeout(() => void fetch("/echo?asleep"), 1500));
    });
    assert.equal(await status(other.frame()), 200);
    // What the first app's page asked for meanwhile goes through the other page, too.
    await until(() => notes.seen.some(({ url }) => url === "/echo?asleep"));
    const workers = await stage.context.newCDPSession(second);
    await workers.send("ServiceWorker.enable");
    await workers.send("ServiceWorker.stopAllWorkers");
    assert.equal(await status(other.frame()), 200, "of two keepers that are asked, it is the one that answers");
    await session.send("Debugger.resume");
    await session.detach();
    await stage.page.bringToFront();
    assert.equal(await status(one.frame()), 200);
    await stage.page.evaluate((label) => window.couplet.close(label), one.label);
  });

  it("goes on with what the first has under way", async () => {
    const { one, other } = await both(async (its) => {
      await its.frame().evaluate(async () => {
        const heard: string[] = [];
        const source = new EventSource("/events");
        source.onmessage = ({ data }) => void heard.push(String(data));
        source.onerror = () => void heard.push("broken");
        (window as unknown as { heard: string[] }).heard = heard;
        await new Promise((opened) => (source.onopen = opened));
      });
    });
    assert.equal(await status(other.frame()), 200);
    assert.equal(notes.listeners(), 1);
    notes.tell("still");
    await one.frame().waitForFunction(() => (window as unknown as { heard: string[] }).heard.length > 0);
    assert.deepEqual(await one.frame().evaluate(() => (window as unknown as { heard: string[] }).heard), ["still"]);
    await stage.page.evaluate((label) => window.couplet.close(label), one.label);
  });

  it("has one set of cookies", async () => {
    const { one, other } = await both(async () => {});
    await other.frame().fill("input", "bea");
    await other.frame().click("button");
    await other.at("/welcome?from=login");
    await one.frame().waitForFunction(() => document.cookie === "_xsrf=token1");
    // Each is in front in turn, before the other has saved what it knows.
    for (const [page, frame, text] of [[stage.page, one, "_xsrf=a"], [second, other, "_xsrf=b"], [stage.page, one, "_xsrf=c"]] as const) {
      await page.bringToFront();
      await page.evaluate(() => void window.dispatchEvent(new Event("focus")));
      await frame.frame().evaluate((its) => fetch(`/renew/${its.slice(-1)}`), text);
      assert.equal(await cookies(one.frame()), `session=bea; ${text}`);
      assert.equal(await cookies(other.frame()), `session=bea; ${text}`);
    }
    await stage.page.evaluate((label) => window.couplet.close(label), one.label);
  });
});
