/** What is not taken is answered: nobody waits for it. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type Shown, type Stage, startNotesStage } from "../support/browser.js";

describe("an app that asks for more than is taken", { timeout: 60_000 }, () => {
  let [stage, shown] = [] as unknown as [Stage, Shown];
  before(async () => {
    ({ stage } = await startNotesStage());
    shown = await stage.open("notes", "/two");
    await shown.at("/two");
  });
  after(() => stage?.close());

  it("gets an error for an address, and for headers", async () => {
    const got = await shown.frame().evaluate(async () => {
      const name = (error: unknown): string => (error as Error).name;
      return [
        await fetch(`/echo?${"x".repeat(17_000)}`).then(() => "", name),
        await fetch("/echo", { headers: { "x-long": "x".repeat(17_000) } }).then(() => "", name),
        String((await fetch("/echo", { headers: { "x-long": "x".repeat(8000) } })).status),
      ];
    });
    assert.deepEqual(got, ["TypeError", "TypeError", "200"]);
  });

  it("is told so in place of a page, with what to do", async () => {
    await shown.frame().evaluate(() => location.assign(`/two?${"x".repeat(17_000)}`));
    await shown.frame().waitForSelector("main");
    assert.match((await shown.frame().textContent("main")) ?? "", /longer than Couplet takes.*ask the app for less/);
    await stage.page.evaluate((label) => window.couplet.reload(label), shown.label);
    await shown.frame().waitForFunction(() => document.title === "Two");
  });

  it("has a WebSocket closed", async () => {
    const closed = await shown.frame().evaluate(
      () =>
        new Promise((resolve) => {
          const socket = new WebSocket("/live", Array.from({ length: 33 }, (_, at) => `p${at}`));
          socket.onclose = ({ code, wasClean }) => resolve([code, wasClean, socket.readyState]);
        }),
    );
    assert.deepEqual(closed, [1006, false, 3]);
  });

  it("has its cookies told all the same in a page whose own address is too long", async () => {
    const text = await shown.frame().evaluate(async () => {
      history.replaceState(null, "", `/${"x".repeat(17_000)}`);
      await fetch("/renew/told");
      return "answered";
    });
    assert.equal(text, "answered");
  });
});
