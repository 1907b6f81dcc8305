/**
 * Requests that a device signs with a P-256 key, as watches do (spec/protocol.md, 8): a profile of HTTP Message Signatures
 * (RFC 9421) that leaves a signer no choice. WebCrypto holds the key.
 */
import { sha256 } from "@noble/hashes/sha2.js";

import { joined, u64, utf8 } from "../../src/protocol/bytes.js";
import { toBase64, toBase64Url } from "../../src/protocol/digits.js";
import { CoupletError } from "../../src/protocol/error.js";
import type { Random } from "../../src/protocol/secret.js";

/** The most bytes that a signed request's body may have. */
export const SIGNED_BODY_MAX = 1024 * 1024;

const COMPONENTS = ["@method", "@authority", "@path", "@query", "content-digest", "x-device-id"] as const;
const CHALLENGE = "x-couplet-challenge";
const ALGORITHM = { name: "ECDSA", hash: "SHA-256" } as const;

/** A request as far as its signature covers it, in the words of RFC 9421, 2.2. */
export interface SignableRequest {
  /** In its own case. */
  readonly method: string;
  /** `host[:port]` as in the `Host` header; without the scheme's default port. */
  readonly authority: string;
  /** The absolute path, as it is sent. */
  readonly path: string;
  /** What follows `?`; null and empty are one. */
  readonly query?: string | null;
  /** As it is sent, at most {@link SIGNED_BODY_MAX} bytes. */
  readonly body?: Uint8Array | null;
  /** `X-Couplet-Challenge`, when the host has asked for it (401 `CPL-1113`). */
  readonly challenge?: string | null;
}

/** Who signs, and when. */
export interface Signer {
  /** A private P-256 key for `sign`, best one that cannot be taken out. */
  readonly key: CryptoKey;
  /** The device's id at the host, a UUID in lower case. */
  readonly deviceId: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly random: Random;
  readonly subtle?: SubtleCrypto;
}

/** The time in milliseconds since 1970 and 16 random bytes, as 32 characters: unlike every other of the device. */
export function signatureNonce(now: number, random: Random): string {
  return toBase64Url(joined(u64(BigInt(now)), random(16)));
}

/** `Content-Digest` (RFC 9530) of a body as it is sent; of nothing when there is none. */
export function contentDigest(body: Uint8Array): string {
  return `sha-256=:${toBase64(sha256(body))}:`;
}

/** What stands behind `sig=` in `Signature-Input`. `created` is in seconds. */
export function signatureParameters(deviceId: string, created: number, nonce: string, isChallenged: boolean): string {
  const names = isChallenged ? [...COMPONENTS, CHALLENGE] : COMPONENTS;
  const components = names.map((name) => `"${name}"`).join(" ");
  return `(${components});created=${created};nonce="${nonce}";alg="ecdsa-p256-sha256";keyid="${deviceId}";tag="couplet-v1"`;
}

/** The signature base (RFC 9421, 2.5): what is signed. */
export function signatureBase(
  request: Omit<SignableRequest, "body">,
  deviceId: string,
  digest: string,
  parameters: string,
): string {
  const { method, path, challenge } = request;
  const values = [method, request.authority.toLowerCase(), path, `?${request.query ?? ""}`, digest, deviceId];
  const lines = COMPONENTS.map((name, at) => `"${name}": ${values[at] ?? ""}`);
  if (challenge != null) lines.push(`"${CHALLENGE}": ${challenge}`);
  lines.push(`"@signature-params": ${parameters}`);
  return lines.join("\n");
}

/**
 * The headers that a signed request carries. A request that was refused may be spent: it is signed anew each time.
 *
 * @throws {CoupletError} `CPL-1114`: the body is too large.
 * @throws {TypeError} A value has a line break, with which it could pose as more than it is.
 */
export async function signRequest(request: SignableRequest, signer: Signer): Promise<Record<string, string>> {
  const body = request.body ?? new Uint8Array();
  if (body.length > SIGNED_BODY_MAX) throw new CoupletError("CPL-1114");
  const { method, authority, path, query, challenge } = request;
  const values = [method, authority, path, query ?? "", challenge ?? "", signer.deviceId];
  if (values.some((value) => /[\r\n]/.test(value))) throw new TypeError("a line break in a request");
  const digest = contentDigest(body);
  const nonce = signatureNonce(signer.now, signer.random);
  const created = Math.floor(signer.now / 1000);
  const parameters = signatureParameters(signer.deviceId, created, nonce, challenge != null);
  const signature = await sign(signer, signatureBase(request, signer.deviceId, digest, parameters));
  return {
    "content-digest": digest,
    "x-device-id": signer.deviceId,
    "signature-input": `sig=${parameters}`,
    signature: `sig=:${toBase64(signature)}:`,
    ...(challenge == null ? {} : { [CHALLENGE]: challenge }),
  };
}

/** What a new device shows that it has its key with: `signature` of `POST /watch/devices`, over the host's nonce. */
export async function signPairingNonce(nonce: string, signer: Pick<Signer, "key" | "subtle">): Promise<string> {
  return toBase64Url(await sign(signer, nonce));
}

async function sign({ key, subtle }: Pick<Signer, "key" | "subtle">, text: string): Promise<Uint8Array> {
  return new Uint8Array(await (subtle ?? globalThis.crypto.subtle).sign(ALGORITHM, key, utf8(text)));
}
