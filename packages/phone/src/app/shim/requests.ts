/** `fetch` and `XMLHttpRequest`: they wait for cookies that were just written, and never go round the worker. */
import { ownPath } from "../../wire/own.js";
import { texts } from "../texts.js";
import type { Pending } from "./pending.js";

/** Changes the page's two ways to ask. */
export function installRequests(pending: Pending): void {
  const { fetch } = window;
  window.fetch = function (this: unknown, input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
    const { settled } = pending;
    // Read now: a script may change what it gave.
    if (settled === null) return fetch.call(window, input, init);
    try {
      const request = new Request(input, init);
      return settled.then(() => fetch.call(window, request));
    } catch (error) {
      return Promise.reject(error);
    }
  };

  const { open, send, abort } = XMLHttpRequest.prototype;
  const held = new WeakMap<XMLHttpRequest, object>();
  XMLHttpRequest.prototype.open = function (this: XMLHttpRequest, method: string, url: string | URL, ...rest: unknown[]): void {
    // Browsers do not ask a worker for it: it would go to the relay, for everyone there to read.
    const isSynchronous = rest.length > 0 && !Boolean(rest[0]);
    if (isSynchronous && URL.canParse(url, document.baseURI) && ownPath(new URL(url, document.baseURI), location.origin) !== null) {
      throw new DOMException(texts.noSynchronous, "InvalidAccessError");
    }
    held.delete(this);
    (open as (...all: unknown[]) => void).call(this, method, url, ...rest);
  };
  XMLHttpRequest.prototype.send = function (this: XMLHttpRequest, body?: Document | XMLHttpRequestBodyInit | null): void {
    const { settled } = pending;
    if (settled === null || this.readyState !== XMLHttpRequest.OPENED) return send.call(this, body);
    const turn = {};
    held.set(this, turn);
    void settled.then(() => {
      if (held.get(this) === turn && this.readyState === XMLHttpRequest.OPENED) send.call(this, body);
    });
  };
  XMLHttpRequest.prototype.abort = function (this: XMLHttpRequest): void {
    held.delete(this);
    abort.call(this);
  };
}
