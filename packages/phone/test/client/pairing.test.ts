/** From a link to an app, in a browser, with a real relay and a real host. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { listening } from "../support/listen.js";
import { Phone } from "./phone.js";
import { World, type RealHost } from "./world.js";

let world: World;
let kitchen: RealHost;
let app: { readonly port: number; close(): Promise<void> };

before(async () => {
  const server = createServer((_, response) => void response.writeHead(200, { "content-type": "text/html" }).end("<h1>Notes</h1>"));
  [world, app] = await Promise.all([World.start(), listening(server)]);
  kitchen = await world.host({ name: "Kitchen", apps: [`http://127.0.0.1:${app.port}`] });
});
after(async () => {
  await Promise.all([world.close(), app.close()]);
});

/** The digits that the page shows. */
async function code(phone: Phone): Promise<string> {
  await phone.at("approval");
  return (await phone.page.locator(".check-code > span[aria-hidden]").innerText()).replace(/\s/g, "");
}

test("a link that is opened leads through the check code to the app", async () => {
  const phone = await Phone.start({ before: "navigator.vibrate = (time) => ((window.ticks ??= []).push(time), true)" });
  try {
    await phone.open();
    await phone.at("home");
    await phone.picture("home-empty");
    assert.deepEqual(await phone.wrongs(), []);
    const link = await kitchen.link();
    await phone.open(link);
    await phone.at("confirm");
    // Gone from the address at once.
    assert.equal(new URL(phone.page.url()).hash, "");
    assert.match(await phone.text(), /Fingerprint\n+[A-Z2-7]{4}-/);
    await phone.picture("confirm");
    assert.deepEqual(await phone.wrongs(), []);
    await phone.page.getByLabel("Name of this device").fill("Ann’s phone");
    await phone.press("Pair");
    const digits = await code(phone);
    assert.match(digits, /^[0-9]{6}$/);
    assert.match(await phone.text(), /Kitchen asks its owner/);
    await phone.picture("approval");
    assert.deepEqual(await phone.wrongs(), []);
    await kitchen.owner("approve", "Ann’s phone", digits);
    await phone.state("Relay");
    await phone.page.frameLocator("iframe.app").getByRole("heading", { name: "Notes" }).waitFor();
    await phone.picture("app");
    assert.deepEqual(await phone.wrongs(), []);
    assert.deepEqual(await phone.page.evaluate("window.ticks"), [60]);
    assert.deepEqual(phone.faults, []);
  } finally {
    await phone.close();
  }
});
