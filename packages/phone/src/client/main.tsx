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

function removed(name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = () => resolve();
    request.onerror = () => reject(request.error);
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
    clear: async () => void (await Promise.all(DATABASES.map(removed))),
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
