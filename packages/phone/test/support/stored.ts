/** What an app's origin has stored in a browser. */
import type { Frame, Page } from "playwright-core";

/** Nothing. */
export const NOTHING_STORED = { databases: [], local: 0, session: 0, caches: [], files: [], cookies: "", workers: 0 };

/** As a frame in the client's page sees it. `isOver`: nothing of the app shows any more, so that its worker ends. */
export async function storedBy(page: Page, origin: string, isOver = true): Promise<unknown> {
  await page.evaluate(
    (its) =>
      new Promise<void>((loaded) => {
        const frame = document.createElement("iframe");
        frame.onload = () => loaded();
        frame.src = `${its}/.couplet/config.json`;
        document.body.append(frame);
      }),
    origin,
  );
  const frame = page.frames().find((one) => one.url() === `${origin}/.couplet/config.json`);
  return frame?.evaluate(async (isEnding) => ({
    databases: (await indexedDB.databases()).map(({ name }) => name),
    local: localStorage.length,
    session: sessionStorage.length,
    caches: await caches.keys(),
    files: await (async () => {
      const names: string[] = [];
      const folder = (await navigator.storage.getDirectory()) as unknown as { keys(): AsyncIterable<string> };
      for await (const name of folder.keys()) names.push(name);
      return names;
    })(),
    cookies: document.cookie,
    workers: await (async () => {
      // A worker that is taken away is there until its last page is gone (Service Workers, "Unregister").
      const count = async (): Promise<number> => (await navigator.serviceWorker.getRegistrations()).length;
      const until = performance.now() + 10_000;
      while (isEnding && (await count()) > 0 && performance.now() < until) await new Promise((soon) => setTimeout(soon, 50));
      return count();
    })(),
  }), isOver);
}

/** Stores something of every kind, past whatever stands before the page's own scripts. */
export function storeAll(frame: Frame): Promise<void> {
  return frame.evaluate(async () => {
    localStorage.setItem("a", "1");
    sessionStorage.setItem("a", "1");
    await new Promise((opened, failed) => {
      const request = indexedDB.open("base");
      request.onsuccess = () => {
        request.result.onversionchange = () => request.result.close();
        opened(null);
      };
      request.onerror = failed;
    });
    await (await caches.open("cache")).put("/x", new Response("x"));
    const folder = await navigator.storage.getDirectory();
    await (await folder.getDirectoryHandle("folder", { create: true })).getFileHandle("file", { create: true });
    const clean = document.createElement("iframe");
    document.documentElement.append(clean);
    const { Document } = clean.contentWindow as unknown as { Document: typeof globalThis.Document };
    Object.getOwnPropertyDescriptor(Document.prototype, "cookie")?.set?.call(document, "own=1; Path=/; Secure; SameSite=None");
    clean.remove();
  });
}
