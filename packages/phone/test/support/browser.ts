/** A browser with the client's page, paired with a real host through a real relay. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, type BrowserContext, chromium, type Frame, type Page } from "playwright-core";
import { build } from "vite";
import { type App, startNotes } from "../apps/notes.js";
import { type Served, serve } from "./serve.js";
import { type Stack, startStack } from "./stack.js";
import type { PageApi } from "./page.js";

const EXECUTABLE = process.env["COUPLET_CHROMIUM"] ?? "/usr/bin/chromium-headless-shell";

declare global {
  interface Window {
    readonly couplet: PageApi;
  }
}

/** All of it. */
export interface Stage {
  readonly browser: Browser;
  readonly context: BrowserContext;
  readonly page: Page;
  readonly served: Served;
  readonly stack: Stack;
  /** What the pages said on their consoles. */
  readonly said: string[];
  /** Opens an app in the client's page, or in another one, and resolves with its frame. */
  open(app: string, path?: string, label?: string, page?: Page): Promise<Shown>;
  /** One more page of the client, as a device of its own. */
  another(): Promise<Page>;
  close(): Promise<void>;
}

/** An app that is shown. */
export interface Shown {
  readonly label: string;
  readonly origin: string;
  /** The visible frame. */
  frame(): Frame;
  /** Resolves once the app says that it is at this path. */
  at(path: string): Promise<Frame>;
}

/** Starts all of it, with these apps behind the host. */
export async function startStage(apps: { readonly [name: string]: string }): Promise<Stage> {
  const root = process.cwd();
  const stack = await startStack(apps);
  const served = await serve(join(root, "dist"), await bundled(root));
  const browser = await chromium.launch({ executablePath: EXECUTABLE, args: ["--no-sandbox"] });
  const context = await browser.newContext({ ignoreHTTPSErrors: true, acceptDownloads: true });
  const said: string[] = [];
  context.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  context.on("weberror", (error) => said.push(`error: ${error.error().message}`));
  let devices = 0;
  const another = async (): Promise<Page> => {
    const page = await context.newPage();
    await page.goto(`${served.client}/p/test.html`);
    const name = `Test phone ${(devices += 1)}`;
    const pairing = page.evaluate(([link, as]) => window.couplet.pair(link, as), [await stack.link(), name] as const);
    await page.waitForFunction(() => window.couplet.code() !== "");
    await stack.approve(name, await page.evaluate(() => window.couplet.code()));
    await pairing;
    return page;
  };
  const page = await another();
  return {
    browser,
    context,
    page,
    served,
    stack,
    said,
    another,
    async open(app, path, given, where = page) {
      const label = given ?? (await where.evaluate(() => window.couplet.label()));
      await where.evaluate(([its, at, apps, from]) => window.couplet.open(its, at, apps, from ?? undefined), [app, label, served.apps, path ?? null] as const);
      return shown(where, label, served.apps.replace("*", label));
    },
    async close() {
      await browser.close();
      await Promise.all([stack.close(), served.close()]);
    },
  };
}

/** A stage with the notes alone. */
export interface NotesStage {
  readonly notes: App;
  /** The notes end with it. */
  readonly stage: Stage;
}

/** Starts both. */
export async function startNotesStage(): Promise<NotesStage> {
  const notes = await startNotes();
  try {
    const stage = await startStage({ notes: notes.url });
    const close = async (): Promise<void> => void (await Promise.all([stage.close(), notes.close()]));
    return { notes, stage: { ...stage, close } };
  } catch (error) {
    await notes.close();
    throw error;
  }
}

/** What a person is told, once the app cannot be shown. */
export async function failure(page: Page, label: string): Promise<string> {
  await page.waitForFunction((its) => window.couplet.state(its)?.phase === "failed", label);
  const state = await page.evaluate((its) => window.couplet.state(its), label);
  return state?.phase === "failed" ? `${state.message}. ${state.next}` : "";
}

function shown(page: Page, label: string, origin: string): Shown {
  const frame = (): Frame => {
    const found = page.frames().find((its) => its.parentFrame() === page.mainFrame() && its.url().startsWith(origin) && !its.url().includes("/.couplet/keeper"));
    if (found === undefined) throw new Error(`no frame of ${origin} among ${page.frames().map((its) => its.url()).join(" ")}`);
    return found;
  };
  return {
    label,
    origin,
    frame,
    async at(path) {
      await page.waitForFunction(
        ([its, at]) => {
          const state = window.couplet.state(its);
          return state?.phase === "failed" || (state?.phase === "open" && state.path === at);
        },
        [label, path] as const,
      );
      const state = await page.evaluate((its) => window.couplet.state(its), label);
      if (state?.phase !== "open") throw new Error(`the app failed: ${JSON.stringify(state)}`);
      return frame();
    },
  };
}

/** The version of the messages between the parts of this build. */
export async function versionOf(root: string): Promise<string> {
  const { wireVersion } = (await import(pathToFileURL(join(root, "version.js")).href)) as { wireVersion(root: string): string };
  return wireVersion(root);
}

/** The page's script, as the build makes it. */
async function bundled(root: string): Promise<string> {
  const made = await build({
    configFile: false,
    root,
    logLevel: "warn",
    envDir: false,
    publicDir: false,
    define: { WIRE: JSON.stringify(await versionOf(root)) },
    resolve: { alias: { tldts: join(root, "src/bridge/suffix.ts") } },
    build: {
      write: false,
      target: "es2022",
      lib: { entry: join(root, "test/support/page.ts"), formats: ["iife"], name: "test", fileName: () => "test.js" },
    },
  });
  const [output] = Array.isArray(made) ? made : [made];
  if (output === undefined || !("output" in output)) throw new Error("the test's page was not built");
  return output.output[0].code;
}
