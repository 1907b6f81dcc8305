/** The client's pages: where they begin, and what they take from the browser. */
import { render } from "preact";

import { wipeApp } from "../bridge/index.js";
import { IndexedDbStore } from "../sdk.js";
import { App } from "./app.js";
import { IndexedDbAppStore } from "./app_store.js";
import { Client, type Word } from "./client.js";
import { fetchConfig } from "./config.js";
import { deviceHere } from "./device.js";
import { install, takeOver } from "./install.js";
import { takeLink } from "./link.js";
import "./phone.css";
import "./host.css";
import { isWord, parked, routeOf } from "./places.js";
import { Fault } from "./fault.js";

const DATABASES = ["couplet", "couplet-apps"];

/** How long another tab may take to let go of a database, in milliseconds: a phone may have stopped it. */
const LET_GO = 5000;

/** Removes a database. Resolves with whether it is gone, or goes once another tab lets go of it. */
function removed(name: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = () => resolve(true);
    request.onerror = () => reject(request.error);
    request.onblocked = () => void setTimeout(() => resolve(false), LET_GO);
  });
}

function start(root: HTMLElement): void {
  const link = takeLink(window);
  const channel = new BroadcastChannel("couplet");
  const client: Client = new Client({
    storage: new IndexedDbStore(),
    apps: new IndexedDbAppStore(() => client.look()),
    // The policy of these pages lets no plain WebSocket through, so nothing is lost by not trying.
    given: { lan: false },
    device: () => deviceHere(navigator),
    config: () => fetchConfig(AbortSignal.timeout(10_000)),
    isOnline: () => navigator.onLine,
    tick: () => void navigator.vibrate?.(60),
    turn: (route, isBack) => parked(history, route, isBack),
    tell: (word: Word) => channel.postMessage(word),
    wipe: (label, appsOrigin) => wipeApp({ label, appsOrigin, container: document.body }),
    clear: async () => (await Promise.all(DATABASES.map(removed))).every(Boolean),
  });
  channel.onmessage = ({ data }) => {
    if (isWord(data)) client.heard(data);
  };
  render(
    <Fault>
      <App client={client} />
    </Fault>,
    root,
  );
  addEventListener("popstate", (event) => void client.arrive(routeOf(event.state)));
  // A link that is opened in a page that is here already.
  addEventListener("hashchange", () => {
    const opened = takeLink(window);
    if (opened !== null) client.propose(opened);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") client.look();
  });
  addEventListener("online", () => client.look());
  // What is under way is lost with the page; a paired host is not.
  addEventListener("beforeunload", (event) => {
    if (client.isBusy) event.preventDefault();
  });
  void client.begin(link, routeOf(history.state));
  void install(navigator.serviceWorker as ServiceWorkerContainer | undefined);
}

const root = document.getElementById("app");
if (root !== null) {
  const isOld = await takeOver(navigator.serviceWorker as ServiceWorkerContainer | undefined);
  if (isOld) location.reload();
  else start(root);
}
