/** An app as people have them: a login, cookies, forms, redirects, files, events, a WebSocket, and policies of all kinds. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createGzip } from "node:zlib";
import { WebSocketServer } from "ws";
import { listening } from "../support/listen.js";

/** A request that the app saw. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
}

/** An app that runs. */
export interface App {
  readonly url: string;
  readonly seen: Seen[];
  /** Sends an event to all who listen to /events. */
  tell(text: string): void;
  /** Whether it cuts off whoever asks, as a program that has crashed. */
  refuse(does: boolean): void;
  /** How many listen to /events. */
  listeners(): number;
  /** Bytes of /endless that were written. */
  written(): number;
  close(): Promise<void>;
}

const page = (title: string, body: string, head = ""): string =>
  `<!doctype html><html lang="en" class="its-own"><head><meta charset="utf-8"><title>${title}</title>${head}</head><body>${body}</body></html>`;

/** Policies, each of which would stop a script that it does not know. The page's own script has the nonce `n0` and sets `ran`. */
export const POLICIES: { readonly [name: string]: string } = {
  nonce: "default-src 'self'; script-src 'nonce-n0'",
  dynamic: "script-src 'nonce-n0' 'strict-dynamic'; object-src 'none'; base-uri 'none'",
  none: "default-src 'none'",
  scriptnone: "script-src 'none'; connect-src 'none'",
  inline: "script-src 'unsafe-inline'; frame-ancestors 'none'; report-uri /reports",
  self: "default-src 'self'; script-src 'self' 'unsafe-inline'",
  elem: "script-src 'self'; script-src-elem 'nonce-n0'",
  types: "require-trusted-types-for 'script'; trusted-types default; script-src 'nonce-n0'",
};

/** Starts it. */
export async function startNotes(): Promise<App> {
  const seen: Seen[] = [];
  const streams = new Set<ServerResponse>();
  let written = 0;
  let refuses = false;
  const server = createServer((request, response) => {
    if (refuses) return void request.socket.destroy();
    seen.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    const url = new URL(request.url ?? "", "http://localhost");
    const html = (body: string, headers: { readonly [name: string]: string | readonly string[] } = {}, status = 200): void =>
      void response.writeHead(status, { "content-type": "text/html", ...(headers as { [name: string]: string }) }).end(body);
    const [, first = "", second = ""] = url.pathname.split("/");
    switch (first) {
      case "":
        return html(page("Home", '<h1>Home</h1><a id="two" href="/two">two</a> <a id="save" href="/echo?save" download="saved \u00e4.json">save</a> <a id="out" href="https://elsewhere.example/x">out</a> <a id="in" href="/login">log in</a>'));
      case "two":
        return html(page("Two", "<h1>Two</h1>"), { "x-frame-options": "DENY" });
      case "login":
        if (request.method !== "POST") return html(page("Login", '<form method="post" action="/login"><input name="user"><button>Go</button></form>'));
        return void read(request).then((body) => {
          const user = new URLSearchParams(body.toString()).get("user") ?? "";
          const cookies = [`session=${user}; HttpOnly; Secure; SameSite=Strict; Path=/`, "_xsrf=token1; Path=/"];
          response.writeHead(303, { location: "http://localhost/welcome?from=login", "set-cookie": cookies }).end();
        });
      case "quiet":
        return html(page("Quiet", '<a id="meta" href="/welcome?meta">m</a> <a id="rel" rel="noreferrer" href="/welcome?rel">r</a> <a id="foreign" rel="noreferrer" target="_blank" href="/foreign">f</a>', second === "" ? '<meta name="referrer" content="no-referrer">' : ""));
      case "welcome":
        return html(page("Welcome", `<p id="who">${request.headers.cookie ?? ""}</p><a id="home" href="/">home</a>`));
      case "echo":
        return void read(request).then((body) => {
          const { method, headers } = request;
          const hash = createHash("sha256").update(body).digest("hex");
          json(response, { method, url: request.url, headers, length: body.length, hash, start: body.subarray(0, 200).toString() });
        });
      case "renew":
        response.setHeader("set-cookie", `_xsrf=${second}; Path=/`);
        return json(response, { ok: true });
      case "drop":
        response.setHeader("set-cookie", ["a=1; Domain=example.com", "b=2; Domain=.localhost", "c=3; Domain=apps.localhost", "__Host-d=4; Path=/"]);
        return json(response, { ok: true });
      case "away":
        return void response.writeHead(302, { location: "https://elsewhere.example/there" }).end();
      case "foreign":
        // Another host, though it is this program again: names under localhost lead there.
        return void response.writeHead(302, { location: `http://foreign.localhost:${request.socket.localPort}/two?foreign` }).end();
      case "hop":
        return void response.writeHead(302, { location: second === "abs" ? "http://localhost:8888/two" : "/two" }).end();
      case "file":
        response.writeHead(200, { "content-type": "text/html", "content-disposition": 'attachment; filename="notes &.html"' });
        return void response.end("<p>not a page</p>");
      case "big": {
        const size = Number(second);
        response.writeHead(200, { "content-type": "application/octet-stream", "content-length": size });
        return pour(response, size, (bytes) => (written += bytes));
      }
      case "endless":
        written = 0;
        response.writeHead(200, { "content-type": "application/octet-stream" });
        return pour(response, Number.POSITIVE_INFINITY, (bytes) => (written += bytes));
      case "gzip": {
        response.writeHead(200, { "content-type": "text/html", "content-encoding": "gzip" });
        const gzip = createGzip();
        gzip.pipe(response);
        return void gzip.end(page("Packed", `<p id="packed">${"packed ".repeat(2000)}</p>`));
      }
      case "events":
        response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
        response.write(": begun\n\n");
        streams.add(response);
        return void response.on("close", () => streams.delete(response));
      case "csp": {
        const policy = POLICIES[second] ?? "";
        const script = '<script nonce="n0">window.ran = true; window.early = [typeof WebSocket, document.cookie];</script>';
        return html(page(`Policy ${second}`, "<p>policy</p>", script), { "content-security-policy": policy, "set-cookie": "p=1; Path=/" });
      }
      case "meta":
        return html(page("Meta", "<p>meta</p>", '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'));
      case "base":
        return html(page("Base", '<img id="img" src="pic.svg" alt="">', '<base href="/base/deep/">'));
      case "legacy":
        response.writeHead(200, { "content-type": "text/html" });
        return void response.end(Buffer.from('<!-- old --><!DOCTYPE html><meta charset="windows-1252"><title>Legacy</title><p id="t">caf\xe9</p>', "latin1"));
      case "worker":
        return html(page("Worker", "<p>worker</p>", `<script>navigator.serviceWorker.register("/sw.js").then(() => { window.got = "yes"; }, (e) => { window.got = e.name; });</script>`));
      case "socket":
        return html(page("Socket", "<p>socket</p>"));
      case "style.css":
        return void response.writeHead(200, { "content-type": "text/css" }).end("h1 { color: rgb(1, 2, 3); }");
      case "absolute":
        return html(page("Absolute", '<h1>Absolute</h1><a id="abs" href="http://localhost:8888/two">abs</a>', '<link rel="stylesheet" href="http://localhost:8888/style.css">'));
      case "slow":
        response.writeHead(200, { "content-type": "text/html" });
        return void response.write('<!doctype html><title>Slow</title><p id="slow">here');
      default:
        return html(page("Missing", "<p>missing</p>"), {}, 404);
    }
  });
  const sockets = new WebSocketServer({ server, handleProtocols: (wanted) => (wanted.has("echo.v2") ? "echo.v2" : false) });
  sockets.on("connection", (socket, request) => {
    seen.push({ method: "WEBSOCKET", url: request.url ?? "", headers: request.headers });
    socket.on("message", (data, isBinary) => {
      if (!isBinary && data.toString() === "bye") socket.close(4001, "as you say");
      else socket.send(data, { binary: isBinary });
    });
  });
  const { port, close } = await listening(server);
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    tell: (text) => {
      for (const stream of streams) stream.write(`data: ${text}\n\n`);
    },
    refuse: (does) => void (refuses = does),
    listeners: () => streams.size,
    written: () => written,
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      await close();
    },
  };
}

function json(response: ServerResponse, body: object): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** Writes bytes as fast as they are taken. */
function pour(response: ServerResponse, size: number, count: (bytes: number) => void): void {
  const chunk = Buffer.alloc(64 * 1024, "couplet.");
  let left = size;
  const go = (): void => {
    while (left > 0) {
      const part = left < chunk.length ? chunk.subarray(0, left) : chunk;
      left -= part.length;
      count(part.length);
      if (!response.write(part)) return void response.once("drain", go);
    }
    response.end();
  };
  go();
}
