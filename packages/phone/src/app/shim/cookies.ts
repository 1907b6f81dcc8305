/** `document.cookie`: a copy of what the client's page has, which is told of what is written. */
import { merged } from "./cookie_text.js";
import type { Pending } from "./pending.js";

/** Changes the page's `document.cookie`. What is written is in `pending` until the next request goes with it. */
export function installCookies(
  text: string,
  container: ServiceWorkerContainer,
  worker: () => ServiceWorker | null,
  pending: Pending,
): void {
  let cookies = text;

  Object.defineProperty(Document.prototype, "cookie", {
    configurable: true,
    enumerable: true,
    get: () => cookies,
    set: (value: unknown) => {
      const cookie = String(value);
      cookies = merged(cookies, cookie, location.pathname, Date.now());
      const { port1, port2 } = new MessageChannel();
      pending.add(new Promise((heard) => (port1.onmessage = heard)));
      worker()?.postMessage({ couplet: "write", text: cookie }, [port2]);
    },
  });
  // It would be the browser's own cookies, which go nowhere.
  Object.defineProperty(window, "cookieStore", { configurable: true, value: undefined });

  container.addEventListener("message", (event) => {
    const { data, ports } = event as MessageEvent<{ readonly couplet?: unknown; readonly text?: unknown } | null>;
    if (data?.couplet !== "cookies" || typeof data.text !== "string") return;
    event.stopImmediatePropagation();
    cookies = data.text;
    ports[0]?.postMessage(null);
  });
  container.startMessages();
}
