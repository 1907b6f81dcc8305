/** The owner at the dashboard, in a browser of their own: what is pressed there, and how it looks. */
import type { BrowserContext, Page } from "playwright-core";
import { picture } from "../client/phone.js";
import type { RealHost } from "../client/world.js";
import { startChromium } from "./chromium.js";

/** A browser that is signed in. */
export class Dashboard {
  readonly #context: BrowserContext;
  readonly page: Page;

  private constructor(context: BrowserContext, page: Page) {
    this.#context = context;
    this.page = page;
  }

  /** Signs in by the link that works once. */
  static async open(host: RealHost): Promise<Dashboard> {
    const printed = await host.owner("dashboard");
    const link = /http:\/\/127\.0\.0\.1\S+/.exec(printed)?.[0];
    if (link === undefined) throw new Error("the dashboard has no address on this machine");
    const context = await startChromium({ viewport: { width: 1280, height: 800 } });
    context.setDefaultTimeout(30_000);
    const dashboard = new Dashboard(context, context.pages()[0] ?? (await context.newPage()));
    await dashboard.page.goto(link);
    await dashboard.page.getByRole("navigation").waitFor();
    return dashboard;
  }

  async press(name: string): Promise<void> {
    await this.page.getByRole("button", { name, exact: true }).last().click();
  }

  /** Shows a code for a new device, and takes a picture of it. */
  async code(): Promise<Buffer> {
    await this.press("Connect mobile");
    const code = this.page.locator("dialog svg.qr");
    await code.waitFor();
    return code.screenshot();
  }

  /** Types what a device shows, and lets it in. */
  async approve(digits: string): Promise<void> {
    await this.page.locator("dialog input.code").fill(digits);
    await this.press("Approve");
    await this.page.locator("dialog .stage.good").waitFor();
  }

  /** Ends a device's access. */
  async revoke(device: string): Promise<void> {
    await this.page.getByRole("button", { name: `Revoke ${device}`, exact: true }).last().click();
    await this.press("Revoke");
    await this.page.getByText(`${device} is revoked`).first().waitFor();
  }

  /** A blank page of the same browser, with which pictures are decoded. */
  async blank(): Promise<Page> {
    return this.#context.newPage();
  }

  async picture(name: string): Promise<void> {
    const size = { width: 1280, height: 800 };
    await picture(name, this.page, [
      { look: "light", ...size, colorScheme: "light" },
      { look: "dark", ...size, colorScheme: "dark" },
    ]);
  }

  async close(): Promise<void> {
    await this.#context.close();
  }
}
