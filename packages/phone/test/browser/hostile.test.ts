/** What an app that means harm gets: nothing that it could not do by `fetch` to itself. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Frame } from "playwright-core";
import { type Hostile, startHostile } from "../apps/hostile.js";
import { type App, startNotes } from "../apps/notes.js";
import { type Shown, type Stage, startStage } from "../support/browser.js";

/** What an attempt came to: its value as text, or the name of what was thrown. */
type Tried = string;

describe("a hostile app", { timeout: 300_000 }, () => {
  let [notes, hostile, stage, shown, victim, frame, keeper] = [] as unknown as [App, Hostile, Stage, Shown, Shown, Frame, Frame];
  before(async () => {
    [notes, hostile] = await Promise.all([startNotes(), startHostile()]);
    stage = await startStage({ notes: notes.url, hostile: hostile.url });
    victim = await stage.open("notes", "/two");
    await victim.at("/two");
    shown = await stage.open("hostile", "/");
    frame = await shown.at("/");
    keeper = stage.page.frames().find((its) => its.url() === `${shown.origin}/.couplet/keeper`) as Frame;
  });
  after(async () => {
    await stage?.close();
    await Promise.all([notes?.close(), hostile?.close()]);
  });

  /** Runs each of them there, one after the other. */
  async function tries(where: Frame, attempts: readonly string[]): Promise<Tried[]> {
    return where.evaluate(async (all) => {
      const results: string[] = [];
      for (const attempt of all) {
        try {
          results.push(String(await (0, eval)(attempt)));
        } catch (error) {
          results.push((error as Error).name);
        }
      }
      return results;
    }, attempts);
  }

  /** Goes there and back through everything that a page's message passes, so that what was said before was heard. */
  async function settled(): Promise<void> {
    for (const its of [frame, keeper]) await its.evaluate(() => new Promise((done) => setTimeout(done)));
    await stage.page.evaluate(() => new Promise((done) => setTimeout(done)));
  }

  it("reads nothing of the client's page, nor of other apps", async () => {
    const windows = ["parent", "top", "parent.frames[0]", "parent.frames[1]"];
    for (const window of windows) {
      const attempts = ["document.cookie", "location.href", "localStorage.length", "indexedDB.databases()", "couplet", "name"].map((what) => `${window}.${what}`);
      assert.deepEqual(await tries(frame, attempts), attempts.map(() => "SecurityError"), window);
      assert.deepEqual(await tries(keeper, attempts), attempts.map(() => "SecurityError"), window);
    }
    assert.deepEqual(await tries(frame, ["opener", "frameElement", "parent === top", "indexedDB.databases().then((all) => all.length)"]), ["null", "null", "true", "0"]);
    const ancestors = await frame.evaluate(() => [...location.ancestorOrigins]);
    assert.deepEqual(ancestors, [stage.served.client], "and no label of another app");
  });

  it("leads neither the client's page nor other frames away", async () => {
    const frames = stage.page.frames().map((its) => its.url());
    const away = '"about:blank#away"';
    const attempts = [
      ...["top", "parent", "parent.frames[0]", "parent.frames[1]"].flatMap((its) => [`${its}.location = ${away}`, `${its}.location.replace(${away})`]),
      `open(${away}, "_top")`, `open(${away}, "_parent")`,
      `(() => { const a = document.createElement("a"); a.target = "_top"; a.href = ${away}; document.documentElement.append(a); a.click(); })()`,
      `(() => { const f = document.createElement("form"); f.target = "_top"; f.action = "/form"; document.documentElement.append(f); f.submit(); })()`,
      "top.close()", "parent.frames[1].close()", "top.history.back()",
    ];
    for (const where of [frame, keeper]) await tries(where, attempts);
    await settled();
    const popup = await Promise.all([stage.context.waitForEvent("page"), frame.evaluate(() => void window.open("/popup"))]).then(([its]) => its);
    await popup.waitForLoadState();
    assert.equal(await popup.evaluate(() => document.body.textContent), "hostile");
    await tries(popup.mainFrame(), [`opener.top.location = ${away}`, `opener.parent.frames[1].location = ${away}`]);
    await settled();
    await popup.close();
    assert.equal(stage.page.url(), `${stage.served.client}/p/test.html`);
    assert.deepEqual(stage.page.frames().map((its) => its.url()), frames);
  });

  it("gets no port by asking for one from its page", async () => {
    await frame.evaluate(() => {
      const ports: string[] = [];
      addEventListener("message", ({ data }) => ports.push(JSON.stringify(data)));
      for (const couplet of ["join", "ready", "port", "wiped", "failed", "busy"]) parent.postMessage({ couplet }, "*");
      for (const data of [null, 1, "join", [], { couplet: ["join"] }, { couplet: "page", path: 1, title: {} }]) parent.postMessage(data, "*");
      (window as unknown as { got: string[] }).got = ports;
    });
    // What the keeper asks for comes from the same page, and after what the frame would have got.
    const joined = await keeper.evaluate((client) => {
      const port = new Promise<string>((resolve) => addEventListener("message", ({ data }) => resolve(JSON.stringify(data)), { once: true }));
      parent.postMessage({ couplet: "join" }, client);
      return port;
    }, stage.served.client);
    assert.match(joined, /"port"/);
    await settled();
    assert.deepEqual(await frame.evaluate(() => (window as unknown as { got: string[] }).got), []);
    assert.equal((await stage.page.evaluate((label) => window.couplet.state(label), shown.label))?.phase, "open");
  });

  it("gets few ports, however often it asks for one by its keeper", async () => {
    const ports = await keeper.evaluate(async (client) => {
      let count = 0;
      const { postMessage } = ServiceWorker.prototype as unknown as { postMessage(message: unknown, transfer?: unknown): void };
      ServiceWorker.prototype.postMessage = function (this: ServiceWorker, message: unknown, transfer?: unknown): void {
        if ((message as { couplet: unknown }).couplet === "port") count += 1;
        postMessage.call(this, message, transfer);
      };
      const joined = new Promise((heard) => addEventListener("message", heard, { once: true }));
      const begun = performance.now();
      for (let at = 0; at < 500; at += 1) parent.postMessage({ couplet: "join" }, client);
      await joined;
      // The last of all is answered.
      await new Promise((late) => setTimeout(late, 300));
      (ServiceWorker.prototype as unknown as { postMessage: unknown }).postMessage = postMessage;
      return count / (performance.now() - begun);
    }, stage.served.client);
    assert.ok(ports > 0 && ports < 0.05, `${ports} for each millisecond`);
    assert.equal(await frame.evaluate(async () => (await fetch("/still")).status), 200);
  });

  it("does by a port that it takes from the keeper what it could do by fetch", async () => {
    const said = await keeper.evaluate(async () => {
      const client = location.ancestorOrigins[0] ?? "";
      const port = await new Promise<MessagePort>((resolve) => {
        ServiceWorker.prototype.postMessage = (message: { couplet?: string }, transfer?: unknown): void => {
          const [taken] = transfer as MessagePort[];
          if (message.couplet === "port" && taken !== undefined) resolve(taken);
        };
        parent.postMessage({ couplet: "join" }, client);
      });
      (window as unknown as { taken: MessagePort }).taken = port;
      const all: { t: string; id: number; [name: string]: unknown }[] = [];
      port.onmessage = ({ data }) => void all.push(data as (typeof all)[number]);
      const request = {
        t: "request", method: "GET", path: "/port", headers: [] as unknown[], body: null as unknown, mode: "cors", destination: "empty", referrer: null as unknown, asker: "app", credentials: true,
      };
      let id = 0;
      const ask = (given: object): void => port.postMessage({ ...request, id: (id += 1), ...given });
      ask({});
      ask({ path: "/forged", headers: [["Cookie", "admin=1"], ["HOST", "evil"], ["couplet-app", "notes"], ["x-couplet-device-id", "1"], ["sec-fetch-site", "none"], ["origin", "http://evil"], ["referer", "http://evil/"], ["x-fine", "1"]] });
      // None of these is a request at all.
      for (const path of ["http://couplet.internal/api/pair/me", "//couplet.internal/x", "", "x", "/a b", "/\u0000", "/\r\nx: y", null, 5, "/".repeat(20_000)]) {
        if (path !== "//couplet.internal/x") ask({ path });
      }
      ask({ path: "//couplet.internal/api/pair/me" });
      ask({ path: "/\\couplet.internal/api/pair/me" });
      ask({ path: "/@couplet.internal/../../api/pair/me" });
      ask({ method: "GET\r\nx: y" });
      ask({ headers: [["x", "a\r\ny: b"]] });
      ask({ headers: [["x\r\n", "a"]] });
      ask({ headers: Array.from({ length: 1000 }, () => ["x", "y"]) });
      ask({ headers: "x" });
      ask({ mode: "websocket" });
      ask({ body: "text" });
      ask({ referrer: "http://evil/" });
      ask({ id: -1 });
      ask({ id: Number.NaN });
      for (const message of [null, 0, "request", [], { t: "constructor" }, { t: "__proto__" }, { t: "credit", id: 1, bytes: 1e300 }, { t: "credit", id: 1, bytes: -5 }, { t: "socket", path: "/s" }, { t: "write", text: "x".repeat(5000), path: "/" }]) {
        port.postMessage(message);
      }
      // Answered in their order.
      const viewed = (): unknown => all.find((its) => its.t === "viewed");
      port.postMessage({ t: "view", id: 900, path: "/" });
      for (let turns = 0; turns < 300 && (viewed() === undefined || all.filter(({ t }) => t === "end").length < 5); turns += 1) await new Promise((done) => setTimeout(done, 10));
      return all.filter(({ t }) => t !== "data");
    });
    const heads = said.filter(({ t }) => t === "head");
    assert.equal(heads.length, 5, "the five that are requests");
    for (const head of heads) {
      const names = (head["headers"] as [string, string][]).map(([name]) => name);
      assert.ok(!names.includes("set-cookie") && !names.includes("service-worker-allowed"), names.join());
    }
    assert.equal(said.find(({ t }) => t === "viewed")?.["text"], "wide=1", "and not the one that scripts may not see");
    const forged = hostile.seen.find(({ url }) => url === "/forged")?.headers;
    assert.deepEqual(
      [forged?.cookie, forged?.host, forged?.origin, forged?.referer, forged?.["sec-fetch-site"], forged?.["x-fine"]],
      ["secret=hidden; wide=1", "localhost", undefined, undefined, "same-origin", "1"],
    );
    assert.notEqual(forged?.["x-couplet-device-id"], "1");
    const paths = hostile.seen.map(({ url }) => url).filter((url) => url.endsWith("/pair/me")).sort();
    assert.deepEqual(paths, ["//couplet.internal/api/pair/me", "//couplet.internal/api/pair/me", "/api/pair/me"], "all of it went to itself");
    assert.ok(!notes.seen.some(({ url }) => url === "/forged"));
  });

  it("is stopped when it floods the port, and can be opened again", async () => {
    // What sends them may be taken away while it does.
    const flooded = keeper.evaluate(() => {
      const { taken } = window as unknown as { taken: MessagePort };
      // Cheap ones, so that a busy machine hears as many in one second, too.
      for (let at = 0; at < 60_000; at += 1) taken.postMessage(null);
    });
    await flooded.catch(() => {});
    await stage.page.waitForFunction((label) => window.couplet.state(label)?.phase === "failed", shown.label);
    assert.equal(await victim.frame().evaluate(async () => (await fetch("/echo")).status), 200, "others go on");
    await stage.page.evaluate((label) => window.couplet.reload(label), shown.label);
    frame = await shown.at("/");
    keeper = stage.page.frames().find((its) => its.url() === `${shown.origin}/.couplet/keeper`) as Frame;
    assert.equal(await frame.evaluate(async () => (await fetch("/again")).status), 200);
  });

  it("reaches no other app's origin", async () => {
    const before = notes.seen.length;
    const attempts = ["/.couplet/keeper", "/.couplet/config.json", "/.couplet/worker.js", "/two"].map(
      (path) => `fetch("${victim.origin}${path}").then((answer) => answer.status)`,
    );
    assert.deepEqual(await tries(frame, attempts), attempts.map(() => "TypeError"));
    const opaque = await tries(frame, [`fetch("${victim.origin}/two", { mode: "no-cors" }).then((answer) => answer.type + answer.status)`]);
    assert.deepEqual(opaque, ["opaque0"]);
    const [framed] = await tries(frame, [
      `new Promise((done) => {
        const all = ["/.couplet/keeper", "/victim", "/.couplet/download#path=/victim"].map((path) => {
          const frame = document.createElement("iframe");
          frame.src = "${victim.origin}" + path;
          const loaded = new Promise((its) => frame.onload = its);
          document.documentElement.append(frame);
          return loaded.then(() => { try { return frame.contentWindow.document.title } catch (error) { return error.name } });
        });
        Promise.all(all).then(done);
      })`,
    ]);
    assert.equal(framed, "SecurityError,SecurityError,SecurityError");
    await tries(frame, [
      `(() => {
        const frame = document.createElement("iframe");
        frame.name = "post";
        const form = document.createElement("form");
        Object.assign(form, { method: "post", target: "post", action: "${victim.origin}/victim" });
        document.documentElement.append(frame, form);
        const loaded = new Promise((its) => frame.onload = its);
        form.submit();
        return loaded;
      })()`,
    ]);
    assert.deepEqual(notes.seen.slice(before).map(({ url }) => url), [], "the other app was not even asked");
    // Where it hides its own address, it gets what a stranger's page would get: no cookie that stays with the app, and no page.
    await victim.frame().evaluate(() => fetch("/renew/mine"));
    const [hidden] = await tries(frame, [
      `new Promise((done) => {
        const frame = document.createElement("iframe");
        frame.referrerPolicy = "no-referrer";
        frame.src = "${victim.origin}/victim-hidden";
        frame.onload = () => { try { done(frame.contentWindow.document.title) } catch (error) { done(error.name) } };
        document.documentElement.append(frame);
      })`,
    ]);
    assert.equal(hidden, "SecurityError");
    const asked = notes.seen.find(({ url }) => url === "/victim-hidden")?.headers;
    assert.deepEqual([asked?.cookie, asked?.["sec-fetch-site"]], [undefined, "cross-site"]);
    // To the other app's frames, where this one can reach them by name alone.
    await tries(frame, [
      `(() => {
        for (let at = 0; at < parent.length; at += 1) {
          const { port1, port2 } = new MessageChannel();
          parent[at].postMessage({ couplet: "port", client: location.origin }, "*", [port2]);
          for (const couplet of ["wipe", "ensure", "busy", "back", "cookies", "join"]) parent[at].postMessage({ couplet, text: "forged=1" }, "*");
        }
      })()`,
    ]);
    await settled();
    assert.equal(await victim.frame().evaluate(() => document.cookie), "_xsrf=mine");
    assert.equal(await victim.frame().evaluate(async () => (await fetch("/echo")).status), 200);
  });

  it("has no worker of its own, and ends ours for itself alone", async () => {
    const clean = (what: string): string =>
      `(() => { const f = document.createElement("iframe"); document.documentElement.append(f); const { serviceWorker } = f.contentWindow.navigator; return ${what}; })()`;
    const attempts = ["/evil.js", "/.couplet/evil.js", "/.couplet/../evil.js"].map((path) =>
      clean(`serviceWorker.register("${path}", { scope: "/" }).then(() => "registered")`),
    );
    for (const tried of await tries(frame, attempts)) assert.notEqual(tried, "registered");
    assert.deepEqual(await tries(keeper, [`navigator.serviceWorker.register("/evil.js", { scope: "/" }).then(() => "registered")`]), ["TypeError"]);
    assert.ok(!hostile.seen.some(({ url }) => url.endsWith(".js")), "it was not asked for one");
    assert.deepEqual(await tries(keeper, ["navigator.serviceWorker.getRegistrations().then((all) => Promise.all(all.map((its) => its.unregister())))"]), ["true"]);
    await frame.evaluate(() => void ((window as unknown as { old: boolean }).old = true));
    await stage.page.evaluate((label) => window.couplet.reload(label), shown.label);
    await frame.waitForFunction(() => !("old" in window) && document.title.startsWith("Your bank"));
    assert.equal(await frame.evaluate(async () => (await fetch("/after")).status), 200);
    assert.equal(await victim.frame().evaluate(async () => (await fetch("/echo")).status), 200);
  });

  it("finds nothing behind /.couplet/ but what is public", async () => {
    const answers = await tries(frame, [
      'fetch("/.couplet/config.json").then((answer) => answer.text())',
      'fetch("/.couplet/x", { method: "POST", body: "x" }).then((answer) => answer.status)',
      'fetch("/.couplet/download#path=/two").then((answer) => answer.status)',
      'fetch("/p").then((answer) => answer.text()).then((text) => text.includes("hostile"))',
      'fetch("/p/config.json").then((answer) => answer.text()).then((text) => text.includes("hostile"))',
    ]);
    assert.deepEqual(answers, [JSON.stringify({ client: stage.served.client }), "404", "TypeError", "true", "true"]);
  });

  it("is given no camera, no microphone, no location, and not the clipboard", async () => {
    await stage.context.grantPermissions(["camera", "microphone", "geolocation", "notifications", "clipboard-read"]);
    const allowed = await frame.evaluate(() => (document as unknown as { featurePolicy: { allowedFeatures(): string[] } }).featurePolicy.allowedFeatures());
    const denied = ["camera", "microphone", "geolocation", "clipboard-read", "display-capture", "payment", "usb", "midi"];
    assert.deepEqual(denied.filter((name) => allowed.includes(name)), []);
    assert.ok(allowed.includes("clipboard-write") && allowed.includes("fullscreen"));
    assert.equal(await frame.evaluate(() => (typeof Notification === "undefined" ? "denied" : Notification.permission)), "denied");
    await stage.context.clearPermissions();
  });

  it("says of itself no more than text, and leads to no address but of the web", async () => {
    // Its title comes when its page has said it.
    await stage.page.waitForFunction((label) => {
      const state = window.couplet.state(label);
      return state?.phase === "open" && state.title.length === 200;
    }, shown.label);
    const leaves = await stage.page.evaluate(() => window.couplet.leaves().length);
    await tries(frame, [
      `(() => { for (const url of ["javascript:alert(1)", "data:text/html,x", "blob:" + location.origin + "/x", "file:///etc/passwd", "x".repeat(100000), "", null, {}]) parent.postMessage({ couplet: "leave", url }, "*"); })()`,
    ]);
    await settled();
    assert.equal(await stage.page.evaluate(() => window.couplet.leaves().length), leaves);
  });

  it("asks to lead elsewhere no more often than people do, and not while it is being asked", async () => {
    const asked = async (): Promise<number> => {
      const before = await stage.page.evaluate(() => window.couplet.leaves().length);
      await tries(frame, ['(() => { for (let at = 0; at < 500; at += 1) parent.postMessage({ couplet: "leave", url: "https://elsewhere.example/" + at }, "*"); })()']);
      await settled();
      return (await stage.page.evaluate(() => window.couplet.leaves().length)) - before;
    };
    assert.equal(await asked(), 3);
    assert.equal(await asked(), 0);
    // One that is opened anew begins anew, as far as the question that it asks is answered.
    await stage.page.evaluate(() => window.couplet.asks(true));
    const other = await stage.open("hostile", "/asks");
    frame = await other.at("/asks");
    assert.equal(await asked(), 1);
    await stage.page.evaluate((label) => [window.couplet.asks(false), window.couplet.close(label)], other.label);
    frame = shown.frame();
  });

  it("goes through its own history, and not through that of the client's page", async () => {
    await stage.page.evaluate(() => {
      for (const at of ["#one", "#two", "#three"]) history.pushState(null, "", at);
    });
    const other = await stage.open("hostile", "/first");
    await other.at("/first");
    const url = stage.page.url();
    await other.frame().evaluate(() => location.assign("/second"));
    await other.at("/second");
    await other.frame().evaluate(() => history.back());
    await other.at("/first");
    for (const steps of [-1, -2, -3, -4, -20]) await tries(other.frame(), [`history.go(${steps})`, "history.back()"]);
    await other.frame().evaluate(() => location.assign("/third"));
    await other.at("/third");
    assert.equal(await stage.page.evaluate(() => location.href), url);
    await stage.page.evaluate((label) => window.couplet.close(label), other.label);
  });

  it("is taken away when it floods the client's page with messages", async () => {
    const flooded = frame.evaluate(() => {
      for (let at = 0; at < 60_000; at += 1) parent.postMessage(null, "*");
    });
    await flooded.catch(() => {});
    await stage.page.waitForFunction((label) => window.couplet.state(label)?.phase === "failed", shown.label);
    assert.equal(await victim.frame().evaluate(async () => (await fetch("/echo")).status), 200);
  });
});
