/** What a phone does to a page: it stops it, changes its network, updates it. The session and the apps are there again. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";

import { until } from "../support/until.js";
import { startLine, type Line } from "./line.js";
import type { Phone } from "./phone.js";
import { appFrame, appShows, installed, kept, paired, rebuilt, startApp, withPhone } from "./steps.js";
import { World, type RealHost } from "./world.js";

const MINUTE = 60_000;
/** For how long the phone stops the page. */
const STOPPED = 3000;
/** What makes the wall clock go on while all else stands still, as on a phone that slept. */
const CLOCK = "{ const now = Date.now; let ahead = 0; Date.now = () => now() + ahead; window.sleep = (time) => void (ahead += time); }";

let world: World;
let attic: RealHost;
let app: { readonly url: string; close(): Promise<void> };
let line: Line;

before(async () => {
  [world, app] = await Promise.all([World.start(), startApp("Notes")]);
  attic = await world.host({ name: "Attic", apps: [app.url] });
  line = await startLine(world.url);
});
after(async () => {
  await line.close();
  await Promise.all([world.close(), app.close()]);
});

/** The page is seen, or not. */
function turned(page: Page, state: "hidden" | "visible"): Promise<void> {
  return page.evaluate((seen) => {
    Object.defineProperty(document, "visibilityState", { value: seen, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, state);
}

/** The processes of this browser that run pages and their workers. */
async function renderers(phone: Phone): Promise<number[]> {
  const session = await phone.context.browser()?.newBrowserCDPSession();
  const { processInfo } = (await session?.send("SystemInfo.getProcessInfo")) ?? { processInfo: [] };
  return processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
}

/** There is another connection. What the browser kept of the old ones for later is dead as well, and takes its time to be found so. */
async function anew(before: number): Promise<void> {
  await until(async () => line.count() > before, MINUTE);
}

/** The app answers, and is the same page as before: it was not loaded anew. */
async function goesOn(phone: Phone): Promise<void> {
  const frame = await appFrame(phone);
  assert.equal(await frame.evaluate("window.kept"), 1);
  assert.equal(await frame.evaluate("fetch('/again').then((answer) => answer.status)"), 200);
}

test("ten minutes in the background, stopped by the phone: the dead session is found, and the next one opened", async () => {
  await withPhone({ args: line.args, before: CLOCK }, async (phone) => {
    const { page } = phone;
    await paired(phone, attic, "Sleeps");
    await appShows("Notes", phone);
    await (await appFrame(phone)).evaluate("window.kept = 1");
    const { credentials } = await kept(page);
    await turned(page, "hidden");
    const stopped = await renderers(phone);
    assert.ok(stopped.length > 0);
    await page.evaluate(() => {
      let last = performance.now();
      const tick = (): void => {
        const now = performance.now();
        Object.assign(window, { stood: Math.max((window as unknown as { stood?: number }).stood ?? 0, now - last) });
        last = now;
      };
      setInterval(tick, 100);
    });
    for (const id of stopped) process.kill(id, "SIGSTOP");
    const sessions = line.count();
    try {
      // The relay and the host take it for gone; the page, which hears nothing, does not.
      line.die();
      await new Promise((resolve) => setTimeout(resolve, STOPPED));
    } finally {
      for (const id of stopped) process.kill(id, "SIGCONT");
    }
    // Its timers stood still.
    await page.waitForFunction((time) => (window as unknown as { stood: number }).stood > time, STOPPED - 500);
    await page.evaluate(`window.sleep(${10 * MINUTE})`);
    await turned(page, "visible");
    await anew(sessions);
    await phone.state("Relay", page, MINUTE);
    await goesOn(phone);
    assert.deepEqual((await kept(page)).credentials, credentials);
  });
});

test("another network: a connection that is dead, and does not know it, is left for the next one", async () => {
  await withPhone({ args: line.args }, async (phone) => {
    const { page } = phone;
    await paired(phone, attic, "Moves");
    await appShows("Notes", phone);
    await (await appFrame(phone)).evaluate("window.kept = 1");
    for (let moves = 0; moves < 2; moves += 1) {
      const sessions = line.count();
      line.die();
      await page.evaluate(() => {
        dispatchEvent(new Event("offline"));
        dispatchEvent(new Event("online"));
      });
      await anew(sessions);
      await phone.state("Relay", page, MINUTE);
      await goesOn(phone);
    }
  });
});

test("a network that was gone, and a relay that was started anew: it comes back by itself", async () => {
  await withPhone({}, async (phone) => {
    await paired(phone, attic, "Waits");
    await appShows("Notes", phone);
    await (await appFrame(phone)).evaluate("window.kept = 1");
    await phone.context.setOffline(true);
    await world.stopRelay();
    await phone.state("Away");
    await world.startRelay();
    await phone.context.setOffline(false);
    await phone.state("Relay");
    await goesOn(phone);
  });
});

test("a new build that comes while an app is open changes nothing under it, and is there the next time", async () => {
  const { dist, change } = rebuilt();
  await withPhone({ dist }, async (phone) => {
    const { page } = phone;
    await installed(phone);
    await paired(phone, attic, "Updates");
    await appShows("Notes", phone);
    await (await appFrame(phone)).evaluate("window.kept = 1");
    change();
    await page.evaluate(async () => void (await (await navigator.serviceWorker.getRegistration("/p"))?.update()));
    await page.waitForFunction(async () => (await navigator.serviceWorker.getRegistration("/p"))?.waiting instanceof ServiceWorker);
    const isNew = (): Promise<boolean> => page.evaluate(async () => (await (await fetch("/p/phone.css")).text()).includes("another build"));
    assert.equal(await isNew(), false);
    await phone.state("Relay");
    await goesOn(phone);
    // It takes over when the page begins anew: the host and the app are there again.
    await page.reload();
    await appShows("Notes", phone);
    assert.equal(await isNew(), true);
    await phone.state("Relay");
  });
});

test("two tabs: each shows the app, also while the other one is open", async () => {
  await withPhone({}, async (phone) => {
    await paired(phone, attic, "Tabs");
    await appShows("Notes", phone);
    const other = await phone.context.newPage();
    await phone.open("", other);
    await phone.openHost("Attic", other);
    await appShows("Notes", phone, other);
    for (const page of [phone.page, other, phone.page]) {
      await page.bringToFront();
      const frame = await appFrame(phone, page);
      assert.equal(await frame.evaluate("fetch('/both').then((answer) => answer.status)"), 200);
    }
  });
});
