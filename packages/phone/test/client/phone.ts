/** A phone: a browser of a phone's size with the built pages, and what a person does and sees there. */
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium, type BrowserContext, type Page } from "playwright-core";

import { serve, type Served } from "../support/serve.js";

const EXECUTABLE = process.env["COUPLET_CHROMIUM"] ?? "/usr/bin/chromium-headless-shell";
/** Where the built pages are. */
export const DIST = process.env["PHONE_DIST"] ?? join(process.cwd(), "dist");
/** Where pictures of the pages go; without it none are made. */
const PICTURES = process.env["PHONE_PICTURES"];
const AXE = readFileSync(createRequire(join(process.cwd(), "package.json")).resolve("axe-core/axe.min.js"), "utf8");

/** How its browser is set up. */
export interface PhoneInit {
  readonly args?: readonly string[];
  readonly dist?: string;
  readonly permissions?: readonly string[];
  /** A script for the page of tests: `/p/test.html`. */
  readonly script?: string;
  /** What `/p/config.json` answers in place of the server. */
  readonly config?: unknown;
  /** A script that runs before the page's own. */
  readonly before?: string;
}

/** A screen of a phone's size, which is touched. */
export const SCREEN = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true } as const;

/** A phone. */
export class Phone {
  readonly served: Pick<Served, "client" | "close">;
  readonly context: BrowserContext;
  readonly page: Page;
  /** What went wrong in its pages: a refusal of their policy is among it. */
  readonly faults: string[] = [];

  private constructor(served: Phone["served"], context: BrowserContext, page: Page) {
    this.served = served;
    this.context = context;
    this.page = page;
    context.on("weberror", (error) => this.faults.push(error.error().message));
    context.on("console", (message) => {
      if (message.type() === "error" && /Content Security Policy|Refused/.test(message.text())) this.faults.push(message.text());
    });
  }

  /** One whose pages come from elsewhere, `client`, in a browser that runs, which ends with it. */
  static async of(client: string, context: BrowserContext): Promise<Phone> {
    return new Phone({ client, close: () => context.close() }, context, context.pages()[0] ?? (await context.newPage()));
  }

  static async start(init: PhoneInit = {}): Promise<Phone> {
    const served = await serve(init.dist ?? DIST, init.script ?? "");
    const args = ["--no-sandbox", "--ignore-certificate-errors", ...(init.args ?? [])];
    const browser = await chromium.launch({ executablePath: EXECUTABLE, args });
    const context = await browser.newContext({
      ignoreHTTPSErrors: true,
      ...SCREEN,
      permissions: [...(init.permissions ?? [])],
      // What a worker asks for passes by the answers that a test gives.
      serviceWorkers: "config" in init ? "block" : "allow",
    });
    context.setDefaultTimeout(20_000);
    if ("config" in init) await context.route("**/p/config.json", (route) => route.fulfill({ json: init.config }));
    if (init.before !== undefined) await context.addInitScript(init.before);
    return new Phone(served, context, await context.newPage());
  }

  /** Opens the pages, with a link in the address or without. */
  async open(link = "", page = this.page): Promise<void> {
    await page.goto("about:blank");
    await page.goto(`${this.served.client}/p${link === "" ? "" : `#${link}`}`);
  }

  /** Waits for the page or step of this name. */
  async at(step: string, page = this.page): Promise<void> {
    await page.locator(`h1[data-step="${step}"]`).waitFor().catch(async (cause: unknown) => {
      throw new Error(`no ${step}, but: ${await this.text(page)}`, { cause });
    });
  }

  async press(name: string | RegExp, page = this.page): Promise<void> {
    await page.getByRole("button", { name, exact: true }).click();
  }

  /** Presses the host of this name in the list. */
  async openHost(name: string, page = this.page): Promise<void> {
    await page.locator(".host-row", { hasText: name }).click();
  }

  /** What a page says that is not in the frames of apps. */
  async text(page = this.page): Promise<string> {
    return page.locator("#app").innerText();
  }

  /** Waits until the bar says so: `Relay`, `Away`. */
  async state(word: string, page = this.page, timeout = 20_000): Promise<void> {
    await page.locator(".bar-state", { hasText: word }).waitFor({ timeout });
  }

  /** Pictures of the page as it is, in light, in dark and on the smallest phone. */
  async picture(name: string, page = this.page): Promise<void> {
    await picture(name, page, [
      { look: "light", width: 390, height: 844, colorScheme: "light" },
      { look: "dark", width: 390, height: 844, colorScheme: "dark" },
      { look: "small", width: 320, height: 568, colorScheme: "light" },
      { look: "small-dark", width: 320, height: 568, colorScheme: "dark" },
    ]);
  }

  /**
   * What is wrong with the page as it is: what axe finds in light, in dark and at 320 px; what is wider than the page; what
   * can be pressed and is too small for a finger.
   */
  async wrongs(page = this.page): Promise<string[]> {
    const found: string[] = [];
    for (const [colorScheme, width] of [["light", 390], ["dark", 390], ["light", 320]] as const) {
      await page.setViewportSize({ width, height: width === 320 ? 568 : 844 });
      await page.emulateMedia({ colorScheme });
      // Through the test's own connection, which the page's policy does not hold.
      await page.evaluate(AXE);
      const here = await page.evaluate(CHECK);
      found.push(...here.map((wrong) => `${colorScheme} ${width}: ${wrong}`));
    }
    await page.setViewportSize({ width: 390, height: 844 });
    await page.emulateMedia({ colorScheme: "light" });
    return found;
  }

  async close(): Promise<void> {
    await this.context.browser()?.close();
    await this.served.close();
  }
}

/** How a page is looked at. */
export interface Look {
  readonly look: string;
  readonly width: number;
  readonly height: number;
  readonly colorScheme: "light" | "dark";
}

/** Pictures of a page in each of these looks, of which the first stays; none where nobody has said where they go. */
export async function picture(name: string, page: Page, looks: readonly [Look, ...Look[]]): Promise<void> {
  if (PICTURES === undefined) return;
  mkdirSync(PICTURES, { recursive: true });
  const show = async ({ width, height, colorScheme }: Look): Promise<void> => {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme });
  };
  for (const one of looks) {
    await show(one);
    await page.screenshot({ path: join(PICTURES, `${name}-${one.look}.png`) });
  }
  await show(looks[0]);
}

/** Runs in the page. */
async function CHECK(): Promise<string[]> {
  interface Axe {
    run(root: unknown, options: unknown): Promise<{ readonly violations: readonly { readonly id: string; readonly nodes: readonly { readonly html: string }[] }[] }>;
  }
  const { axe } = window as unknown as { readonly axe: Axe };
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const { violations } = await axe.run({ exclude: [["iframe"]] }, { runOnly: tags, iframes: false });
  const found = violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) found.push(`${page.scrollWidth} px of ${page.clientWidth} are used`);
  for (const one of document.querySelectorAll<HTMLElement>("button, select, input, textarea, summary, a[href]")) {
    const { width, height } = one.getBoundingClientRect();
    if (width > 0 && (height < 43.5 || width < 43.5)) found.push(`${width}x${height}: ${one.outerHTML.slice(0, 120)}`);
  }
  return found;
}
