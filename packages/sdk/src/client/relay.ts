/**
 * The way to a host through a relay (spec/protocol.md, 6): ask for a session, then a WebSocket whose bytes the relay hands on
 * to the host. Nothing that a relay says is believed beyond that: who answers at the other end is for the handshake to show.
 */
import type { RelayAnswer } from "../api.js";
import { isWithinRelay, relayName } from "../protocol/endpoint.js";
import { CoupletError, parseCode } from "../protocol/error.js";
import { pairingRoom, relaySecretHash, ROOM_MAX, type OfferKeys } from "../protocol/schedule.js";
import type { CredentialHash, RoomId } from "../protocol/room.js";
import type { Secret } from "../protocol/secret.js";
import { boundedText } from "./answer.js";
import { AttemptError, attemptError, unsupported } from "./attempt.js";
import { limit, reasonOf, unlessAborted, within, type Clock } from "./clock.js";
import type { Environment } from "./environment.js";
import { Wire } from "./socket.js";

/** How many rooms a device looks ahead when one is locked: as many as a host registers (spec/protocol.md, 6). */
export const AHEAD = 8;
/** How many rooms in a row it tries that the relay does not know: each of them counts as a failure of this network. */
const UNKNOWN = 2;
/** How long all of it may take, whatever the relay does; and one answer of it, in milliseconds. */
const OPEN = 20_000;
const ANSWER = 8000;
/** The longest answer that is read, in bytes. */
const ANSWER_MAX = 16 * 1024;
/** The longest account token (spec/protocol.md, 6). */
const ACCOUNT_MAX = 8 * 1024;

/** What a relay answers to a device (spec/protocol.md, 6). Other codes are not its to say. */
const CODES = new Set([
  ...["CPL-1801", "CPL-1802", "CPL-1803", "CPL-1804", "CPL-1805", "CPL-1806", "CPL-1807", "CPL-1808", "CPL-1815"],
  ...["CPL-1817", "CPL-1818", "CPL-1826", "CPL-1827", "CPL-1013", "CPL-1301", "CPL-1610", "CPL-1900"],
]);

/** What opens a host's room. */
export type Door =
  /** The offer's one room, by its token. */
  | { readonly kind: "offer"; readonly keys: OfferKeys }
  /** One of the pairing's rooms, by their secret. The number is that of the room which opened last. */
  | { readonly kind: "paired"; readonly secret: Secret<"room">; readonly from: number };

/**
 * Who this device's owner is at one relay with accounts. A link or a host may lead to any relay: another one is not shown the
 * token, which it could show to this one.
 */
export interface Account {
  /** The relay that the token is for: `relay.example`, `relay.example:8443`; its case does not count. */
  readonly relay: string;
  /** A token, or what gives a fresh one at each use. */
  readonly token: string | (() => string | Promise<string>);
}

/** A way that is open. */
export interface Entered {
  readonly wire: Wire;
  /** Which of the pairing's rooms opened. */
  readonly room: number | null;
}

/** What it takes to open one. */
export interface Entry {
  readonly environment: Environment;
  readonly relay: string;
  readonly door: Door;
  /** How many rooms above the last one it begins. */
  readonly up: number;
  readonly account: string | null;
  readonly relayCa: string | null;
}

interface Joined {
  readonly sid: string;
  readonly node: string;
}

function failure(code: string, message?: string, retryAfter: number | null = null, cause?: unknown): AttemptError {
  return new AttemptError("relay", { code, retryAfter, cause, ...(message === undefined ? {} : { message }) });
}

function broken(what: string): AttemptError {
  return failure("CPL-1823", `The relay answers what no relay answers: ${what}`);
}

/** What an app gives, with its relay's name in the one form. @throws {TypeError} It names no relay. */
export function checkedAccount(account: Account | undefined): Account | undefined {
  if (account === undefined) return undefined;
  const relay = typeof account.relay === "string" ? relayName(account.relay) : null;
  if (relay === null) throw new TypeError("account.relay is the name of a relay, such as relay.example");
  return { relay, token: account.token };
}

/**
 * What this relay is shown of the owner: the token that the app gives now; null: nothing.
 *
 * @throws {AttemptError} `CPL-1817`: it gives none, or not in time. Rejects with the signal's reason.
 */
export async function accountAt(
  account: Account | undefined,
  relay: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<string | null> {
  if (account?.relay !== relay) return null;
  const { token } = account;
  try {
    const given = typeof token === "string" ? token : await unlessAborted(signal, within(clock, ANSWER, (async () => token())()));
    const text = String(given).trim();
    if (text.length > 0 && text.length <= ACCOUNT_MAX && /^[!-~]+$/.test(text)) return text;
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw failure("CPL-1817", "The app gives no account token", null, cause);
  }
  throw failure("CPL-1817", "What the app gives as account token is none");
}

/**
 * Opens a way to the host through this relay.
 *
 * @throws {AttemptError} Its `kind` is `relay`. Rejects with the signal's reason.
 */
export async function openRelay(entry: Entry, signal: AbortSignal): Promise<Entered> {
  const { environment } = entry;
  const time = limit(environment.clock, OPEN, signal);
  try {
    const { joined, room } = await enter(entry, time.signal);
    const url = `wss://${joined.node}/pair/relay/${joined.sid}`;
    const open = (at: string) => environment.openSocket(at, entry.relayCa);
    return { wire: await Wire.open(url, open, environment.clock, time.signal), room };
  } catch (error) {
    if (signal.aborted) throw reasonOf(signal);
    const known = attemptError(error);
    if (known?.kind === "relay" || known?.kind === "unsupported") throw known;
    if (known?.kind === "timedOut") throw failure("CPL-1819", "The relay does not answer in time");
    // The relay was reached just now, and a page is not told more of a WebSocket than that it failed.
    if (known !== null) throw failure("CPL-1821");
    throw error;
  } finally {
    time.done();
  }
}

/** Asks for a session in the offer's room, or in the first of the pairing's that opens. */
async function enter(entry: Entry, signal: AbortSignal): Promise<{ joined: Joined; room: number | null }> {
  const { door } = entry;
  if (door.kind === "offer") {
    const { room, pairingTokenHash } = door.keys;
    return { joined: await ask(entry, room, { pairing_token_hash: pairingTokenHash }, signal), room: null };
  }
  const hash = relaySecretHash(door.secret);
  try {
    return await climb(entry, door, hash, signal);
  } finally {
    hash.wipe();
  }
}

/** Asks in one of the pairing's rooms after the other. */
async function climb(
  entry: Entry,
  door: Extract<Door, { kind: "paired" }>,
  hash: CredentialHash,
  signal: AbortSignal,
): Promise<{ joined: Joined; room: number }> {
  let unknown = 0;
  let first: AttemptError | null = null;
  const last = Math.min(door.from + AHEAD, ROOM_MAX);
  for (let number = Math.min(door.from + entry.up, last); number <= last; number += 1) {
    try {
      const room = pairingRoom(door.secret, number);
      return { joined: await ask(entry, room, { secret_hash: hash }, signal), room: number };
    } catch (error) {
      if (!(error instanceof AttemptError)) throw error;
      // A locked room has another behind it. One that the relay does not know may be one that the host has given up
      // because this device was in a later one already.
      const isUnknown = error.code === "CPL-1801";
      unknown += isUnknown ? 1 : 0;
      const goesOn = error.code === "CPL-1805" || (isUnknown && unknown < UNKNOWN);
      // That a room is locked says more than that a later one is not there.
      if (!goesOn) throw isUnknown ? (first ?? error) : error;
      first ??= error;
    }
  }
  throw first ?? failure("CPL-1900");
}

/** `POST /pair`. */
async function ask(
  entry: Entry,
  room: RoomId,
  opens: Readonly<Record<string, CredentialHash>>,
  signal: AbortSignal,
): Promise<Joined> {
  const { environment, relay, account } = entry;
  const [[member, hash] = ["", null]] = Object.entries(opens);
  const body = { room_id: room.toHex(), [member]: hash?.exposeHex(), ...(account === null ? {} : { account }) };
  const time = limit(environment.clock, ANSWER, signal);
  const init: RequestInit = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    redirect: "manual",
    credentials: "omit",
    cache: "no-store",
    referrerPolicy: "no-referrer",
    signal: time.signal,
  };
  let answer: Response;
  let text: string | null;
  try {
    answer = await environment.fetch(`https://${relay}/pair`, init, entry.relayCa);
    text = await boundedText(answer, ANSWER_MAX);
  } catch (error) {
    if (signal.aborted) throw reasonOf(signal);
    if (time.signal.aborted) throw failure("CPL-1819", "The relay does not answer in time");
    if (error instanceof CoupletError) throw error instanceof AttemptError ? error : unsupported(error, "relay");
    throw new AttemptError("relay", { code: codeOfCause(error), cause: error });
  } finally {
    // What is still to come of it is of no use.
    time.abort(new Error("the relay has answered"));
  }
  return joined(relay, answer, text);
}

/** Node.js says why TLS failed; a page is not told. */
function codeOfCause(error: unknown): string {
  const of = (it: unknown): string => String((it as { code?: unknown } | undefined)?.code ?? "");
  const code = of(error) + of((error as { cause?: unknown } | undefined)?.cause);
  return /CERT|SELF_SIGNED|ISSUER|ALTNAME/.test(code) ? "CPL-1820" : "CPL-1819";
}

/** Reads the session that this relay has opened, with suspicion. */
function joined(relay: string, answer: Response, text: string | null): Joined {
  const json = parsed(text);
  if (answer.status !== 200) throw refusal(answer, json);
  const { sid, relay_url: url }: { readonly [member in keyof RelayAnswer]?: unknown } = json;
  const node = typeof url === "string" && url.startsWith("https://") ? relayName(url.slice("https://".length)) : null;
  if (typeof sid !== "string" || !/^[0-9a-f]{32}$/.test(sid)) throw broken("its body names no session");
  if (node === null || !isWithinRelay(node, relay)) throw broken("its node is not at https:// and its own name");
  return { sid, node };
}

/** What an answer other than the wanted one means. Our words, not the relay's. */
function refusal(answer: Response, json: Record<string, unknown>): AttemptError {
  const code = parseCode(typeof json["code"] === "string" ? json["code"] : "");
  if (code === null || !CODES.has(code)) return broken(answer.status === 0 ? "it leads elsewhere" : `status ${answer.status}`);
  const told = answer.headers.get("retry-after") ?? "";
  const retryAfter = /^[0-9]{1,9}$/.test(told) ? Number(told) * 1000 : null;
  if (code !== "CPL-1802") return failure(code, undefined, retryAfter);
  const host = address(json["host_email"]) ?? "somebody else";
  const device = address(json["device_email"]) ?? "nobody that the relay knows";
  return failure(code, `The room belongs to another account: the host is signed in as ${host}, this device as ${device}`);
}

/** An address that can be shown. */
function address(value: unknown): string | null {
  return typeof value === "string" && value.length <= 254 && /^[\p{L}\p{N}.!#$%&'*+/=?^_`{|}~-]+@[\p{L}\p{N}.-]+$/u.test(value)
    ? value
    : null;
}

function parsed(text: string | null): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(text ?? "");
    if (typeof json === "object" && json !== null) return json as Record<string, unknown>;
  } catch {
    // It is none.
  }
  return {};
}
