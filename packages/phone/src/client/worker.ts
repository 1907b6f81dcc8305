/**
 * Keeps the pages' own files, so that they open without a network. It keeps nothing else, and sees no request of a session:
 * those are sockets, and what is asked of other paths is left to the network.
 */
declare const self: ServiceWorkerGlobalScope;

/** The build: every file of the shell with the SHA-256 of its bytes, and the hash of that list. build.js puts it in. */
declare const SHELL: { readonly hash: string; readonly files: readonly (readonly [name: string, sha256: string])[] };

// Once: the build puts it in wherever it is named.
const { hash, files } = SHELL;
const PREFIX = "couplet-shell-";
const CACHE = PREFIX + hash;
const PAGE = "index.html";

/** Where a file is served. */
function pathOf(name: string): string {
  return name === PAGE ? "/p" : `/p/${name}`;
}

async function hexOf(bytes: ArrayBuffer): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A file as this build has it. Rejects with any other: what is kept is one build, never parts of two. */
async function fetched([name, sha256]: readonly [string, string]): Promise<Response> {
  const answer = await fetch(pathOf(name), { cache: "no-store", credentials: "omit", redirect: "error" });
  if (!answer.ok || (await hexOf(await answer.clone().arrayBuffer())) !== sha256) throw new TypeError(`${name} is of another build`);
  return answer;
}

async function keep(): Promise<void> {
  const answers = await Promise.all(files.map(fetched));
  const cache = await caches.open(CACHE);
  await Promise.all(files.map(([name], at) => cache.put(pathOf(name), answers[at] as Response)));
}

async function dropOthers(): Promise<void> {
  const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(names.map((name) => caches.delete(name)));
}

/** The page's headers carry its policy, which may change where its bytes do not. */
async function refreshPage(): Promise<void> {
  const page = files.find(([name]) => name === PAGE);
  if (page === undefined) return;
  const answer = await fetched(page);
  await (await caches.open(CACHE)).put(pathOf(PAGE), answer);
}

self.addEventListener("install", (event) => event.waitUntil(keep()));
self.addEventListener("activate", (event) => event.waitUntil(dropOthers()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  const isOurs = files.some(([name]) => pathOf(name) === url.pathname);
  if (!isOurs) return;
  event.respondWith(answer(url.pathname, request));
  if (request.mode === "navigate") event.waitUntil(refreshPage().catch(() => {}));
});

async function answer(path: string, request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  return (await cache.match(path)) ?? fetch(request);
}

/** A page that begins asks to be of this build: only when no other one is open, under whose feet it would be changed. */
async function takeOver(port: MessagePort | undefined): Promise<void> {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const isAlone = pages.filter((page) => /^\/p(\/|$)/.test(new URL(page.url).pathname)).length <= 1;
  port?.postMessage(isAlone ? "yes" : "no");
  if (isAlone) await self.skipWaiting();
}

self.addEventListener("message", (event) => {
  if (event.data === "take over") event.waitUntil(takeOver(event.ports[0]));
});

export {};
