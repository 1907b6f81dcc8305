/** Bodies: of requests, in all the forms that `fetch` takes, and of answers, as streams. */
import type { ByteLink } from "../link.js";
import { joined, utf8 } from "../protocol/bytes.js";
import { CoupletError } from "../protocol/error.js";

/** What can be sent: what `fetch` takes, and whatever gives bytes one after the other. */
export type BodySource = BodyInit | AsyncIterable<Uint8Array> | null | undefined;

/** A body that is about to be sent. */
export interface Outgoing {
  /** All of it, or how it comes. */
  readonly content: Uint8Array | AsyncIterable<Uint8Array>;
  /** null: unknown until it has ended. */
  readonly length: number | null;
  /** What `content-type` is, unless the app says so itself. */
  readonly type: string | null;
  /** Whether it can be sent, once more perhaps. */
  canBeSent(): boolean;
}

function whole(content: Uint8Array, type: string | null): Outgoing {
  return { content, length: content.length, type, canBeSent: () => true };
}

function streamed(content: AsyncIterable<Uint8Array>, type: string | null): Outgoing {
  let isTaken = false;
  const once = {
    [Symbol.asyncIterator]() {
      isTaken = true;
      return content[Symbol.asyncIterator]();
    },
  };
  return { content: once, length: null, type, canBeSent: () => !isTaken };
}

/** Reads what an app gives as body. null: there is none. @throws {TypeError} It is nothing that can be sent. */
export function outgoing(body: BodySource): Outgoing | null {
  if (body === null || body === undefined) return null;
  if (typeof body === "string") return whole(utf8(body), "text/plain;charset=UTF-8");
  if (body instanceof ArrayBuffer) return whole(new Uint8Array(body.slice(0)), null);
  if (ArrayBuffer.isView(body)) {
    return whole(new Uint8Array(body.buffer as ArrayBuffer, body.byteOffset, body.byteLength).slice(), null);
  }
  if (typeof URLSearchParams !== "undefined" && body instanceof URLSearchParams) {
    return whole(utf8(body.toString()), "application/x-www-form-urlencoded;charset=UTF-8");
  }
  if (typeof Blob !== "undefined" && body instanceof Blob) {
    const blob = body;
    if (typeof blob.stream !== "function") throw new TypeError("this runtime reads no Blob: give its bytes");
    const type = blob.type === "" ? null : blob.type;
    const content = { [Symbol.asyncIterator]: () => chunks(blob.stream()) };
    return { content, length: blob.size, type, canBeSent: () => true };
  }
  if (typeof FormData !== "undefined" && body instanceof FormData) {
    const written = new Response(body);
    if (!(written.body instanceof Object)) throw new TypeError("this runtime writes no FormData: give its bytes, and their type");
    return streamed(chunks(written.body), written.headers.get("content-type"));
  }
  if (typeof ReadableStream !== "undefined" && body instanceof ReadableStream) return streamed(chunks(body), null);
  if (typeof body === "object" && Symbol.asyncIterator in body) return streamed(checked(body), null);
  throw new TypeError("a body of this kind cannot be sent");
}

/** A stream's chunks. Not all engines iterate streams themselves. */
async function* chunks(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = stream.getReader();
  let isWhole = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      isWhole = done;
      if (done) return;
      yield checkedChunk(value);
    }
  } finally {
    if (!isWhole) await reader.cancel().catch(() => {});
  }
}

async function* checked(body: AsyncIterable<unknown>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of body) yield checkedChunk(chunk);
}

function checkedChunk(chunk: unknown): Uint8Array {
  if (!(chunk instanceof Uint8Array)) throw new TypeError("a body's chunks are bytes (Uint8Array)");
  return chunk;
}

/** The longest answer that a runtime without streams is given, in bytes. */
const WHOLE_MAX = 64 << 20;

let holds: boolean | null = null;

/** Whether a Response of this runtime can have a stream as its body: React Native's cannot, whatever polyfill of streams there is. */
function holdsStreams(): boolean {
  try {
    holds ??= new Response(new ReadableStream()).body instanceof ReadableStream;
  } catch {
    holds = false;
  }
  return holds;
}

/** Has a Response that was given bytes read them as UTF-8, as all others do: React Native's takes them for Latin-1. */
export function readAsUtf8(response: Response): void {
  const text = async (): Promise<string> => new TextDecoder().decode(await response.arrayBuffer());
  const json = async (): Promise<unknown> => JSON.parse(await text());
  for (const [name, value] of Object.entries({ text, json })) Object.defineProperty(response, name, { value, configurable: true });
}

/** An answer's body: as it comes, or all of it where a Response cannot stream. */
export type Incoming = ReadableStream<Uint8Array<ArrayBuffer>> | ArrayBuffer;

async function allOf(body: Pick<ByteLink, "receive" | "close">): Promise<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (let part = await body.receive(); part !== null; part = await body.receive()) {
    parts.push(part);
    length += part.length;
    if (length <= WHOLE_MAX) continue;
    body.close();
    throw new CoupletError("CPL-1602", "The answer is too long for a runtime without streams", {
      next: `Ask for less at once: ${WHOLE_MAX >> 20} MiB are the most.`,
    });
  }
  return joined(...parts).buffer;
}

/** Ends answers that nobody can read any more, so that they take no place among those under way; where the engine tells. */
const dropped =
  typeof FinalizationRegistry === "undefined" ? null : /* @__PURE__ */ new FinalizationRegistry<() => void>((end) => end());

/** An answer's body. What is not read holds the app back; who cancels it ends the request. */
export async function incoming(
  body: Pick<ByteLink, "receive" | "close">,
  failed: (error: unknown) => unknown,
): Promise<Incoming> {
  if (!holdsStreams()) return allOf(body);
  // What the stream holds on to, and nobody else: the stream's own object is no measure, as an engine may let go of that, and
  // make another, while a reader reads.
  const source: UnderlyingDefaultSource<Uint8Array<ArrayBuffer>> = {
    async pull(controller) {
      try {
        const bytes = await body.receive();
        if (bytes !== null) return controller.enqueue(bytes as Uint8Array<ArrayBuffer>);
        controller.close();
      } catch (error) {
        controller.error(await failed(error));
      }
    },
    cancel: (reason) => body.close(reason),
  };
  dropped?.register(source, () => body.close());
  return new ReadableStream(source, { highWaterMark: 0 });
}
