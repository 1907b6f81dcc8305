/** Steps that several tests take. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFileSync, cpSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Frame, Page } from "playwright-core";

import { listening } from "../support/listen.js";
import { DIST, Phone, type PhoneInit } from "./phone.js";
import type { RealHost } from "./world.js";

/** A phone for as long as the work takes, on which nothing may go wrong unseen. */
export async function withPhone(init: PhoneInit, work: (phone: Phone) => Promise<void>): Promise<void> {
  const phone = await Phone.start(init);
  try {
    await work(phone);
    assert.deepEqual(phone.faults, []);
  } finally {
    await phone.close();
  }
}

/** Sees the page as it is: in pictures, and by what is wrong with it. */
export async function seen(phone: Phone, name: string, page = phone.page): Promise<void> {
  await phone.picture(name, page);
  assert.deepEqual(await phone.wrongs(page), [], name);
}

/** What is stored of pairings and apps. */
export interface Kept {
  readonly credentials: string[];
  readonly labels: Record<string, string>[];
  readonly jars: string[];
  /** Labels that were thrown away, and whose origins were not reached yet. */
  readonly leavings: string[];
}

/** Reads it. */
export function kept(page: Page): Promise<Kept> {
  return page.evaluate(async () => {
    const all = <T,>(database: string, store: string, what: "getAll" | "getAllKeys"): Promise<T[]> =>
      new Promise((resolve, reject) => {
        const request = indexedDB.open(database);
        request.onerror = () => reject(request.error);
        request.onsuccess = () => {
          const its = request.result;
          if (!its.objectStoreNames.contains(store)) return resolve([]);
          const rows = its.transaction(store).objectStore(store)[what]();
          rows.onsuccess = () => (its.close(), resolve(rows.result as T[]));
        };
      });
    return {
      credentials: await all<string>("couplet", "credentials", "getAllKeys"),
      labels: (await all<{ labels: Record<string, string> }>("couplet-apps", "labels", "getAll")).map((row) => row.labels),
      jars: await all<string>("couplet-apps", "jars", "getAllKeys"),
      leavings: await all<string>("couplet-apps", "leavings", "getAllKeys"),
    };
  });
}

/** Nothing of it. */
export const NO_ROWS: Kept = { credentials: [], labels: [], jars: [], leavings: [] };

/** A copy of the build, and what makes another build of it: other words in its style, and a worker that says so, or lies. */
export function rebuilt(): { readonly dist: string; change(isWhole?: boolean): void } {
  const dist = mkdtempSync(join(tmpdir(), "couplet-dist-"));
  cpSync(DIST, dist, { recursive: true });
  const sha256 = (bytes: string | Buffer): string => createHash("sha256").update(bytes).digest("hex");
  const change = (isWhole = true): void => {
    const [style, worker] = [join(dist, "client/phone.css"), join(dist, "client/worker.js")];
    const before = sha256(readFileSync(style));
    appendFileSync(style, "\n/* another build */\n");
    const text = readFileSync(worker, "utf8");
    assert.ok(text.includes(before), "the worker names the style's hash");
    const hash = /hash:\s*[`"']([0-9a-f]{64})/.exec(text)?.[1] ?? "";
    assert.notEqual(hash, "");
    const after = isWhole ? sha256(readFileSync(style)) : sha256("something else");
    writeFileSync(worker, text.replaceAll(before, after).replaceAll(hash, sha256(after)));
  };
  return { dist, change };
}

/** Waits until the worker runs the page's requests. */
export async function installed(phone: Phone): Promise<void> {
  await phone.open();
  await phone.at("home");
  await phone.page.evaluate(async () => void (await navigator.serviceWorker.ready));
  await phone.page.reload();
  await phone.page.waitForFunction(() => navigator.serviceWorker.controller !== null);
}

/** Opens the menu of the host. */
export async function menu(phone: Phone, page = phone.page): Promise<void> {
  await page.getByRole("button", { name: /^Menu of/ }).click();
  await page.getByRole("dialog").waitFor();
}

/** The frame of the app in front. */
export async function appFrame(phone: Phone, page = phone.page): Promise<Frame> {
  const frame = await (await page.waitForSelector(".place:not([hidden]) iframe.app")).contentFrame();
  if (frame === null) throw new Error("there is no app");
  return frame;
}

/** An app that says its name, counts its visits, and leads elsewhere. */
export async function startApp(name: string, more = ""): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const body = `<!doctype html><title>${name}</title><h1>${name}</h1><p>${request.url}</p><a href="/next">Next</a> <a href="https://elsewhere.example/x">Elsewhere</a>${more}`;
    response.writeHead(200, { "content-type": "text/html", "set-cookie": "seen=1; HttpOnly" }).end(body);
  });
  const { port, close } = await listening(server);
  return { url: `http://127.0.0.1:${port}`, close };
}

/** The digits as the page shows them: `012 345`. */
export async function shownCode(phone: Phone, page = phone.page): Promise<string> {
  await phone.at("approval", page);
  return (await page.locator(".check-code .group").allInnerTexts()).join(" ");
}

/** Pairs by a link in the address; the owner approves. */
export async function paired(phone: Phone, host: RealHost, name: string, page = phone.page): Promise<void> {
  await phone.open(await host.link(), page);
  await confirmed(phone, host, name, page);
}

/** The same from the page on which the name is asked. */
export async function confirmed(phone: Phone, host: RealHost, name: string, page = phone.page): Promise<void> {
  await phone.at("confirm", page);
  await page.getByLabel("Name of this device").fill(name);
  await phone.press("Pair", page);
  await host.owner("approve", name, await shownCode(phone, page));
  await phone.state("Relay", page);
}

/** The app in front, once it shows this heading. */
export async function appShows(heading: string, phone: Phone, page = phone.page): Promise<void> {
  await page.frameLocator(".place:not([hidden]) iframe.app").getByRole("heading", { name: heading }).waitFor();
}
