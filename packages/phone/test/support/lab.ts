/** What a person does in JupyterLab on a phone. */
import type { Download, FrameLocator, Page } from "playwright-core";

/** JupyterLab loads megabytes, through a debug build on a busy machine. */
const LOADS = 90_000;

/** JupyterLab in the frame of an app. */
export class Lab {
  readonly #page: Page;
  readonly #frame: FrameLocator;

  constructor(page: Page, frame: FrameLocator) {
    this.#page = page;
    this.#frame = frame;
  }

  async login(token: string): Promise<void> {
    await this.#frame.locator("#password_input").fill(token, { timeout: LOADS });
    await this.#frame.locator("#login_submit").click();
    await this.shown();
  }

  /** Waits until its panels are there: nobody is asked to log in. */
  async shown(): Promise<void> {
    await this.#frame.locator("#jp-main-dock-panel").waitFor({ timeout: LOADS });
    await this.#frame.locator("#jupyterlab-splash").waitFor({ state: "detached", timeout: LOADS });
  }

  /** Opens a notebook, types a cell, and resolves with what running it prints. */
  async runs(code: string): Promise<string> {
    await this.#frame.locator('.jp-LauncherCard[data-category="Notebook"]').first().click({ timeout: LOADS });
    // The list of files leaves no room for the notebook, so a person puts it away.
    const files = this.#frame.locator('.jp-SideBar.jp-mod-left .lm-TabBar-tab[data-id="filebrowser"]');
    await files.click();
    await this.#frame.locator("#filebrowser").waitFor({ state: "hidden" });
    const cell = this.#frame.locator(".jp-Notebook .jp-CodeCell").first();
    // What is run before the kernel is there is lost, and the page calls that idle, too; so its server is asked first.
    await this.#frame.locator("body").evaluate(async () => {
      type Session = { readonly kernel: { readonly connections: number; readonly execution_state: string } | null };
      for (;;) {
        const sessions = (await (await fetch("/api/sessions")).json()) as readonly Session[];
        if (sessions.some(({ kernel }) => kernel !== null && kernel.connections > 0 && kernel.execution_state === "idle")) return;
      }
    });
    await this.#frame.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').first().waitFor({ state: "attached", timeout: LOADS });
    await cell.locator(".cm-content").click();
    await this.#page.keyboard.type(code);
    await this.#page.keyboard.press("Shift+Enter");
    const output = cell.locator(".jp-OutputArea-output").first();
    await output.waitFor({ timeout: LOADS });
    return output.innerText();
  }

  /** Puts a file into the folder that is shown. */
  async upload(path: string, name: string): Promise<void> {
    const chooser = this.#page.waitForEvent("filechooser");
    await this.#frame.locator('[data-jp-item-name="uploader"] jp-button, .jp-FileBrowser-toolbar [title^="Upload"]').first().click();
    await (await chooser).setFiles(path);
    await this.#frame.locator(".jp-DirListing-item", { hasText: name }).waitFor({ timeout: LOADS });
  }

  /** Takes a file out of it again. */
  async download(name: string): Promise<Download> {
    await this.#frame.locator(".jp-DirListing-item", { hasText: name }).click({ button: "right" });
    const download = this.#page.waitForEvent("download", { timeout: LOADS });
    await this.#frame.locator('.lm-Menu-item[data-command="filebrowser:download"]').click();
    return download;
  }
}
