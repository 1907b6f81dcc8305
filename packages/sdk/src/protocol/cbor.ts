/**
 * CBOR as Couplet writes and reads it (spec/protocol.md, 3): one map with text keys, deterministic (RFC 8949, 4.2.1).
 *
 * What is read stays where it is until a field is asked for: nothing is allocated, whatever lengths a message declares,
 * and nothing recurses.
 */
import { joined, utf8, view, wipe } from "./bytes.js";
import { CoupletError } from "./error.js";

/** The longest text that a message may hold, in bytes. */
export const TEXT_MAX = 512;

/** The bytes are not the message that was expected. Its code is `CPL-1602`: in a session it is the end. */
export class Malformed extends CoupletError {
  constructor(what: string) {
    super("CPL-1602", `malformed message: ${what}`);
    this.name = "Malformed";
  }
}

/** What a field can be: text, bytes, an unsigned number below 2^64, a list of byte strings. */
export type Field = string | Uint8Array | bigint | readonly Uint8Array[];

const MAJOR = { unsigned: 0, negative: 1, bytes: 2, text: 3, array: 4, map: 5, simple: 7 } as const;
const [FALSE, TRUE, NULL] = [20, 21, 22];

/** Texts that are no UTF-8 are refused, and nothing is taken away from them. */
const TEXT = /* @__PURE__ */ new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function head(major: number, argument: bigint): Uint8Array {
  const out = new DataView(new ArrayBuffer(9));
  const write = (sign: number, length: number): Uint8Array => {
    out.setUint8(0, (major << 5) | sign);
    return new Uint8Array(out.buffer, 0, length);
  };
  if (argument < 24n) return write(Number(argument), 1);
  if (argument < 1n << 8n) {
    out.setUint8(1, Number(argument));
    return write(24, 2);
  }
  if (argument < 1n << 16n) {
    out.setUint16(1, Number(argument));
    return write(25, 3);
  }
  if (argument < 1n << 32n) {
    out.setUint32(1, Number(argument));
    return write(26, 5);
  }
  out.setBigUint64(1, argument);
  return write(27, 9);
}

function string(major: number, bytes: Uint8Array): Uint8Array[] {
  return [head(major, BigInt(bytes.length)), bytes];
}

function value(field: Field): Uint8Array[] {
  if (typeof field === "bigint") {
    if (field < 0n || field >= 1n << 64n) throw new Malformed("a number is out of range");
    return [head(MAJOR.unsigned, field)];
  }
  if (typeof field === "string") {
    const bytes = utf8(field);
    if (bytes.length > TEXT_MAX) throw new Malformed("a text is too long");
    return string(MAJOR.text, bytes);
  }
  if (field instanceof Uint8Array) return string(MAJOR.bytes, field);
  return [head(MAJOR.array, BigInt(field.length)), ...field.flatMap((bytes) => string(MAJOR.bytes, bytes))];
}

/** Keys by their encoded bytes, which for these is by length, then by letter. */
function isBefore(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return one.length < other.length;
  for (let at = 0; at < one.length; at += 1) {
    const [left, right] = [one[at] ?? 0, other[at] ?? 0];
    if (left !== right) return left < right;
  }
  return false;
}

/**
 * A map of the fields that are there (those that are null are not), in deterministic order. The bytes are the caller's to
 * wipe when they hold secrets.
 *
 * @throws {Malformed} A text is longer than {@link TEXT_MAX} bytes, a number is no u64.
 */
export function encodeMap(fields: Readonly<Record<string, Field | null>>): Uint8Array<ArrayBuffer> {
  const present = Object.entries(fields).flatMap(([key, field]) => (field === null ? [] : [{ key: utf8(key), field }]));
  present.sort((one, other) => (isBefore(one.key, other.key) ? -1 : 1));
  const parts = present.flatMap(({ key, field }) => [...string(MAJOR.text, key), ...value(field)]);
  return joined(head(MAJOR.map, BigInt(present.length)), ...parts);
}

/** The head of an item, and what follows it. */
interface Item {
  readonly major: number;
  /** The length, the number, or which simple value; exact only up to 2^53, beyond which no message is. */
  readonly argument: number;
  /** Where the head ends; for a string, where its bytes do. */
  readonly end: number;
  /** Where a string's bytes begin. */
  readonly body: number;
}

/** Reads a message item by item, each in its shortest form and with a definite length. */
class Reader {
  readonly #message: Uint8Array;
  readonly #view: DataView;
  at = 0;

  constructor(message: Uint8Array, at = 0) {
    this.#message = message;
    this.#view = view(message);
    this.at = at;
  }

  get isAtEnd(): boolean {
    return this.at === this.#message.length;
  }

  /** Passes a number, a word, a string, or the head of an array or a map. */
  item(): Item {
    const first = this.#message[this.at];
    if (first === undefined) throw new Malformed("it is not CBOR");
    const [major, sign] = [first >> 5, first & 0x1f];
    const more = sign < 24 ? 0 : 1 << (sign - 24);
    if (sign > 27 || this.at + 1 + more > this.#message.length) throw new Malformed("it is not CBOR");
    const argument = more === 0 ? sign : this.#argument(this.at + 1, more);
    const body = this.at + 1 + more;
    this.#check(major, sign);
    const isString = major === MAJOR.bytes || major === MAJOR.text;
    const end = isString ? body + argument : body;
    if (end > this.#message.length) throw new Malformed("it is not CBOR");
    this.at = end;
    if (major === MAJOR.text) decodeText(this.#message.subarray(body, end));
    return { major, argument, end, body };
  }

  #argument(at: number, length: number): number {
    const number =
      length === 1
        ? this.#view.getUint8(at)
        : length === 2
          ? this.#view.getUint16(at)
          : length === 4
            ? this.#view.getUint32(at)
            : Number(this.#view.getBigUint64(at));
    const least = length === 1 ? 24 : 2 ** (4 * length);
    if (number < least) throw new Malformed("its CBOR is not deterministic");
    return number;
  }

  #check(major: number, sign: number): void {
    const isWord = sign === FALSE || sign === TRUE || sign === NULL;
    if (major === 6 || (major === MAJOR.simple && !isWord)) throw new Malformed("it holds what no message holds");
  }

  /** A key's bytes. */
  key(): Uint8Array {
    const { major, body, end } = this.item();
    if (major !== MAJOR.text) throw new Malformed("it is not of the form that is expected");
    return this.#message.subarray(body, end);
  }

  /** Passes one item with all that is in it. */
  skip(): void {
    // A length beyond the message ends with the message: each item has a byte at least.
    for (let left = 1; left > 0; left -= 1) {
      const { major, argument } = this.item();
      if (major === MAJOR.array) left += argument;
      if (major === MAJOR.map) left += 2 * argument;
    }
  }
}

function decodeText(bytes: Uint8Array): string {
  try {
    return TEXT.decode(bytes);
  } catch {
    throw new Malformed("a text is not UTF-8");
  }
}

/** A map that was checked as a whole; its values are looked at one by one. */
export class CborMap {
  readonly #message: Uint8Array;

  private constructor(message: Uint8Array) {
    this.#message = message;
  }

  /**
   * Takes a message that is one map and nothing else. Its keys are texts in order, none twice; every head in it has the
   * shortest form and a definite length; there are no tags, no floating-point numbers and no simple values but false, true
   * and null.
   *
   * @throws {Malformed}
   */
  static decode(message: Uint8Array): CborMap {
    const reader = new Reader(message);
    const map = reader.item();
    if (map.major !== MAJOR.map) throw new Malformed("it is not of the form that is expected");
    let last: Uint8Array | null = null;
    for (let left = map.argument; left > 0; left -= 1) {
      const key = reader.key();
      if (last !== null && !isBefore(last, key)) throw new Malformed("its keys are out of order, or one stands twice");
      last = key;
      reader.skip();
    }
    if (!reader.isAtEnd) throw new Malformed("there are bytes behind it");
    return new CborMap(message);
  }

  /** Where the value of this key begins; null: it is not there. */
  #find(key: string): number | null {
    const reader = new Reader(this.#message);
    for (let left = reader.item().argument; left > 0; left -= 1) {
      if (decodeText(reader.key()) === key) return reader.at;
      reader.skip();
    }
    return null;
  }

  /** Whether the key is there at all. */
  has(key: string): boolean {
    return this.#find(key) !== null;
  }

  #value(key: string, major: number): { item: Item; at: number } {
    const at = this.#find(key);
    if (at === null) throw new Malformed(key);
    const item = new Reader(this.#message, at).item();
    if (item.major !== major) throw new Malformed(key);
    return { item, at };
  }

  /** A text of at most {@link TEXT_MAX} bytes. */
  text(key: string): string {
    const { item } = this.#value(key, MAJOR.text);
    if (item.argument > TEXT_MAX) throw new Malformed(key);
    return decodeText(this.#message.subarray(item.body, item.end));
  }

  /** A text that need not be there. */
  optionalText(key: string): string | null {
    return this.has(key) ? this.text(key) : null;
  }

  /** A copy of so many bytes. */
  bytes(key: string, length: number): Uint8Array<ArrayBuffer> {
    const { item } = this.#value(key, MAJOR.bytes);
    if (item.argument !== length) throw new Malformed(key);
    return new Uint8Array(this.#message.subarray(item.body, item.end));
  }

  /** A number below 2^64. */
  number(key: string): bigint {
    const { item, at } = this.#value(key, MAJOR.unsigned);
    if (item.end - at === 9) return view(this.#message).getBigUint64(at + 1);
    return BigInt(item.argument);
  }

  /** A number below 2^32 that need not be there. */
  optionalU32(key: string): number | null {
    if (!this.has(key)) return null;
    const number = this.number(key);
    if (number > 0xffff_ffffn) throw new Malformed(key);
    return Number(number);
  }

  /** A list of at most so many byte strings; those are views of the message. */
  list(key: string, most: number): Uint8Array[] {
    const { item } = this.#value(key, MAJOR.array);
    if (item.argument > most) throw new Malformed(key);
    const reader = new Reader(this.#message, item.end);
    return Array.from({ length: item.argument }, () => {
      const { major, body, end } = reader.item();
      if (major !== MAJOR.bytes) throw new Malformed(key);
      return this.#message.subarray(body, end);
    });
  }

  /** Overwrites the message, once what it says was taken. */
  wipe(): void {
    wipe(this.#message);
  }
}
