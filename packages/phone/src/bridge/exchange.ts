/** One request of an app's page, and its answer. */
import { CoupletError, type FetchInit, type Host } from "../sdk.js";
import { WINDOW } from "../wire/limits.js";
import type { FromClient, RequestMessage } from "../wire/messages.js";
import { VIEW } from "../wire/own.js";
import { Gate } from "./gate.js";
import { answerHeaders, requestHeaders, siteOf } from "./headers.js";
import type { Jar } from "./jar.js";
import { texts } from "./texts.js";

/** Where a request goes. */
export interface Target {
  readonly host: Host;
  readonly app: string | undefined;
  readonly jar: Jar;
}

type Tell = (message: FromClient, transfer?: Transferable[]) => void;

/** A request that is under way. */
export class Exchange {
  readonly #request: RequestMessage;
  readonly #target: Target;
  readonly #tell: Tell;
  readonly #gate = new Gate(WINDOW);
  readonly #abort = new AbortController();
  /** Held as long as it is read: an engine may throw away what stands for a stream in JavaScript, and the SDK takes it for unread. */
  #body: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;

  constructor(request: RequestMessage, target: Target, tell: Tell) {
    this.#request = request;
    this.#target = target;
    this.#tell = tell;
  }

  /** More of the answer may come. */
  grant(bytes: number): void {
    this.#gate.grant(bytes);
  }

  /** Nobody wants the answer any more. */
  abort(): void {
    this.#abort.abort();
    this.#gate.open();
  }

  /** Sends it and tells the answer, or why there is none. Never rejects. */
  async run(): Promise<void> {
    const { id } = this.#request;
    try {
      await this.#answer(await this.#send());
    } catch (error) {
      if (!this.#abort.signal.aborted) this.#tell({ t: "error", id, ...forPeople(error) });
    }
  }

  #send(): Promise<Response> {
    const request = this.#request;
    const { host, app, jar } = this.#target;
    const url = new URL(VIEW + request.path);
    const cookie = request.credentials ? jar.header(url.pathname, siteOf(request)) : "";
    const init: FetchInit = {
      method: request.method,
      headers: requestHeaders(request, cookie).map(([name, value]) => [name, value] as [string, string]),
      redirect: "manual",
      signal: this.#abort.signal,
      ...(request.body === null ? {} : { body: request.body }),
      ...(app === undefined ? {} : { app }),
    };
    return host.fetch(url, init);
  }

  async #answer(answer: Response): Promise<void> {
    const { id, mode, path, credentials } = this.#request;
    const { jar } = this.#target;
    const { pathname } = new URL(VIEW + path);
    this.#body = answer.body;
    if (credentials) jar.take(answer.headers.getSetCookie(), pathname);
    this.#tell({
      t: "head",
      id,
      status: answer.status,
      headers: answerHeaders(answer.headers),
      cookies: mode === "navigate" ? jar.view(pathname) : null,
      body: this.#body !== null,
    });
    if (this.#body !== null) await this.#pass(this.#body.getReader());
    this.#body = null;
  }

  async #pass(reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>): Promise<void> {
    const { id } = this.#request;
    for (;;) {
      await this.#gate.passable();
      if (this.#abort.signal.aborted) return void (await reader.cancel().catch(() => {}));
      const { done, value } = await reader.read();
      if (done) return this.#tell({ t: "end", id });
      if (value.length === 0) continue;
      this.#gate.spend(value.length);
      // What is given away must be all of its buffer.
      const bytes = value.byteLength === value.buffer.byteLength ? value : value.slice();
      this.#tell({ t: "data", id, bytes }, [bytes.buffer]);
    }
  }
}

/** An error as people are told it. What is unknown says nothing of what it is about. */
function forPeople(error: unknown): { readonly code: string; readonly message: string; readonly next: string } {
  if (error instanceof CoupletError) return { code: error.code, message: error.message, next: error.next };
  return { code: "", ...(error instanceof TypeError ? texts.refused.unreadable : texts.brokeOff) };
}
