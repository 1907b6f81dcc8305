/** Randomness, where none is injected: the operating system's, by way of WebCrypto's generator. */
import { CoupletError } from "../protocol/error.js";
import type { Random } from "../protocol/secret.js";

/** @throws {CoupletError} `CPL-1900`: this runtime has no generator; one must be given. */
export const systemRandom: Random = (length) => {
  const crypto = globalThis.crypto as Crypto | undefined;
  if (crypto?.getRandomValues === undefined) {
    throw new CoupletError("CPL-1900", "This runtime has no random generator", { next: "Give one as `random`." });
  }
  return crypto.getRandomValues(new Uint8Array(length));
};
