/** The key schedule: what is derived from an offer and from a handshake (spec/protocol.md, 2, 3 and 6). HKDF-SHA256. */
import { expand, extract } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";

import { copied, joined, u32, utf8, wipe } from "./bytes.js";
import type { PublicKey } from "./identity.js";
import { CredentialHash, RoomId } from "./room.js";
import { Secret } from "./secret.js";

/** A pseudorandom key to expand. */
export class Source {
  readonly #prk: Uint8Array;

  private constructor(prk: Uint8Array) {
    this.#prk = prk;
  }

  /** Extract (RFC 5869, 2.2). */
  static extract(salt: Uint8Array, material: Uint8Array): Source {
    return new Source(extract(sha256, material, salt));
  }

  /** Of a key that is uniform already; it is copied. */
  static ofKey(key: Uint8Array): Source {
    return new Source(copied(key));
  }

  /** Expand (RFC 5869, 2.3) to so many bytes, at most 8160, under the parts of `info`, joined. */
  expand(length: number, ...info: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
    return new Uint8Array(expand(sha256, this.#prk, joined(...info), length));
  }

  /** Overwrites it. */
  wipe(): void {
    this.#prk.fill(0);
  }
}

/** What both ends derive from an offer (spec/protocol.md, 2). */
export interface OfferKeys {
  /** Names the offer in M1: 8 bytes. */
  readonly offerId: Uint8Array;
  /** What the device shows a relay. */
  readonly pairingTokenHash: CredentialHash;
  /** The offer's room at a relay. */
  readonly room: RoomId;
  /** The handshake's pre-shared key. */
  readonly psk: Secret<"psk">;
}

/** Derives them. `expiresAt` is in seconds since 1970. */
export function deriveOfferKeys(secret: Secret<"offer">, host: PublicKey, expiresAt: number): OfferKeys {
  const prk = Source.extract(utf8("couplet/1 offer"), secret.expose());
  const token = prk.expand(32, utf8("relay token"));
  const keys = {
    offerId: prk.expand(8, utf8("offer id")),
    pairingTokenHash: presented(token),
    room: new RoomId(prk.expand(16, utf8("room"))),
    psk: new Secret("psk", prk.expand(32, utf8("psk"), host.toBytes(), u32(expiresAt))),
  };
  prk.wipe();
  wipe(token);
  return keys;
}

/** The highest number of a room. */
export const ROOM_MAX = 0xffff_ffff;

/**
 * The pairing's room at a relay with this number, from 0 (spec/protocol.md, 6). There are several, so that who knows the
 * id of one and locks it keeps nobody out.
 *
 * @throws {RangeError} The number is none below 2^32.
 */
export function pairingRoom(secret: Secret<"room">, number: number): RoomId {
  if (!Number.isInteger(number) || number < 0 || number > ROOM_MAX) throw new RangeError("no number of a room");
  const source = Source.ofKey(secret.expose());
  const id = source.expand(16, utf8("room"), u32(number));
  source.wipe();
  return new RoomId(id);
}

/** What opens each of these rooms: the relay's `secret_hash`. */
export function relaySecretHash(secret: Secret<"room">): CredentialHash {
  const source = Source.ofKey(secret.expose());
  const token = source.expand(32, utf8("relay secret"));
  source.wipe();
  const hash = presented(token);
  wipe(token);
  return hash;
}

/** What a relay is shown instead of the secret itself. */
function presented(secret: Uint8Array): CredentialHash {
  return new CredentialHash(sha256(secret));
}
