/** Parts of two builds meet: the client's pages are kept on the phone, the rest comes from the server, the worker when it likes. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import type { App } from "../apps/notes.js";
import { failure, type Shown, type Stage, startNotesStage, versionOf } from "../support/browser.js";

/** The browser takes the worker that the server has now. */
async function exchanged(stage: Stage, shown: Shown): Promise<void> {
  // The keeper has no shim before what is the browser's.
  const keeper = stage.page.frames().find((its) => its.url() === `${shown.origin}/.couplet/keeper`);
  await keeper?.evaluate(async () => {
    const taken = new Promise((its) => navigator.serviceWorker.addEventListener("controllerchange", its));
    await (await navigator.serviceWorker.getRegistration())?.update();
    await taken;
  });
}

describe("a part of another version", { timeout: 120_000 }, () => {
  let [stage, version] = [] as unknown as [Stage, string];
  before(async () => {
    ({ stage } = await startNotesStage());
    version = await versionOf(process.cwd());
  });
  after(() => stage?.close());
  afterEach(() => stage.served.changed.clear());

  const other = (text: string): string => {
    assert.ok(text.includes(version), "the version stands in what is built");
    return text.replaceAll(version, "0123456789abcdef");
  };
  const AGAIN = /another version.*load this page again/;

  it("is told of when it is the keeper, which the server has of the newest", async () => {
    stage.served.changed.set("keeper.js", other);
    const { label } = await stage.open("notes", "/two");
    assert.match(await failure(stage.page, label), AGAIN);
  });

  it("is exchanged when it is the worker, and told of when the newest is no better", async () => {
    stage.served.changed.set("worker.js", other);
    const shown = await stage.open("notes", "/two");
    assert.match(await failure(stage.page, shown.label), AGAIN);
    stage.served.changed.clear();
    await stage.page.evaluate((label) => window.couplet.reload(label), shown.label);
    await shown.at("/two");
    assert.equal(await shown.frame().evaluate(async () => (await fetch("/echo")).status), 200);
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("is told of in a page that was open before the server had another", async () => {
    const shown = await stage.open("notes", "/two");
    const frame = await shown.at("/two");
    await frame.evaluate(() => void ((window as unknown as { before: boolean }).before = true));
    for (const name of ["keeper.js", "worker.js"]) stage.served.changed.set(name, other);
    await exchanged(stage, shown);
    await frame.evaluate(() => void fetch("/echo").catch(() => {}));
    assert.match(await failure(stage.page, shown.label), AGAIN);
  });
});

describe("a worker that is exchanged for one of the same version", { timeout: 60_000 }, () => {
  let [notes, stage] = [] as unknown as [App, Stage];
  before(async () => void ({ notes, stage } = await startNotesStage()));
  after(() => stage?.close());
  afterEach(() => stage.served.changed.clear());

  type Heard = { readonly heard: string[]; readonly source: EventSource; readonly socket: WebSocket };

  it("does not end WebSockets, and the app goes on", async () => {
    const shown = await stage.open("notes", "/two");
    const frame = await shown.at("/two");
    await frame.evaluate(async () => {
      const heard: string[] = [];
      const socket = new WebSocket("/live");
      socket.onmessage = ({ data }) => void heard.push(String(data));
      socket.onclose = () => void heard.push("closed");
      Object.assign(window, { heard, socket });
      await new Promise((opened) => (socket.onopen = opened));
      document.cookie = "kept=1; Path=/";
      await fetch("/echo");
    });
    stage.served.changed.set("worker.js", (text) => `${text}// another build`);
    await exchanged(stage, shown);
    const cookie = await frame.evaluate(async () => ((await (await fetch("/echo")).json()) as { headers: { cookie: string } }).headers.cookie);
    assert.equal(cookie, "kept=1");
    await frame.evaluate(() => (window as unknown as Heard).socket.send("here"));
    await frame.waitForFunction(() => (window as unknown as Heard).heard.length > 0);
    assert.deepEqual(await frame.evaluate(() => (window as unknown as Heard).heard), ["here"]);
    await frame.evaluate(() => location.assign("/"));
    await shown.at("/");
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("waits until what streams has ended, and the app goes on meanwhile", async () => {
    const shown = await stage.open("notes", "/two");
    const frame = await shown.at("/two");
    await frame.evaluate(async () => {
      const heard: string[] = [];
      const source = new EventSource("/events");
      source.onmessage = ({ data }) => void heard.push(String(data));
      source.onerror = () => void heard.push("broken");
      Object.assign(window, { heard, source });
      await new Promise((opened) => (source.onopen = opened));
    });
    stage.served.changed.set("worker.js", (text) => `${text}// one more build`);
    const keeper = stage.page.frames().find((its) => its.url() === `${shown.origin}/.couplet/keeper`);
    await keeper?.evaluate(async () => {
      const taken = new Promise((its) => navigator.serviceWorker.addEventListener("controllerchange", its));
      const registration = await navigator.serviceWorker.getRegistration();
      await registration?.update();
      Object.assign(window, { taken, registration });
      const installing = registration?.installing ?? null;
      // It then waits, or has taken over too soon.
      if (installing !== null) await new Promise((done) => installing.addEventListener("statechange", done, { once: true }));
    });
    const waits = async (): Promise<boolean> =>
      keeper?.evaluate(() => (window as unknown as { registration: ServiceWorkerRegistration }).registration.waiting !== null) ?? false;
    assert.equal(await waits(), true);
    assert.equal(await frame.evaluate(async () => (await fetch("/echo")).status), 200);
    notes.tell("still");
    await frame.waitForFunction(() => (window as unknown as Heard).heard.length > 0);
    assert.deepEqual(await frame.evaluate(() => (window as unknown as Heard).heard), ["still"]);
    assert.equal(await waits(), true);
    await frame.evaluate(() => (window as unknown as Heard).source.close());
    await keeper?.evaluate(() => (window as unknown as { taken: Promise<unknown> }).taken.then(() => null));
    assert.equal(await frame.evaluate(async () => (await fetch("/echo")).status), 200);
  });
});
