/** X25519 against RFC 7748, noble's own, and the edges where implementations differ. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { x25519 as whole } from "@noble/curves/ed25519.js";

import { fromHex, toHex } from "../../src/protocol/digits.js";
import { x25519 } from "../../src/protocol/x25519.js";
import { numbers } from "./ends.js";

function unhex(text: string): Uint8Array<ArrayBuffer> {
  const bytes = fromHex(text);
  assert.ok(bytes !== null);
  return bytes;
}

/** What comes of it, or null when it is refused. */
function agreed(curve: Pick<typeof x25519, "getSharedSecret">, scalar: Uint8Array, point: Uint8Array): string | null {
  try {
    return toHex(curve.getSharedSecret(scalar, point));
  } catch {
    return null;
  }
}

test("RFC 7748, 5.2: once, and a thousand times over", () => {
  const base = unhex("0900000000000000000000000000000000000000000000000000000000000000");
  let [scalar, point] = [base, base];
  for (let round = 1; round <= 1000; round += 1) {
    const before = scalar;
    [scalar, point] = [new Uint8Array(x25519.getSharedSecret(scalar, point)), before];
    const once = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
    if (round === 1) assert.equal(toHex(scalar), once);
  }
  assert.equal(toHex(scalar), "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
});

test("it is noble's own, whatever the scalar and the point", () => {
  const next = numbers(25_519);
  const any = (): Uint8Array<ArrayBuffer> => Uint8Array.from({ length: 32 }, () => next() & 0xff);
  const edge = (): Uint8Array<ArrayBuffer> => new Uint8Array(32).fill([0, 0xff, 0x80, 1, 0x7f][next() % 5] ?? 0);
  for (let round = 0; round < 300; round += 1) {
    const [scalar, point] = [round % 3 === 0 ? edge() : any(), round % 3 === 1 ? edge() : any()];
    const before = toHex(scalar);
    assert.equal(agreed(x25519, scalar, point), agreed(whole, scalar, point));
    assert.equal(toHex(x25519.getPublicKey(scalar)), toHex(whole.getPublicKey(scalar)));
    assert.equal(toHex(scalar), before, "a key is not changed by its use");
  }
});

test("points near the prime, of small order, and beyond the field are as noble has them", () => {
  const scalar = new Uint8Array(32).fill(0x55);
  const prime = (1n << 255n) - 19n;
  const bytes = (number: bigint): Uint8Array<ArrayBuffer> => {
    const hex = number.toString(16).padStart(64, "0");
    return unhex(hex).reverse();
  };
  let refused = 0;
  for (let off = -40n; off <= 40n; off += 1n) {
    for (const point of [
      bytes((prime + off) % (1n << 256n)),
      bytes(off < 0n ? -off : off),
      bytes(2n * prime + (off % 38n)),
    ]) {
      const result = agreed(x25519, scalar, point);
      assert.equal(result, agreed(whole, scalar, point), toHex(point));
      refused += result === null ? 1 : 0;
    }
  }
  assert.ok(refused >= 5, "0, 1, p − 1, p and p + 1 at least");
  for (const length of [0, 31, 33]) assert.equal(agreed(x25519, scalar, new Uint8Array(length)), null);
});
