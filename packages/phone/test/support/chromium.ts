/** The Chromium that people have, with a profile of its own, which trusts an authority and reaches nothing but this machine. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type BrowserContext, type BrowserContextOptions } from "playwright-core";

const EXECUTABLE = process.env["COUPLET_WHOLE_CHROMIUM"] ?? "/usr/bin/chromium";
const LOCAL = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost";

/** How it is started. */
export interface ChromiumInit extends BrowserContextOptions {
  /** A file (PEM) with the authority that it trusts, as a person does who installs it. */
  readonly authority?: string;
  readonly args?: readonly string[];
}

/** Starts one. Its profile goes when it is closed. */
export async function startChromium({ authority, args = [], ...options }: ChromiumInit = {}): Promise<BrowserContext> {
  const home = mkdtempSync(join(tmpdir(), "couplet-chromium-"));
  if (authority !== undefined) trust(authority, home);
  const context = await chromium.launchPersistentContext(join(home, "profile"), {
    ...options,
    executablePath: EXECUTABLE,
    env: { ...process.env, HOME: home },
    args: ["--no-sandbox", LOCAL, ...args],
  });
  context.on("close", () => rmSync(home, { recursive: true, force: true, maxRetries: 5 }));
  return context;
}

/** Chromium on Linux takes a person's own authorities from here. */
function trust(authority: string, home: string): void {
  const store = join(home, ".pki/nssdb");
  mkdirSync(store, { recursive: true });
  execFileSync("certutil", ["-d", `sql:${store}`, "-N", "--empty-password"]);
  execFileSync("certutil", ["-d", `sql:${store}`, "-A", "-t", "C,,", "-n", "tests", "-i", authority]);
}
