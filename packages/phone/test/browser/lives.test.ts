/** What happens to the worker, the tab and the session meanwhile. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Frame } from "playwright-core";
import type { App } from "../apps/notes.js";
import { type Shown, type Stage, startNotesStage } from "../support/browser.js";
import { until } from "../support/until.js";

/** The keeper's page: what it does again and again, and what it said to its worker. */
interface Beating {
  readonly beats: Map<number, { readonly beat: () => void; readonly every: number }>;
  readonly said: unknown[];
}

describe("an app that is open", { timeout: 120_000 }, () => {
  let [notes, stage, shown] = [] as unknown as [App, Stage, Shown];
  before(async () => {
    ({ notes, stage } = await startNotesStage());
    await stage.page.addInitScript(() => {
      if (!location.pathname.startsWith("/.couplet/keeper")) return;
      const beats: Beating["beats"] = new Map();
      const { setInterval: set, clearInterval: clear } = window;
      const begin = (beat: () => void, every: number): number => {
        const id = set(beat, every);
        beats.set(id, { beat, every });
        return id;
      };
      const end = (id: number): void => {
        beats.delete(id);
        clear(id);
      };
      Object.assign(window, { beats, setInterval: begin, clearInterval: end });
    });
    shown = await stage.open("notes", "/two");
    await shown.at("/two");
  });
  after(() => stage?.close());

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
    const session = await stage.context.newCDPSession(shown.frame());
    await session.send("Network.enable");
    await session.send("Network.setBypassServiceWorker", { bypass: true });
    const asked = stage.served.asked.length;
    await shown.frame().evaluate(() => location.assign("/two"));
    // The page that stands there says so; what it sets up is to go through again.
    await until(() => stage.served.asked.slice(asked).some(({ path }) => path === "/.couplet/stray.js"));
    // It may have ended with the process that the frame was in.
    await session.send("Network.setBypassServiceWorker", { bypass: false }).catch(() => {});
    await stage.page.waitForFunction((label) => (window.couplet.state(label) as { title?: string }).title === "Two", shown.label);
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

  it("goes on after a long time in the background: its page slept, and the worker was stopped", async () => {
    await shown.frame().evaluate(() => location.assign("/two"));
    const frame = await shown.at("/two");
    await frame.waitForFunction(() => document.title === "Two");
    type Heard = { readonly heard: string[]; readonly socket: WebSocket };
    await frame.evaluate(async () => {
      const heard: string[] = [];
      const source = new EventSource("/events");
      source.onmessage = ({ data }) => void heard.push(`event ${String(data)}`);
      const socket = new WebSocket("/live");
      socket.onmessage = ({ data }) => void heard.push(`socket ${String(data)}`);
      socket.onclose = () => void heard.push("closed");
      Object.assign(window, { heard, socket });
      await Promise.all([new Promise((opened) => (source.onopen = opened)), new Promise((opened) => (socket.onopen = opened))]);
    });
    const session = await stage.context.newCDPSession(stage.page);
    await session.send("ServiceWorker.enable");
    await session.send("Debugger.enable");
    await session.send("Debugger.pause");
    const paused = new Promise((its) => session.once("Debugger.paused", its));
    const woken = stage.page.evaluate(() => "woken");
    await paused;
    await session.send("ServiceWorker.stopAllWorkers");
    await session.send("Debugger.resume");
    assert.equal(await woken, "woken");
    await session.detach();
    await frame.evaluate(() => (window as unknown as Heard).socket.send("still"));
    await frame.waitForFunction(() => (window as unknown as Heard).heard.length > 0);
    assert.deepEqual(await frame.evaluate(() => (window as unknown as Heard).heard), ["socket still"]);
    const again = async (text: string): Promise<void> =>
      until(async () => {
        notes.tell(text);
        return frame.evaluate((its) => (window as unknown as Heard).heard.includes(its), `event ${text}`);
      });
    await again("anew");
    // Also when only the port to the page was lost, and when the app was away for a while.
    const keeper = stage.page.frames().find((its) => its.url() === `${shown.origin}/.couplet/keeper`);
    await keeper?.evaluate((client) => parent.postMessage({ couplet: "join" }, client), stage.served.client);
    await until(() => notes.listeners() === 0);
    await again("once more");
    const seen = await frame.evaluate(async () => (await (await fetch("/echo")).json()) as { headers: { cookie: string } });
    assert.equal(seen.headers.cookie, "_xsrf=kept");
  });

  it("keeps its worker alive as long as anything is under way, and no longer", async () => {
    const keeper = stage.page.frames().find((its) => its.url() === `${shown.origin}/.couplet/keeper`) as Frame;
    const beats = (): Promise<number[]> => keeper.evaluate(() => [...(window as unknown as Beating).beats.values()].map(({ every }) => every));
    await until(async () => (await beats()).length === 1);
    const [every = Number.NaN] = await beats();
    assert.ok(every < 30_000, "browsers stop a worker that hears nothing for about 30 s");
    await keeper.evaluate(() => {
      const said: unknown[] = [];
      const { postMessage } = ServiceWorker.prototype as unknown as { postMessage(message: unknown, transfer?: unknown): void };
      ServiceWorker.prototype.postMessage = function (this: ServiceWorker, message: unknown, transfer?: unknown): void {
        said.push((message as { couplet: unknown }).couplet);
        postMessage.call(this, message, transfer);
      };
      Object.assign(window, { said });
      for (const { beat } of (window as unknown as Beating).beats.values()) beat();
    });
    await until(() => keeper.evaluate(() => (window as unknown as Beating).said.includes("ping")));
    await shown.frame().evaluate(() => location.assign("/"));
    await shown.at("/");
    await until(() => notes.listeners() === 0);
    assert.equal(await shown.frame().evaluate(async () => (await fetch("/echo")).status), 200);
    await until(async () => (await beats()).length === 0);
  });

  it("stays at its own address, also where a path begins with two slashes", async () => {
    const frame = shown.frame();
    await frame.evaluate(() => {
      const link = document.createElement("a");
      link.href = "http://localhost:8888//elsewhere.example/x";
      link.id = "slashes";
      link.textContent = "x";
      document.body.append(link);
    });
    await frame.click("#slashes");
    await shown.at("//elsewhere.example/x");
    assert.equal(new URL(frame.url()).origin, shown.origin);
    notes.refuse(true);
    await frame.evaluate(() => location.reload());
    await frame.waitForSelector("main a");
    assert.equal(await frame.evaluate(() => (document.querySelector("main a") as HTMLAnchorElement).href), `${shown.origin}//elsewhere.example/x`);
    notes.refuse(false);
  });
});
