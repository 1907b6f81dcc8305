/** Serves dist as PHONE.md has it: the client on `localhost`, the apps' files on `*.localhost`. */
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

function clientFile(request: IncomingMessage, response: ServerResponse, dist: string, page: string, apps: string): void {
  const path = new URL(request.url ?? "", "http://localhost").pathname;
  const headers = {
    "content-security-policy":
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; " +
      `connect-src 'self' https: wss:; frame-src ${apps}; worker-src 'self'; manifest-src 'self'; frame-ancestors 'none'; ` +
      "base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self)",
  };
  const script = '<!doctype html><html lang="en"><title>Test</title><script src="/p/test.js"></script><div id="container"></div></html>';
  if (path === "/p/config.json") return send(request, response, ".json", JSON.stringify({ apps }), headers);
  if (path === "/p/test.html") return send(request, response, ".html", script, headers);
  if (path === "/p/test.js") return send(request, response, ".js", page, headers);
  if (path === "/p") return send(request, response, ".html", file(dist, "client", "index.html"), headers);
  const worker = path === "/p/worker.js" ? { "service-worker-allowed": "/p" } : {};
  const found = path.startsWith("/p/") ? file(dist, "client", path.slice(3)) : null;
  send(request, response, extname(path), found, { ...headers, ...worker });
}

function appFile(request: IncomingMessage, response: ServerResponse, dist: string, client: string, changed: Served["changed"]): void {
  const path = new URL(request.url ?? "", "http://localhost").pathname;
  const headers = {
    "content-security-policy":
      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; " +
      `frame-ancestors ${client}; base-uri 'none'; form-action 'none'`,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
  };
  if (path === "/.couplet/config.json") return send(request, response, ".json", JSON.stringify({ client }), headers);
  if (path === "/.couplet/keeper") return send(request, response, ".html", file(dist, "app", "keeper.html"), headers);
  const worker = path === "/.couplet/worker.js" ? { "service-worker-allowed": "/" } : {};
  const name = path.startsWith("/.couplet/") ? path.slice(10) : "";
  const found = /^[a-z]+\.(js|css)$/.test(name) ? file(dist, "app", name) : null;
  const change = changed.get(name);
  const body = found === null || change === undefined ? found : change(found.toString());
  if (body !== null) return send(request, response, extname(path), body, { ...headers, ...worker });
  response.writeHead(404, { ...headers, "content-type": TYPES[".html"] }).end(file(dist, "app", "stray.html"));
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  extension: string,
  body: string | Buffer | null,
  headers: { readonly [name: string]: string },
): void {
  if (body === null) return void response.writeHead(404, headers).end();
  const etag = `"${createHash("sha256").update(body).digest("hex").slice(0, 16)}"`;
  const all = { ...headers, "content-type": TYPES[extension] ?? "application/octet-stream", "cache-control": "no-cache", etag };
  if (request.headers["if-none-match"] === etag) response.writeHead(304, all).end();
  else response.writeHead(200, all).end(body);
}

function file(dist: string, folder: string, name: string): Buffer | null {
  try {
    return /^[a-z0-9_-]+\.[a-z]+$/.test(name) ? readFileSync(join(dist, folder, name)) : null;
  } catch {
    return null;
  }
}
