/** An app that means harm. What it tries is in its test; it only needs pages to do it from. */
import { createServer } from "node:http";
import { listening } from "../support/listen.js";
import type { Seen } from "./notes.js";

/** An app that runs. */
export interface Hostile {
  readonly url: string;
  readonly seen: Seen[];
  close(): Promise<void>;
}

/** Starts it. Each of its pages has a cookie that scripts may not see. */
export async function startHostile(): Promise<Hostile> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    seen.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    const path = request.url ?? "";
    if (path.endsWith(".js")) {
      // It would answer everything itself, and tell all of it.
      return void response.writeHead(200, { "content-type": "text/javascript", "service-worker-allowed": "/" }).end("onfetch = () => {};");
    }
    response.writeHead(200, {
      "content-type": "text/html",
      "content-security-policy": "frame-ancestors *",
      "clear-site-data": '"*"',
      "service-worker-allowed": "/",
      "set-cookie": ["secret=hidden; HttpOnly; Path=/", "wide=1; Domain=localhost; Path=/"],
      refresh: "9999",
    });
    response.end(`<!doctype html><title>${"Your bank ".repeat(100)}</title><p>hostile</p>`);
  });
  const { port, close } = await listening(server);
  return { url: `http://127.0.0.1:${port}`, seen, close };
}
