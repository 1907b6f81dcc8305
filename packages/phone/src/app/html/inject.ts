/** Puts a script's tag into a document that streams by. */
import { isWideMarked, metaCharset, PRESCAN } from "./charset.js";
import { scan } from "./scan.js";

/** How much may stand before the doctype, in bytes; a document with more is left as it is. */
const PROLOGUE_MAX = 64 * 1024;

/** What the beginning of a document said. */
export interface Beginning {
  /** What a `<meta>` names; null: none. */
  readonly charset: string | null;
  /** Everything, the script's tag in its place. */
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/**
 * Reads as much as it takes, and resolves with all of the document. A document in UTF-16 is left as it is.
 *
 * `settled`: resolves when no more than what has come is to be waited for, to find a `<meta>`; the place of the script is waited
 * for in any case.
 */
export async function injected(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  tag: string,
  settled: () => Promise<unknown>,
): Promise<Beginning> {
  const reader = body.getReader();
  let [bytes, text, isWhole] = [new Uint8Array(0), "", false];
  let waiting: Promise<"late"> | null = null;
  for (;;) {
    const next = reader.read();
    waiting ??= settled().then(() => "late" as const);
    const place = scan(text, isWhole);
    const isEnough = place !== "more" && (text.length >= PRESCAN || metaCharset(text) !== null);
    const isLate = !isEnough && place !== "more" && (await Promise.race([next, waiting])) === "late";
    if (isEnough || isLate || isWhole || text.length > PROLOGUE_MAX) {
      const at = place === "more" || isWideMarked(text) ? null : place.at;
      const parts = at === null ? [bytes] : [bytes.slice(0, at), new TextEncoder().encode(tag), bytes.slice(at)];
      return { charset: metaCharset(text), body: joined(parts, next, reader) };
    }
    const { done, value } = await next;
    if (done) isWhole = true;
    else {
      bytes = concatenated(bytes, value);
      text = latin1(bytes.subarray(0, PROLOGUE_MAX + 1));
    }
  }
}

type Read = ReadableStreamReadResult<Uint8Array<ArrayBuffer>>;

/** What was read, what is being read, and the rest. */
function joined(
  parts: readonly Uint8Array<ArrayBuffer>[],
  next: Promise<Read>,
  reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let first: Promise<Read> | null = next;
  // Whoever reads it hears of an error; nobody may.
  next.catch(() => {});
  const queued = parts.filter(({ length }) => length > 0);
  return new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      async pull(controller) {
        const part = queued.shift();
        if (part !== undefined) return controller.enqueue(part);
        const reading = first ?? reader.read();
        first = null;
        const { done, value } = await reading;
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

function concatenated(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(one.length + other.length);
  all.set(one);
  all.set(other, one.length);
  return all;
}

/** A character for each byte, so that places in the text are places in the bytes. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}
