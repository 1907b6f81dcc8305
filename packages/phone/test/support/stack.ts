/** A real relay, and a real host that is enrolled with it, with apps behind: the binary is the one in COUPLET_BIN. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const binary = join(process.env["COUPLET_BIN"] ?? "../../target/debug", "couplet");
const run = promisify(execFile);
/** Tests pair more often than people do. */
const env = { ...process.env, COUPLET_LIMITS__EXCHANGE_PER_MINUTE: "1000", COUPLET_LIMITS__GENERATE_PER_MINUTE: "1000" };

/** A host that can be paired with. */
export interface Stack {
  /** A link for a new device. */
  link(): Promise<string>;
  /** What the owner types when a device shows this. */
  approve(device: string, code: string): Promise<void>;
  close(): Promise<void>;
}

interface Lines {
  readonly child: ChildProcess;
  /** The next line that fits. Rejects when the program ends before. */
  next(fits: (line: { readonly [name: string]: unknown }) => boolean): Promise<{ readonly [name: string]: unknown }>;
}

/** Starts all of it. `apps`: names and addresses. */
export async function startStack(apps: { readonly [name: string]: string }): Promise<Stack> {
  const folder = await mkdtemp(join(tmpdir(), "couplet-phone-"));
  const [relayState, hostState] = [join(folder, "relay"), join(folder, "host")];
  const any = "127.0.0.1:0";
  const children: ChildProcess[] = [];
  const started = (args: readonly string[]): Lines => {
    const lines = start(args);
    children.push(lines.child);
    return lines;
  };
  const close = async (): Promise<void> => {
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(children.map((child) => child.exitCode ?? child.signalCode ?? new Promise((ended) => child.once("exit", ended))));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    return await begun();
  } catch (error) {
    await close();
    throw error;
  }

  async function begun(): Promise<Stack> {
    const relay = started(["relay", "serve", "--dev", "--json", "--listen", any, "--hosts-listen", any, "--state-dir", relayState]);
    const { ca } = await relay.next(({ event }) => event === "ready");
    const { stdout: token } = await run(binary, ["relay", "invite", "--state-dir", relayState]);
    const enrolling = run(binary, ["enroll", "-", "--relay-ca", String(ca), "--state-dir", hostState]);
    enrolling.child.stdin?.end(token);
    await enrolling;
    const named = Object.entries(apps).map(([name, url]) => `${name}=${url}`);
    const gateways = named.flatMap(() => ["--gateway", any]);
    const options = ["--json", "--no-input", "--listen", any, ...gateways, "--relay", "--state-dir", hostState];
    const host = started(["serve", ...named, ...options]);
    await host.next(({ event }) => event === "relay.connected");
    return {
      async link() {
        const pairing = started(["pair", "--json", "--no-input", "--state-dir", hostState]);
        const { link } = await pairing.next((line) => "link" in line);
        return String(link);
      },
      async approve(device, code) {
        await run(binary, ["approve", device, code, "--state-dir", hostState]);
      },
      close,
    };
  }
}

function start(args: readonly string[]): Lines {
  const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"], env });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors = (errors + text).slice(-4000)));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    async next(fits) {
      for (;;) {
        const { done, value } = await lines.next();
        if (done === true) throw new Error(`couplet ${args.slice(0, 2).join(" ")} ended: ${errors}`);
        const line = JSON.parse(value) as { readonly [name: string]: unknown };
        if (fits(line)) return line;
      }
    },
  };
}
