/** The hidden frame of an app's origin: gets the worker going, and hands it a port to the client's page. */
import { type FromKeeper, type FromOwnWorker, type ToKeeper, type ToWorker, WIPER } from "../wire/frames.js";
import { VERSION } from "../wire/version.js";
import { wipe } from "./keeper/wipe.js";

/** How often a worker that has something to do hears something, in milliseconds: without, it is stopped after about 30 s. */
const PING = 10_000;

/** Milliseconds that the worker of this version has to take the place of another one's. */
const RENEWED = 5000;

/** Where browsers deny it, it is not there at all, or refuses everything. */
const container = navigator.serviceWorker as ServiceWorkerContainer | undefined;
/** This one is there to wipe: it starts nothing that could store anything. */
const isWiper = location.pathname + location.hash === WIPER;
let timer: ReturnType<typeof setInterval> | null = null;
/** Whether the newest worker there is was asked for. */
let isRenewed = false;

/** The one origin that may show apps of this relay. */
async function clientOrigin(): Promise<string> {
  const answer = await fetch("/.couplet/config.json", { cache: "no-store" });
  const { client } = (await answer.json()) as { readonly client: string };
  return new URL(client).origin;
}

/** Resolves once this worker runs. */
function activated(its: ServiceWorker): Promise<ServiceWorker> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      if (its.state === "activated") resolve(its);
      else if (its.state === "redundant") reject(new Error("the worker was given up"));
    };
    its.addEventListener("statechange", look);
    look();
  });
}

/** The running worker, registered where there is none. */
async function worker(): Promise<ServiceWorker> {
  if (container === undefined) throw new DOMException("there are no workers here", "SecurityError");
  const registration = await container.register("/.couplet/worker.js", { scope: "/", updateViaCache: "none" });
  const begun = registration.active ?? registration.waiting ?? registration.installing;
  if (begun === null) throw new DOMException("there is no worker", "SecurityError");
  return activated(begun);
}

/** The worker is of another version than this frame, which comes fresh from the server: so is the newest one. */
async function renew(): Promise<void> {
  isRenewed = true;
  const registration = await container?.getRegistration("/");
  await registration?.update();
  const coming = registration?.installing ?? registration?.waiting ?? null;
  // As long as the old one has something to do for other tabs, it stays.
  if (coming !== null) await Promise.race([activated(coming), new Promise((late) => setTimeout(late, RENEWED))]);
}

async function start(): Promise<void> {
  const client = await clientOrigin();
  const say = (message: FromKeeper): void => window.parent.postMessage(message, client);
  // A script that does not come is a TypeError, a refusal a DOMException.
  const failed = (error: unknown): void => say({ couplet: "failed", why: error instanceof TypeError ? "away" : "denied" });
  const tell = (message: ToWorker, transfer: Transferable[] = []): Promise<void> =>
    worker().then((its) => its.postMessage(message, transfer), failed);
  const busy = (isBusy: boolean): void => {
    if (timer !== null) clearInterval(timer);
    timer = isBusy ? setInterval(() => void tell({ couplet: "ping" }), PING) : null;
  };
  const compare = async (wire: string): Promise<void> => {
    if (wire === VERSION) return say({ couplet: "ready" });
    if (isRenewed) return say({ couplet: "failed", why: "version" });
    await renew().catch(() => {});
    await tell({ couplet: "front" });
  };
  window.addEventListener("message", ({ source, origin, data, ports }: MessageEvent<ToKeeper | null>) => {
    if (source !== window.parent || origin !== client) return;
    if (data?.couplet === "wipe") return void wipe(container).then((isAll) => say({ couplet: "wiped", isAll }));
    if (isWiper) return;
    if (data?.couplet === "port" && ports[0] !== undefined) void tell({ couplet: "port", client, wire: data.wire }, [ports[0]]);
    else if (data?.couplet === "busy") busy(data.isBusy);
    else if (data?.couplet === "front") void tell({ couplet: "front" });
  });
  say({ couplet: "begun", wire: VERSION });
  if (isWiper) return;
  container?.addEventListener("message", ({ data }: MessageEvent<FromOwnWorker | null>) => {
    if (data?.couplet === "join") say({ couplet: "join" });
    else if (data?.couplet === "ready") void compare(data.wire);
  });
  container?.startMessages();
  await tell({ couplet: "front" });
}

void start();
