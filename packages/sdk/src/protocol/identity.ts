/** Long-term X25519 keys: the host's, and a device's for one host (spec/protocol.md, 1). */
import { sha256 } from "@noble/hashes/sha2.js";

import { copied, joined, same, utf8 } from "./bytes.js";
import { toBase32 } from "./digits.js";
import { CoupletError } from "./error.js";
import { Secret } from "./secret.js";
import { x25519 } from "./x25519.js";

/** How many bytes of the hash a fingerprint shows. */
const FINGERPRINT = 10;

/** An X25519 public key. Every 32 bytes are one; those of low order fail when they are used. */
export class PublicKey {
  readonly #bytes: Uint8Array<ArrayBuffer>;

  /**
   * Copies 32 bytes (RFC 7748).
   *
   * @throws {CoupletError} `CPL-1607`: another length.
   */
  constructor(bytes: Uint8Array) {
    if (bytes.length !== 32) throw new CoupletError("CPL-1607", "a public key has 32 bytes");
    this.#bytes = copied(bytes);
  }

  /** A copy of the 32 bytes. */
  toBytes(): Uint8Array<ArrayBuffer> {
    return copied(this.#bytes);
  }

  /** What people compare: `QK4X-W3GD-7ZPN-2M5A` (spec/protocol.md, 1). */
  fingerprint(): string {
    const hash = sha256(joined(utf8("couplet/1 fingerprint"), this.#bytes));
    const text = toBase32(hash.subarray(0, FINGERPRINT));
    return [0, 4, 8, 12].map((at) => text.slice(at, at + 4)).join("-");
  }

  /** Whether it is the same key, in constant time. */
  equals(other: PublicKey): boolean {
    return same(this.#bytes, other.#bytes);
  }

  toString(): string {
    return this.fingerprint();
  }
}

/** The bytes are no X25519 key, or the agreement with it gives nothing (RFC 7748, 6.1: all zero). */
export class InvalidKey extends Error {
  constructor() {
    super("not a usable X25519 key");
    this.name = "InvalidKey";
  }
}

/** A private key that may be somewhere else: what the handshake needs of it. */
export interface StaticKey {
  /** The public half. */
  readonly publicKey: PublicKey;
  /**
   * X25519 (RFC 7748). The result is the caller's to wipe. The handshake refuses zeros, which a key of low order brings
   * about; these here refuse them as well.
   *
   * @throws {InvalidKey} It comes to zeros. Anything else that is thrown goes on to who began the handshake.
   */
  agree(theirs: PublicKey): Uint8Array | Promise<Uint8Array>;
}

/** A private key whose bytes this program has. */
export class StaticSecret implements StaticKey {
  readonly publicKey: PublicKey;
  readonly #secret: Secret<"key">;

  /** Of 32 random bytes, or of those that were stored. It is this key's to wipe from now on. */
  constructor(secret: Secret<"key">) {
    this.#secret = secret;
    this.publicKey = new PublicKey(x25519.getPublicKey(secret.expose()));
  }

  agree(theirs: PublicKey): Uint8Array {
    try {
      return x25519.getSharedSecret(this.#secret.expose(), theirs.toBytes());
    } catch {
      // noble refuses what would give zeros before it computes.
      throw new InvalidKey();
    }
  }

  /** The secret itself, for the one place that stores it. */
  expose(): Uint8Array {
    return this.#secret.expose();
  }

  /** Overwrites it. */
  wipe(): void {
    this.#secret.wipe();
  }

  toString(): string {
    return `StaticSecret([redacted], ${this.publicKey})`;
  }

  toJSON(): string {
    return "[redacted]";
  }
}

/**
 * A private key that WebCrypto holds and gives to nobody. It can be used by who runs code in the page, as long as it
 * runs; it cannot be taken along. IndexedDB keeps it as it is: store {@link WebKey.pair}.
 */
export class WebKey implements StaticKey {
  readonly publicKey: PublicKey;
  /** What to store. */
  readonly pair: { readonly privateKey: CryptoKey; readonly publicKey: CryptoKey };
  readonly #subtle: SubtleCrypto;

  private constructor(pair: WebKey["pair"], publicKey: PublicKey, subtle: SubtleCrypto) {
    this.pair = pair;
    this.publicKey = publicKey;
    this.#subtle = subtle;
  }

  /** Makes one. null: this WebCrypto knows no X25519, or there is none (pages that are not a secure context). */
  static async generate(subtle: SubtleCrypto | undefined = globalThis.crypto?.subtle): Promise<WebKey | null> {
    if (subtle === undefined) return null;
    try {
      const pair = (await subtle.generateKey({ name: "X25519" }, false, ["deriveBits"])) as CryptoKeyPair;
      return await WebKey.of(pair, subtle);
    } catch {
      return null;
    }
  }

  /**
   * Takes one that was stored.
   *
   * @throws {CoupletError} `CPL-1607`: it is no such pair.
   */
  static async of(pair: WebKey["pair"], subtle: SubtleCrypto = globalThis.crypto.subtle): Promise<WebKey> {
    try {
      const { type, algorithm, usages } = pair.privateKey;
      const isUsable = type === "private" && algorithm.name === "X25519" && usages.includes("deriveBits");
      if (!isUsable) throw new InvalidKey();
      const bytes = new Uint8Array(await subtle.exportKey("raw", pair.publicKey));
      return new WebKey(pair, new PublicKey(bytes), subtle);
    } catch (cause) {
      throw new CoupletError("CPL-1607", "the stored device key is of no use here", { cause });
    }
  }

  async agree(theirs: PublicKey): Promise<Uint8Array> {
    try {
      const key = await this.#subtle.importKey("raw", theirs.toBytes(), { name: "X25519" }, false, []);
      const shared = await this.#subtle.deriveBits({ name: "X25519", public: key }, this.pair.privateKey, 256);
      return new Uint8Array(shared);
    } catch (cause) {
      // What it says of zeros, and of bytes that are no key. A key that cannot be used here is no fault of theirs.
      const { name } = cause as { readonly name?: unknown };
      if (name === "OperationError" || name === "DataError") throw new InvalidKey();
      throw new CoupletError("CPL-1607", "the stored device key is of no use here", { cause });
    }
  }
}
