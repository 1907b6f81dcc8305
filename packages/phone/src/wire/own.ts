/** The app's own address, as the app sees it, and what else leads there. */

/** What the app sees itself as. */
export const VIEW = "http://localhost";

/** What stands here on an app's origin is not the app's. */
export const OURS = "/.couplet/";

const SCHEMES = ["http:", "https:", "ws:", "wss:"];
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

/**
 * Whether an address is the app's own in its eyes: on a phone, no other loopback is ever meant, whatever port the app thinks
 * it has.
 */
export function isView(url: URL): boolean {
  return SCHEMES.includes(url.protocol) && LOOPBACK.includes(url.hostname);
}

/** Path, query and fragment of an address that is the app's own: on `origin`, or as the app sees itself. null: elsewhere. */
export function ownPath(url: URL, origin: string): string | null {
  // What a `blob:` has as its origin is that of whoever made it.
  if (!SCHEMES.includes(url.protocol)) return null;
  const isHere = url.origin.replace(/^ws/, "http") === origin;
  return isHere || isView(url) ? url.pathname + url.search + url.hash : null;
}
