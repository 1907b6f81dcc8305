/**
 * The Noise handshake (revision 34) of suite 1: `25519_ChaChaPoly_SHA256`, in the two patterns that Couplet speaks.
 *
 * ```text
 * IK:  <- s   ...   -> e, es, s, ss   <- e, ee, se       psk1: behind the first message's, psk2: behind the second's
 * ```
 *
 * It is written out for these two. An agreement may wait, as WebCrypto may hold the static key; nothing else does.
 */
import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";

import { copied, isBlank, joined, utf8, view, wipe } from "./bytes.js";
import { InvalidKey, PublicKey, StaticSecret, type StaticKey } from "./identity.js";
import { Source } from "./schedule.js";
import { Secret } from "./secret.js";

/** The length of an AEAD's tag. */
export const TAG = 16;
/** The longest message of Noise (3). */
const MESSAGE_MAX = 65_535;

/** Where the pre-shared key is mixed in: into the first message (pairing), or into the second (coming back). */
export type Pattern = "IKpsk1" | "IKpsk2";

/** A message cannot be opened, or the keys agree on nothing. It says no more than that. */
export class NoiseError extends Error {
  constructor() {
    super("the handshake failed");
    this.name = "NoiseError";
  }
}

/** Seals or opens with ChaChaPoly: four zero bytes and the counter, little-endian, are the nonce (Noise, 12.3). */
export function chachapoly(key: Uint8Array, counter: number, ad: Uint8Array): ReturnType<typeof chacha20poly1305> {
  const nonce = new Uint8Array(12);
  view(nonce).setBigUint64(4, BigInt(counter), true);
  return chacha20poly1305(key, nonce, ad);
}

/** Noise, 5.2, with the CipherState of 5.1 in it. */
class SymmetricState {
  #h: Uint8Array;
  #ck: Uint8Array;
  #k: Uint8Array | null = null;
  #n = 0;

  constructor(name: string) {
    // Names of these patterns are longer than a hash.
    this.#h = sha256(utf8(name));
    this.#ck = this.#h.slice();
  }

  mixHash(bytes: Uint8Array): void {
    this.#h = sha256(joined(this.#h, bytes));
  }

  mixKey(material: Uint8Array): void {
    const out = hkdf(sha256, material, this.#ck, undefined, 64);
    this.#renew(out.slice(0, 32), out.slice(32));
    wipe(out);
  }

  mixKeyAndHash(material: Uint8Array): void {
    const out = hkdf(sha256, material, this.#ck, undefined, 96);
    this.mixHash(out.subarray(32, 64));
    this.#renew(out.slice(0, 32), out.slice(64));
    wipe(out);
  }

  #renew(ck: Uint8Array, k: Uint8Array): void {
    wipe(this.#ck, this.#k);
    [this.#ck, this.#k, this.#n] = [ck, k, 0];
  }

  seal(text: Uint8Array): Uint8Array {
    if (this.#k === null) throw new NoiseError();
    const sealed = chachapoly(this.#k, this.#n, this.#h).encrypt(text);
    this.#n += 1;
    this.mixHash(sealed);
    return sealed;
  }

  open(sealed: Uint8Array): Uint8Array {
    if (this.#k === null || sealed.length < TAG) throw new NoiseError();
    const before = this.#h;
    let text: Uint8Array;
    try {
      text = chachapoly(this.#k, this.#n, before).decrypt(sealed);
    } catch {
      throw new NoiseError();
    }
    this.#n += 1;
    this.mixHash(sealed);
    return text;
  }

  /** k1, k2 and h (Noise, 5.2, Split). */
  split(): Split {
    const out = hkdf(sha256, new Uint8Array(), this.#ck, undefined, 64);
    const keys = { k1: out.slice(0, 32), k2: out.slice(32), h: this.#h };
    wipe(out);
    return keys;
  }

  wipe(): void {
    wipe(this.#ck, this.#k);
    this.#k = null;
  }
}

/** What a handshake comes to. */
export interface Split {
  readonly k1: Uint8Array;
  readonly k2: Uint8Array;
  /** The handshake hash. */
  readonly h: Uint8Array;
}

/** What one end brings. */
export interface NoiseEnd {
  readonly pattern: Pattern;
  /** This end's static key. */
  readonly ours: StaticKey;
  /** The responder's static key, which the initiator knows; the responder says null. */
  readonly theirs: PublicKey | null;
  readonly psk: Secret<"psk">;
  readonly prologue: Uint8Array;
  /** Fresh; it is spent with this, and wiped. */
  readonly ephemeral: Secret<"entropy">;
}

/** A handshake under way. Each end reads and writes one message, in its order; whatever fails ends it. */
export class Noise {
  readonly #symmetric: SymmetricState;
  readonly #end: NoiseEnd;
  readonly #initiates: boolean;
  readonly #ephemeral: StaticSecret;
  #theirs: PublicKey | null;
  #theirEphemeral: PublicKey | null = null;
  /** How many messages have passed; null: it is over. */
  #passed: number | null = 0;
  #isWiped = false;

  /** As the initiator when `theirs` is given. The psk is copied by nobody: it must not be wiped before the end. */
  constructor(end: NoiseEnd) {
    this.#end = end;
    this.#initiates = end.theirs !== null;
    this.#theirs = end.theirs;
    this.#ephemeral = new StaticSecret(new Secret("key", copied(end.ephemeral.expose())));
    end.ephemeral.wipe();
    this.#symmetric = new SymmetricState(`Noise_${end.pattern}_25519_ChaChaPoly_SHA256`);
    this.#symmetric.mixHash(end.prologue);
    this.#symmetric.mixHash((end.theirs ?? end.ours.publicKey).toBytes());
  }

  /** The initiator's static key, once its message has been read; the responder's at the initiator. */
  get theirs(): PublicKey | null {
    return this.#theirs;
  }

  /**
   * Writes the next message, which is this end's.
   *
   * @throws {NoiseError}
   */
  write(payload: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
    return this.#step(this.#initiates ? 0 : 1, () => this.#write(payload));
  }

  /**
   * Reads the next message, which is the other end's; returns its payload, which is the caller's to wipe.
   *
   * @throws {NoiseError}
   */
  read(message: Uint8Array): Promise<Uint8Array> {
    return this.#step(this.#initiates ? 1 : 0, () => this.#read(message));
  }

  /**
   * What both messages came to, once. The keys are the caller's to wipe.
   *
   * @throws {NoiseError} Not both have passed.
   */
  split(): Split {
    if (this.#passed !== 2) throw new NoiseError();
    const split = this.#symmetric.split();
    this.wipe();
    return split;
  }

  /** prk = Extract(salt h, k1 ‖ k2): what a session's keys are made of (spec/protocol.md, 3). */
  finish(): Source {
    const { k1, k2, h } = this.split();
    const keys = joined(k1, k2);
    const source = Source.extract(h, keys);
    wipe(k1, k2, keys);
    return source;
  }

  /** Forgets its keys. Nothing can be done with it any more. */
  wipe(): void {
    this.#passed = null;
    this.#isWiped = true;
    this.#ephemeral.wipe();
    this.#symmetric.wipe();
  }

  async #step<T>(number: number, work: () => Promise<T>): Promise<T> {
    if (this.#passed !== number) throw new NoiseError();
    // Over until it has come to something, so that two calls cannot run into each other.
    this.#passed = null;
    try {
      const result = await work();
      // Given up while the static key was waited for.
      if (this.#isWiped) throw new NoiseError();
      this.#passed = number + 1;
      return result;
    } catch (error) {
      // A key that cannot be reached (a locked store) is no wrong key.
      const isOurs = this.#isWiped || error instanceof InvalidKey;
      this.wipe();
      throw isOurs ? new NoiseError() : error;
    }
  }

  async #write(payload: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
    const parts = [this.#ephemeral.publicKey.toBytes()];
    this.#mixEphemeral(this.#ephemeral.publicKey);
    if (this.#initiates) {
      await this.#mixAgreement("es");
      parts.push(new Uint8Array(this.#symmetric.seal(this.#end.ours.publicKey.toBytes())));
      await this.#mixAgreement("ss");
    } else {
      await this.#mixAgreement("ee");
      await this.#mixAgreement("se");
    }
    this.#mixPsk(this.#initiates ? "IKpsk1" : "IKpsk2");
    parts.push(new Uint8Array(this.#symmetric.seal(payload)));
    const message = joined(...parts);
    if (message.length > MESSAGE_MAX) throw new NoiseError();
    return message;
  }

  async #read(message: Uint8Array): Promise<Uint8Array> {
    const head = this.#initiates ? 32 : 32 + 32 + TAG;
    if (message.length < head + TAG || message.length > MESSAGE_MAX) throw new NoiseError();
    this.#theirEphemeral = new PublicKey(message.subarray(0, 32));
    this.#mixEphemeral(this.#theirEphemeral);
    if (this.#initiates) {
      await this.#mixAgreement("ee");
      await this.#mixAgreement("se");
    } else {
      await this.#mixAgreement("es");
      this.#theirs = new PublicKey(this.#symmetric.open(message.subarray(32, head)));
      await this.#mixAgreement("ss");
    }
    this.#mixPsk(this.#initiates ? "IKpsk2" : "IKpsk1");
    return this.#symmetric.open(message.subarray(head));
  }

  /** Token e. With a pre-shared key it is mixed into the chaining key, too (Noise, 9.2). */
  #mixEphemeral(key: PublicKey): void {
    this.#symmetric.mixHash(key.toBytes());
    this.#symmetric.mixKey(key.toBytes());
  }

  #mixPsk(pattern: Pattern): void {
    if (this.#end.pattern === pattern) this.#symmetric.mixKeyAndHash(this.#end.psk.expose());
  }

  /** The first letter is the initiator's key, the second the responder's: e is ephemeral, s static. */
  async #mixAgreement(token: "ee" | "es" | "se" | "ss"): Promise<void> {
    const [ours, theirs] = this.#initiates ? [token[0], token[1]] : [token[1], token[0]];
    const peer = theirs === "e" ? this.#theirEphemeral : this.#theirs;
    if (peer === null) throw new NoiseError();
    const shared = await (ours === "e" ? this.#ephemeral : this.#end.ours).agree(peer);
    // Whoever has the static key: zeros are the result with a key of low order, and everybody knows them.
    if (shared.length !== 32 || isBlank(shared)) throw new NoiseError();
    this.#symmetric.mixKey(shared);
    wipe(shared);
  }
}
