/** The offer: what a QR code or a link carries (spec/protocol.md, 2). */
import { copied, joined, same, u32, view, wipe } from "./bytes.js";
import { fromBase32, toBase32 } from "./digits.js";
import {
  decodeEndpoint,
  ENDPOINTS_MAX,
  endpointToBytes,
  relayName,
  sameEndpoint,
  type Endpoint,
  type RelayEndpoint,
} from "./endpoint.js";
import { CoupletError } from "./error.js";
import { PublicKey } from "./identity.js";
import { trimmed } from "./name.js";
import { deriveOfferKeys, type OfferKeys } from "./schedule.js";
import { Secret } from "./secret.js";

/** The longest link that is looked at: an offer of {@link ENDPOINTS_MAX} endpoints of 255 bytes, in base32. */
const LINK_MAX = 4096;
const VERSION = 1;
/** The highest version that there may be one day: any other first byte is that of some text. */
const NEWEST = 15;
/** What precedes the endpoints: version, suites, end, secret, host key. */
const FIXED = 1 + 1 + 4 + 16 + 32;
/** Suite 1: `25519_ChaChaPoly_SHA256`. */
export const SUITE_1 = 0b01;

const APP = "COUPLET:";
const WEB = "HTTPS://";
const WEB_PATH = "/P#";

/** Which part of an offer is wrong. */
export type OfferFailure =
  "notALink" | "damaged" | "version" | "short" | "trailing" | "noSuite" | "endpoint" | "duplicate" | "tooMany";

/** An offer cannot be read; the text says why. Its code is `CPL-1605`. */
export class OfferError extends CoupletError {
  readonly failure: OfferFailure;

  constructor(failure: OfferFailure, detail: string | number = "") {
    const texts: Record<OfferFailure, string> = {
      notALink: "this is no pairing link: it begins with COUPLET: or is https://RELAY/p#…",
      damaged: "the pairing link is damaged: copy it whole, or scan the code again",
      version: `the offer is of version ${detail}, this program knows version ${VERSION}: update it`,
      short: `the offer breaks off within ${detail}`,
      trailing: "the offer has a trailing byte",
      noSuite: "the offer allows no cipher suite that this program knows: update it",
      endpoint: `endpoint ${detail} of the offer is malformed`,
      duplicate: "the offer names an endpoint twice",
      tooMany: `the offer names more than ${ENDPOINTS_MAX} endpoints`,
    };
    super("CPL-1605", texts[failure]);
    this.name = "OfferError";
    this.failure = failure;
  }
}

/** What a host offers to whoever scans it, once. */
export interface Offer {
  /** The cipher suites that the host takes, a bit each; bit 0 is {@link SUITE_1}. */
  readonly suites: number;
  /** When it ends, in seconds since 1970. For a device this is a hint: the host's clock decides. */
  readonly expiresAt: number;
  /** `K`. */
  readonly secret: Secret<"offer">;
  /** The host's static public key, which a paired device pins. */
  readonly hostKey: PublicKey;
  /** Where the host is, at most {@link ENDPOINTS_MAX}, those of unknown kinds left out. */
  readonly endpoints: readonly Endpoint[];
}

/** `web`: `HTTPS://RELAY/P#…`, for which a relay is needed. `app`: `COUPLET:…`. */
export type LinkForm = "web" | "app";

/** What both ends derive from it. */
export function offerKeys(offer: Offer): OfferKeys {
  return deriveOfferKeys(offer.secret, offer.hostKey, offer.expiresAt);
}

function encode(offer: Offer, without: Endpoint | null): Uint8Array<ArrayBuffer> {
  const endpoints = offer.endpoints.slice(0, ENDPOINTS_MAX).filter((endpoint) => endpoint !== without);
  return joined(
    Uint8Array.of(VERSION, offer.suites),
    u32(offer.expiresAt),
    offer.secret.expose(),
    offer.hostKey.toBytes(),
    ...endpoints.map(endpointToBytes),
  );
}

/** The binary form. It holds the secret: the caller's to wipe. */
export function offerToBytes(offer: Offer): Uint8Array<ArrayBuffer> {
  return encode(offer, null);
}

/** The link, in upper case throughout. Without a relay the form `web` falls back to `app`. */
export function offerToLink(offer: Offer, form: LinkForm): string {
  const isRelay = (endpoint: Endpoint): endpoint is RelayEndpoint => endpoint.kind === "relay";
  const relay = form === "web" ? (offer.endpoints.slice(0, ENDPOINTS_MAX).find(isRelay) ?? null) : null;
  const bytes = encode(offer, relay);
  const text = toBase32(bytes);
  wipe(bytes);
  return relay === null ? `${APP}${text}` : `${WEB}${relay.name.toUpperCase()}${WEB_PATH}${text}`;
}

/**
 * Reads a link in either form and any letter case; blanks around it are no matter.
 *
 * @throws {OfferError} Says which part is wrong.
 */
export function offerFromLink(link: string): Offer {
  const plain = trimmed(link);
  if (plain.length > LINK_MAX || !/^[\x00-\x7f]*$/.test(plain)) throw new OfferError("notALink");
  const upper = plain.toUpperCase();
  if (upper.startsWith(APP)) return decode(decoded(upper.slice(APP.length)), null);
  const path = upper.indexOf(WEB_PATH, WEB.length);
  const relay = upper.startsWith(WEB) && path >= 0 ? relayName(upper.slice(WEB.length, path)) : null;
  if (relay === null) throw new OfferError("notALink");
  return decode(decoded(upper.slice(path + WEB_PATH.length)), { kind: "relay", name: relay });
}

function decoded(text: string): Uint8Array {
  const bytes = fromBase32(text);
  if (bytes === null) throw new OfferError("damaged");
  return bytes;
}

/**
 * Reads the binary form.
 *
 * @throws {OfferError} Says which part is wrong.
 */
export function offerFromBytes(bytes: Uint8Array): Offer {
  return decode(copied(bytes), null);
}

/** Takes over the bytes, and wipes them. */
function decode(bytes: Uint8Array, relay: RelayEndpoint | null): Offer {
  let at = 0;
  const take = (length: number, what: string): Uint8Array => {
    if (at + length > bytes.length) throw new OfferError("short", what);
    at += length;
    return bytes.subarray(at - length, at);
  };
  try {
    const version = take(1, "its version")[0] ?? 0;
    if (version !== VERSION) {
      const isNewer = version > VERSION && version <= NEWEST && bytes.length >= FIXED;
      throw isNewer ? new OfferError("version", version) : new OfferError("damaged");
    }
    const suites = take(1, "its suites")[0] ?? 0;
    const expiresAt = view(take(4, "its end")).getUint32(0);
    const secret = take(16, "its secret");
    const hostKey = new PublicKey(take(32, "the host's key"));
    if ((suites & SUITE_1) === 0) throw new OfferError("noSuite");
    const endpoints = decodeEndpoints(bytes.subarray(at), relay);
    return { suites, expiresAt, secret: new Secret("offer", copied(secret)), hostKey, endpoints };
  } finally {
    wipe(bytes);
  }
}

function decodeEndpoints(bytes: Uint8Array, relay: RelayEndpoint | null): Endpoint[] {
  const endpoints: Endpoint[] = relay === null ? [] : [relay];
  const most = ENDPOINTS_MAX - endpoints.length;
  const seen: Uint8Array[] = [];
  for (let rest = bytes; rest.length > 0;) {
    const [kind, length] = rest;
    if (kind === undefined || length === undefined) throw new OfferError("trailing");
    if (seen.length === most) throw new OfferError("tooMany");
    if (rest.length < 2 + length) throw new OfferError("short", "an endpoint");
    const whole = rest.subarray(0, 2 + length);
    if (seen.some((other) => same(other, whole))) throw new OfferError("duplicate");
    const endpoint = decodeEndpoint(kind, whole.subarray(2));
    if (endpoint === "malformed") throw new OfferError("endpoint", seen.length);
    seen.push(whole);
    rest = rest.subarray(whole.length);
    if (endpoint === "skipped") continue;
    if (endpoints.some((other) => sameEndpoint(other, endpoint))) throw new OfferError("duplicate");
    endpoints.push(endpoint);
  }
  return endpoints;
}
