/**
 * Stable error codes, as the host has them: what happened, and what to do next. A code never changes its meaning and is
 * never reused.
 */

/** What a device raises itself, or is told by a host or a relay: the title, and what a user does next. */
const CODES = {
  "CPL-1013": ["Too many connections are open", "Try again in a moment."],
  "CPL-1103": [
    "The device credential is not valid, or was revoked",
    "Pair this device again: ask the host's owner for a new link.",
  ],
  "CPL-1104": ["The device's access has ended", "Ask the host's owner to let this device in again."],
  "CPL-1114": ["The body of the signed request is larger than 1 MiB", "Send less at a time."],
  "CPL-1201": [
    "The pairing token is unknown or has expired",
    "Ask for a new link: a link is good once, and for a few minutes.",
  ],
  "CPL-1203": ["The pairing token was already used", "Ask for a new link: a link is good once."],
  "CPL-1204": [
    "The host has as many devices as it may have",
    "Ask the host's owner to remove a device, then for a new link.",
  ],
  "CPL-1205": ["The device name or model cannot be used", "Choose another name."],
  "CPL-1207": ["Too many requests", "Wait a minute, then try again."],
  "CPL-1208": ["The owner rejected this device", "Speak with the owner, then ask for a new link."],
  "CPL-1209": ["The owner did not answer in time", "Try the same link again while it is valid, or ask for a new one."],
  "CPL-1218": [
    "Another device is claiming this offer",
    "Wait until the other device is done, then try again or ask for a new link.",
  ],
  "CPL-1601": [
    "The host cannot be reached",
    "Is the host running, and is this device on its network or on the internet?",
  ],
  "CPL-1602": ["The connection to the host broke off", "Try again. What was under way may have been carried out."],
  "CPL-1603": ["This device may not use the host any more", "Ask the host's owner to let this device in again."],
  "CPL-1604": [
    "The host does not have the key that it should have",
    "Another machine may have the host's address, or someone is in between. Compare the fingerprints with the host's owner.",
  ],
  "CPL-1605": ["The pairing link cannot be used", "Copy the whole link, or ask for a new one."],
  "CPL-1606": ["Host and device do not speak the same version", "Update the older of the two: this app, or the host."],
  "CPL-1607": [
    "The stored credentials cannot be used",
    "Pair this device again; if that fails, clear what the app has stored.",
  ],
  "CPL-1608": ["This device is not paired with such a host", "Pair this device with the host first."],
  "CPL-1610": ["Too many requests to the host are under way", "Wait until some of them have ended."],
  "CPL-1701": ["The handshake of a sealed session failed", "Try again. If it goes on, ask for a new link."],
  "CPL-1801": ["The room or its credential is not valid", "Ask for a new link."],
  "CPL-1802": ["The room belongs to another account", "Sign in to the account that the host belongs to."],
  "CPL-1803": ["The host has as many sessions through the relay as it may have", "Try again in a moment."],
  "CPL-1804": ["The pairing link was already used", "Ask for a new link: a link is good once."],
  "CPL-1805": ["The room is locked after wrong credentials", "Wait some minutes, then try again."],
  "CPL-1806": ["Too many wrong credentials came from this network", "Wait some minutes, then try again."],
  "CPL-1807": ["The host is not connected to the relay", "Is the host running, and is it on the internet?"],
  "CPL-1808": ["The relay is about to stop", "Try again in a moment."],
  "CPL-1817": ["The account token is not valid", "Sign in again."],
  "CPL-1818": ["The identity provider cannot be reached", "Try again in a moment."],
  "CPL-1819": ["The relay cannot be reached", "Is this device on the internet?"],
  "CPL-1820": [
    "The relay's certificate is not trusted",
    "Something between this device and the relay answers in its place. Try another network.",
  ],
  "CPL-1821": ["Something on the way to the relay does not let WebSockets through", "Try another network."],
  "CPL-1822": ["The clocks of this machine and of the relay differ", "Set this device's clock."],
  "CPL-1823": [
    "The relay answers what no relay answers",
    "Something between this device and the relay answers in its place. Try another network.",
  ],
  "CPL-1826": ["Requests come too often", "Wait a minute, then try again."],
  "CPL-1827": ["The account token has expired", "Sign in again."],
  "CPL-1900": ["Something went wrong on the host", "Try again. If it goes on, tell who made the app."],
} as const satisfies Record<string, readonly [string, string]>;

/** A code that this version knows. */
export type KnownCode = keyof typeof CODES;

/** All of them. */
export const KNOWN_CODES = Object.keys(CODES) as readonly KnownCode[];

/** Whether this version knows the code. */
export function isKnownCode(code: string): code is KnownCode {
  return Object.hasOwn(CODES, code);
}

/** What happened, in one line, the same for every occurrence; null: a code of a later version. */
export function titleOf(code: string): string | null {
  return isKnownCode(code) ? CODES[code][0] : null;
}

/** What to do next, in one line or two; null: a code of a later version. */
export function nextOf(code: string): string | null {
  return isKnownCode(code) ? CODES[code][1] : null;
}

/**
 * Reads a code that somebody sent: `CPL-` and four digits. null: it is none, whatever else it is.
 */
export function parseCode(text: string): string | null {
  return /^CPL-[0-9]{4}$/.test(text) ? text : null;
}

/** Reads a host's own code. What a device says of itself, and of what it has stored, is no host's to say: null as well. */
export function parseHostCode(text: string): string | null {
  return text.startsWith("CPL-16") ? null : parseCode(text);
}

/** How an error differs from what its code says of it. */
export interface ErrorDetail {
  /** What a user does next, in place of what is so for every occurrence. */
  readonly next?: string | undefined;
  /** What brought it about. */
  readonly cause?: unknown;
}

/** Whatever goes wrong: each error of this package is one. No secret stands in any of its fields. */
export class CoupletError extends Error {
  /** The stable code: `CPL-1203`. Of a later version's codes, too. */
  readonly code: string;
  /** What a user does next. */
  readonly next: string;

  /** `message` says what happened; without it, the code's title does. */
  constructor(code: string, message?: string, detail: ErrorDetail = {}) {
    const text = message ?? titleOf(code) ?? "The host refused";
    super(text, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = "CoupletError";
    this.code = code;
    this.next = detail.next ?? nextOf(code) ?? "Update this app, or look the code up in the host's documentation.";
  }
}
