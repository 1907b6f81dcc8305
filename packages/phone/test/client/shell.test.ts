/** The pages without a network, and a new build of them: what is kept, and when it is replaced. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";

import { Phone } from "./phone.js";
import { installed, rebuilt } from "./steps.js";

/** The caches of the shell. */
function caches(page: Page): Promise<string[]> {
  return page.evaluate(async () => (await window.caches.keys()).filter((name) => name.startsWith("couplet-shell-")));
}

/** Whether the page's style is that of the other build. */
function isNew(page: Page): Promise<boolean> {
  return page.evaluate(async () => {
    const answer = await fetch("/p/phone.css");
    return (await answer.text()).includes("another build");
  });
}

test("without a network the pages open all the same, and say why nothing else does", async () => {
  const phone = await Phone.start();
  try {
    await installed(phone);
    const kept = await phone.page.evaluate(async () => {
      const [name = ""] = await window.caches.keys();
      return (await (await window.caches.open(name)).keys()).map((request) => new URL(request.url).pathname).sort();
    });
    assert.deepEqual(kept, [
      "/p",
      "/p/icon-192.png",
      "/p/icon-512.png",
      "/p/icon-maskable-512.png",
      "/p/icon.svg",
      "/p/manifest.webmanifest",
      "/p/phone.css",
      "/p/phone.js",
    ]);
    await phone.context.setOffline(true);
    await phone.page.reload();
    await phone.at("home");
    await phone.page.getByText("This device is offline.").waitFor();
    await phone.picture("offline");
    assert.deepEqual(await phone.wrongs(), []);
    await phone.context.setOffline(false);
    await phone.page.getByText("This device is offline.").waitFor({ state: "detached" });
    // The network is there, and the relay is not.
    await phone.served.close();
    await phone.page.reload();
    await phone.page.getByText("The server of these pages does not answer.").waitFor();
    await phone.picture("away-server");
    assert.deepEqual(phone.faults, []);
  } finally {
    await phone.close();
  }
});

test("a new build takes over when a page begins, and under none that runs", async () => {
  const { dist, change } = rebuilt();
  const phone = await Phone.start({ dist });
  try {
    await installed(phone);
    const [first] = await caches(phone.page);
    const other = await phone.context.newPage();
    await phone.open("", other);
    await phone.at("home", other);
    change();
    await phone.page.evaluate(async () => {
      const registration = await navigator.serviceWorker.getRegistration("/p");
      await registration?.update();
    });
    await phone.page.waitForFunction(async () => {
      const registration = await navigator.serviceWorker.getRegistration("/p");
      return registration?.waiting instanceof ServiceWorker;
    });
    assert.equal(await isNew(phone.page), false);
    // Two tabs are open: one that begins anew does not take the old build from the other.
    await other.reload();
    await phone.at("home", other);
    assert.equal(await isNew(other), false);
    assert.equal((await caches(other)).length, 2);
    await other.close();
    // Now it is the only one; the link in its address survives the change.
    await phone.open("COUPLET:NONE");
    await phone.at("failed-link");
    assert.equal(await isNew(phone.page), true);
    await phone.page.waitForFunction(async (old) => !(await window.caches.keys()).includes(old), first ?? "");
    assert.equal((await caches(phone.page)).length, 1);
  } finally {
    await phone.close();
  }
});

test("parts of two builds are never kept together", async () => {
  const { dist, change } = rebuilt();
  const phone = await Phone.start({ dist });
  try {
    await installed(phone);
    const before = await caches(phone.page);
    change(false);
    const state = await phone.page.evaluate(async () => {
      const registration = await navigator.serviceWorker.getRegistration("/p");
      await registration?.update();
      const incoming = registration?.installing;
      if (!incoming) return "none";
      await new Promise<void>((resolve) => incoming.addEventListener("statechange", () => resolve()));
      return incoming.state;
    });
    assert.equal(state, "redundant");
    assert.deepEqual(await caches(phone.page), before);
    assert.equal(await isNew(phone.page), false);
  } finally {
    await phone.close();
  }
});

test("the pages can be installed", async () => {
  const phone = await Phone.start();
  try {
    await phone.open();
    const session = await phone.context.newCDPSession(phone.page);
    const { errors, data } = await session.send("Page.getAppManifest");
    assert.deepEqual(errors, []);
    const manifest = JSON.parse(data ?? "{}") as { readonly icons: readonly { readonly src: string; readonly sizes: string; readonly type: string }[] };
    for (const { src, sizes, type } of manifest.icons) {
      const size = await phone.page.evaluate(async (from) => {
        const picture = new Image();
        picture.src = from;
        await picture.decode();
        return `${picture.naturalWidth}x${picture.naturalHeight}`;
      }, src);
      if (type === "image/png") assert.equal(size, sizes);
    }
  } finally {
    await phone.close();
  }
});
