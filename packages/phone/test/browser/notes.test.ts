/** An app as people have them, shown by the real thing. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type App, startNotes } from "../apps/notes.js";
import { type Stage, startStage } from "../support/browser.js";

describe("an app", { timeout: 300_000 }, () => {
  let notes: App;
  let stage: Stage;
  before(async () => {
    notes = await startNotes();
    stage = await startStage({ notes: notes.url });
  });
  after(async () => {
    await stage?.close();
    await notes?.close();
  });

  it("shows, and says where it is", async () => {
    const shown = await stage.open("notes");
    const frame = await shown.at("/");
    assert.equal(await frame.textContent("h1"), "Home");
    await frame.click("#two");
    await shown.at("/two");
  });
});
