/** The hidden frame of an app's origin: gets the worker going, and hands it a port to the client's page. */
import type { FromOwnWorker, ToWorker } from "../wire/frames.js";

/** How often a worker that has something to do hears something, in milliseconds: without, it is stopped after about 30 s. */
const PING = 10_000;

const container = navigator.serviceWorker;
let timer: ReturnType<typeof setInterval> | null = null;

/** The one origin that may show apps of this relay. */
async function clientOrigin(): Promise<string> {
  const answer = await fetch("/.couplet/config.json", { cache: "no-store" });
  const { client } = (await answer.json()) as { readonly client: string };
  return new URL(client).origin;
}

/** The running worker, registered where there is none. */
async function worker(): Promise<ServiceWorker> {
  const registration = await container.register("/.couplet/worker.js", { scope: "/", updateViaCache: "none" });
  const begun = registration.active ?? registration.waiting ?? registration.installing;
  if (begun === null) throw new Error("there is no worker");
  if (begun.state === "activated") return begun;
  await new Promise<void>((resolve, reject) => {
    begun.addEventListener("statechange", () => {
      if (begun.state === "activated") resolve();
      else if (begun.state === "redundant") reject(new Error("the worker was given up"));
    });
  });
  return begun;
}

async function wipe(): Promise<void> {
  localStorage.clear();
  sessionStorage.clear();
  const bases = await indexedDB.databases();
  const deleted = bases.map(({ name }) => {
    return new Promise<void>((resolve) => {
      if (name === undefined) return resolve();
      const request = indexedDB.deleteDatabase(name);
      request.onsuccess = request.onerror = request.onblocked = () => resolve();
    });
  });
  const cached = (await caches.keys()).map((name) => caches.delete(name));
  await Promise.allSettled([...deleted, ...cached]);
  const registrations = await container.getRegistrations();
  await Promise.all(registrations.map((registration) => registration.unregister()));
}

async function start(): Promise<void> {
  const client = await clientOrigin();
  const say = (what: string): void => window.parent.postMessage({ couplet: what }, client);
  const tell = (message: ToWorker, transfer: Transferable[] = []): Promise<void> =>
    worker().then(
      (its) => its.postMessage(message, transfer),
      () => say("failed"),
    );
  const busy = (isBusy: boolean): void => {
    if (timer !== null) clearInterval(timer);
    timer = isBusy ? setInterval(() => void tell({ couplet: "ping" }), PING) : null;
  };
  window.addEventListener("message", ({ source, origin, data, ports }: MessageEvent<{ couplet?: unknown; isBusy?: unknown } | null>) => {
    if (source !== window.parent || origin !== client) return;
    if (data?.couplet === "port" && ports[0] !== undefined) void tell({ couplet: "port", client }, [ports[0]]);
    else if (data?.couplet === "busy") busy(data.isBusy === true);
    else if (data?.couplet === "ensure") void tell({ couplet: "hello" });
    else if (data?.couplet === "wipe") void wipe().then(() => say("wiped"), () => say("wiped"));
  });
  container.addEventListener("message", ({ data }: MessageEvent<FromOwnWorker | null>) => {
    if (data?.couplet === "join") say("join");
    else if (data?.couplet === "ready") say("ready");
  });
  container.startMessages();
  await tell({ couplet: "hello" });
}

void start();
