/** The whole way: the relay serves the client, a phone scans the dashboard's code, uses two apps, outlives the relay, is revoked. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import type { FrameLocator, Page } from "playwright-core";

import { startJupyter } from "../apps/jupyter.js";
import { startNotes } from "../apps/notes.js";
import { camera, filmed } from "../client/film.js";
import { Phone, picture, SCREEN } from "../client/phone.js";
import { confirmed, shownCode } from "../client/steps.js";
import { World } from "../client/world.js";
import { startChromium } from "../support/chromium.js";
import { Dashboard } from "../support/dashboard.js";
import { Lab } from "../support/lab.js";
import { NOTHING_STORED, storedBy } from "../support/stored.js";
import { until } from "../support/until.js";

const ANDROID = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36";
const DEVICE = "Ann’s phone";

/** Ends what was started, the newest first, however the test ends. */
class Started {
  readonly #ends: (() => Promise<void>)[] = [];

  constructor(test: TestContext) {
    test.after(async () => {
      for (const end of this.#ends.reverse()) await end();
    });
  }

  async with<T extends { close(): Promise<void> }>(starting: Promise<T>): Promise<T> {
    const its = await starting;
    this.ended(() => its.close());
    return its;
  }

  ended(end: () => Promise<void>): void {
    this.#ends.push(end);
  }
}

/** The visible app's frame. */
const front = (page: Page): FrameLocator => page.frameLocator(".place:not([hidden]) iframe.app");

/** The page as it is, in light and in dark. */
async function seen(phone: Phone, name: string): Promise<void> {
  await picture(`whole-${name}`, phone.page, [
    { look: "light", ...SCREEN.viewport, colorScheme: "light" },
    { look: "dark", ...SCREEN.viewport, colorScheme: "dark" },
  ]);
}

/** All rows of all databases of the client's origin, by database and table. */
async function kept(page: Page): Promise<Record<string, unknown[]>> {
  return page.evaluate(async () => {
    const done = <T>(request: IDBRequest<T>): Promise<T> =>
      new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
    const all: Record<string, unknown[]> = {};
    for (const { name = "" } of await indexedDB.databases()) {
      const database = await done(indexedDB.open(name));
      for (const table of database.objectStoreNames) {
        all[`${name}/${table}`] = (await done(database.transaction(table).objectStore(table).getAllKeys())).map(String);
      }
      database.close();
    }
    return all;
  });
}

/** What the browser calls the file that JupyterLab's own link leads to. */
let named = "";

it("a phone with nothing installed is paired by its camera, uses apps, comes back, and is revoked", { timeout: 600_000 }, async (test) => {
  const started = new Started(test);
  const [jupyter, notes] = await Promise.all([started.with(startJupyter()), started.with(startNotes())]);
  const world = await started.with(World.start());
  const host = await world.host({ name: "Study", apps: [`jupyter=${jupyter.url}`, `notes=${notes.url}`] });

  const dashboard = await started.with(Dashboard.open(host));
  await dashboard.picture("whole-01-dashboard");
  const shot = await dashboard.code();
  const film = await filmed(shot, await dashboard.blank());
  await dashboard.page.bringToFront();
  await dashboard.picture("whole-02-code");

  const browser = await startChromium({ ...SCREEN, userAgent: ANDROID, authority: world.ca, args: camera(film) });
  const phone = await started.with(Phone.of(world.url, browser));
  phone.context.setDefaultTimeout(30_000);
  const said: string[] = [];
  phone.context.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  started.ended(async () => {
    if (test.passed) return;
    await seen(phone, "failed");
    test.diagnostic([...phone.page.frames().map((frame) => frame.url()), ...said.slice(-30)].join("\n"));
  });
  const { page } = phone;
  await phone.open();
  await phone.at("home");
  await page.getByText("No host yet").waitFor();
  await seen(phone, "03-home");
  await phone.press("Scan a code");
  await phone.at("confirm");
  const fingerprint = /Fingerprint\s+([A-Z2-7-]+)/.exec(await phone.text())?.[1] ?? "none";
  assert.match(fingerprint, /^[A-Z2-7]{4}(-[A-Z2-7]{4}){3}$/);
  await page.getByLabel("Name of this device").fill(DEVICE);
  await seen(phone, "04-confirm");
  await phone.press("Pair");
  const digits = await shownCode(phone);
  await seen(phone, "05-approval");
  await dashboard.page.locator("dialog input.code").waitFor();
  await dashboard.picture("whole-06-wanted");
  await dashboard.approve(digits);
  await dashboard.picture("whole-07-paired");
  await phone.state("Relay");

  const lab = new Lab(page, front(page));
  await front(page).locator("#password_input").waitFor({ timeout: 30_000 });
  await seen(phone, "08-jupyter-login");
  await lab.login(jupyter.token);
  await seen(phone, "09-jupyter");
  const folder = await mkdtemp(join(tmpdir(), "couplet-whole-"));
  started.ended(() => rm(folder, { recursive: true, force: true }));
  const sent = randomBytes(3 << 20);
  await writeFile(join(folder, "sent.bin"), sent);
  await lab.upload(join(folder, "sent.bin"), "sent.bin");
  assert.ok(sent.equals(await readFile(join(jupyter.files, "sent.bin"))), "what arrived is what was sent");
  await seen(phone, "10-uploaded");
  const download = await lab.download("sent.bin");
  named = download.suggestedFilename();
  assert.ok(sent.equals(await readFile(await download.path())), "and what came back");
  assert.equal((await lab.runs("print(6 * 7)")).trim(), "42");
  await seen(phone, "11-cell");

  await page.getByLabel("App", { exact: true }).selectOption("notes");
  await front(page).getByRole("heading", { name: "Home" }).waitFor();
  await seen(phone, "12-notes");
  await front(page).getByRole("link", { name: "log in" }).click();
  await front(page).locator("input[name=user]").fill("ann");
  await front(page).getByRole("button", { name: "Go" }).click();
  const who = front(page).locator("#who");
  await who.waitFor();
  assert.equal(await who.innerText(), "session=ann; _xsrf=token1");
  await front(page).getByRole("link", { name: "home" }).click();
  await front(page).getByRole("link", { name: "two" }).click();
  await front(page).getByRole("heading", { name: "Two" }).waitFor();
  await seen(phone, "13-notes-two");
  await page.waitForFunction(() => (history.state as { readonly path?: string } | null)?.path === "/two");

  // Each comes back without a new code, and without a new login.
  const back = async (): Promise<void> => {
    await phone.state("Relay");
    await front(page).getByRole("heading", { name: "Two" }).waitFor({ timeout: 90_000 });
    assert.equal(notes.seen.at(-1)?.headers.cookie, "session=ann; _xsrf=token1");
    await page.getByLabel("App", { exact: true }).selectOption("jupyter");
    await lab.shown();
    await page.getByLabel("App", { exact: true }).selectOption("notes");
  };
  await page.reload();
  await back();
  await seen(phone, "14-reloaded");
  await world.stopRelay();
  await phone.state("Away");
  await seen(phone, "15-relay-gone");
  await page.reload();
  await phone.state("Away");
  await seen(phone, "16-reloaded-without");
  await world.startRelay();
  await back();
  await seen(phone, "17-relay-back");

  const origins = [...new Set(page.frames().map((frame) => new URL(frame.url()).origin))].filter((origin) => origin !== world.url && origin !== "null");
  assert.equal(origins.length, 2);
  assert.notDeepEqual((await kept(page))["couplet-apps/jars"], []);
  await dashboard.page.keyboard.press("Escape");
  await dashboard.revoke(DEVICE);
  await dashboard.picture("whole-18-revoked");
  await phone.at("over-revoked");
  await page.getByRole("button", { name: "Pair again" }).waitFor();
  await seen(phone, "19-over");
  const left = async () => Object.entries(await kept(page)).filter(([, rows]) => rows.length > 0);
  // An app has some seconds to let go of what it has stored; what the client has of it goes then.
  await until(async () => (await left()).length <= 1);
  // The key under which the browser keeps the secrets of whatever host: it is of none.
  assert.deepEqual(await left(), [["couplet/keys", ["wrapping"]]]);
  for (const origin of origins) assert.deepEqual(await storedBy(page, origin), NOTHING_STORED, origin);
  await page.reload();
  await phone.at("home");
  await page.getByText("No host yet").waitFor();
  await seen(phone, "20-home");
  // What JupyterLab's own scripts throw when their page is left is theirs.
  assert.deepEqual(phone.faults.filter((fault) => fault !== "Failed to fetch"), []);
});

// JupyterLab says `download=""`, which leaves the name to the address; the worker saves from an address of its own.
it("a file that is saved keeps its name", () => assert.equal(named, "sent.bin"));

it("a browser that denies frames of other sites all storage is told what to do", { timeout: 120_000 }, async (test) => {
  const started = new Started(test);
  const notes = await started.with(startNotes());
  const world = await started.with(World.start());
  const host = await world.host({ name: "Study", apps: [notes.url] });
  // Browsers count localhost and apps.localhost as two sites.
  const browser = await startChromium({ ...SCREEN, authority: world.ca, isStrict: true });
  const phone = await started.with(Phone.of(world.url, browser));
  await phone.open(await host.link());
  await confirmed(phone, host, "Strict");
  await phone.page.getByRole("heading", { name: "The app cannot be shown." }).waitFor();
  assert.match(await phone.text(), /allow this site to store data/);
  await seen(phone, "21-strict");
  assert.deepEqual(phone.faults, []);
});
