/** A real relay and real hosts, as many as a test needs, which can be stopped, and whose owner does what the test says. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const binary = join(process.env["COUPLET_BIN"] ?? "../../target/debug", "couplet");
const run = promisify(execFile);
const ANY = "127.0.0.1:0";
/** Tests pair more often than people do. */
const LIMITS = {
  COUPLET_LIMITS__EXCHANGE_PER_MINUTE: "1000",
  COUPLET_LIMITS__GENERATE_PER_MINUTE: "1000",
};

type Line = { readonly [name: string]: unknown };

/** A program that says what it does in lines of JSON. */
class Program {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #errors = "";

  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...LIMITS, ...env } });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (this.#errors = (this.#errors + text).slice(-4000)));
    this.child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** The next line that fits. Rejects when the program ends before. */
  async next(fits: (line: Line) => boolean): Promise<Line> {
    for (;;) {
      const { done, value } = await this.#lines.next();
      if (done === true) throw new Error(`couplet ended: ${this.#errors}`);
      const line = JSON.parse(value) as Line;
      if (fits(line)) return line;
    }
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGKILL");
    await ended;
  }
}

/** How a host is set up. */
export interface HostInit {
  readonly name: string;
  /** Names and addresses; one without a name is the only one. */
  readonly apps?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A host that is linked to the relay. */
export class RealHost {
  readonly #state: string;
  readonly #init: HostInit;
  readonly #helpers: Program[] = [];
  #program: Program | null = null;

  constructor(state: string, init: HostInit) {
    this.#state = state;
    this.#init = init;
  }

  async start(): Promise<void> {
    const { name, apps = [], env = {} } = this.#init;
    const options = ["--json", "--no-input", "--listen", ANY, "--relay", "--name", name, "--state-dir", this.#state];
    for (const _ of apps) options.push("--gateway", ANY);
    this.#program = new Program(["serve", ...apps, ...options], env);
    await this.#program.next(({ event }) => event === "relay.connected");
  }

  async stop(): Promise<void> {
    await this.#program?.kill();
  }

  /** A link, good for so many seconds. */
  async link(seconds = 300): Promise<string> {
    const program = new Program(["pair", "--json", "--no-input", "--timeout", String(seconds), "--state-dir", this.#state]);
    this.#helpers.push(program);
    const { link } = await program.next((line) => "link" in line);
    return String(link);
  }

  /** A link that has ended: whoever asked for it has withdrawn it. */
  async endedLink(): Promise<string> {
    const link = await this.link();
    const program = this.#helpers.pop();
    const ended = new Promise((resolve) => program?.child.once("exit", resolve));
    program?.child.kill("SIGINT");
    await ended;
    return link;
  }

  /** A link whose time is over. */
  async expiredLink(): Promise<string> {
    const link = await this.link(10);
    const child = this.#helpers.pop()?.child;
    if (child !== undefined && child.exitCode === null) await new Promise((resolve) => child.once("exit", resolve));
    return link;
  }

  /** What the owner types: a command of `couplet`, of this host. */
  async owner(...args: readonly string[]): Promise<string> {
    const { stdout } = await run(binary, [...args, "--state-dir", this.#state]);
    return stdout;
  }

  async close(): Promise<void> {
    await Promise.all([this.stop(), ...this.#helpers.map((one) => one.kill())]);
  }
}

/** The relay, and what belongs to it. */
export class World {
  readonly #folder: string;
  readonly #hosts: RealHost[] = [];
  #relay: Program | null = null;
  #ports = [ANY, ANY];
  #ca = "";
  #url = "";

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async start(): Promise<World> {
    const world = new World(await mkdtemp(join(tmpdir(), "couplet-client-")));
    await world.startRelay();
    return world;
  }

  /** Where the relay serves devices, and the phone's client at `/p`. */
  get url(): string {
    return this.#url;
  }

  /** The file of the authority that vouches for it. */
  get ca(): string {
    return this.#ca;
  }

  /** Starts the relay; after {@link World.stopRelay}, where it was. */
  async startRelay(): Promise<void> {
    const [listen = ANY, hosts = ANY] = this.#ports;
    const where = ["--listen", listen, "--hosts-listen", hosts, "--state-dir", join(this.#folder, "relay")];
    this.#relay = new Program(["relay", "serve", "--dev", "--json", ...where]);
    const ready = await this.#relay.next(({ event }) => event === "ready");
    this.#ca = String(ready["ca"]);
    this.#url = String(ready["public"]).replace(/\/$/, "");
    this.#ports = [ready["public"], ready["hosts"]].map((url) => `127.0.0.1:${new URL(String(url)).port}`);
  }

  async stopRelay(): Promise<void> {
    await this.#relay?.kill();
  }

  /** An enrolled host that runs. */
  async host(init: HostInit): Promise<RealHost> {
    const state = join(this.#folder, `host-${this.#hosts.length}`);
    const { stdout: token } = await run(binary, ["relay", "invite", "--state-dir", join(this.#folder, "relay")]);
    const enrolling = run(binary, ["enroll", "-", "--relay-ca", this.#ca, "--state-dir", state]);
    enrolling.child.stdin?.end(token);
    await enrolling;
    const host = new RealHost(state, init);
    this.#hosts.push(host);
    await host.start();
    return host;
  }

  async close(): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host.close()));
    await this.#relay?.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
