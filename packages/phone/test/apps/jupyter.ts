/** JupyterLab, as it is, from the project's own environment: it wants a token, and has an empty folder for its files. */
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** A JupyterLab that runs. */
export interface Jupyter {
  readonly url: string;
  /** What it asks for at its login. */
  readonly token: string;
  /** Where its files are. */
  readonly files: string;
  close(): Promise<void>;
}

/** Starts it. Rejects when it ends before it says where it is. */
export async function startJupyter(): Promise<Jupyter> {
  const venv = execFileSync("../../scripts/install-deps", ["--venv"], { encoding: "utf8" }).trim();
  const home = await mkdtemp(join(tmpdir(), "couplet-jupyter-"));
  const files = await mkdtemp(join(tmpdir(), "couplet-files-"));
  const token = "sesame";
  const options = ["--no-browser", "--ip=127.0.0.1", "--port=0", `--IdentityProvider.token=${token}`, `--ServerApp.root_dir=${files}`, "--allow-root"];
  const env = { ...process.env, HOME: home, JUPYTER_PLATFORM_DIRS: "1" };
  // A group of its own, so that its kernels end with it.
  const child = spawn(join(venv, "bin/jupyter-lab"), options, { env, stdio: ["ignore", "ignore", "pipe"], detached: true });
  const close = async (): Promise<void> => {
    if (child.pid !== undefined && child.exitCode === null) {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      process.kill(-child.pid, "SIGKILL");
      await ended;
    }
    await Promise.all([home, files].map((folder) => rm(folder, { recursive: true, force: true, maxRetries: 5 })));
  };
  let said = "";
  for await (const line of createInterface({ input: child.stderr })) {
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
    if (url !== undefined) {
      child.stderr.resume();
      return { url, token, files, close };
    }
    said = `${said}${line}\n`.slice(-4000);
  }
  await close();
  throw new Error(`jupyter-lab ended: ${said}`);
}
