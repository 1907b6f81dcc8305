/** The Huffman code of header strings (RFC 7541, 5.2 and Appendix B). Only decoding: this end sends plain strings. */
import { COMPRESSION_ERROR, violation } from "./error.js";

/**
 * How many bits each symbol has, 0 to 255 and the end of the string (256). The code is canonical (RFC 7541, Appendix
 * B), so that the lengths say all of it.
 */
const LENGTHS =
  "13 23 28*7 24 30 28*2 30 28*8 30 28*9 6 10*2 12 13 6 8 11 10*2 8 11 8 6*3 5*3 6*7 7 8 15 6 12 10 13 6 7*22 8 7 8 13 19 " +
  "13 14 6 15 5 6 5 6 5 6*3 5 7*2 6*3 5 6 7 6 5*2 6 7*5 15 11 14 13 28 20 22 20*2 22*3 23 22 23*5 24 23 24*2 22 23 24 " +
  "23*4 21 22 23 22 23*2 24 22 21 20 22*2 23*2 21 23 22*2 24 21 22 23*2 21*2 22 21 23 22 23*2 20 22*3 23 22*2 23 26*2 20 " +
  "19 22 23 22 25 26*3 27*2 26 24 25 19 21 26 27*2 26 27 24 21*2 26*2 28 27*3 20 24 20 21 22 21*2 23 22*2 25*2 24*2 26 23 " +
  "26 27 26*2 27*5 28 27*5 26 30";

const LONGEST = 30;
const END = 256;

interface Code {
  /** The symbols, by length and value. */
  readonly symbols: Uint16Array;
  /** For each length: the first code, how many there are, and where their symbols begin. */
  readonly first: Uint32Array;
  readonly count: Uint16Array;
  readonly start: Uint16Array;
}

let made: Code | null = null;

function code(): Code {
  if (made) return made;
  const lengths = LENGTHS.split(" ").flatMap((run) => {
    const [length = "0", times = "1"] = run.split("*");
    return new Array<number>(Number(times)).fill(Number(length));
  });
  const symbols = new Uint16Array(lengths.length);
  const first = new Uint32Array(LONGEST + 1);
  const count = new Uint16Array(LONGEST + 1);
  const start = new Uint16Array(LONGEST + 1);
  let next = 0;
  let at = 0;
  for (let length = 1; length <= LONGEST; length += 1) {
    next *= 2;
    first[length] = next;
    start[length] = at;
    lengths.forEach((its, symbol) => {
      if (its === length) symbols[at++] = symbol;
    });
    count[length] = at - (start[length] ?? 0);
    next += count[length] ?? 0;
  }
  made = { symbols, first, count, start };
  return made;
}

/**
 * Decodes a string. Throws when the padding is longer than seven bits or not all ones, or when the end of the string is
 * spelled out (RFC 7541, 5.2).
 */
export function decodeHuffman(bytes: Uint8Array): Uint8Array {
  const { symbols, first, count, start } = code();
  // The shortest code has five bits.
  const out = new Uint8Array(Math.floor((bytes.length * 8) / 5));
  let written = 0;
  let word = 0;
  let length = 0;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit -= 1) {
      word = (word << 1) | ((byte >>> bit) & 1);
      length += 1;
      const offset = word - (first[length] ?? 0);
      if (offset < 0 || offset >= (count[length] ?? 0)) continue;
      const symbol = symbols[(start[length] ?? 0) + offset] ?? END;
      if (symbol === END) throw violation(COMPRESSION_ERROR, "a header string spells out its end");
      out[written++] = symbol;
      word = 0;
      length = 0;
    }
  }
  if (length > 7) throw violation(COMPRESSION_ERROR, "a header string's padding is too long");
  if (word !== (1 << length) - 1) throw violation(COMPRESSION_ERROR, "a header string's padding is not all ones");
  return out.subarray(0, written);
}
