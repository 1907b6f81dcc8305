/** `document.cookie`: a copy of what the client's page has, which is told of what is written. */
import { COOKIE } from "../html/index.js";
import { merged } from "./cookie_text.js";

/** Changes the page's `document.cookie`. `worker`: where a page that may send no request tells what it writes. */
export function installCookies(text: string, container: ServiceWorkerContainer, worker: () => ServiceWorker | null): void {
  let cookies = text;
  const Request = XMLHttpRequest;

  /** Resolves nothing: when it returns, the next request goes with the cookie. */
  function write(cookie: string): void {
    try {
      const request = new Request();
      request.open("POST", COOKIE, false);
      request.send(cookie);
      if (request.status === 204) return;
    } catch {
      // The page is going away, or may not.
    }
    worker()?.postMessage({ couplet: "write", text: cookie });
  }

  Object.defineProperty(Document.prototype, "cookie", {
    configurable: true,
    enumerable: true,
    get: () => cookies,
    set: (value: unknown) => {
      const cookie = String(value);
      cookies = merged(cookies, cookie, location.pathname, Date.now());
      write(cookie);
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
