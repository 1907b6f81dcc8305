/** By keys alone, and by ear: a whole ceremony, a host and its end. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { until } from "../support/until.js";
import type { Phone } from "./phone.js";
import { appShows, shownCode, startApp, withPhone } from "./steps.js";
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

/** A page as those hear it who do not see it. */
interface Heard {
  /** Role and name of what has the focus. */
  readonly focus: string;
  /** What is read by itself when it changes. */
  readonly live: string[];
}

interface Node {
  readonly nodeId: string;
  readonly parentId?: string;
  readonly childIds?: readonly string[];
  readonly role?: { readonly value?: string };
  readonly name?: { readonly value?: string };
  readonly properties?: readonly { readonly name: string; readonly value: { readonly value?: unknown } }[];
}

async function heard(phone: Phone): Promise<Heard> {
  const session = await phone.context.newCDPSession(phone.page);
  const { nodes } = (await session.send("Accessibility.getFullAXTree")) as unknown as { readonly nodes: readonly Node[] };
  await session.detach();
  const byId = new Map(nodes.map((node) => [node.nodeId, node]));
  const has = (node: Node, name: string): unknown => node.properties?.find((one) => one.name === name)?.value.value;
  const textOf = (node: Node): string =>
    node.role?.value === "StaticText" ? (node.name?.value ?? "") : (node.childIds ?? []).map((id) => byId.get(id)).map((child) => (child ? textOf(child) : "")).join("");
  // The page itself says that it has the focus, too.
  const focused = nodes.filter((node) => has(node, "focused") === true && node.role?.value !== "RootWebArea").at(-1);
  const live = nodes.filter((node) => has(node, "live") === "polite" && has(node, "root") === node.nodeId || node.role?.value === "status");
  return { focus: `${focused?.role?.value ?? "nothing"}: ${focused?.name?.value ?? ""}`, live: live.map(textOf).filter((text) => text !== "") };
}

/** Waits for a page by its step: its title has the focus. `said`: what is read beside it. */
async function reads(phone: Phone, step: string, title: RegExp, said?: RegExp): Promise<void> {
  await phone.at(step);
  const heading = new RegExp(`^heading: .*${title.source}`);
  let now: Heard = { focus: "", live: [] };
  const isRead = async (): Promise<boolean> => {
    now = await heard(phone);
    return heading.test(now.focus) && (said === undefined || now.live.some((text) => said.test(text)));
  };
  await until(isRead).catch(() => assert.fail(`${step}: ${JSON.stringify(now)}`));
}

/** Goes by the Tab key to what is called so. On the way, whatever has the focus can be seen to have it. */
async function tabTo(phone: Phone, role: string, name: string | RegExp, key = "Tab"): Promise<void> {
  const wanted = phone.page.getByRole(role as "button", { name, exact: typeof name === "string" });
  for (let presses = 0; presses < 15; presses += 1) {
    await phone.page.keyboard.press(key);
    const isSeen = await phone.page.evaluate(() => {
      const active = document.activeElement;
      if (active === null || active === document.body || active instanceof HTMLIFrameElement || active instanceof HTMLDialogElement) return true;
      const { outlineStyle, outlineWidth } = getComputedStyle(active);
      return active.matches(":focus-visible") && outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
    });
    assert.equal(isSeen, true, `the focus is not seen on the way to ${String(name)}`);
    if ((await wanted.count()) === 1 && (await wanted.evaluate((one) => one === document.activeElement))) return;
  }
  throw new Error(`${String(name)} is not reached by keys, but: ${(await heard(phone)).focus}`);
}

test("a whole ceremony, a host and its end, by keys alone; each step is read", async () => {
  await withPhone({}, async (phone) => {
    const { keyboard } = phone.page;
    await phone.open();
    await reads(phone, "home", /No host yet/);
    await tabTo(phone, "button", "Paste a link");
    await keyboard.press("Enter");
    await reads(phone, "paste", /Paste the link/);
    await tabTo(phone, "textbox", "Link");
    await keyboard.insertText(await kitchen.link());
    await keyboard.press("Enter");
    await reads(phone, "confirm", /Pair this device\?/);
    await tabTo(phone, "textbox", "Name of this device");
    await keyboard.press("Control+A");
    await keyboard.insertText("By keys");
    await tabTo(phone, "button", "Pair");
    await keyboard.press("Enter");
    const code = await shownCode(phone);
    await reads(phone, "approval", /Type this at the host/, new RegExp(`Check code ${[...code.replace(" ", "")].join(" ")}\\. Type it at Kitchen\\.`));
    await kitchen.owner("approve", "By keys", code);
    await appShows("Notes", phone);
    await reads(phone, "host", /Kitchen/, /Connected with Kitchen/);

    // Into the app and out of it again, to the menu.
    await tabTo(phone, "button", /^Menu of Kitchen/);
    await keyboard.press("Enter");
    await phone.page.getByRole("dialog", { name: "Kitchen" }).waitFor();
    await keyboard.press("Escape");
    await phone.page.getByRole("dialog").waitFor({ state: "detached" });
    await until(async () => (await heard(phone)).focus === "button: Menu of Kitchen");
    await keyboard.press("Enter");
    await tabTo(phone, "button", "Your hosts");
    await keyboard.press("Enter");
    await reads(phone, "home", /Your hosts/);

    await tabTo(phone, "button", "Forget Kitchen");
    await keyboard.press("Enter");
    await phone.page.getByRole("dialog", { name: "Forget Kitchen?" }).waitFor();
    await tabTo(phone, "button", "Forget");
    await keyboard.press("Enter");
    await phone.page.getByText("Kitchen is forgotten on this device.").waitFor();
    await reads(phone, "home", /No host yet/, /Kitchen is forgotten/);
  });
});

test("a pairing that fails is read, with what to do next, and tried again by keys", async () => {
  await withPhone({}, async (phone) => {
    await phone.open(await kitchen.link());
    await phone.at("confirm");
    await tabTo(phone, "textbox", "Name of this device");
    await phone.page.keyboard.press("Control+A");
    await phone.page.keyboard.insertText("Refused");
    await phone.page.keyboard.press("Enter");
    await phone.at("approval");
    await kitchen.owner("reject", "Refused");
    await reads(phone, "failed-rejected", /The owner said no\./, /Speak with the owner/);
    await tabTo(phone, "button", "Paste a link");
    await phone.page.keyboard.press("Enter");
    await phone.at("paste");
  });
});
