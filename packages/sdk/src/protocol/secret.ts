/**
 * Byte secrets: they print `[redacted]`, can be wiped, and are compared in constant time.
 *
 * JavaScript has no destructors: who has a secret last wipes it. The engine may have moved copies; wiping shortens how long
 * a secret lies in memory, no more. Random bytes come in from {@link Random}.
 */
import { copied, isBlank, same } from "./bytes.js";
import { CoupletError } from "./error.js";

/** What a secret is for, and its length in bytes (spec/protocol.md, 1). */
export const SECRET_LENGTHS = {
  /** `K`, which only the QR or the link carries. */
  offer: 16,
  /** Of an offer, or of a pairing: the handshake's pre-shared key. */
  psk: 32,
  /** Made at the grant; a relay sees hashes of it only. */
  room: 32,
  /** For one purpose, spent with it: an ephemeral key, a nonce to commit to. */
  entropy: 32,
  /** An X25519 private key. */
  key: 32,
} as const;

/** What a secret is for. */
export type SecretKind = keyof typeof SECRET_LENGTHS;

/** Node's `util.inspect` asks an object for a method of this name. */
const INSPECT = Symbol.for("nodejs.util.inspect.custom");

/** Bytes that nothing prints: not `String`, not `JSON.stringify`, not a console. */
export class Secret<Kind extends SecretKind = SecretKind> {
  readonly kind: Kind;
  readonly #bytes: Uint8Array;
  #isWiped = false;

  /**
   * Takes over the bytes, which are the secret's from now on.
   *
   * @throws {CoupletError} `CPL-1607`: another length.
   */
  constructor(kind: Kind, bytes: Uint8Array) {
    if (bytes.length !== SECRET_LENGTHS[kind]) throw new CoupletError("CPL-1607", "a secret has a wrong length");
    this.kind = kind;
    this.#bytes = bytes;
  }

  /**
   * The bytes themselves, for the one place that needs them.
   *
   * @throws {Error} It was wiped: a fault of the program.
   */
  expose(): Uint8Array {
    if (this.#isWiped) throw new Error("this secret was wiped");
    return this.#bytes;
  }

  /** A secret of its own with the same bytes. */
  copy(): Secret<Kind> {
    return new Secret(this.kind, copied(this.expose()));
  }

  /** Overwrites it. It cannot be used any more. */
  wipe(): void {
    this.#bytes.fill(0);
    this.#isWiped = true;
  }

  /** Whether they are the same, in constant time. */
  equals(other: Secret<Kind>): boolean {
    return same(this.expose(), other.expose());
  }

  toString(): string {
    return "[redacted]";
  }

  toJSON(): string {
    return "[redacted]";
  }

  [INSPECT](): string {
    return `Secret(${this.kind}, [redacted])`;
  }
}

/** A token as text. It prints `[redacted]`; strings cannot be wiped. */
export class SecretText {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text itself, for the one place that hands it over. */
  expose(): string {
    return this.#text;
  }

  toString(): string {
    return "[redacted]";
  }

  toJSON(): string {
    return "[redacted]";
  }

  [INSPECT](): string {
    return "SecretText([redacted])";
  }
}

/** Gives so many bytes of a cryptographic generator, at most 65,536 at a time. */
export type Random = (length: number) => Uint8Array;

/**
 * A fresh secret.
 *
 * @throws {CoupletError} `CPL-1900`: the generator gives too little, or nothing but zeros.
 */
export function fresh<Kind extends SecretKind>(kind: Kind, random: Random): Secret<Kind> {
  const bytes = random(SECRET_LENGTHS[kind]);
  if (!(bytes instanceof Uint8Array) || bytes.length !== SECRET_LENGTHS[kind] || isBlank(bytes)) {
    throw new CoupletError("CPL-1900", "there is no randomness");
  }
  return new Secret(kind, bytes);
}
