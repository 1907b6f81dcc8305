/** Measures by hand, for it takes minutes: a gibibyte down and one up, and what the browser's processes take meanwhile. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, open, rm, stat } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Phone, SCREEN } from "../client/phone.js";
import { confirmed } from "../client/steps.js";
import { World } from "../client/world.js";
import { startChromium } from "./chromium.js";
import { listening } from "./listen.js";

const SIZE = Number(process.argv[2] ?? 1 << 30);
const MIB = 1 << 20;

/** Gives SIZE bytes, and counts what it is given. */
const server = createServer((request, response) => {
  if (request.url === "/down") {
    response.writeHead(200, { "content-type": "application/octet-stream", "content-length": SIZE, "content-disposition": 'attachment; filename="down.bin"' });
    return pour(response, SIZE);
  }
  if (request.method !== "POST") {
    const form = '<form method="post" action="/up" enctype="multipart/form-data"><input type="file" name="f"><button>Send</button></form>';
    return void response.writeHead(200, { "content-type": "text/html" }).end(`<h1>Large</h1><a href="/down">down</a>${form}`);
  }
  let length = 0;
  request.on("data", (part: Buffer) => (length += part.length));
  request.on("end", () => response.writeHead(200, { "content-type": "text/html" }).end(`<h1>Got</h1><p id="got">${length}</p>`));
});

function pour(response: ServerResponse, left: number): void {
  const chunk = Buffer.alloc(64 * 1024, "couplet.");
  while (left > 0) {
    left -= chunk.length;
    if (!response.write(chunk)) return void response.once("drain", () => pour(response, left));
  }
  response.end();
}

/** Anonymous and all resident memory, in MiB, of the browser's processes that show pages: those below this one. */
function memory(): Map<string, [number, number]> {
  const found = new Map<string, [number, number]>();
  const parents = new Map<number, number>();
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number);
  for (const pid of all) parents.set(pid, Number(/^PPid:\s+(\d+)/m.exec(read(pid, "status"))?.[1] ?? 0));
  const isBelow = (pid: number): boolean => pid === process.pid || (pid > 1 && isBelow(parents.get(pid) ?? 0));
  for (const pid of all.filter(isBelow)) {
    if (!read(pid, "cmdline").includes("--type=renderer")) continue;
    const status = read(pid, "status");
    const of = (name: string): number => Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024);
    found.set(`renderer ${pid}`, [of("RssAnon"), of("VmRSS")]);
  }
  return found;
}

/** What the system says of a process; nothing when it has ended. */
function read(pid: number, what: string): string {
  try {
    return readFileSync(`/proc/${pid}/${what}`, "utf8");
  } catch {
    return "";
  }
}

const app = await listening(server);
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
  const heap = (): Promise<number> =>
    page.evaluate(() => {
      const { memory } = performance as unknown as { readonly memory: { readonly usedJSHeapSize: number } };
      return Math.round(memory.usedJSHeapSize / 1048576);
    });

  const measured = async (what: string, work: () => Promise<string>): Promise<void> => {
    const before = memory();
    const heapBefore = await heap();
    const peaks = new Map(before);
    let heapPeak = heapBefore;
    let isDone = false;
    const begun = Date.now();
    const watching = (async () => {
      while (!isDone) {
        for (const [name, [anonymous, all]] of memory()) {
          const [most = 0, mostAll = 0] = peaks.get(name) ?? [];
          peaks.set(name, [Math.max(most, anonymous), Math.max(mostAll, all)]);
        }
        heapPeak = Math.max(heapPeak, await heap());
        await new Promise((later) => setTimeout(later, 250));
      }
    })();
    const said = await work();
    isDone = true;
    await watching;
    const seconds = (Date.now() - begun) / 1000;
    console.log(`${what}: ${said}, ${seconds.toFixed(1)} s, ${(SIZE / MIB / seconds).toFixed(1)} MiB/s; heap of the client's page ${heapBefore} → at most ${heapPeak} MiB`);
    for (const [name, [anonymous, all]] of peaks) {
      console.log(`  ${name}: anonymous ${before.get(name)?.[0] ?? "-"} → at most ${anonymous} MiB, resident ${before.get(name)?.[1] ?? "-"} → at most ${all} MiB`);
    }
  };

  await measured("download", async () => {
    const coming = page.waitForEvent("download");
    await frame.getByRole("link", { name: "down" }).click();
    const file = await (await coming).path();
    const hash = createHash("sha256");
    const handle = await open(file);
    for await (const part of handle.createReadStream()) hash.update(part as Buffer);
    const wanted = createHash("sha256");
    for (let left = SIZE; left > 0; left -= MIB) wanted.update(Buffer.alloc(Math.min(MIB, left), "couplet."));
    return `${(await stat(file)).size} bytes, ${hash.digest("hex") === wanted.digest("hex") ? "the same" : "OTHER BYTES"}`;
  });
  await measured("upload", async () => {
    const path = join(folder, "up.bin");
    const file = await open(path, "w");
    await file.truncate(SIZE);
    await file.close();
    await frame.locator("input").setInputFiles(path);
    await frame.getByRole("button", { name: "Send" }).click();
    await frame.locator("#got").waitFor({ timeout: 900_000 });
    return `${await frame.locator("#got").innerText()} bytes with the form's own`;
  });
} finally {
  await phone.close();
  await world.close();
  await app.close();
  await rm(folder, { recursive: true, force: true });
}
