/** Pairing links: taken out of the address, read for people, and told from other codes. */
import { CoupletError, offerFromLink, OfferError, shownEndpoint } from "../sdk.js";

/** The longest text that is looked at: a link in an address, percent-encoded. */
const TEXT_MAX = 16 * 1024;
/** What a fragment is that is an offer without its address. */
const OFFER = /^[A-Za-z2-7]+$/;
const WHOLE = /^(couplet:|https:\/\/)/i;

/** A link, and what a person can know of it before anything is sent. It holds the secret: for memory alone. */
export interface Link {
  readonly text: string;
  /** Of the host's key: the pairing comes to nothing with any other. */
  readonly fingerprint: string;
  /** When it ends by the host's clock, in milliseconds since 1970: a hint. */
  readonly expiresAt: number;
  /** Where the host is looked for: `relay relay.example`. Pages reach no address of the local network. */
  readonly places: readonly string[];
}

/**
 * Reads a link in any of its forms.
 *
 * @throws {CoupletError} `CPL-1605`, and what is wrong with it.
 */
export function readLink(text: string): Link {
  const offer = offerFromLink(text);
  offer.secret.wipe();
  return {
    text: text.trim(),
    fingerprint: offer.hostKey.fingerprint(),
    expiresAt: offer.expiresAt * 1000,
    places: offer.endpoints.filter(({ kind }) => kind === "relay").map(shownEndpoint),
  };
}

/** What stands behind `#` of an address, as a link; null: nothing does. `host` is the address's, with its port. */
export function linkInFragment(hash: string, host: string): string | null {
  const raw = hash.replace(/^#/, "");
  if (raw === "" || raw.length > TEXT_MAX) return raw === "" ? null : "#";
  const text = decoded(raw);
  if (WHOLE.test(text) || !OFFER.test(text)) return text;
  return `https://${host}/p#${text}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** What of a window is needed to take the link out of its address. */
export interface Addressed {
  readonly location: { readonly hash: string; readonly host: string; readonly pathname: string };
  readonly history: { readonly state: unknown; replaceState(state: unknown, title: string, url: string): void };
}

/** Takes the link out of the address, so that no history, bookmark or shared address has it; null: there is none. */
export function takeLink({ location, history }: Addressed): string | null {
  const link = linkInFragment(location.hash, location.host);
  if (location.hash !== "") history.replaceState(link === null ? history.state : null, "", location.pathname);
  return link;
}

/** What a code says that the camera has seen. */
export type Code =
  | "link"
  /** A pairing URL for apps that speak plain HTTP: a page cannot use it. */
  | "plain"
  /** A pairing link of a later version, or one that misses a part. */
  | "unusable"
  | "other";

/** Tells what was scanned. */
export function codeOf(text: string): Code {
  try {
    readLink(text);
    return "link";
  } catch (error) {
    if (/^couplet:\/\//i.test(text.trim())) return "plain";
    return error instanceof OfferError && error.failure !== "notALink" ? "unusable" : "other";
  }
}

/** Why a text is no link, as an error for people. */
export function linkError(text: string): CoupletError | null {
  try {
    readLink(text);
    return null;
  } catch (error) {
    return error instanceof CoupletError ? error : new CoupletError("CPL-1605");
  }
}
