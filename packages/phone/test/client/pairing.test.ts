/** The ceremony in a browser, with a real relay and a real host: from a link to an app, and each way that ends before. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Phone } from "./phone.js";
import { appShows, confirmed, paired, seen, shownCode, startApp, withPhone } from "./steps.js";
import { World, type RealHost } from "./world.js";

let world: World;
let kitchen: RealHost;
let app: { readonly url: string; close(): Promise<void> };

before(async () => {
  [world, app] = await Promise.all([World.start(), startApp("Notes")]);
  kitchen = await world.host({ name: "Kitchen", apps: [app.url] });
});
after(async () => {
  await Promise.all([world.close(), app.close()]);
});

async function begun(phone: Phone, name: string): Promise<void> {
  await phone.at("confirm");
  await phone.page.getByLabel("Name of this device").fill(name);
  await phone.press("Pair");
}

test("a link that is opened leads through the check code to the app", async () => {
  const feels = "navigator.vibrate = (time) => ((window.ticks ??= []).push(time), true)";
  await withPhone({ before: feels }, async (phone) => {
    await phone.open();
    await phone.at("home");
    await seen(phone, "home-empty");
    await phone.open(await kitchen.link());
    await phone.at("confirm");
    // Gone from the address at once, and from the history.
    assert.equal(new URL(phone.page.url()).hash, "");
    assert.match(await phone.text(), /Fingerprint\n+[A-Z2-7]{4}-/);
    await seen(phone, "confirm");
    await phone.page.getByLabel("Name of this device").fill("Ann’s phone");
    await phone.press("Pair");
    const digits = await shownCode(phone);
    assert.match(digits, /^[0-9]{3} [0-9]{3}$/);
    assert.match(await phone.text(), /Kitchen asks its owner/);
    await seen(phone, "approval");
    await kitchen.owner("approve", "Ann’s phone", digits);
    await phone.state("Relay");
    await appShows("Notes", phone);
    await seen(phone, "app");
    assert.deepEqual(await phone.page.evaluate("window.ticks"), [60]);
    const kept = await phone.page.evaluate(() => JSON.stringify([Object.entries(localStorage), Object.entries(sessionStorage), history.state]));
    assert.doesNotMatch(kept, /[A-Z2-7]{40}/i);
  });
});

test("a name that no host takes is said at the name, and can be changed", async () => {
  await withPhone({}, async (phone) => {
    await phone.open(await kitchen.link());
    await phone.at("confirm");
    const name = phone.page.getByLabel("Name of this device");
    await name.fill(" ");
    await phone.press("Pair");
    const alert = phone.page.getByRole("alert");
    await alert.waitFor();
    assert.match(await alert.innerText(), /empty/);
    assert.equal(await name.getAttribute("aria-invalid"), "true");
    await seen(phone, "confirm-name");
    await confirmed(phone, kitchen, "Bob’s phone");
  });
});

test("a host that is being reached can be left", async () => {
  await withPhone({}, async (phone) => {
    await phone.context.route("https://localhost:*/pair", () => {});
    await phone.open(await kitchen.link());
    await begun(phone, "Waits");
    await phone.at("connecting");
    await seen(phone, "connecting");
    await phone.press("Cancel");
    await phone.at("home");
  });
});

test("an owner who says no", async () => {
  await withPhone({}, async (phone) => {
    await phone.open(await kitchen.link());
    await begun(phone, "Stranger");
    await phone.at("approval");
    await kitchen.owner("reject", "Stranger");
    await phone.at("failed-rejected");
    assert.match(await phone.text(), /The owner said no\.[\s\S]*Speak with the owner/);
    await seen(phone, "rejected");
    await phone.press("Paste a link");
    await phone.at("paste");
  });
});

test("a link that was used, and one that has ended", async () => {
  await withPhone({}, async (phone) => {
    const link = await kitchen.link();
    await phone.open(link);
    await confirmed(phone, kitchen, "First");
    const other = await Phone.start();
    try {
      await other.open(link);
      await begun(other, "Second");
      await other.at("failed-used");
      await seen(other, "used");
    } finally {
      await other.close();
    }
  });
  await withPhone({}, async (phone) => {
    const link = await kitchen.endedLink();
    await phone.open(link);
    await begun(phone, "Late");
    await phone.at("failed-used");
    assert.match(await phone.text(), /has ended\.[\s\S]*Ask for a new link/);
    await phone.press("Scan a new code");
    await phone.at("scan");
  });
});

test("a link whose time is over", async () => {
  await withPhone({}, async (phone) => {
    await phone.open(await kitchen.expiredLink());
    await phone.at("confirm");
    await phone.page.getByText("By this device’s clock the link has ended.").waitFor();
    await seen(phone, "confirm-over");
    await begun(phone, "Late");
    await phone.at("failed-expired");
    await seen(phone, "expired");
    await phone.press("Paste a link");
    await phone.at("paste");
  });
});

test("an app that cannot be shown says why, and is shown when it is tried again", async () => {
  // The browser starts no worker for apps, once.
  const fails = `if (location.pathname === "/.couplet/keeper" && localStorage.getItem("tried") === null) {
    localStorage.setItem("tried", "yes");
    ServiceWorkerContainer.prototype.register = () => Promise.reject(new DOMException("denied", "SecurityError"));
  }`;
  await withPhone({ before: fails }, async (phone) => {
    await paired(phone, kitchen, "Failing");
    await phone.page.getByRole("heading", { name: "The app cannot be shown." }).waitFor();
    await seen(phone, "app-failed");
    await phone.press("Try again");
    await appShows("Notes", phone);
  });
});

test("a link that is none, or is damaged, is said at once", async () => {
  await withPhone({}, async (phone) => {
    const link = await kitchen.link();
    await phone.open(link.slice(0, -9));
    await phone.at("failed-link");
    assert.equal(new URL(phone.page.url()).hash, "");
    await seen(phone, "link");
    await phone.press("Paste a link");
    await phone.page.getByLabel("Link").fill("https://relay.example/");
    await phone.press("Go on");
    assert.match(await phone.page.getByRole("alert").innerText(), /no pairing link/);
    await seen(phone, "paste-wrong");
    await phone.page.getByLabel("Link").fill(`  ${link.toLowerCase()}  `);
    await phone.page.keyboard.press("Enter");
    await phone.at("confirm");
    // A link that is opened in the page that is here already.
    await phone.page.evaluate((text) => void (location.hash = text), await kitchen.link());
    await phone.at("confirm");
    await phone.page.waitForFunction(() => location.hash === "");
  });
});

test("a relay that is down, a host that is away: tried again by the same link", async () => {
  await withPhone({}, async (phone) => {
    const link = await kitchen.link();
    await world.stopRelay();
    await phone.open(link);
    await begun(phone, "Patient");
    await phone.at("failed-relayDown");
    await seen(phone, "relay-down");
    await world.startRelay();
    await kitchen.stop();
    await phone.press("Try again");
    await phone.at("failed-hostOffline");
    await seen(phone, "host-offline");
    await kitchen.start();
    await phone.open(await kitchen.link());
    await confirmed(phone, kitchen, "Patient");
  });
});

test("another host of a known name is paired only when that is meant", async () => {
  const second = await world.host({ name: "Kitchen", apps: [app.url] });
  await withPhone({}, async (phone) => {
    await paired(phone, kitchen, "Careful");
    await phone.open(await second.link());
    await begun(phone, "Careful");
    await phone.at("failed-otherKey");
    assert.match(await phone.text(), /known:[\s\S]*offered:/);
    await seen(phone, "other-key");
    await phone.press("Pair with the other host");
    await second.owner("approve", "Careful", await shownCode(phone));
    await phone.state("Relay");
  });
  await second.close();
});

test("a browser that keeps nothing says so", async () => {
  const broken = "IDBFactory.prototype.open = () => { throw new DOMException('denied', 'InvalidStateError') }";
  await withPhone({ before: broken }, async (phone) => {
    await phone.open();
    await phone.at("home");
    await phone.page.getByText("What this page has stored cannot be used.").waitFor();
    await seen(phone, "storage");
    await phone.open(await kitchen.link());
    await begun(phone, "Private");
    await phone.at("failed-storage");
  });
});

test("a relay without a domain for apps pairs, and says what it does not show", async () => {
  await withPhone({ config: { apps: null } }, async (phone) => {
    await paired(phone, kitchen, "Plain");
    await phone.page.getByText("No apps can be shown in a browser here.").waitFor();
    assert.match(await phone.text(), /couplet connect/);
    await seen(phone, "no-apps");
  });
});
