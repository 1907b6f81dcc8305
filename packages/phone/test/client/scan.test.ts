/** Scanning, with a film in place of a camera: what is found, what is passed over, and each reason for seeing nothing. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { FakeHost } from "../../../sdk/src/testing.js";
import { camera, film } from "./film.js";
import type { Phone, PhoneInit } from "./phone.js";
import { seen, withPhone } from "./steps.js";

/** A phone on the page that scans. */
async function scanning(init: PhoneInit, work: (phone: Phone) => Promise<void>): Promise<void> {
  await withPhone(init, async (phone) => {
    await phone.open();
    await phone.at("home");
    await phone.press("Scan a code");
    await phone.at("scan");
    await work(phone);
  });
}

/** Whether the page still has a camera. */
function live(phone: Phone): Promise<boolean> {
  return phone.page.evaluate(() => {
    const video = document.querySelector("video");
    return video?.srcObject instanceof MediaStream && video.srcObject.getTracks().some((track) => track.readyState === "live");
  });
}

const fake = new FakeHost({ relay: "relay.example", address: "" });

for (const [how, isInverted] of [["upright", false], ["inverted", true]] as const) {
  test(`a code that is ${how} is found`, async () => {
    await scanning({ args: camera(film([fake.link()], isInverted)) }, async (phone) => {
      await phone.at("confirm");
      assert.match(await phone.text(), new RegExp(fake.fingerprint));
      // The camera is off.
      assert.equal(await phone.page.locator("video").count(), 0);
      await phone.page.goBack();
      await phone.at("home");
    });
  });
}

test("the browser's own reader is used where there is one, and done without where it fails", async () => {
  const link = fake.link();
  const own = (body: string): string =>
    `globalThis.BarcodeDetector = class { static async getSupportedFormats() { return ["qr_code"]; } async detect(picture) { ${body} } }`;
  const reads = own(`if (!(picture instanceof ImageData)) throw new Error(); return [{ rawValue: "other" }, { rawValue: ${JSON.stringify(link)} }];`);
  await scanning({ args: camera(film(["nothing of ours"])), before: reads }, (phone) => phone.at("confirm"));
  const fails = own(`throw new Error("no service");`);
  await scanning({ args: camera(film([link])), before: fails }, (phone) => phone.at("confirm"));
});

test("another code is said to be none, once, and it goes on", async () => {
  await scanning({ args: camera(film(["https://weather.example/today"])) }, async (phone) => {
    await phone.page.getByText("That is not a Couplet code.").waitFor();
    await seen(phone, "scan-other");
    assert.equal(await live(phone), true);
    const before = await phone.page.evaluate(() => {
      const said: string[] = [];
      const status = document.querySelector('p[role="status"]');
      new MutationObserver(() => said.push(status?.textContent ?? "")).observe(document.body, { subtree: true, childList: true, characterData: true });
      return new Promise<string[]>((resolve) => {
        // Four more looks.
        let frames = 0;
        const video = document.querySelector("video");
        const count = (): void => void (++frames < 10 ? video?.requestVideoFrameCallback(count) : resolve(said));
        video?.requestVideoFrameCallback(count);
      });
    });
    assert.deepEqual(before, []);
  });
});

test("a code for plain HTTP and a damaged one are told apart", async () => {
  await scanning({ args: camera(film(["couplet://192.168.1.2:7878?pair=otp_x"])) }, async (phone) => {
    await phone.page.getByText("That code is for apps that pair over plain HTTP.").waitFor();
    const [, code] = /\bform: \{ link: "([^"]+)"/.exec(readFileSync("../dashboard/src/texts.ts", "utf8")) ?? [];
    assert.ok((await phone.text()).includes(`“${code}”`), `the other code, as the dashboard calls it: ${code}`);
  });
  await scanning({ args: camera(film([fake.link().slice(0, -7)])) }, async (phone) => {
    await phone.page.getByText("That Couplet code cannot be used").waitFor();
  });
});

test("while the browser asks, it says so; a page that is left lets the camera go", async () => {
  const asks = "if (navigator.mediaDevices) navigator.mediaDevices.getUserMedia = () => new Promise(() => {})";
  await scanning({ before: asks }, async (phone) => {
    await phone.page.getByText("Allow the camera when the browser asks.").waitFor();
    await seen(phone, "scan-asking");
    await phone.press("Paste a link");
    await phone.at("paste");
    await seen(phone, "paste");
  });
});

test("a camera that is refused can be asked for again", async () => {
  const refusing = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny"];
  await scanning({ args: refusing }, async (phone) => {
    await phone.page.getByText("The camera is not allowed.").waitFor();
    await seen(phone, "scan-refused");
  });
  const once = `const ask = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices);
    if (ask) navigator.mediaDevices.getUserMedia = async (what) => {
      navigator.mediaDevices.getUserMedia = ask;
      throw new DOMException("", "NotAllowedError");
    };`;
  await scanning({ args: camera(film(["nothing of ours"])), before: once }, async (phone) => {
    await phone.page.getByText("The camera is not allowed.").waitFor();
    await phone.press("Try again");
    await phone.page.getByText("That is not a Couplet code.").waitFor();
    await seen(phone, "scan-looking");
  });
});

test("no camera, one that is in use, and a page that may have none", async () => {
  const fails = (name: string): string => `if (navigator.mediaDevices) navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", "${name}"); }`;
  await scanning({ permissions: ["camera"] }, async (phone) => {
    await phone.page.getByText("This device has no camera that can be used.").waitFor();
    await seen(phone, "scan-none");
  });
  await scanning({ before: fails("NotReadableError") }, async (phone) => {
    await phone.page.getByText("The camera does not start.").waitFor();
  });
  const insecure = "Object.defineProperty(window, 'isSecureContext', { value: false }); Object.defineProperty(navigator, 'mediaDevices', { value: undefined })";
  await scanning({ before: insecure }, async (phone) => {
    await phone.page.getByText("The browser lets no camera be used here.").waitFor();
    await seen(phone, "scan-insecure");
    await phone.press("Paste a link");
    await phone.at("paste");
  });
});

test("the camera rests while the page is not seen", async () => {
  await scanning({ args: camera(film(["nothing of ours"])) }, async (phone) => {
    await phone.page.getByText("That is not a Couplet code.").waitFor();
    const turn = (state: string): Promise<void> =>
      phone.page.evaluate((seen) => {
        Object.defineProperty(document, "visibilityState", { value: seen, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, state);
    await turn("hidden");
    await phone.page.waitForFunction(() => document.querySelector("video")?.srcObject === null);
    await turn("visible");
    await phone.page.waitForFunction(() => document.querySelector("video")?.srcObject instanceof MediaStream);
  });
});
