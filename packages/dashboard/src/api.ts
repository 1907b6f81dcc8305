// The host's HTTP API, as spec/openapi.json describes it: only what the pages use.

export type Scope = { read_only: boolean; paths: string[] };

export type Path = "lan" | "relay";

export type Device = {
  device_id: string;
  device_name: string;
  device_model: string | null;
  platform?: string;
  kind: string;
  paired_at: string;
  last_seen: string | null;
  revoked_at: string | null;
  path: Path | null;
  session?: Path;
  scope: Scope;
  expires_at: string | null;
};

export type Pairing = {
  id: string;
  door: string;
  state: "waiting" | "claimed" | "approval" | "granted" | "paired" | "rejected" | "expired";
  device_name: string | null;
  device_model: string | null;
  platform?: string;
  network: string | null;
  relay?: string;
  check_code: boolean;
  created_at: string;
  expires_at: string;
};

export type Offer = {
  offer_id: string;
  pair_token: string;
  qr_url: string;
  expires_at: string;
  link: string;
  link_expires_at: string;
};

/** What a watch's pairing begins with. */
export type WatchOffer = { offer_id: string; qr_url: string; expires_at: string };

export type HostEvent = {
  id: number;
  at: string;
  event: string;
  pairing_id?: string;
  door?: string;
  device_id?: string;
  device_name?: string;
  device_model?: string;
  platform?: string;
  network?: string;
  path?: Path;
  relay?: string;
  code?: string;
  check_code?: boolean;
};

export type AuditEntry = {
  id: number;
  at: string;
  action: string;
  actor: string;
  pairing_id: string | null;
  device_id: string | null;
  network: string | null;
  detail: string | null;
};

export type RelayStatus = {
  name: string;
  state: "linking" | "connected" | "lost" | "refused";
  since: string | null;
  code?: string;
};

export type OwnerStatus = {
  server_name: string;
  version: string;
  now: string;
  session_expires_at: string | null;
  relay: RelayStatus | null;
};

/** One thing that `couplet doctor` looked at. */
export type Finding = {
  part: string;
  state: "ok" | "warning" | "failed" | "skipped";
  subject?: string;
  found: string;
  cause?: string;
  next?: string;
  command?: string;
  code?: string;
};

export type DoctorReport = { at: string; findings: Finding[] };

/** A QR code: `size` modules on each side, and the dark ones as an SVG path of one unit a module. */
export type QrCode = { size: number; path: string };

/** A device that asks to pair by PIN. */
export type PinRequest = {
  id: string;
  pin: string;
  /** What the device shows, if the request is its own. */
  match_number: string;
  device_name: string;
  device_model: string | null;
  platform?: string;
  network: string | null;
  expires_at: string;
};

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

/** Calls the host. `body` goes as JSON. */
export async function call(method: string, path: string, body?: unknown, init: RequestInit = {}): Promise<Response> {
  const headers: Record<string, string> = { ...(init.headers as Record<string, string>) };
  const key = pageKey.read();
  if (key !== null) headers["Couplet-Page"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent: RequestInit = { ...init, method, headers, credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) sent.body = JSON.stringify(body);
  let answer: Response;
  try {
    answer = await fetch(path, sent);
  } catch (error) {
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
