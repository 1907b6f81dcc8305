/** What came of trying to reach a host over one of its addresses. */
import type { Endpoint } from "../protocol/endpoint.js";
import { CoupletError, titleOf } from "../protocol/error.js";
import { HandshakeError } from "../protocol/handshake.js";
import { TimedOut } from "./clock.js";

/** Why an address was tried in vain. */
export type AttemptKind =
  /** No connection: refused, no route, name unknown, or, in a page, nobody says. */
  | "noConnection"
  /** Nobody answered in time. */
  | "timedOut"
  /** It said no before there were keys, so that anyone could have said it: a hint, never a proof. */
  | "refused"
  /** It ended the connection without a word. */
  | "hungUp"
  /** It answered, but not with the key that it must have. */
  | "wrongKey"
  /** The relay did not lead to the host. */
  | "relay"
  /** It does not speak this version of the protocol. */
  | "handshake"
  /** It says of itself that its secrets are not random as they must be. */
  | "weakRandom"
  /** This program cannot open such a connection where it runs; `next` says what it takes. */
  | "unsupported";

const TEXTS: Record<AttemptKind, string> = {
  noConnection: "no connection",
  timedOut: "no answer in time",
  refused: "it refused",
  hungUp: "it hung up",
  wrongKey: "what answers there does not have the host's key",
  relay: "the relay does not lead to the host",
  handshake: "it does not speak this version",
  weakRandom: "its secrets do not come from its operating system's generator",
  unsupported: "this program cannot open such a connection",
};

const CODES: Record<AttemptKind, string> = {
  noConnection: "CPL-1601",
  timedOut: "CPL-1601",
  refused: "CPL-1602",
  hungUp: "CPL-1601",
  wrongKey: "CPL-1604",
  relay: "CPL-1819",
  handshake: "CPL-1606",
  weakRandom: "CPL-1606",
  unsupported: "CPL-1601",
};

/** What more is known of it. */
export interface AttemptDetail {
  readonly code?: string;
  readonly message?: string;
  /** What to do, in place of what the code says. */
  readonly next?: string;
  /** When the relay said to come back, in milliseconds. */
  readonly retryAfter?: number | null;
  readonly cause?: unknown;
}

/** One address that was tried in vain. */
export class AttemptError extends CoupletError {
  readonly kind: AttemptKind;
  /** Where: `192.168.1.42:7878`, `relay relay.example`. */
  place = "";
  /** When the relay said to come back, in milliseconds. */
  readonly retryAfter: number | null;

  constructor(kind: AttemptKind, detail: AttemptDetail = {}) {
    const code = detail.code ?? CODES[kind];
    const said = detail.code === undefined ? TEXTS[kind] : (titleOf(code) ?? TEXTS[kind]);
    super(code, detail.message ?? said, { cause: detail.cause, next: detail.next });
    this.name = "AttemptError";
    this.kind = kind;
    this.retryAfter = detail.retryAfter ?? null;
  }

  /** The same, and where it was. */
  at(endpoint: Endpoint): this {
    this.place = shown(endpoint);
    return this;
  }
}

/** An endpoint as people read it. */
export function shown(endpoint: Endpoint): string {
  return endpoint.kind === "lan" ? endpoint.address : `relay ${endpoint.name}`;
}

/** What where it runs cannot do, as it says itself, on the way to an address. */
export function unsupported(cause: CoupletError, kind: "unsupported" | "relay" = "unsupported"): AttemptError {
  const { code, message, next } = cause;
  return new AttemptError(kind, { code, message, next, cause });
}

/** What went wrong on the way to a session; what was called off stays what it is. */
export function attemptError(error: unknown): AttemptError | null {
  if (error instanceof AttemptError) return error;
  if (error instanceof TimedOut) return new AttemptError("timedOut");
  if (!(error instanceof HandshakeError)) return null;
  // With a key that is not the host's nobody can make an answer that opens, nor change one that did.
  if (error.failure === "failed") return new AttemptError("wrongKey");
  return new AttemptError("handshake", { message: error.message });
}

/** Several attempts, one a line. */
export function lines(attempts: readonly AttemptError[]): string {
  return attempts.map((attempt) => `\n${attempt.place}: ${attempt.message} (${attempt.code})`).join("");
}
