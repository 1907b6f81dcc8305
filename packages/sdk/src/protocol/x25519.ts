/**
 * X25519 (RFC 7748): noble's Montgomery ladder with the RFC's numbers. noble's own `x25519` brings the whole of Ed25519 along
 * for a faster public key, an eighth of what this package may weigh; the tests hold the two against each other.
 */
import { pow } from "@noble/curves/abstract/modular.js";
import { montgomery, type MontgomeryECDH } from "@noble/curves/abstract/montgomery.js";

/** 2^255 − 19. */
const P = (1n << 255n) - 19n;

/** RFC 7748, 5: a scalar is 2^254 plus a multiple of eight. `bytes` is noble's own copy. */
function clamp(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const scalar = new Uint8Array(bytes);
  scalar[0] = (scalar[0] ?? 0) & 0xf8;
  scalar[31] = ((scalar[31] ?? 0) & 0x7f) | 0x40;
  return scalar;
}

/** Refuses points of small order. */
export const x25519: Pick<MontgomeryECDH, "getPublicKey" | "getSharedSecret"> = /* @__PURE__ */ montgomery({
  P,
  type: "x25519",
  adjustScalarBytes: clamp,
  powPminus2: (x) => pow(x, P - 2n, P),
});
