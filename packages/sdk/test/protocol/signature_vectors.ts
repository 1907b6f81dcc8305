/** spec/vectors/signature.json: what Python's `cryptography` has signed, and what a verifier must refuse. */
import assert from "node:assert/strict";
import { ECDH, createPublicKey, verify } from "node:crypto";

import { toHex, fromBase64Url } from "../../src/protocol/digits.js";
import {
  contentDigest,
  signatureBase,
  signatureNonce,
  signatureParameters,
  signPairingNonce,
  signRequest,
} from "./signature.js";
import { unhex } from "./vectors.js";

interface Key {
  readonly private: string;
  readonly sec1: string;
  readonly compressed: string;
  readonly spki: string;
  readonly jwk: { readonly kty: string; readonly crv: string; readonly x: string; readonly y: string };
}

interface Proof {
  readonly key: number;
  readonly nonce: string;
  readonly unix_ms: number;
  readonly der: string;
  readonly raw: string;
  readonly twin: string;
  readonly twin_der: string;
}

interface Request {
  readonly what: string;
  readonly key: number;
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  readonly query: string | null;
  readonly device_id: string;
  readonly challenge: string | null;
  readonly body: string;
  readonly base?: string;
  readonly headers: Readonly<Record<string, string>>;
}

interface Vectors {
  readonly keys: readonly Key[];
  readonly proofs: readonly Proof[];
  readonly requests: readonly Request[];
  readonly refused: readonly Request[];
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const { subtle } = globalThis.crypto;

async function verifyingKey(key: Key): Promise<CryptoKey> {
  return subtle.importKey("raw", unhex(key.sec1), ALGORITHM, true, ["verify"]);
}

async function signingKey(key: Key): Promise<CryptoKey> {
  const d = Buffer.from(unhex(key.private)).toString("base64url");
  return subtle.importKey("jwk", { ...key.jwk, d }, ALGORITHM, false, ["sign"]);
}

const PARAMETERS =
  /^sig=\(("[^"]+"(?: "[^"]+")*)\);created=([0-9]+);nonce="([A-Za-z0-9_-]{32})";alg="ecdsa-p256-sha256";keyid="([0-9a-f-]{36})";tag="couplet-v1"$/;

/** What a verifier does but for its clock and its memory: the base that was signed, or null. */
async function judge(vectors: Vectors, request: Request): Promise<string | null> {
  const header = (name: string): string => request.headers[name] ?? "";
  const read = PARAMETERS.exec(header("signature-input"));
  const signature = /^sig=:([A-Za-z0-9+/]+=*):$/.exec(header("signature"))?.[1];
  if (read === null || signature === undefined) return null;
  const [, , created, nonce, device] = read;
  const isChallenged = request.challenge !== null;
  const parameters = signatureParameters(device ?? "", Number(created), nonce ?? "", isChallenged);
  // One way to write it, whatever components it names: others, or in another order, make another text.
  if (`sig=${parameters}` !== header("signature-input")) return null;
  if (header("x-device-id") !== device) return null;
  if (header("content-digest") !== contentDigest(unhex(request.body))) return null;
  const base = signatureBase(request, device, header("content-digest"), parameters);
  const key = await verifyingKey(vectors.keys[request.key] as Key);
  const bytes = Buffer.from(signature, "base64");
  return (await subtle.verify(ALGORITHM, key, bytes, Buffer.from(base))) ? base : null;
}

async function keysInEveryForm(key: Key): Promise<void> {
  const wanted = await verifyingKey(key);
  const raw = async (other: CryptoKey): Promise<string> => toHex(new Uint8Array(await subtle.exportKey("raw", other)));
  assert.equal(await raw(wanted), key.sec1);
  assert.equal(await raw(await subtle.importKey("spki", unhex(key.spki), ALGORITHM, true, ["verify"])), key.sec1);
  assert.equal(await raw(await subtle.importKey("jwk", key.jwk, ALGORITHM, true, ["verify"])), key.sec1);
  const plain = ECDH.convertKey(unhex(key.compressed), "prime256v1", undefined, "hex", "uncompressed");
  assert.equal(plain, key.sec1);
  // The private key is that of the pair: it signs what the public one verifies.
  const text = Buffer.from("text");
  const signed = await subtle.sign(ALGORITHM, await signingKey(key), text);
  assert.ok(await subtle.verify(ALGORITHM, wanted, signed, text));
}

async function signedNonce(vectors: Vectors, proof: Proof): Promise<void> {
  const key = vectors.keys[proof.key] as Key;
  const bytes = fromBase64Url(proof.nonce);
  assert.equal(bytes?.length, 24);
  assert.equal(
    signatureNonce(proof.unix_ms, () => bytes.slice(8)),
    proof.nonce,
  );
  const text = Buffer.from(proof.nonce);
  for (const form of [proof.raw, proof.twin, await signedHere(key, proof)]) {
    assert.ok(await subtle.verify(ALGORITHM, await verifyingKey(key), unhex(form), text));
  }
  const spki = createPublicKey({ key: Buffer.from(unhex(key.spki)), format: "der", type: "spki" });
  for (const der of [proof.der, proof.twin_der]) assert.ok(verify("sha256", text, spki, unhex(der)));
}

async function signedHere(key: Key, proof: Proof): Promise<string> {
  const bytes = fromBase64Url(await signPairingNonce(proof.nonce, { key: await signingKey(key) }));
  assert.equal(bytes?.length, 64);
  return toHex(bytes);
}

/** The same request, signed here: the same headers but for the signature, which ECDSA makes anew each time. */
async function signAgain(vectors: Vectors, request: Request): Promise<void> {
  const [, , created, nonce] = PARAMETERS.exec(request.headers["signature-input"] ?? "") ?? [];
  const random = fromBase64Url(nonce ?? "")?.slice(8) ?? new Uint8Array();
  const time = Buffer.from(nonce ?? "", "base64url").readBigUInt64BE();
  assert.equal(Math.floor(Number(time) / 1000), Number(created));
  const key = await signingKey(vectors.keys[request.key] as Key);
  const body = unhex(request.body);
  const headers = await signRequest(
    { ...request, body },
    { key, deviceId: request.device_id, now: Number(time), random: () => random },
  );
  assert.deepEqual({ ...headers, signature: "" }, { ...request.headers, signature: "" });
  assert.equal(await judge(vectors, { ...request, headers }), request.base, request.what);
}

export async function signature(vectors: Vectors): Promise<void> {
  for (const key of vectors.keys) await keysInEveryForm(key);
  for (const proof of vectors.proofs) await signedNonce(vectors, proof);
  for (const request of vectors.requests) {
    assert.equal(await judge(vectors, request), request.base, request.what);
    await signAgain(vectors, request);
  }
  for (const refused of vectors.refused) {
    // Refused for one thing, without a look at the others.
    const request = { ...refused, headers: { ...refused.headers } };
    assert.equal(await judge(vectors, request), null, `${request.what} (${request.device_id})`);
  }
  assert.deepEqual([vectors.requests.length, vectors.refused.length], [6, 25]);
}
