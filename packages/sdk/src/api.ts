/** What a host and a relay answer, as they write it: spec/openapi.json, and spec/protocol.md, 6. A test holds each type to that. */
import { boundedText } from "./client/answer.js";
import { CoupletError, parseHostCode } from "./protocol/error.js";

/** Limits on what a device may ask of the apps. */
export interface Scope {
  /** Only GET, HEAD and OPTIONS, and no WebSocket. */
  readonly read_only?: boolean;
  /** Path prefixes of whole segments: `/api` allows `/api/x`, never `/apix`. Empty: every path. */
  readonly paths?: readonly string[];
}

/** An app behind a host. */
export interface App {
  /** What its owner calls it: what `fetch` takes as `app`. */
  readonly name: string;
}

/** What a device is to its host: `GET /api/pair/me`. */
export interface Me {
  readonly device_id: string;
  /** What the owner sees it called; they may have renamed it. */
  readonly device_name: string;
  readonly device_model?: string | null;
  /** What it may do. */
  readonly scope: Scope;
  /** When its access ends (RFC 3339); null or absent: never. */
  readonly expires_at?: string | null;
  /** What the host calls itself. */
  readonly server_name: string;
  /** The apps behind it, the first one first. A host of before lists none. */
  readonly apps?: readonly App[];
}

/** How pairing is done at a host. */
export interface PairingFeature {
  readonly available: boolean;
  readonly transport: string;
  readonly endpoint: string;
  readonly token_bits: number;
  /** Where its secrets come from: `os-csprng`, or nobody pairs with it. */
  readonly rng: string;
}

/** Whether devices elsewhere reach a host. */
export interface RelayFeature {
  readonly available: boolean;
  readonly connected: boolean;
}

/** `GET /health`. */
export interface Health {
  /** `ok` or `degraded`. */
  readonly status: string;
  readonly version: string;
  readonly features: { readonly pairing: PairingFeature; readonly relay: RelayFeature };
}

/** The body of every error answer (RFC 9457). */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  /** What to do next. */
  readonly detail: string;
  /** `CPL-1203`. */
  readonly code: string;
  /** Under which the host's log has the cause. */
  readonly request_id?: string | null;
}

/** What a relay answers to `POST /pair`. */
export interface RelayAnswer {
  readonly sid: string;
  readonly relay_url: string;
  readonly expires_at: string;
}

/** The longest answer of a host about itself that is read, in bytes. */
const ANSWER_MAX = 64 * 1024;

/**
 * Reads what a host answers of itself.
 *
 * @throws {CoupletError} It refuses, with its code; or answers what no host does.
 */
export async function answered<T>(answer: Response): Promise<T> {
  const text = await boundedText(answer, ANSWER_MAX);
  let json: unknown = null;
  try {
    json = JSON.parse(text ?? "");
  } catch {
    // It is none.
  }
  const isObject = typeof json === "object" && json !== null && !Array.isArray(json);
  if (answer.status === 200 && isObject) return json as T;
  const code = isObject ? parseHostCode(String((json as Partial<Problem>).code)) : null;
  if (code === null) throw new CoupletError("CPL-1602", `The host answers what no host answers: status ${answer.status}`);
  throw new CoupletError(code);
}
