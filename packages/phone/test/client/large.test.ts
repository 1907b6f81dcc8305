/**
 * A long download and a long upload, and what the client's page holds meanwhile. `PHONE_BYTES` is how long: 32 MiB unless it says
 * otherwise, and a gibibyte takes some minutes.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, open, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { Phone, SCREEN } from "./phone.js";
import { confirmed } from "./steps.js";
import { World } from "./world.js";
import { startChromium } from "../support/chromium.js";
import { listening } from "../support/listen.js";

const MIB = 1 << 20;
const SIZE = Number(process.env["PHONE_BYTES"] ?? 32 * MIB);
/** What may be on its way, and little more. */
const HELD = 16 * MIB;

/** How often that is looked at, in milliseconds: collecting takes its time. */
const SAMPLE = 500;

/** Gives SIZE bytes, and counts what it is given. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  if (request.url === "/down") {
    const headers = { "content-type": "application/octet-stream", "content-disposition": 'attachment; filename="down.bin"' };
    response.writeHead(200, { ...headers, "content-length": SIZE });
    return pour(response, SIZE);
  }
  if (request.method !== "POST") {
    const form = '<form method="post" action="/up" enctype="multipart/form-data"><input type="file" name="f"><button>Send</button></form>';
    return void response.writeHead(200, { "content-type": "text/html" }).end(`<h1>Large</h1><a href="/down">down</a>${form}`);
  }
  let length = 0;
  request.on("data", (part: Buffer) => (length += part.length));
  request.on("end", () => response.writeHead(200, { "content-type": "text/html" }).end(`<h1>Got</h1><p id="got">${length}</p>`));
}

function pour(response: ServerResponse, left: number): void {
  const chunk = Buffer.alloc(64 * 1024, "couplet.");
  while (left > 0) {
    left -= chunk.length;
    if (!response.write(chunk)) return void response.once("drain", () => pour(response, left));
  }
  response.end();
}

test(`${SIZE / MIB} MiB come and go, and little of it is held`, { timeout: 1_800_000 }, async (t) => {
  const app = await listening(createServer(answer));
  const world = await World.start();
  const host = await world.host({ name: "Study", apps: [`http://127.0.0.1:${app.port}`] });
  const args = ["--enable-precise-memory-info", "--js-flags=--expose-gc"];
  const context = await startChromium({ ...SCREEN, authority: world.ca, args, acceptDownloads: true });
  const phone = await Phone.of(world.url, context);
  const { page } = phone;
  const folder = await mkdtemp(join(tmpdir(), "couplet-large-"));
  try {
    await phone.open(await host.link());
    await confirmed(phone, host, "Large");
    const frame = page.frameLocator("iframe.app");
    await frame.getByRole("heading", { name: "Large" }).waitFor();
    /** What the page holds, once what it let go of is collected. */
    const held = (): Promise<number> =>
      page.evaluate(async () => {
        for (let times = 0; times < 2; times += 1) {
          (globalThis as unknown as { gc(): void }).gc();
          await new Promise((later) => setTimeout(later));
        }
        return (performance as unknown as { readonly memory: { readonly usedJSHeapSize: number } }).memory.usedJSHeapSize;
      });

    const measured = async (what: string, work: () => Promise<void>): Promise<void> => {
      const before = await held();
      let [most, isDone] = [before, false];
      const begun = Date.now();
      const watching = (async () => {
        for (; !isDone; await new Promise((later) => setTimeout(later, SAMPLE))) most = Math.max(most, await held());
      })();
      await work().finally(() => (isDone = true));
      await watching;
      const rate = (SIZE / MIB / ((Date.now() - begun) / 1000)).toFixed(1);
      t.diagnostic(`${what}: ${rate} MiB/s; the page held at most ${((most - before) / MIB).toFixed(1)} MiB more`);
      assert.ok(most - before < HELD, `${what}: ${Math.round((most - before) / MIB)} MiB were held`);
    };

    await measured("download", async () => {
      const coming = page.waitForEvent("download");
      await frame.getByRole("link", { name: "down" }).click();
      const [came, sent] = [createHash("sha256"), createHash("sha256")];
      for await (const part of (await open(await (await coming).path())).createReadStream()) came.update(part as Buffer);
      for (let left = SIZE; left > 0; left -= MIB) sent.update(Buffer.alloc(Math.min(MIB, left), "couplet."));
      assert.equal(came.digest("hex"), sent.digest("hex"), "what is saved is what was sent");
    });
    await measured("upload", async () => {
      const path = join(folder, "up.bin");
      const file = await open(path, "w");
      await file.truncate(SIZE);
      await file.close();
      await frame.locator("input").setInputFiles(path);
      await frame.getByRole("button", { name: "Send" }).click();
      await frame.locator("#got").waitFor({ timeout: 900_000 });
      const extra = Number(await frame.locator("#got").innerText()) - SIZE;
      assert.ok(extra > 0 && extra < 1000, `the file, and the form's own: ${extra}`);
    });
  } finally {
    await phone.close();
    await world.close();
    await app.close();
    await rm(folder, { recursive: true, force: true });
  }
});
