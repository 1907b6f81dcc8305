/** Keeps what pages have as `document.cookie` in step with the jar. */
import { KEEPER } from "../../wire/frames.js";
import type { Joiner } from "./join.js";

/** Milliseconds that a page has to take what changed before it is given the answer that changed it; its script may be busy. */
const PATIENCE = 250;

/** Tells pages of an app what their cookies are. */
export class CookieNews {
  readonly #scope: ServiceWorkerGlobalScope;
  readonly #joiner: Joiner;
  #isOld = false;

  constructor(scope: ServiceWorkerGlobalScope, joiner: Joiner) {
    this.#scope = scope;
    this.#joiner = joiner;
    joiner.onJar = () => {
      this.#isOld = true;
      // Nobody may ask for anything soon: what another window did is told then, too.
      setTimeout(() => void this.tell(null), PATIENCE);
    };
  }

  /** Tells all pages, if anything changed. Resolves when the page `asker` has it, so that its script finds it with its answer. */
  async tell(asker: string | null): Promise<void> {
    if (!this.#isOld) return;
    this.#isOld = false;
    const link = await this.#joiner.link().catch(() => null);
    if (link === null) return;
    const windows = await this.#scope.clients.matchAll({ type: "window" });
    const pages = windows.map((client) => ({ client, path: new URL(client.url).pathname })).filter(({ path }) => path !== KEEPER);
    const paths = new Set(pages.map(({ path }) => path));
    const texts = new Map(await Promise.all([...paths].map(async (path) => [path, await link.view(path)] as const)));
    let taken: Promise<unknown> = Promise.resolve();
    for (const { client, path } of pages) {
      const text = texts.get(path);
      if (text === null || text === undefined) continue;
      if (client.id !== asker) {
        client.postMessage({ couplet: "cookies", text });
        continue;
      }
      const { port1, port2 } = new MessageChannel();
      taken = new Promise<void>((resolve) => {
        setTimeout(resolve, PATIENCE);
        port1.onmessage = () => resolve();
      }).then(() => port1.close());
      client.postMessage({ couplet: "cookies", text }, [port2]);
    }
    await taken;
  }
}
