// The host's HTTP API: its types are those of spec/openapi.json, made anew by scripts/pages, and the call.

import type {
  AuditEntry,
  DeviceInfo,
  DoctorReport,
  Event,
  Finding,
  GenerateAnswer,
  LoginAnswer,
  NetworkPath,
  OwnerSessionInfo,
  OwnerStatus,
  PairingInfo,
  PinRequest,
  QrAnswer,
  RelayStatus,
  Scope,
  WatchPairingInfo,
} from "./openapi";

export type { AuditEntry, DoctorReport, Finding, LoginAnswer, OwnerStatus, PinRequest, RelayStatus, Scope };
export type Device = DeviceInfo;
export type HostEvent = Event;
export type Offer = GenerateAnswer;
export type OwnerSession = OwnerSessionInfo;
export type Pairing = PairingInfo;
export type Path = NetworkPath;
export type QrCode = QrAnswer;
/** What a watch's pairing begins with. */
export type WatchOffer = WatchPairingInfo;

/** Why a request was refused: RFC 9457, or what stands for it when no answer came. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail: string,
    readonly retryAfter: number | null = null,
  ) {
    super(title);
  }

  /** No answer came at all. */
  get isOffline(): boolean {
    return this.status === 0;
  }
}

const KEY = "couplet-page";

/**
 * The key that belongs to the session's cookie. The cookie goes to every port of this address; this does not leave the
 * origin, so that a cookie alone opens nothing.
 */
export const pageKey = {
  read: (): string | null => localStorage.getItem(KEY),
  write: (key: string): void => localStorage.setItem(KEY, key),
  forget: (): void => localStorage.removeItem(KEY),
};

/** Whether the owner has done something here since the host was told so: what the page asks by itself keeps no session. */
let used = true;
for (const kind of ["pointerdown", "keydown", "wheel", "touchstart"]) {
  addEventListener(kind, () => void (used = true), { capture: true, passive: true });
}
document.addEventListener("visibilitychange", () => void (used ||= !document.hidden));

/** Calls the host. `body` goes as JSON. */
export async function call(method: string, path: string, body?: unknown, init: RequestInit = {}): Promise<Response> {
  const headers: Record<string, string> = { ...(init.headers as Record<string, string>) };
  const key = pageKey.read();
  if (key !== null) headers["Couplet-Page"] = key;
  const tells = used;
  if (tells) headers["Couplet-Used"] = "1";
  used = false;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent: RequestInit = { ...init, method, headers, credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) sent.body = JSON.stringify(body);
  let answer: Response;
  try {
    answer = await fetch(path, sent);
  } catch (error) {
    used ||= tells;
    if (init.signal?.aborted) throw error;
    throw new Problem(0, "", "", "");
  }
  if (!answer.ok) throw await problem(answer);
  return answer;
}

/** Calls the host and reads its answer. */
export async function json<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await call(method, path, body);
  return (await answer.json()) as T;
}

async function problem(answer: Response): Promise<Problem> {
  const wait = Number.parseInt(answer.headers.get("retry-after") ?? "", 10);
  const said = (await answer.json().catch(() => ({}))) as { code?: string; title?: string; detail?: string };
  const title = said.title ?? answer.statusText;
  return new Problem(answer.status, said.code ?? "", title, said.detail ?? "", Number.isNaN(wait) ? null : wait);
}
