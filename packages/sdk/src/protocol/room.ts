/** What a relay knows of a pairing: a room's id, and the hashes that open it (spec/protocol.md, 6). */
import { fromHex, toHex } from "./digits.js";

/** A room at a relay: 16 bytes. Who knows the id can make the room lock, so it prints only its beginning. */
export class RoomId {
  readonly #bytes: Uint8Array;

  /** Takes over 16 bytes. */
  constructor(bytes: Uint8Array) {
    if (bytes.length !== 16) throw new RangeError("a room has 16 bytes");
    this.#bytes = bytes;
  }

  /** Reads 32 digits of lower-case hex; null: it is something else. */
  static parse(text: string): RoomId | null {
    const bytes = fromHex(text);
    return bytes?.length === 16 ? new RoomId(bytes) : null;
  }

  /** All of it, in lower-case hex. */
  toHex(): string {
    return toHex(this.#bytes);
  }

  toString(): string {
    return `${this.toHex().slice(0, 8)}…`;
  }

  toJSON(): string {
    return this.toString();
  }
}

/** What opens a room: `pairing_token_hash` or `secret_hash`. To a relay it is a password. */
export class CredentialHash {
  readonly #bytes: Uint8Array;

  /** Takes over 32 bytes. */
  constructor(bytes: Uint8Array) {
    if (bytes.length !== 32) throw new RangeError("a hash has 32 bytes");
    this.#bytes = bytes;
  }

  /** Reads 64 digits of lower-case hex; null: it is something else. */
  static parse(text: string): CredentialHash | null {
    const bytes = fromHex(text);
    return bytes?.length === 32 ? new CredentialHash(bytes) : null;
  }

  /** All of it in lower-case hex, as it is presented. */
  exposeHex(): string {
    return toHex(this.#bytes);
  }

  /** Overwrites it. */
  wipe(): void {
    this.#bytes.fill(0);
  }

  toString(): string {
    return "[redacted]";
  }

  toJSON(): string {
    return "[redacted]";
  }
}
