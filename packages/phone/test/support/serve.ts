/**
 * Serves dist as a relay does, with pages of the tests beside it: the client on `localhost`, the apps' files on `*.localhost`.
 * serve.test.ts compares it with a relay.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { extname, join } from "node:path";
import { listening } from "./listen.js";

const TYPES: { readonly [extension: string]: string } = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".webmanifest": "application/manifest+json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
};

/** A server that runs. */
export interface Served {
  readonly client: string;
  readonly apps: string;
  /** Path and host of every request that came, in their order. */
  readonly asked: { readonly host: string; readonly path: string }[];
  /** By name, what stands in place of a file of the apps' origins, made of its text; null: nothing. */
  readonly changed: Map<string, (text: string) => string | null>;
  close(): Promise<void>;
  /** Serves again, at the same address. */
  again(): Promise<void>;
}

/** Serves `dist`, and a page of the tests beside it: `/p/test.html` with the script `page`. */
export async function serve(dist: string, page: string): Promise<Served> {
  const asked: { host: string; path: string }[] = [];
  const changed: Served["changed"] = new Map();
  const server = createServer((request, response) => {
    const host = request.headers.host ?? "";
    asked.push({ host, path: request.url ?? "" });
    const [name = "", port] = host.split(":");
    const client = `http://localhost:${port}`;
    if (name === "localhost") return clientFile(request, response, dist, page, `http://*.localhost:${port}`);
    if (/^[a-z2-7]{26}\.localhost$/.test(name)) return appFile(request, response, dist, client, changed);
    response.writeHead(421).end();
  });
  const { port, close } = await listening(server);
  return { client: `http://localhost:${port}`, apps: `http://*.localhost:${port}`, asked, changed, close, again: async () => void (await listening(server, port)) };
}

type Headers = { readonly [name: string]: string };

/** On every answer that is one of dist's. */
const GUARD = { "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "origin-agent-cluster": "?1" };
/** Devices speak to a relay from pages of all origins. */
const SHARED = { "access-control-allow-origin": "*", "access-control-expose-headers": "retry-after" };

function clientFile(request: IncomingMessage, response: ServerResponse, dist: string, page: string, apps: string): void {
  const path = new URL(request.url ?? "", "http://localhost").pathname;
  if (["/P", "/P/", "/p/"].includes(path)) return void response.writeHead(308, { ...SHARED, location: "/p" }).end();
  const headers = {
    ...GUARD,
    ...SHARED,
    "content-security-policy":
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; " +
      `connect-src 'self' https: wss:; frame-src ${apps}; worker-src 'self'; manifest-src 'self'; frame-ancestors 'none'; ` +
      "base-uri 'none'; form-action 'none'",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self)",
    ...(path === "/p/worker.js" ? { "service-worker-allowed": "/p" } : {}),
  };
  const script = '<!doctype html><html lang="en"><title>Test</title><script src="/p/test.js"></script><div id="container"></div></html>';
  const made: { readonly [path: string]: string } = { "/p/config.json": JSON.stringify({ apps }), "/p/test.html": script, "/p/test.js": page };
  const name = path === "/p" ? "index.html" : path.slice("/p/".length);
  const found = made[path] ?? (path.startsWith("/p") ? file(dist, "client", name) : null);
  if (found === null) return void response.writeHead(404, headers).end();
  send(request, response, path === "/p" ? ".html" : extname(path), found, headers);
}

function appFile(request: IncomingMessage, response: ServerResponse, dist: string, client: string, changed: Served["changed"]): void {
  const path = new URL(request.url ?? "", "http://localhost").pathname;
  const headers = {
    ...GUARD,
    "content-security-policy":
      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; " +
      `frame-ancestors ${client}; base-uri 'none'; form-action 'none'`,
  };
  if (path === "/.couplet/config.json") return send(request, response, ".json", JSON.stringify({ client }), headers);
  if (path === "/.couplet/keeper") return send(request, response, ".html", file(dist, "app", "keeper.html") ?? "", headers);
  const name = path.startsWith("/.couplet/") ? path.slice("/.couplet/".length) : "";
  const found = name.endsWith(".html") ? null : file(dist, "app", name);
  const change = changed.get(name);
  const body = found === null || change === undefined ? found : change(found.toString());
  if (body === null) return send(request, response, ".html", file(dist, "app", "stray.html") ?? "", headers, 404);
  send(request, response, extname(path), body, name === "worker.js" ? { ...headers, "service-worker-allowed": "/" } : headers);
}

function send(request: IncomingMessage, response: ServerResponse, extension: string, body: string | Buffer, headers: Headers, status = 200): void {
  const etag = `"${createHash("sha256").update(body).digest("hex").slice(0, 32)}"`;
  const all = { ...headers, "content-type": TYPES[extension] ?? "application/octet-stream", "cache-control": "no-cache", etag };
  const isKnown = status === 200 && request.headers["if-none-match"] === etag;
  if (isKnown) response.writeHead(304, all).end();
  else response.writeHead(status, { ...all, "content-length": Buffer.byteLength(body) }).end(body);
}

function file(dist: string, folder: string, name: string): Buffer | null {
  try {
    return /^[a-z0-9_-]+\.[a-z]+$/.test(name) ? readFileSync(join(dist, folder, name)) : null;
  } catch {
    return null;
  }
}
