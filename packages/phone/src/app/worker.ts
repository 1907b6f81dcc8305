/** The worker of an app's origin: answers what the app's pages ask for through the client's page. */
/// <reference lib="webworker" />
import { DOWNLOAD } from "./html/index.js";
import type { FromOwnWorker, ToWorker } from "../wire/frames.js";
import { OURS, ownPath } from "../wire/own.js";
import { VERSION } from "../wire/version.js";
import { Answerer } from "./worker/answer.js";
import { Joiner } from "./worker/join.js";

declare const self: ServiceWorkerGlobalScope;

const joiner = new Joiner(self);
const ready: FromOwnWorker = { couplet: "ready", wire: VERSION };
const answerer = new Answerer(self, joiner);

self.addEventListener("install", () => void self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const path = ownPath(url, self.location.origin);
  // Elsewhere the browser goes by itself. What is loaded as a plugin does not come here at all.
  if (path === null) return;
  const isOurs = url.origin === self.location.origin && url.pathname.startsWith(OURS);
  if (isOurs && url.pathname !== DOWNLOAD) return;
  event.respondWith(isOurs ? answerer.download(event) : answerer.answer(event, url.pathname + url.search));
});

self.addEventListener("message", (event) => {
  const message = event.data as ToWorker | null;
  const { source, ports } = event;
  if (source === null || !("id" in source) || !("url" in source)) return;
  switch (message?.couplet) {
    case "front":
      event.waitUntil(joiner.front(source).then(() => source.postMessage(ready), () => {}));
      break;
    case "port":
      if (ports[0] !== undefined) joiner.joined(ports[0], source, message.client, message.wire);
      break;
    case "socket":
      if (ports[0] !== undefined) event.waitUntil(answerer.socket(message.path, message.protocols, ports[0]));
      break;
    case "write":
      event.waitUntil(answerer.written(message.text, source).then(() => ports[0]?.postMessage(null)));
      break;
  }
});
