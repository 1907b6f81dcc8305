/** An app as people have them, shown by the real thing. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type App, POLICIES, type Seen } from "../apps/notes.js";
import { type Stage, startNotesStage } from "../support/browser.js";
import { until } from "../support/until.js";

describe("an app", { timeout: 300_000 }, () => {
  let notes: App;
  let stage: Stage;
  before(async () => void ({ notes, stage } = await startNotesStage()));
  after(() => stage?.close());

  it("shows, and says where it is", async () => {
    const shown = await stage.open("notes");
    const frame = await shown.at("/");
    assert.equal(await frame.textContent("h1"), "Home");
    await frame.click("#two");
    await shown.at("/two");
    await stage.page.waitForFunction((label) => (window.couplet.state(label) as { title?: string }).title === "Two", shown.label);
    const state = await stage.page.evaluate((label) => window.couplet.state(label), shown.label);
    assert.deepEqual(state, { phase: "open", path: "/two", title: "Two", canGoBack: true });
    await stage.page.evaluate((label) => window.couplet.back(label), shown.label);
    await shown.at("/");
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
    assert.equal(await stage.page.locator("iframe").count(), 0);
  });

  it("is told only what a browser tells, as of its own host", async () => {
    const shown = await stage.open("notes", "/two");
    const frame = await shown.at("/two");
    const { headers } = await frame.evaluate(async () => {
      const headers = { "x-own": "1", "x-couplet-device-id": "forged", "couplet-app": "other", accept: "application/json" };
      return (await (await fetch("/echo?a=b", { method: "POST", body: "x", headers })).json()) as { headers: { [name: string]: string } };
    });
    assert.equal(headers["host"], "localhost");
    assert.equal(headers["origin"], "http://localhost");
    assert.equal(headers["referer"], "http://localhost/two");
    assert.equal(headers["sec-fetch-site"], "same-origin");
    assert.equal(headers["sec-fetch-mode"], "cors");
    assert.equal(headers["x-own"], "1");
    assert.equal(headers["accept"], "application/json");
    assert.equal(headers["content-length"], "1");
    assert.equal(headers["cookie"], undefined);
    assert.notEqual(headers["x-couplet-device-id"], "forged");
    const navigation = notes.seen.find(({ url }) => url === "/two");
    assert.equal(navigation?.headers["sec-fetch-dest"], "iframe");
    assert.equal(navigation?.headers["sec-fetch-mode"], "navigate");
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("logs in by a form; a script sees its own cookies, and no others", async () => {
    const shown = await stage.open("notes", "/login");
    const frame = await shown.at("/login");
    await frame.fill("input", "anna");
    await frame.click("button");
    await shown.at("/welcome?from=login");
    const post = notes.seen.find(({ method, url }) => method === "POST" && url === "/login");
    assert.equal(post?.headers.origin, "http://localhost");
    assert.equal(post?.headers["content-type"], "application/x-www-form-urlencoded");
    assert.equal(await frame.textContent("#who"), "session=anna; _xsrf=token1");
    assert.equal(await frame.evaluate(() => document.cookie), "_xsrf=token1");
    // With the answer that changes it, and in the page that asked.
    const renewed = await frame.evaluate(async () => {
      await fetch("/renew/token2");
      return document.cookie;
    });
    assert.equal(renewed, "_xsrf=token2");
    // What a script writes goes with its very next request.
    const written = await frame.evaluate(async () => {
      document.cookie = "theme=dark; Path=/";
      const asked = new XMLHttpRequest();
      asked.open("GET", "/echo");
      asked.responseType = "json";
      const loaded = new Promise((resolve) => (asked.onload = resolve));
      asked.send();
      document.cookie = "size=2; Path=/";
      const seen = (await (await fetch("/echo")).json()) as { headers: { cookie: string } };
      await loaded;
      document.cookie = "size=; Max-Age=0; Path=/";
      return [document.cookie, (asked.response as { headers: { cookie: string } }).headers.cookie.includes("theme=dark"), seen.headers.cookie];
    });
    assert.deepEqual(written, [
      "_xsrf=token2; theme=dark",
      true,
      "session=anna; _xsrf=token2; theme=dark; size=2",
    ]);
    const refused = await frame.evaluate(() => {
      try {
        new XMLHttpRequest().open("POST", "/echo?secret", false);
        return "";
      } catch (error) {
        return (error as Error).name;
      }
    });
    assert.equal(refused, "InvalidAccessError");
    const deleted = await frame.evaluate(async () => {
      document.cookie = "theme=; Max-Age=0; Path=/";
      document.cookie = "session=forged; Path=/";
      const omitted = (await (await fetch("/echo", { credentials: "omit" })).json()) as { headers: { cookie?: string } };
      const seen = (await (await fetch("/echo")).json()) as { headers: { cookie: string } };
      return [seen.headers.cookie, omitted.headers.cookie];
    });
    assert.deepEqual(deleted, ["session=anna; _xsrf=token2", undefined]);
    // Cookies of other names' are none of its.
    await frame.evaluate(() => fetch("/drop"));
    assert.equal(await frame.evaluate(() => document.cookie), "_xsrf=token2; b=2");
    // Nothing of it is a cookie of the browser's, or went to who serves the page.
    assert.deepEqual(await stage.context.cookies(), []);
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
    const again = await stage.open("notes", "/welcome", shown.label);
    assert.match((await (await again.at("/welcome")).textContent("#who")) ?? "", /^session=anna/);
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("is asked with its cookies by its own pages and by people, and by a page that hides where it comes from as by a stranger's", async () => {
    const shown = await stage.open("notes", "/login");
    const frame = await shown.at("/login");
    await frame.fill("input", "carl");
    await frame.click("button");
    await shown.at("/welcome?from=login");
    const who = async (path: string): Promise<unknown> => {
      await shown.at(path);
      await frame.waitForSelector("#who");
      const seen = notes.seen.filter(({ url }) => url === path).at(-1)?.headers;
      return [seen?.cookie, seen?.["sec-fetch-site"]];
    };
    const all = "session=carl; _xsrf=token1";
    for (const [page, link, path] of [["/quiet", "#meta", "/welcome?meta"], ["/quiet/own", "#rel", "/welcome?rel"]] as const) {
      await frame.evaluate((its) => location.assign(its), page);
      await shown.at(page);
      await frame.waitForFunction(() => document.readyState === "complete");
      await frame.click(link);
      assert.deepEqual(await who(path), [all, "same-origin"], path);
    }
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
    const again = await stage.open("notes", "/welcome?begun", shown.label);
    await again.at("/welcome?begun");
    const begun = notes.seen.filter(({ url }) => url === "/welcome?begun").at(-1)?.headers;
    assert.deepEqual([begun?.cookie, begun?.["sec-fetch-site"]], [all, "none"]);
    // The first page of all comes again: by its own doing, and by history.
    await again.frame().evaluate(() => location.reload());
    await until(() => notes.seen.filter(({ url }) => url === "/welcome?begun").length === 2);
    await again.frame().waitForSelector("#home");
    await again.frame().click("#home");
    await again.at("/");
    await stage.page.evaluate((label) => window.couplet.back(label), again.label);
    await again.at("/welcome?begun");
    await until(() => notes.seen.filter(({ url }) => url === "/welcome?begun").length === 3);
    for (const { headers } of notes.seen.filter(({ url }) => url === "/welcome?begun")) assert.equal(headers.cookie, all);
    // A window of its own, led to from nowhere, as by a link in a mail.
    const popup = await stage.context.newPage();
    await popup.goto(`${again.origin}/welcome?mail`);
    const mail = notes.seen.filter(({ url }) => url === "/welcome?mail").at(-1)?.headers;
    if (mail !== undefined) assert.deepEqual([mail.cookie, mail["sec-fetch-site"]], ["_xsrf=token1", "cross-site"]);
    await popup.close();
    await stage.page.evaluate((label) => window.couplet.close(label), again.label);
  });

  it("tells nobody else where a link leads from that says not to, and itself that it is its own", async () => {
    const shown = await stage.open("notes", "/quiet/own");
    const frame = await shown.at("/quiet/own");
    await frame.waitForFunction(() => document.readyState === "complete");
    const [popup] = await Promise.all([stage.context.waitForEvent("page"), frame.click("#foreign")]);
    const seen = (path: string): Seen | undefined => notes.seen.find(({ url }) => url === path);
    await until(() => seen("/two?foreign") !== undefined);
    assert.equal(seen("/foreign")?.headers["sec-fetch-site"], "same-origin");
    assert.equal(seen("/two?foreign")?.headers.referer, undefined);
    await popup.close();
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("redirects within itself, and asks before it leads elsewhere", async () => {
    const shown = await stage.open("notes", "/hop");
    const frame = await shown.at("/two");
    await frame.evaluate(() => location.assign("/"));
    await shown.at("/");
    await frame.evaluate(() => location.assign("/hop/abs"));
    await shown.at("/two");
    const followed = await frame.evaluate(async () => {
      const answer = await fetch("/hop/abs");
      return [new URL(answer.url).pathname, answer.redirected, answer.status] as const;
    });
    assert.deepEqual(followed, ["/two", true, 200]);
    await frame.evaluate(() => location.assign("/away"));
    await stage.page.waitForFunction(() => window.couplet.leaves().length === 1);
    await shown.at("/away");
    assert.match((await frame.textContent("main")) ?? "", /elsewhere\.example\/there/);
    await frame.evaluate(() => location.assign("/"));
    await shown.at("/");
    await frame.click("#out");
    await stage.page.waitForFunction(() => window.couplet.leaves().length === 2);
    assert.deepEqual(await stage.page.evaluate(() => window.couplet.leaves()), [
      "https://elsewhere.example/there",
      "https://elsewhere.example/x",
    ]);
    assert.equal(await frame.textContent("h1"), "Home");
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("uploads and downloads", async () => {
    const shown = await stage.open("notes", "/two");
    const frame = await shown.at("/two");
    const sent = await frame.evaluate(async () => {
      const bytes = new Uint8Array(5 << 20).map((_, at) => at % 251);
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
      const form = new FormData();
      form.set("note", "text");
      form.set("file", new Blob([bytes]), "a.bin");
      const whole = await (await fetch("/echo", { method: "PUT", body: bytes })).json();
      const parts = await (await fetch("/echo", { method: "POST", body: form })).json();
      const hex = [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      return { hex, whole, parts } as { hex: string; whole: Echo; parts: Echo };
    });
    assert.equal(sent.whole.hash, sent.hex);
    assert.equal(sent.whole.headers["content-length"], String(5 << 20));
    assert.match(sent.parts.headers["content-type"] ?? "", /^multipart\/form-data; boundary=/);
    assert.match(sent.parts.start, /name="note"/);
    assert.ok(sent.parts.length > 5 << 20);
    const [download] = await Promise.all([stage.page.waitForEvent("download"), frame.evaluate(() => location.assign("/file"))]);
    assert.equal(download.suggestedFilename(), "notes &.html");
    const stream = await download.createReadStream();
    let text = "";
    for await (const part of stream) text += String(part);
    assert.equal(text, "<p>not a page</p>");
    await frame.evaluate(() => location.assign("/"));
    await shown.at("/");
    const saved = async (click: () => void, name: string): Promise<Echo> => {
      const [its] = await Promise.all([stage.page.waitForEvent("download"), frame.evaluate(click)]);
      assert.equal(its.suggestedFilename(), name);
      let body = "";
      for await (const part of await its.createReadStream()) body += String(part);
      return JSON.parse(body) as Echo;
    };
    assert.equal((await saved(() => (document.querySelector("#save") as HTMLElement).click(), "saved \u00e4.json")).url, "/echo?save");
    const detached = await saved(() => {
      const link = document.createElement("a");
      link.href = "/echo?detached";
      link.download = "detached.json";
      link.click();
    }, "detached.json");
    assert.equal(detached.url, "/echo?detached");
    const big = await frame.evaluate(async () => (await (await fetch(`/big/${20 << 20}`)).arrayBuffer()).byteLength);
    assert.equal(big, 20 << 20);
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("holds the app back when nobody reads, and ends what nobody wants", async () => {
    const shown = await stage.open("notes", "/two");
    const frame = await shown.at("/two");
    await frame.evaluate(async () => {
      const abort = new AbortController();
      const answer = await fetch("/endless", { signal: abort.signal });
      (window as unknown as { held: object }).held = { abort, reader: answer.body?.getReader() };
    });
    // It is full when what is written does not grow while something else goes there and back, several times.
    let [before, same] = [-1, 0];
    await until(async () => {
      await frame.evaluate(() => fetch("/echo").then((answer) => answer.text()));
      same = notes.written() === before ? same + 1 : 0;
      before = notes.written();
      return same === 10;
    });
    assert.ok(before < 64 << 20, `${before} bytes for nobody`);
    await frame.evaluate(() => (window as unknown as { held: { abort: AbortController } }).held.abort.abort());
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("hears events, also when its page is opened anew", async () => {
    const shown = await stage.open("notes", "/two");
    const frame = await shown.at("/two");
    await frame.evaluate(async () => {
      const heard: string[] = [];
      const source = new EventSource("/events");
      source.onmessage = ({ data }) => void heard.push(String(data));
      (window as unknown as { heard: string[] }).heard = heard;
      await new Promise((opened) => (source.onopen = opened));
    });
    assert.equal(notes.listeners(), 1);
    notes.tell("first");
    await frame.waitForFunction(() => (window as unknown as { heard: string[] }).heard.includes("first"));
    await frame.evaluate(() => location.assign("/"));
    await shown.at("/");
    await until(() => notes.listeners() === 0);
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("has WebSockets", async () => {
    const shown = await stage.open("notes", "/socket");
    const frame = await shown.at("/socket");
    const heard = await frame.evaluate(async () => {
      document.cookie = "w=1; Path=/";
      const socket = new WebSocket("/live?x=1", ["echo.v1", "echo.v2"]);
      const said: unknown[] = [socket.readyState, socket instanceof WebSocket, new URL(socket.url).protocol];
      const next = (): Promise<unknown> => new Promise((resolve) => socket.addEventListener("message", ({ data }) => resolve(data), { once: true }));
      await new Promise((opened) => (socket.onopen = opened));
      said.push(socket.readyState, socket.protocol);
      socket.send("hällo");
      said.push(socket.bufferedAmount, await next());
      socket.send(new Uint8Array([1, 2, 3]));
      const blob = (await next()) as Blob;
      said.push(blob instanceof Blob, blob.size);
      socket.binaryType = "arraybuffer";
      socket.send(new Blob(["blob"]));
      socket.send("after it");
      said.push((await next() as ArrayBuffer).byteLength, await next());
      socket.send("x".repeat(1 << 20));
      said.push((await next() as string).length);
      const closed = new Promise<CloseEvent>((resolve) => (socket.onclose = resolve));
      socket.send("bye");
      const { code, reason, wasClean } = await closed;
      return [...said, code, reason, wasClean, socket.readyState];
    });
    assert.deepEqual(heard, [0, true, "ws:", 1, "echo.v2", 6, "hällo", true, 3, 4, "after it", 1 << 20, 4001, "as you say", true, 3]);
    const upgrade = notes.seen.find(({ method }) => method === "WEBSOCKET");
    assert.equal(upgrade?.headers.origin, "http://localhost");
    assert.equal(upgrade?.headers.cookie, "w=1");
    assert.equal(upgrade?.url, "/live?x=1");
    const throws = await frame.evaluate(() => {
      const name = (make: () => unknown): string => {
        try {
          make();
          return "";
        } catch (error) {
          return (error as Error).name;
        }
      };
      return [name(() => new WebSocket("ftp://x/")), name(() => new WebSocket("/x", ["a", "a"])), name(() => new WebSocket("/x").send("early"))];
    });
    assert.deepEqual(throws, ["SyntaxError", "SyntaxError", "InvalidStateError"]);
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  for (const name of Object.keys(POLICIES)) {
    it(`stands before the scripts of a page with the policy "${name}"`, async () => {
      const shown = await stage.open("notes", `/csp/${name}`);
      const frame = await shown.at(`/csp/${name}`);
      const [ran, early] = await frame.evaluate(() => {
        const { ran, early } = window as unknown as { ran?: boolean; early?: unknown };
        return [ran === true, early];
      });
      const isAllowed = !["none", "scriptnone"].includes(name);
      assert.equal(ran, isAllowed, "the policy is as strict as it was");
      if (isAllowed) assert.deepEqual(early, ["function", "p=1"]);
      // A script of nobody's does not run where it could not before.
      const isSneaked = await frame.evaluate(() => {
        const script = document.createElement("script");
        try {
          script.textContent = "window.sneaked = true";
          document.head.append(script);
        } catch {
          // Trusted types.
        }
        return (window as unknown as { sneaked?: boolean }).sneaked === true;
      });
      // As in Chromium without a change: 'strict-dynamic' trusts what a trusted script puts in.
      assert.equal(isSneaked, ["inline", "self", "dynamic"].includes(name));
      await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
    });
  }

  it("keeps what pages say of themselves", async () => {
    const shown = await stage.open("notes", "/meta");
    const frame = await shown.at("/meta");
    const read = async <T>(path: string, what: () => T | Promise<T>): Promise<T> => {
      await frame.evaluate((its) => location.assign(its), path);
      await shown.at(path);
      await frame.waitForLoadState("load");
      return frame.evaluate(what) as Promise<T>;
    };
    assert.equal(await read("/base", () => new URL((document.querySelector("#img") as HTMLImageElement).src).pathname), "/base/deep/pic.svg");
    assert.deepEqual(await read("/legacy", () => [document.querySelector("#t")?.textContent, document.compatMode, document.characterSet]), [
      "caf\u00e9",
      "CSS1Compat",
      "windows-1252",
    ]);
    assert.equal(await read("/gzip", () => document.querySelector("#packed")?.textContent?.length), 7 * 2000);
    assert.equal(await read("/two", () => document.documentElement.className), "its-own");
    await frame.evaluate(() => location.assign("/worker"));
    await shown.at("/worker");
    await frame.waitForFunction(() => "got" in window);
    assert.equal(await frame.evaluate(() => (window as unknown as { got: string }).got), "SecurityError");
    assert.equal(await read("/absolute", () => getComputedStyle(document.querySelector("h1") as Element).color), "rgb(1, 2, 3)");
    await frame.click("#abs");
    await shown.at("/two");
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("shows a page while it still comes", async () => {
    const shown = await stage.open("notes", "/slow");
    const frame = await shown.at("/slow");
    await frame.waitForSelector("#slow");
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
  });

  it("begins where it was, when its page is loaded again: at a path of its own alone", async () => {
    const shown = await stage.open("notes", "/two?from=before#here");
    await (await shown.at("/two?from=before#here")).evaluate(() => ((window as unknown as { before: boolean }).before = true));
    await stage.page.evaluate((label) => window.couplet.reload(label), shown.label);
    await shown.frame().waitForFunction(() => !("before" in window) && document.title === "Two");
    await shown.at("/two?from=before#here");
    const state = await stage.page.evaluate((label) => window.couplet.state(label), shown.label);
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
    const kept = state?.phase === "open" ? state.path : "";
    await (await stage.open("notes", kept, shown.label)).at("/two?from=before#here");
    await stage.page.evaluate((label) => window.couplet.close(label), shown.label);
    for (const path of ["//elsewhere.example/x", "https://elsewhere.example/", "/.couplet/keeper", "/%2e/.couplet/../.couplet/keeper", "\\\\x", "/\\x", ""]) {
      const other = await stage.open("notes", path);
      await stage.page.waitForFunction((label) => window.couplet.state(label)?.phase === "open", other.label);
      assert.equal(new URL(other.frame().url()).origin, other.origin, path);
      assert.equal(stage.page.frames().filter((its) => its.url() === `${other.origin}/.couplet/keeper`).length, 1, path);
      await stage.page.evaluate((label) => window.couplet.close(label), other.label);
    }
  });

  it("asks who serves the pages for nothing but its own files", () => {
    const paths = new Set(stage.served.asked.filter(({ host }) => host.includes(".localhost")).map(({ path }) => path));
    assert.deepEqual([...paths].sort(), ["/.couplet/config.json", "/.couplet/keeper", "/.couplet/keeper.js", "/.couplet/page.css", "/.couplet/shim.js", "/.couplet/worker.js"]);
  });
});

interface Echo {
  readonly headers: { readonly [name: string]: string };
  readonly hash: string;
  readonly url: string;
  readonly length: number;
  readonly start: string;
}
