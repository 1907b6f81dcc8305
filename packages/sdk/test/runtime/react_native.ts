/** What React Native has in place of what browsers have, and nothing that it lacks: loaded before the SDK, in a thread of its own. */

const [RealBlob, RealHeaders] = [Blob, Headers];

/** `whatwg-fetch`, which React Native has: bodies are whole, and streams are none of them. */
class Body {
  readonly headers: Headers;
  readonly _bodyInit: unknown;
  readonly #bytes: ArrayBuffer | null;
  readonly #text: string;
  bodyUsed = false;

  constructor(body: unknown, headers: HeadersInit | undefined) {
    this.headers = new RealHeaders(headers);
    this._bodyInit = body ?? undefined;
    this.#bytes = body instanceof ArrayBuffer ? body.slice(0) : null;
    this.#text = typeof body === "string" ? body : body ? Object.prototype.toString.call(body) : "";
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    this.#use();
    return this.#bytes ?? new TextEncoder().encode(this.#text).buffer;
  }

  async text(): Promise<string> {
    this.#use();
    return this.#bytes === null ? this.#text : String.fromCharCode(...new Uint8Array(this.#bytes));
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }

  #use(): void {
    if (this.bodyUsed) throw new TypeError("Already read");
    this.bodyUsed = true;
  }
}

class WhatwgResponse extends Body {
  readonly type = "default";
  readonly url = "";
  readonly status: number;
  readonly ok: boolean;

  constructor(body: unknown, { status = 200, headers }: ResponseInit = {}) {
    super(body, headers);
    this.status = status;
    this.ok = status >= 200 && status < 300;
  }
}

class WhatwgRequest extends Body {
  readonly url: string;
  readonly method: string;

  constructor(url: string, { method = "GET", headers, body }: RequestInit = {}) {
    super(body, headers);
    this.url = url;
    this.method = method.toUpperCase();
  }
}

/** One that reads nothing by itself. */
class NativeBlob {
  readonly size: number;
  readonly type = "";

  constructor(parts: readonly string[]) {
    this.size = new RealBlob([...parts]).size;
  }
}

/** Makes this thread one of React Native. `streams`: with a polyfill of streams, as apps have that want them. */
export function becomeReactNative(streams: boolean): void {
  const lacking = ["crypto", "WebSocket", "EventTarget", "MessageEvent", "CloseEvent", "DOMException", "FinalizationRegistry"];
  const streaming = Object.getOwnPropertyNames(globalThis).filter((name) => /Stream/.test(name));
  for (const name of [...lacking, ...(streams ? [] : streaming)]) Reflect.deleteProperty(globalThis, name);
  const given = { Response: WhatwgResponse, Request: WhatwgRequest, Blob: NativeBlob, navigator: { product: "ReactNative" } };
  for (const [name, value] of Object.entries(given)) Object.defineProperty(globalThis, name, { value, configurable: true });
}
