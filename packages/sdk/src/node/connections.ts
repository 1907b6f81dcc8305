/** Node.js' connections: with authorities of the user's own, which its own `fetch` and WebSocket cannot be told. */
import { request as plain } from "node:http";
import { request as secure } from "node:https";
import { networkInterfaces } from "node:os";
import { rootCertificates } from "node:tls";
import { Readable } from "node:stream";

import type { Fetch } from "../client/environment.js";
import type { Network } from "../client/network.js";
import type { OpenSocket, Socket } from "../client/socket.js";
import { CoupletError } from "../protocol/error.js";
import { FRAME_MAX } from "../protocol/frame.js";

/** How often this machine's addresses are looked at, in milliseconds. */
const LOOK = 2000;

/** `ws`, where it is installed. */
type WebSocketOf = new (url: string, options: Record<string, unknown>) => unknown;

async function load(): Promise<WebSocketOf | null> {
  try {
    return ((await import("ws")) as { readonly WebSocket: WebSocketOf }).WebSocket;
  } catch {
    return null;
  }
}

function authorities(relayCa: string | null): { readonly ca?: string[] } {
  return relayCa === null ? {} : { ca: [...rootCertificates, relayCa] };
}

/** Opens WebSockets with `ws`, or with Node.js' own (22 and newer). */
export async function nodeSockets(): Promise<OpenSocket> {
  const found = await load();
  return (url, relayCa) => {
    if (found !== null) {
      const options = { perMessageDeflate: false, maxPayload: FRAME_MAX, followRedirects: false, ...authorities(relayCa) };
      return new found(url, options) as Socket;
    }
    if (typeof WebSocket === "undefined" || relayCa !== null) {
      const why = relayCa === null ? "This Node.js has no WebSocket" : "Node.js' own WebSocket takes no relay's CA";
      throw new CoupletError("CPL-1601", why, { next: "npm install ws" });
    }
    return new WebSocket(url) as unknown as Socket;
  };
}

/** A request on a connection of its own; no redirect is followed. */
export const nodeFetch: Fetch = (url, init, relayCa) =>
  new Promise((resolve, reject) => {
    const send = url.startsWith("https:") ? secure : plain;
    const signal = init.signal ?? undefined;
    const options = {
      method: init.method ?? "GET",
      headers: Object.fromEntries(new Headers(init.headers)),
      agent: false as const,
      maxHeaderSize: 16 * 1024,
      ...(signal === undefined ? {} : { signal }),
      ...authorities(relayCa),
    };
    const request = send(url, options, (answer) => {
      const headers = new Headers();
      for (let at = 0; at + 1 < answer.rawHeaders.length; at += 2) {
        headers.append(answer.rawHeaders[at] ?? "", answer.rawHeaders[at + 1] ?? "");
      }
      const status = answer.statusCode ?? 0;
      const isBodiless = status < 200 || [204, 205, 304].includes(status);
      if (isBodiless) answer.resume();
      const body = isBodiless ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array<ArrayBuffer>>);
      if (status < 200 || status > 599) return reject(new Error("no status"));
      resolve(new Response(body, { status, headers }));
    });
    request.on("error", reject);
    request.end(init.body as string | undefined);
  });

/** Looks now and then whether this machine has other addresses; where it has none, it waits for the old ones. */
export const nodeNetwork: Network = (changed) => {
  let was = addresses();
  const timer = setInterval(() => {
    const now = addresses();
    if (now === was || now === "") return;
    was = now;
    changed("moved");
  }, LOOK);
  timer.unref();
  return () => clearInterval(timer);
};

function addresses(): string {
  const found = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  // Temporary IPv6 addresses come and go while all is as it was; their network does not.
  const places = found.filter((it) => !it.internal).map((it) => (it.family === "IPv4" ? it.address : prefix(it.address)));
  return [...new Set(places)].sort().join(" ");
}

function prefix(address: string): string {
  return address.split(":").slice(0, 4).join(":");
}
