/**
 * Bytes as text: lower-case hex, base32 in upper case and base64url, without padding, strict (spec/protocol.md). Base64 with
 * padding is for structured fields alone.
 */

const HEX = "0123456789abcdef";
const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Groups of `bits` bits, the highest first, as characters of an alphabet of 2^`bits`. */
function write(bytes: Uint8Array, alphabet: string, bits: number): string {
  let text = "";
  let held = 0;
  let left = 0;
  for (const byte of bytes) {
    held = ((held << 8) | byte) & 0xffff;
    left += 8;
    for (; left >= bits; left -= bits) text += alphabet[(held >> (left - bits)) & ((1 << bits) - 1)];
  }
  return left > 0 ? text + alphabet[(held << (bits - left)) & ((1 << bits) - 1)] : text;
}

/** null: another character, a length that no bytes have, or unused bits that are not zero. */
function read(text: string, alphabet: string, bits: number): Uint8Array<ArrayBuffer> | null {
  const length = Math.floor((text.length * bits) / 8);
  if (Math.ceil((length * 8) / bits) !== text.length) return null;
  const out = new Uint8Array(length);
  let at = 0;
  let held = 0;
  let left = 0;
  for (const character of text) {
    const digit = alphabet.indexOf(character);
    if (digit < 0) return null;
    held = ((held << bits) | digit) & 0xffff;
    left += bits;
    if (left >= 8) {
      left -= 8;
      out[at] = (held >> left) & 0xff;
      at += 1;
    }
  }
  return (held & ((1 << left) - 1)) === 0 ? out : null;
}

/** Lower-case hex. */
export function toHex(bytes: Uint8Array): string {
  return write(bytes, HEX, 4);
}

/** Reads lower-case hex; null: it is something else. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> | null {
  return read(text, HEX, 4);
}

/** Base32 (RFC 4648) in upper case, without padding. */
export function toBase32(bytes: Uint8Array): string {
  return write(bytes, BASE32, 5);
}

/** Reads it; null: it is something else. */
export function fromBase32(text: string): Uint8Array<ArrayBuffer> | null {
  return read(text, BASE32, 5);
}

/** Base64url (RFC 4648) without padding. */
export function toBase64Url(bytes: Uint8Array): string {
  return write(bytes, BASE64URL, 6);
}

/** Reads it; null: it is something else. */
export function fromBase64Url(text: string): Uint8Array<ArrayBuffer> | null {
  return read(text, BASE64URL, 6);
}

/** Base64 (RFC 4648) with padding. */
export function toBase64(bytes: Uint8Array): string {
  const text = write(bytes, BASE64, 6);
  return text + "=".repeat((4 - (text.length % 4)) % 4);
}
