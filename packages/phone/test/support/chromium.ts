/** The Chromium that people have, with a profile of its own, which trusts an authority and reaches nothing but this machine. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
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
  /** Denies frames of other sites all storage, as Debian has it by default, and private windows do; else it is parted. */
  readonly isStrict?: boolean;
}

/** Starts one. Its profile goes when it is closed. */
export async function startChromium({ authority, args = [], isStrict = false, ...options }: ChromiumInit = {}): Promise<BrowserContext> {
  const home = mkdtempSync(join(tmpdir(), "couplet-chromium-"));
  if (authority !== undefined) trust(authority, home);
  const preferences = { profile: { block_third_party_cookies: isStrict, cookie_controls_mode: isStrict ? 1 : 0 } };
  mkdirSync(join(home, "profile/Default"), { recursive: true });
  writeFileSync(join(home, "profile/Default/Preferences"), JSON.stringify(preferences));
  const context = await chromium.launchPersistentContext(join(home, "profile"), {
    ...options,
    executablePath: EXECUTABLE,
    env: { ...process.env, HOME: home },
    args: ["--no-sandbox", LOCAL, ...args],
  });
  const close = context.close.bind(context);
  context.close = async (why) => {
    await close(why);
    // Its processes end a little later than it says, and write until then.
    await rm(home, { recursive: true, force: true, maxRetries: 10 });
  };
  return context;
}

/** Chromium on Linux takes a person's own authorities from here. */
function trust(authority: string, home: string): void {
  const store = join(home, ".pki/nssdb");
  mkdirSync(store, { recursive: true });
  execFileSync("certutil", ["-d", `sql:${store}`, "-N", "--empty-password"]);
  execFileSync("certutil", ["-d", `sql:${store}`, "-A", "-t", "C,,", "-n", "tests", "-i", authority]);
}
