/** What pages are made of is kept as browsers keep it. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";
import { type Stage, startStage } from "../support/browser.js";
import { listening } from "../support/listen.js";
import { until } from "../support/until.js";

/** How scripts are sent: each says its version, as it is then. */
const SENT: { readonly [path: string]: { readonly [name: string]: string } } = {
  "/fresh.js": { "cache-control": "max-age=600" },
  "/asked.js": { "cache-control": "no-cache", etag: '"v"' },
  "/never.js": { "cache-control": "no-store", etag: '"v"' },
  "/signed.js": { "cache-control": "max-age=600", vary: "Accept-Encoding, Cookie" },
  "/long.js": { "cache-control": "max-age=600" },
};

describe("what pages are made of", { timeout: 120_000 }, () => {
  let app: Awaited<ReturnType<typeof listening>>;
  let stage: Stage;
  let version = 1;
  const seen: string[] = [];
  let stalled = 0;
  before(async () => {
    const server = createServer((request, response) => {
      const path = request.url ?? "";
      const headers = SENT[path];
      if (path.startsWith("/stall")) {
        stalled += 1;
        response.on("close", () => (stalled -= 1));
        response.writeHead(200, { "content-type": "image/png", "cache-control": "max-age=600" });
        return void response.write("begun");
      }
      if (path === "/leave") return void response.writeHead(200, { "clear-site-data": '"cache"' }).end();
      if (request.method === "PUT") return void response.writeHead(204).end();
      if (headers === undefined) {
        const scripts = Object.keys(SENT).map((src) => `<script src="${src}"></script>`);
        return void response.writeHead(200, { "content-type": "text/html" }).end(`<!doctype html><script>window.said = {}</script>${scripts.join("")}`);
      }
      const etag = headers["etag"] === undefined ? undefined : `"${version}"`;
      const isKnown = etag !== undefined && request.headers["if-none-match"] === etag;
      seen.push(`${path} ${isKnown ? "known" : "whole"}`);
      response.writeHead(isKnown ? 304 : 200, { "content-type": "text/javascript", ...headers, ...(etag === undefined ? {} : { etag }) });
      const rest = path === "/long.js" ? `//${"x".repeat(9 << 20)}` : "";
      response.end(isKnown ? undefined : `window.said[${JSON.stringify(path)}] = ${version};${rest}`);
    });
    app = await listening(server);
    stage = await startStage({ site: `http://127.0.0.1:${app.port}` });
  });
  after(async () => {
    await stage?.close();
    await app?.close();
  });

  it("is asked for again when it may have changed, and only then", async () => {
    const shown = await stage.open("site");
    const session = await stage.context.newCDPSession(stage.page);
    const paths = (): Promise<string[]> =>
      shown.frame().evaluate(async () => (await (await caches.open(".couplet")).keys()).map(({ url }) => new URL(url).pathname).sort());
    const loaded = async (page: string): Promise<{ readonly said: object; readonly asked: readonly string[] }> => {
      const frame = await shown.at(page);
      await frame.waitForLoadState("load");
      return { said: await frame.evaluate(() => Reflect.get(window, "said") as object), asked: [...seen].sort() };
    };
    const load = async (page: string): Promise<{ readonly said: object; readonly asked: readonly string[] }> => {
      // The browser has a cache for what it has shown a moment ago, too.
      await session.send("Network.clearBrowserCache");
      seen.length = 0;
      await shown.frame().evaluate((to) => void (location.href = to), page);
      return loaded(page);
    };
    const first = await loaded("/");
    assert.deepEqual(first.asked, Object.keys(SENT).map((path) => `${path} whole`).sort());
    // What is being kept is kept before the page is gone, or not at all.
    await shown.frame().waitForFunction(async () => (await (await caches.open(".couplet")).keys()).length === 2);
    version = 2;
    const second = await load("/?second");
    assert.deepEqual(second.asked, ["/asked.js whole", "/long.js whole", "/never.js whole", "/signed.js whole"]);
    assert.deepEqual(second.said, { "/fresh.js": 1, "/asked.js": 2, "/never.js": 2, "/signed.js": 2, "/long.js": 2 });
    assert.deepEqual(await paths(), ["/asked.js", "/fresh.js"]);
    const third = await load("/?third");
    assert.deepEqual(third.asked, ["/asked.js known", "/long.js whole", "/never.js whole", "/signed.js whole"]);
    assert.deepEqual(third.said, second.said);
  });

  it("is gone when it is changed, or when the app says that nothing is to be kept", async () => {
    const shown = await stage.open("site");
    const frame = await shown.at("/");
    await frame.waitForLoadState("load");
    const paths = (): Promise<string[]> =>
      frame.evaluate(async () => (await (await caches.open(".couplet")).keys()).map(({ url }) => new URL(url).pathname).sort());
    await until(async () => (await paths()).length === 2);
    await frame.evaluate(() => fetch("/fresh.js", { method: "PUT", body: "x" }));
    assert.deepEqual(await paths(), ["/asked.js"]);
    await frame.evaluate(() => fetch("/leave"));
    assert.deepEqual(await paths(), []);
  });

  it("is not read when the page has gone, which it can however much it waits for", async () => {
    const shown = await stage.open("site");
    const frame = await shown.at("/");
    await frame.waitForLoadState("load");
    await frame.evaluate(() => {
      for (let n = 0; n < 70; n += 1) document.body.append(Object.assign(new Image(), { src: `/stall${n}.png` }));
    });
    await until(() => stalled > 0);
    await frame.evaluate(() => void (location.href = "/?next"));
    await shown.at("/?next");
    await until(() => stalled === 0);
  });
});
