/**
 * On the page that stands where no worker answers: within Couplet, tells the client's page, which then sets the worker up again.
 * That is so after a reload that goes round workers, and where the app has ended its own.
 */
import type { FromFrame } from "../wire/frames.js";

async function tell(): Promise<void> {
  const answer = await fetch("/.couplet/config.json", { cache: "no-store" });
  const { client } = (await answer.json()) as { readonly client: string };
  const { pathname, search, hash } = location;
  const stray: FromFrame = { couplet: "stray", path: pathname + search + hash };
  window.parent.postMessage(stray, new URL(client).origin);
}

if (window.parent !== window) void tell();
