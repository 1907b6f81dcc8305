/**
 * Header compression (RFC 7541), without a dynamic table: this end announces a table of no bytes
 * (SETTINGS_HEADER_TABLE_SIZE 0), so that a block of headers depends on no other, and keeps none of the server's either.
 */
import { COMPRESSION_ERROR, Http2Error, PROTOCOL_ERROR, violation } from "./error.js";
import { decodeHuffman } from "./huffman.js";
import { STATIC_TABLE, type Header } from "./static_table.js";

export type { Header };

/** What each field costs beyond its text (RFC 9113, 6.5.2). */
const FIELD_COST = 32;

/** The size of a list as RFC 9113, 6.5.2 counts it: bytes of names and values, and 32 for each field. */
export function listSize(headers: readonly Header[]): number {
  return headers.reduce((sum, [name, value]) => sum + name.length + value.length + FIELD_COST, 0);
}

/** What decoding gave. */
export interface Decoded {
  readonly headers: Header[];
  /** The list is longer than it may be, and `headers` only its beginning. */
  readonly tooLong: boolean;
}

/**
 * Decodes one block. Bytes become characters one by one, as `fetch` has it. Throws a COMPRESSION_ERROR for what is no
 * block, or refers to a dynamic table.
 */
export function decodeHeaders(block: Uint8Array, most: number): Decoded {
  const reader = new Reader(block);
  const headers: Header[] = [];
  let size = 0;
  while (!reader.done) {
    const first = reader.peek();
    if ((first & 0xe0) === 0x20) {
      if (headers.length > 0) throw violation(COMPRESSION_ERROR, "the header table is resized amid a block");
      if (reader.integer(5) !== 0) throw violation(COMPRESSION_ERROR, "the header table is larger than this end takes");
      continue;
    }
    const header = first & 0x80 ? entry(reader.integer(7)) : literal(reader, first);
    size += header[0].length + header[1].length + FIELD_COST;
    if (size > most) return { headers, tooLong: true };
    headers.push(header);
  }
  return { headers, tooLong: false };
}

/**
 * A literal field (RFC 7541, 6.2). One that asks to be kept is taken all the same: a table of no bytes stays empty
 * (RFC 7541, 4.4).
 */
function literal(reader: Reader, first: number): Header {
  const index = reader.integer(first & 0x40 ? 6 : 4);
  const name = index === 0 ? reader.string() : entry(index)[0];
  return [name, reader.string()];
}

function entry(index: number): Header {
  const found = STATIC_TABLE[index - 1];
  if (!found) throw violation(COMPRESSION_ERROR, "a header refers to a table that there is not");
  return [found[0], found[1]];
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  peek(): number {
    return this.#bytes[this.#at] ?? 0;
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) throw violation(COMPRESSION_ERROR, "a header block ends too early");
    return byte;
  }

  /** RFC 7541, 5.1. None here is larger than a block, so that four further bytes are enough. */
  integer(prefix: number): number {
    const most = (1 << prefix) - 1;
    let value = this.#byte() & most;
    if (value < most) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) << shift;
      if (!(byte & 0x80)) return value;
    }
    throw violation(COMPRESSION_ERROR, "a number in a header block is too large");
  }

  /** RFC 7541, 5.2. */
  string(): string {
    const huffman = (this.peek() & 0x80) !== 0;
    const length = this.integer(7);
    if (length > this.#bytes.length - this.#at) throw violation(COMPRESSION_ERROR, "a header string ends too early");
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return latin1(huffman ? decodeHuffman(bytes) : bytes);
  }
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  // A call takes only so many arguments.
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}

/** Where a name stands first in the static table; 0: nowhere. */
function indexOfName(name: string): number {
  return STATIC_TABLE.findIndex(([its]) => its === name) + 1;
}

/**
 * Encodes one block: the static table's entries by their index, all else as literals that no table keeps, in plain
 * text. What `sensitive` names is marked so that whoever passes it on never puts it into a table (RFC 7541, 7.1.3).
 */
export function encodeHeaders(headers: readonly Header[], sensitive: ReadonlySet<string>): Uint8Array {
  const out: number[] = [];
  for (const [name, value] of headers) {
    const secret = sensitive.has(name);
    const whole = secret ? 0 : STATIC_TABLE.findIndex(([its, at]) => its === name && at === value) + 1;
    if (whole > 0) {
      integer(out, 0x80, 7, whole);
      continue;
    }
    const index = indexOfName(name);
    integer(out, secret ? 0x10 : 0, 4, index);
    if (index === 0) text(out, name);
    text(out, value);
  }
  return Uint8Array.from(out);
}

function integer(out: number[], pattern: number, prefix: number, value: number): void {
  const most = (1 << prefix) - 1;
  if (value < most) {
    out.push(pattern | value);
    return;
  }
  out.push(pattern | most);
  let rest = value - most;
  for (; rest >= 0x80; rest >>>= 7) out.push((rest & 0x7f) | 0x80);
  out.push(rest);
}

function text(out: number[], value: string): void {
  integer(out, 0, 7, value.length);
  for (let at = 0; at < value.length; at += 1) {
    const code = value.charCodeAt(at);
    if (code > 0xff) throw new Http2Error(PROTOCOL_ERROR, "local", "a header has a character that no header can have");
    out.push(code);
  }
}
