/**
 * Stands before an app's own scripts, and gives them what the app's origin here has not: WebSockets, cookies, an address. It
 * guards nothing: a page can undo all of it, and has then less than before.
 */
import { installCookies } from "./shim/cookies.js";
import { installEvents } from "./shim/events.js";
import { Pending } from "./shim/pending.js";
import { installRequests } from "./shim/requests.js";
import { installFrame } from "./shim/frame.js";
import { installSocket } from "./shim/socket.js";
import { installWorkers } from "./shim/workers.js";

const script = document.currentScript;
const data = script instanceof HTMLScriptElement ? { ...script.dataset } : {};
script?.remove();

const container = navigator.serviceWorker as ServiceWorkerContainer | undefined;
// A frame in a sandbox of the app's has no worker, and so nothing of what follows would work.
if (container !== undefined) {
  const worker = (): ServiceWorker | null => native.get?.call(container) as ServiceWorker | null;
  const native = Object.getOwnPropertyDescriptor(ServiceWorkerContainer.prototype, "controller") ?? {};
  const pending = new Pending();
  installCookies(data["cookies"] ?? "", container, worker, pending);
  installRequests(pending);
  installEvents();
  installSocket(worker);
  installWorkers(container);
}
installFrame(data["client"] ?? "", data["leave"] ?? null);
