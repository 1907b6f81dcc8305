/** What apps store in the browser is removed with the host: of apps that are open and of those that are shut. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";

import { NOTHING_STORED, storeAll, storedBy } from "../support/stored.js";
import { until } from "../support/until.js";
import type { Phone } from "./phone.js";
import { appFrame, appShows, kept, menu, NO_ROWS, paired, seen, startApp, withPhone } from "./steps.js";
import { World, type RealHost } from "./world.js";

let world: World;
let kitchen: RealHost;
let apps: { readonly url: string; close(): Promise<void> }[];

before(async () => {
  [world, ...apps] = await Promise.all([World.start(), startApp("Notes"), startApp("Wiki")]);
  const [notes, wiki] = apps.map((app) => app.url);
  kitchen = await world.host({ name: "Kitchen", apps: [`notes=${notes}`, `wiki=${wiki}`] });
});
after(async () => {
  await Promise.all([world.close(), ...apps.map((app) => app.close())]);
});

/** Pairs, and leaves both apps with what they stored: the first is open, the second shut. Their labels. */
async function withLeavings(phone: Phone, name: string): Promise<string[]> {
  const { page } = phone;
  await paired(phone, kitchen, name);
  for (const [app, heading] of [["wiki", "Wiki"], ["notes", "Notes"]] as const) {
    await page.getByLabel("App").selectOption(app);
    await appShows(heading, phone);
    await storeAll(await appFrame(phone));
  }
  await page.reload();
  await appShows("Notes", phone);
  assert.equal(await page.locator("iframe.app").count(), 1);
  const [row] = (await kept(page)).labels;
  return Object.values(row ?? {});
}

/** What these labels' origins hold, as frames of the client's pages see it. */
async function stored(phone: Phone, labels: readonly string[], isOver = true): Promise<unknown[]> {
  const page = await phone.context.newPage();
  await page.goto(`${phone.served.client}/p`);
  const found = [];
  for (const label of labels) found.push(await storedBy(page, phone.served.client.replace("localhost", `${label}.localhost`), isOver));
  await page.close();
  return found;
}

test("forgetting a host removes what its apps have stored, also of an app that is shut", async () => {
  await withPhone({}, async (phone) => {
    const labels = await withLeavings(phone, "Forgets");
    for (const one of await stored(phone, labels, false)) assert.partialDeepStrictEqual(one, { databases: ["base"], local: 1, caches: ["cache"], files: ["folder"] });
    await menu(phone);
    await phone.press("Forget this host");
    await phone.press("Forget");
    await phone.at("home");
    await phone.page.getByText("Kitchen is forgotten on this device.").waitFor();
    assert.deepEqual(await stored(phone, labels), [NOTHING_STORED, NOTHING_STORED]);
    assert.deepEqual(await kept(phone.page), NO_ROWS);
  });
});

test("a host is forgotten from the list as well, and told", async () => {
  await withPhone({}, async (phone) => {
    const labels = await withLeavings(phone, "Listed");
    await menu(phone);
    await phone.press("Your hosts");
    await phone.press("Forget Kitchen");
    await phone.page.getByRole("dialog", { name: "Forget Kitchen?" }).waitFor();
    await phone.press("Keep");
    assert.equal((await kept(phone.page)).credentials.length, 1);
    await phone.press("Forget Kitchen");
    await phone.press("Forget");
    await phone.page.getByText("Kitchen is forgotten on this device.").waitFor();
    assert.deepEqual(await stored(phone, labels), [NOTHING_STORED, NOTHING_STORED]);
    assert.deepEqual(await kept(phone.page), NO_ROWS);
    assert.doesNotMatch(await kitchen.owner("devices", "--active"), /Listed/);
  });
});

test("a device that is revoked keeps nothing of the apps", async () => {
  await withPhone({}, async (phone) => {
    const labels = await withLeavings(phone, "Revoked");
    await kitchen.owner("devices", "revoke", "Revoked", "--yes");
    await phone.at("over-revoked");
    await phone.page.getByText("What this device had stored of it and of its apps is removed.").waitFor();
    assert.deepEqual(await stored(phone, labels), [NOTHING_STORED, NOTHING_STORED]);
    assert.deepEqual(await kept(phone.page), NO_ROWS);
  });
});

const UNREACHED = "What some apps had stored in this browser could not be removed yet";

for (const how of ["with the network", "when the page is opened again"] as const) {
  test(`what cannot be reached is said, and removed ${how}`, async () => {
    await withPhone({}, async (phone) => {
      const { page, context } = phone;
      const labels = await withLeavings(phone, `Away ${how}`.slice(0, 20));
      await context.setOffline(true);
      await menu(phone);
      await phone.press("Forget this host");
      await phone.press("Forget");
      await phone.at("home");
      await page.getByText(UNREACHED).waitFor();
      await seen(phone, "leavings");
      const left = await kept(page);
      assert.deepEqual({ ...left, leavings: [] }, NO_ROWS);
      assert.deepEqual([...left.leavings].sort(), [...labels].sort());
      if (how === "with the network") {
        await context.setOffline(false);
        await page.getByText(UNREACHED).waitFor({ state: "detached" });
      } else {
        await page.goto("about:blank");
        await context.setOffline(false);
        await phone.open();
      }
      await until(async () => (await kept(page)).leavings.length === 0);
      assert.deepEqual(await stored(phone, labels), [NOTHING_STORED, NOTHING_STORED]);
    });
  });
}

/** Stores a pairing that cannot be read, so that the page offers to remove everything. */
async function damage(page: Page): Promise<void> {
  await page.evaluate(
    () =>
      new Promise<void>((resolve, reject) => {
        const request = indexedDB.open("couplet");
        request.onerror = () => reject(request.error);
        request.onsuccess = () => {
          const writing = request.result.transaction("credentials", "readwrite");
          const rows = writing.objectStore("credentials");
          const all = rows.getAll();
          const keys = rows.getAllKeys();
          keys.onsuccess = () => {
            const [row, key] = [all.result[0] as object, `${String(keys.result[0])}x`];
            const damaged = { ...row, host: key, sealed: { iv: new Uint8Array(12), bytes: new ArrayBuffer(40) } };
            if (rows.keyPath === null) rows.put(damaged, key);
            else rows.put(damaged);
          };
          writing.oncomplete = () => (request.result.close(), resolve());
          writing.onerror = () => reject(writing.error);
        };
      }),
  );
}

test("removing all that is stored asks first, and leaves nothing of the apps", async () => {
  await withPhone({}, async (phone) => {
    const { page } = phone;
    const labels = await withLeavings(phone, "Clears");
    await damage(page);
    await phone.open();
    await phone.at("home");
    await page.getByText("A stored pairing cannot be read.").waitFor();
    await phone.press("Remove what is stored");
    await page.getByRole("dialog", { name: "Remove all that is stored?" }).waitFor();
    await seen(phone, "clear");
    await phone.press("Cancel");
    assert.equal((await kept(page)).labels.length, 1);
    await phone.press("Remove what is stored");
    await phone.press("Remove");
    await page.getByText("The pairings of this browser are removed, with what their apps had stored.").waitFor();
    assert.match(await phone.text(), /No host yet/);
    assert.deepEqual((await page.evaluate(() => indexedDB.databases())).map(({ name }) => name).filter((name) => name !== "couplet"), []);
    assert.deepEqual(await kept(page), NO_ROWS);
    assert.deepEqual(await stored(phone, labels), [NOTHING_STORED, NOTHING_STORED]);
    // It works as before.
    await paired(phone, kitchen, "Clears again");
    await appShows("Notes", phone);
  });
});

test("where apps cannot be reached, removing all says so", async () => {
  await withPhone({}, async (phone) => {
    await withLeavings(phone, "Clears alone");
    await damage(phone.page);
    await phone.open();
    await phone.page.getByText("A stored pairing cannot be read.").waitFor();
    await phone.context.setOffline(true);
    await phone.press("Remove what is stored");
    await phone.press("Remove");
    await phone.page.getByText("What some of their apps had stored could not be reached").waitFor();
    await seen(phone, "cleared-part");
    assert.deepEqual(await kept(phone.page), NO_ROWS);
  });
});

test("where another tab lets go of nothing, removing all says what to do", async () => {
  await withPhone({}, async (phone) => {
    await withLeavings(phone, "Clears later");
    await damage(phone.page);
    await phone.open();
    const other = await phone.context.newPage();
    await other.goto(`${phone.served.client}/p/icon.svg`);
    await other.evaluate(
      () =>
        new Promise<void>((opened) => {
          const request = indexedDB.open("couplet-apps");
          request.onsuccess = () => opened();
          (window as unknown as { held: unknown }).held = request;
        }),
    );
    await phone.press("Remove what is stored");
    await phone.press("Remove");
    await phone.page.getByText("Another tab or window of this browser holds on to what is stored.").waitFor();
    await seen(phone, "cleared-later");
    await other.close();
    await until(async () => JSON.stringify(await kept(phone.page)) === JSON.stringify(NO_ROWS));
  });
});

test("an app that another tab has open is closed before what it stored is removed", async () => {
  await withPhone({}, async (phone) => {
    const labels = await withLeavings(phone, "Two tabs");
    const other = await phone.context.newPage();
    await phone.open("", other);
    await other.locator(".host-row").waitFor();
    // It writes as long as it can.
    await (await appFrame(phone)).evaluate("setInterval(() => localStorage.setItem('key', String(Date.now())), 1)");
    await phone.press("Forget Kitchen", other);
    await phone.press("Forget", other);
    await other.getByText("Kitchen is forgotten on this device.").waitFor();
    await phone.at("over-forgotten");
    await phone.page.getByText("What this device had stored of it and of its apps is removed.").waitFor();
    assert.deepEqual(await stored(phone, labels), [NOTHING_STORED, NOTHING_STORED]);
    assert.deepEqual(await kept(phone.page), NO_ROWS);
  });
});

test("what an earlier version has kept of apps stays", async () => {
  await withPhone({}, async (phone) => {
    const labels = await withLeavings(phone, "Upgrades");
    const { page } = phone;
    await page.goto(`${phone.served.client}/p/icon.svg`);
    const version = await page.evaluate(async () => {
      const opened = (version?: number, upgrade?: (database: IDBDatabase) => void): Promise<IDBDatabase> =>
        new Promise((resolve, reject) => {
          const request = indexedDB.open("couplet-apps", version);
          request.onupgradeneeded = () => upgrade?.(request.result);
          request.onsuccess = () => resolve(request.result);
          request.onerror = () => reject(request.error);
        });
      const now = await opened();
      const rows = await new Promise<unknown[]>((resolve) => {
        const request = now.transaction("labels").objectStore("labels").getAll();
        request.onsuccess = () => resolve(request.result);
      });
      now.close();
      await new Promise<void>((resolve) => (indexedDB.deleteDatabase("couplet-apps").onsuccess = () => resolve()));
      const before = await opened(1, (database) => {
        const labels = database.createObjectStore("labels", { keyPath: "host" });
        for (const row of rows) labels.put(row);
        database.createObjectStore("jars");
      });
      before.close();
      return now.version;
    });
    assert.equal(version, 2);
    await phone.open();
    await phone.openHost("Kitchen");
    await appShows("Notes", phone);
    const after = await kept(page);
    assert.deepEqual(after.labels.map((row) => Object.values(row)), [labels]);
    assert.deepEqual(after.leavings, []);
  });
});
