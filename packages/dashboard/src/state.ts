// What the pages show: one place that asks the host, hears its events and tells the components.

import { useEffect, useState } from "preact/hooks";

import {
  type AuditEntry,
  call,
  type Device,
  type HostEvent,
  json,
  type LoginAnswer,
  type OwnerSession,
  type OwnerStatus,
  type Pairing,
  pageKey,
  type PinRequest,
  Problem,
} from "./api";
import { clock } from "./clock";
import { follow } from "./events";
import { texts } from "./texts";

/** How often what no event tells of is asked for: when a device was last seen, and the time. */
const REFRESH = 60_000;
/** How many entries of the audit log the host tells at once. */
const LISTED = 500;
/** The third PIN of a request was wrong. */
const PINS_SPENT = "CPL-1227";
/** How many notices stand on the page at once. */
const NOTICES = 3;

export type Notice = { id: number; good: boolean; text: string };

/** Who looks: nobody that the host knows, the owner, or one whose session has ended. */
export type Owner =
  | { is: "unknown" }
  | { is: "signing-in" }
  | { is: "owner" }
  | { is: "stranger"; why: Problem | null };

export type State = {
  owner: Owner;
  /** Whether the events arrive; null before the first try. */
  live: boolean | null;
  /** How often everything was read anew after events may have been missed. */
  rejoined: number;
  status: OwnerStatus | null;
  /** Which browsers are signed in. */
  sessions: OwnerSession[] | null;
  devices: Device[] | null;
  pairings: Pairing[];
  /** Null, here and below: this host has no such door, or it is not known yet. */
  watches: Device[] | null;
  pins: PinRequest[] | null;
  audit: AuditEntry[] | null;
  /** Whether older entries of the audit log may exist. */
  more: boolean;
  notices: Notice[];
  /** What a screen reader is told next. */
  announcement: string;
};

let state: State = {
  owner: { is: "unknown" },
  live: null,
  rejoined: 0,
  status: null,
  sessions: null,
  devices: null,
  pairings: [],
  watches: null,
  pins: null,
  audit: null,
  more: false,
  notices: [],
  announcement: "",
};

const watchers = new Set<() => void>();
const hearers = new Set<(event: HostEvent) => void>();

function change(part: Partial<State>): void {
  state = { ...state, ...part };
  for (const watcher of watchers) watcher();
}

/** The state, for a component that shows it. */
export function useShared(): State {
  const [shown, show] = useState(state);
  useEffect(() => {
    const watcher = () => show(state);
    watchers.add(watcher);
    // What has changed since the first look.
    watcher();
    return () => void watchers.delete(watcher);
  }, []);
  return shown;
}

/** Calls `hear` with each event of the host. */
export function useEvents(hear: (event: HostEvent) => void): void {
  useEffect(() => {
    hearers.add(hear);
    return () => void hearers.delete(hear);
  });
}

/** Renders again `every` milliseconds, while `on`. */
export function useTicks(every: number, on = true): void {
  const [, tick] = useState(0);
  useEffect(() => {
    if (!on) return;
    const timer = setInterval(() => tick((n) => n + 1), every);
    return () => clearInterval(timer);
  }, [every, on]);
}

/** Tells a screen reader. */
export function announce(text: string): void {
  // The same text twice is told twice only when it differs.
  change({ announcement: text === state.announcement ? `${text}\u00a0` : text });
}

let notices = 0;

/** Puts a notice on the page, and tells it. */
export function notify(good: boolean, text: string): void {
  notices += 1;
  change({ notices: [...state.notices, { id: notices, good, text }].slice(-NOTICES) });
  announce(text);
}

export function dismiss(id: number): void {
  change({ notices: state.notices.filter((notice) => notice.id !== id) });
}

/** What went wrong, in words. A session that has ended ends the page as well. */
export function words(error: unknown): Problem {
  if (error instanceof Problem) {
    if (error.status === 401) over(error);
    return error.isOffline ? new Problem(0, "", texts.offline.title, texts.offline.detail) : error;
  }
  return new Problem(0, "", texts.unexpected, String(error));
}

let following: AbortController | null = null;

/** Signs in with a one-time link, or goes on with the session that this browser has. */
export async function begin(token: string | null): Promise<void> {
  if (token !== null) {
    change({ owner: { is: "signing-in" } });
    try {
      pageKey.write((await json<LoginAnswer>("POST", "/api/owner/login", { token })).page_key);
    } catch (error) {
      // Whoever opens a used link again is still the owner where the session goes on.
      if (pageKey.read() === null || !(await isOwner())) {
        following?.abort();
        return change({ owner: { is: "stranger", why: words(error) } });
      }
    }
  } else if (pageKey.read() === null) {
    return change({ owner: { is: "stranger", why: null } });
  }
  following?.abort();
  following = new AbortController();
  const signal = following.signal;
  change({ owner: { is: "owner" } });
  const listener = {
    opened() {
      change({ live: true });
      void refresh().then(() => change({ rejoined: state.rejoined + 1 }));
    },
    told: hear,
    lost() {
      if (state.live !== false) announce(texts.offline.title);
      change({ live: false });
    },
    refused: over,
  };
  const seen = () => {
    if (!document.hidden) void refresh();
  };
  addEventListener("visibilitychange", seen, { signal });
  // Signed out in another tab.
  addEventListener("storage", () => pageKey.read() ?? over(null), { signal });
  const timer = setInterval(() => void refresh(), REFRESH);
  // A proxy on the way may hold the stream's beginning back.
  void refresh();
  await follow(listener, signal);
  clearInterval(timer);
}

async function isOwner(): Promise<boolean> {
  return json("GET", "/api/owner").then(
    () => true,
    () => false,
  );
}

/** The session has ended: nothing of what it showed stays. Its key does, so that the host says why wherever it is asked again. */
function over(why: Problem | null): void {
  if (state.owner.is !== "owner") return;
  following?.abort();
  const nothing = { status: null, sessions: null, devices: null, pairings: [], watches: null, pins: null, audit: null, notices: [] };
  change({ ...nothing, owner: { is: "stranger", why } });
}

export async function signOut(): Promise<void> {
  await call("POST", "/api/owner/logout");
  left();
}

/** Ends the session of every browser. */
export async function signOutEverywhere(): Promise<void> {
  await call("DELETE", "/api/owner/sessions");
  left();
}

/** The owner has signed out here. */
function left(): void {
  pageKey.forget();
  over(null);
}

/** Ends the session of another browser. */
export async function signOutOther(id: string): Promise<void> {
  await call("DELETE", `/api/owner/sessions/${id}`);
  await refreshSessions();
}

/** Ends the session of every browser but this one. */
export async function signOutOthers(): Promise<void> {
  await call("DELETE", "/api/owner/sessions?others=true");
  await refreshSessions();
}

/** Reads into the state; a session that has ended ends the page, anything else is left to the stream's own tries. */
async function read(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof Problem && error.status === 401) over(error);
  }
}

/** One reading at a time; one that is asked for meanwhile follows. So what is shown is what was asked for last. */
function reader(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  let again = false;
  const run = async () => {
    do {
      again = false;
      await read(work);
    } while (again);
    running = null;
  };
  return () => {
    again = true;
    running ??= run();
    return running;
  };
}

const refreshStatus = reader(async () => {
  const began = performance.now();
  const status = await json<OwnerStatus>("GET", "/api/owner");
  clock.sync(status.now, began, performance.now());
  change({ status });
});

const refreshSessions = reader(async () => {
  change({ sessions: (await json<{ sessions: OwnerSession[] }>("GET", "/api/owner/sessions")).sessions });
});

const readDevices = reader(async () => {
  change({ devices: (await json<{ devices: Device[] }>("GET", "/api/pair/devices")).devices });
});

/** Reads the devices, and the watches too where the device that was changed is one. */
export async function refreshDevices(kind?: string): Promise<void> {
  await Promise.all([readDevices(), kind === "watch" && refreshWatches()]);
}

const refreshPairings = reader(async () => {
  change({ pairings: (await json<{ pairings: Pairing[] }>("GET", "/api/pair/pairings")).pairings });
});

/** Paths that this host does not have: asked for once. */
const absent = new Set<string>();

/** Reads from a door that not every host has. */
function doorReader<T>(path: string, take: (answer: T) => void): () => Promise<void> {
  return reader(async () => {
    if (absent.has(path)) return;
    try {
      take(await json<T>("GET", path));
    } catch (error) {
      if (error instanceof Problem && [404, 405].includes(error.status)) absent.add(path);
      else throw error;
    }
  });
}

export const refreshWatches = doorReader<{ devices: Device[] }>("/watch/devices", ({ devices }) =>
  change({ watches: devices }),
);

export const refreshPins = doorReader<{ requests: PinRequest[] }>("/mobile/pairing", ({ requests }) =>
  change({ pins: requests }),
);

const refreshAudit = reader(async () => {
  const { entries } = await json<{ entries: AuditEntry[] }>("GET", "/api/audit");
  // What was read before stays below it, unless entries between the two are missing.
  const oldest = entries.at(-1)?.id ?? 0;
  const known = state.audit ?? [];
  const older = known.some((entry) => entry.id === oldest) ? known.filter((entry) => entry.id < oldest) : [];
  change({ audit: [...entries, ...older], more: older.length > 0 ? state.more : entries.length === LISTED });
});

/** The next older part of the audit log. */
export async function readOlder(): Promise<void> {
  await read(async () => {
    const oldest = state.audit?.at(-1)?.id;
    if (oldest === undefined) return;
    const { entries } = await json<{ entries: AuditEntry[] }>("GET", `/api/audit?before=${oldest}`);
    change({ audit: [...(state.audit ?? []), ...entries], more: entries.length === LISTED });
  });
}

async function refresh(): Promise<void> {
  await refreshStatus();
  await Promise.all([
    refreshSessions(),
    refreshDevices(),
    refreshPairings(),
    refreshWatches(),
    refreshPins(),
    refreshAudit(),
  ]);
}

/** An event changes lists; which, its name says. */
function hear(event: HostEvent): void {
  for (const hearer of hearers) hearer(event);
  const [of] = event.event.split(".");
  if (of === "relay") void refreshStatus();
  if (of === "owner") void refreshSessions();
  if (of === "device" || of === "session") void refreshDevices();
  if (of === "device") void refreshWatches();
  if (of !== "relay" && of !== "session" && of !== "owner") void Promise.all([refreshPairings(), refreshPins()]);
  if (of !== "session") void refreshAudit();
  const name = event.device_name ?? texts.aDevice;
  if (event.event === "device.paired") notify(true, texts.notice.paired(name));
  if (event.event === "device.revoked") notify(true, texts.notice.revoked(name));
  if (event.event === "owner.login") notify(true, texts.notice.login(event.network ?? ""));
  if (event.event === "approval.wanted") announce(texts.notice.wanted(name));
  if (event.event === "pairing.rejected" && event.device_name) notify(false, texts.notice.rejected(name));
  if (event.event === "offer.expired" && event.device_name) {
    // Anyone may ask by PIN: that nothing came of it is no news.
    if (event.door !== "pin") notify(false, texts.notice.expired(name, event.code));
    else if (event.code === PINS_SPENT) notify(false, texts.notice.pinsSpent(name));
    else announce(texts.pins.gone(name));
  }
}
