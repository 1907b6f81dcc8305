/** After the pairing: hosts, apps, how things stand, and what is left when it is over. With a real relay and real hosts. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Frame, Page } from "playwright-core";

import { appFrame, appShows, kept, menu, NO_ROWS, paired, seen, startApp, withPhone } from "./steps.js";
import { World, type RealHost } from "./world.js";

let world: World;
let kitchen: RealHost;
let attic: RealHost;
let apps: { readonly url: string; close(): Promise<void> }[];

before(async () => {
  [world, ...apps] = await Promise.all([World.start(), startApp("Notes"), startApp("Wiki")]);
  const [notes, wiki] = apps.map((app) => app.url);
  kitchen = await world.host({ name: "Kitchen", apps: [`notes=${notes}`, `wiki=${wiki}`] });
  attic = await world.host({ name: "Attic", apps: [`http://${new URL(notes ?? "").host}`] });
});
after(async () => {
  await Promise.all([world.close(), ...apps.map((app) => app.close())]);
});

test("several hosts and several apps: each is found again, and stays as it was left", async () => {
  await withPhone({}, async (phone) => {
    const { page } = phone;
    await paired(phone, kitchen, "Two hosts");
    await appShows("Notes", phone);
    // An app that is left for another stays as it is.
    await page.frameLocator(".place:not([hidden]) iframe.app").getByRole("link", { name: "Next" }).click();
    await page.frameLocator(".place:not([hidden]) iframe.app").getByText("/next").waitFor();
    await seen(phone, "apps");
    await page.getByLabel("App").selectOption("wiki");
    await appShows("Wiki", phone);
    await page.getByLabel("App").selectOption("notes");
    await page.frameLocator(".place:not([hidden]) iframe.app").getByText("/next").waitFor();
    const [labels] = (await kept(page)).labels;
    assert.deepEqual(Object.keys(labels ?? {}), ["notes", "wiki"]);
    for (const label of Object.values(labels ?? {})) assert.match(label, /^[a-z2-7]{26}$/);
    assert.notEqual(labels?.["notes"], labels?.["wiki"]);

    await menu(phone);
    await seen(phone, "menu");
    await phone.press("Back in the app");
    await page.frameLocator(".place:not([hidden]) iframe.app").getByText("/", { exact: true }).waitFor();
    await menu(phone);
    await phone.press("Your hosts");
    await phone.at("home");
    await paired(phone, attic, "Two hosts");
    await appShows("Notes", phone);
    await menu(phone);
    await phone.press("Your hosts");
    await phone.at("home");
    assert.deepEqual(await page.locator(".host-name").allInnerTexts(), ["Attic", "Kitchen"]);
    await seen(phone, "home");

    // The same labels again; and after the page was loaded anew, the same app.
    await phone.openHost("Kitchen");
    await appShows("Notes", phone);
    await page.getByLabel("App").selectOption("wiki");
    await appShows("Wiki", phone);
    await page.reload();
    await appShows("Wiki", phone);
    assert.ok((await kept(page)).labels.some((row) => row["wiki"] === labels?.["wiki"]));
  });
});

test("an address outside is opened in a tab of its own, if the person wants it", async () => {
  await withPhone({}, async (phone) => {
    await paired(phone, attic, "Leaves");
    await appShows("Notes", phone);
    await phone.page.frameLocator("iframe.app").getByRole("link", { name: "Elsewhere" }).click();
    await phone.page.getByRole("dialog", { name: /^Leave .+\?$/ }).waitFor();
    await phone.page.getByText("https://elsewhere.example/x", { exact: true }).waitFor();
    await seen(phone, "leave");
    const link = phone.page.getByRole("link", { name: "Open it" });
    assert.equal(await link.getAttribute("rel"), "noopener noreferrer");
    await phone.press("Stay here");
    await appShows("Notes", phone);
  });
});

test("only the app in front asks to lead elsewhere, one question at a time, and not again at once", async () => {
  await withPhone({}, async (phone) => {
    const { page } = phone;
    await paired(phone, kitchen, "Asked");
    await appShows("Notes", phone);
    const notes = await appFrame(phone);
    await page.getByLabel("App").selectOption("wiki");
    await appShows("Wiki", phone);
    const wiki = await appFrame(phone);
    const asks = (frame: Frame, url: string, times: number): Promise<void> =>
      frame.evaluate(([its, count]) => {
        for (let at = 0; at < count; at += 1) window.parent.postMessage({ couplet: "leave", url: `${its}${at}` }, "*");
      }, [url, times] as const);
    await asks(notes, "https://behind.example/", 1);
    await asks(wiki, "https://front.example/", 50);
    await page.getByRole("dialog", { name: "Leave wiki?" }).waitFor();
    await page.getByText("https://front.example/0", { exact: true }).waitFor();
    await phone.press("Stay here");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    // However often it asks, the bar can be pressed, and the host be forgotten.
    await asks(wiki, "https://again.example/", 500);
    await menu(phone);
    await phone.press("Forget this host");
    await page.getByRole("dialog", { name: "Forget Kitchen?" }).waitFor();
    assert.equal(await page.getByRole("dialog").count(), 1);
    await phone.press("Keep");
    // The other one was not told no.
    await page.getByLabel("App").selectOption("notes");
    await asks(notes, "https://notes.example/", 1);
    await page.getByRole("dialog", { name: "Leave notes?" }).waitFor();
  });
});

test("a page that the phone has dropped comes back to the same page of the same app", async () => {
  await withPhone({}, async (phone) => {
    const { page } = phone;
    await paired(phone, kitchen, "Dropped");
    await page.getByLabel("App").selectOption("wiki");
    await appShows("Wiki", phone);
    await page.frameLocator(".place:not([hidden]) iframe.app").getByRole("link", { name: "Next" }).click();
    await page.waitForFunction(() => (history.state as { path?: unknown } | null)?.path === "/next");
    // The bar says where it is.
    await page.locator(".bar-path", { hasText: "/next" }).waitFor();
    await page.reload();
    await appShows("Wiki", phone);
    await page.frameLocator(".place:not([hidden]) iframe.app").getByText("/next", { exact: true }).waitFor();
    // Before it is there again, too.
    await page.reload();
    await page.reload();
    await page.frameLocator(".place:not([hidden]) iframe.app").getByText("/next", { exact: true }).waitFor();
    // From the list, an app begins where it begins.
    await menu(phone);
    await phone.press("Your hosts");
    await phone.openHost("Kitchen");
    await page.getByLabel("App").selectOption("wiki");
    await page.frameLocator(".place:not([hidden]) iframe.app").getByText("/", { exact: true }).waitFor();
  });
});

test("a host that goes away and comes back: the app stays", async () => {
  await withPhone({}, async (phone) => {
    await paired(phone, attic, "Waits");
    await appShows("Notes", phone);
    const frame = await appFrame(phone);
    await frame.evaluate("window.kept = 1");
    await attic.stop();
    await phone.state("Away");
    await phone.page.getByText("Attic is away.", { exact: true }).waitFor();
    await seen(phone, "away");
    await attic.start();
    await phone.press("Try now");
    await phone.state("Relay");
    assert.equal(await phone.page.locator(".banner").count(), 0);
    assert.equal(await frame.evaluate("window.kept"), 1);
  });
});

test("forgetting asks first, then leaves nothing", async () => {
  await withPhone({}, async (phone) => {
    const { page } = phone;
    await paired(phone, attic, "Forgets");
    await appShows("Notes", phone);
    await page.waitForFunction(() => document.querySelector("iframe.app") !== null);
    await menu(phone);
    await phone.press("Forget this host");
    await page.getByRole("dialog", { name: "Forget Attic?" }).waitFor();
    await seen(phone, "forget");
    // The focus stays in the dialog, and Escape keeps the host.
    for (let presses = 0; presses < 6; presses += 1) {
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement === document.body || document.activeElement?.closest("dialog") !== null), true);
    }
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    assert.equal((await kept(page)).credentials.length, 1);
    await menu(phone);
    await phone.press("Forget this host");
    await phone.press("Forget");
    await phone.at("home");
    await page.getByText("Attic is forgotten on this device.").waitFor();
    assert.deepEqual(await kept(page), NO_ROWS);
    assert.doesNotMatch(await attic.owner("devices", "--active"), /Forgets/);
    await seen(phone, "forgotten");
  });
});

test("a host that cannot be told is forgotten all the same, and it is said", async () => {
  await withPhone({}, async (phone) => {
    await paired(phone, attic, "Alone");
    await attic.stop();
    await phone.state("Away");
    await menu(phone);
    await phone.press("Forget this host");
    await phone.press("Forget");
    await phone.page.getByText("could not be told").waitFor();
    assert.deepEqual(await kept(phone.page), NO_ROWS);
    await attic.start();
  });
});

for (const [how, args, step] of [
  ["revoked", (name: string) => ["devices", "revoke", name, "--yes"], "over-revoked"],
  ["ended", (name: string) => ["devices", "scope", name, "--until", new Date(Date.now() + 1500).toISOString()], "over-expired"],
] as const) {
  test(`access that is ${how} closes the apps and leaves nothing`, async () => {
    await withPhone({}, async (phone) => {
      const name = `Is ${how}`;
      await paired(phone, attic, name);
      await appShows("Notes", phone);
      const before = await kept(phone.page);
      assert.equal(before.credentials.length, 1);
      await attic.owner(...args(name));
      await phone.at(step);
      await seen(phone, step);
      await phone.page.waitForFunction(() => document.querySelector("iframe") === null);
      await phone.page.getByText("What this device had stored of it and of its apps is removed.").waitFor();
      assert.deepEqual(await kept(phone.page), NO_ROWS);
      await phone.press("Pair again");
      await phone.at("scan");
      // Paired anew, it is another device with another label.
      await paired(phone, attic, `${name} anew`);
      await appShows("Notes", phone);
      const [label] = (await kept(phone.page)).labels;
      assert.notDeepEqual(Object.values(label ?? {}), Object.values(before.labels[0] ?? {}));
    });
  });
}

test("a host that is forgotten in another tab is over in this one", async () => {
  await withPhone({}, async (phone) => {
    await paired(phone, attic, "Two tabs");
    await appShows("Notes", phone);
    const other = await phone.context.newPage();
    await phone.open("", other);
    await phone.openHost("Attic", other);
    await phone.state("Relay", other);
    await appShows("Notes", phone, other);
    await phone.state("Relay");
    await menu(phone, other);
    await phone.press("Forget this host", other);
    await phone.press("Forget", other);
    await phone.at("home", other);
    await phone.at("over-forgotten");
    await seen(phone, "over-forgotten");
    await phone.page.getByText("What this device had stored of it and of its apps is removed.").waitFor();
    assert.deepEqual(await kept(phone.page), NO_ROWS);
  });
});

test("data that the user clears under a running page ends it", async () => {
  await withPhone({}, async (phone) => {
    await paired(phone, attic, "Cleared");
    await appShows("Notes", phone);
    const session = await phone.context.newCDPSession(phone.page);
    await session.send("Storage.clearDataForOrigin", { origin: phone.served.client, storageTypes: "indexeddb" });
    await phone.at("over-forgotten");
    await phone.page.waitForFunction(() => document.querySelector("iframe") === null);
    await phone.press("Your hosts");
    await phone.at("home");
    assert.match(await phone.text(), /No host yet/);
  });
});

test("where the host takes one session, the second tab has it, and the first says so without a fight", async () => {
  // An app that polls, as many do, must not win the session back.
  const polls = await startApp("Polls", "<script>setInterval(() => fetch('/poll').catch(() => {}), 500)</script>");
  const single = await world.host({ name: "Single", apps: [polls.url], env: { COUPLET_LIMITS__MAX_SESSIONS: "1" } });
  await withPhone({}, async (phone) => {
    await paired(phone, single, "Tabs");
    await appShows("Polls", phone);
    const other = await phone.context.newPage();
    await phone.open("", other);
    await phone.openHost("Single", other);
    await phone.state("Relay", other);
    await phone.state("In another tab");
    await phone.page.getByText("Single is in use in another tab or window of this browser.", { exact: true }).waitFor();
    await seen(phone, "elsewhere");
    // It stays so: nothing changes in either tab for longer than a session that was taken waits.
    const quiet = (page: Page): Promise<number> =>
      page.evaluate(
        () =>
          new Promise<number>((resolve) => {
            let turns = 0;
            const bar = document.querySelector(".bar-state");
            const observer = new MutationObserver(() => (turns += 1));
            if (bar !== null) observer.observe(bar, { subtree: true, childList: true, characterData: true, attributes: true });
            setTimeout(() => resolve(turns), 8000);
          }),
      );
    assert.deepEqual(await Promise.all([quiet(phone.page), quiet(other)]), [0, 0]);
    await phone.press("Use it here");
    await phone.state("Relay");
    await phone.state("In another tab", other);
    // The tab that has it is closed: it goes on in the other.
    await phone.page.close();
    await phone.state("Relay", other);
  });
  await Promise.all([single.close(), polls.close()]);
});

test("the browser's back button leads to the hosts, and again to the host", async () => {
  await withPhone({}, async (phone) => {
    await paired(phone, attic, "Back");
    await phone.page.goBack();
    await phone.at("home");
    await phone.page.goForward();
    await phone.state("Relay");
    await menu(phone);
    await phone.press("Your hosts");
    await phone.press("Scan a code");
    await phone.at("scan");
    await phone.page.goBack();
    await phone.at("home");
  });
});
