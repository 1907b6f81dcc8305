/** Node.js' connections: with authorities of the user's own, which its own `fetch` and WebSocket cannot be told. */
import { createSocket } from "node:dgram";
import { request as plain, type IncomingMessage } from "node:http";
import { request as secure } from "node:https";
import { rootCertificates } from "node:tls";
import { Readable } from "node:stream";

import type { Fetch } from "../client/environment.js";
import type { Network } from "../client/network.js";
import type { OpenSocket, Socket } from "../client/socket.js";
import { CoupletError } from "../protocol/error.js";
import { FRAME_MAX } from "../protocol/frame.js";

/** How often the way to the network is looked at, in milliseconds. */
const LOOK = 2000;
/** Addresses for documentation (RFC 5737, RFC 3849): the way there is the way to everywhere. */
const EVERYWHERE = [["udp4", "192.0.2.1"], ["udp6", "2001:db8::1"]] as const;

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

/** The first of each version of undici, whose WebSocket Node.js has, that bounds a message (128 MiB). */
const BOUNDED: Partial<Record<number, number>> = { 6: 25, 7: 28, 8: 1 };

function isBounded(undici: string | undefined): boolean {
  const [major = 0, minor = 0] = (undici ?? "").split(".").map(Number);
  // Other runtimes have other WebSockets.
  return undici === undefined || major > 8 || minor >= (BOUNDED[major] ?? Infinity);
}

/** Opens WebSockets with `ws`, or with Node.js' own (22 and newer), where whoever answers cannot fill the memory with it. */
export async function nodeSockets(own = load(), undici = process.versions["undici"]): Promise<OpenSocket> {
  const found = await own;
  return (url, relayCa) => {
    if (found !== null) {
      const options = { perMessageDeflate: false, maxPayload: FRAME_MAX, followRedirects: false, ...authorities(relayCa) };
      return new found(url, options) as Socket;
    }
    if (typeof WebSocket === "undefined" || relayCa !== null) {
      const why = relayCa === null ? "This Node.js has no WebSocket" : "Node.js' own WebSocket takes no relay's CA";
      throw new CoupletError("CPL-1601", why, { next: "npm install ws" });
    }
    if (!isBounded(undici)) {
      const why = "This Node.js' own WebSocket takes messages without a bound";
      throw new CoupletError("CPL-1601", why, { next: "npm install ws, or update Node.js." });
    }
    return new WebSocket(url) as unknown as Socket;
  };
}

/** An answer as `fetch` gives it. Throws for what `fetch` refuses. */
function response(answer: IncomingMessage): Response {
  const headers = new Headers();
  for (let at = 0; at + 1 < answer.rawHeaders.length; at += 2) {
    headers.append(answer.rawHeaders[at] ?? "", answer.rawHeaders[at + 1] ?? "");
  }
  const status = answer.statusCode ?? 0;
  if (status < 200 || status > 599) throw new TypeError("no status");
  const isBodiless = [204, 205, 304].includes(status);
  // What comes all the same is read by nobody.
  if (isBodiless) answer.destroy();
  const body = isBodiless ? null : (Readable.toWeb(answer) as ReadableStream<Uint8Array<ArrayBuffer>>);
  return new Response(body, { status, headers });
}

/** A request on a connection of its own, which ends with it; no redirect is followed. */
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
      try {
        resolve(response(answer));
      } catch (error) {
        request.destroy();
        reject(error as Error);
      }
    });
    request.on("error", reject);
    // Also where it ends without a word, as when the other end changes the protocol.
    request.on("close", () => reject(new Error("the connection was closed")));
    request.end(init.body as string | undefined);
  });

/**
 * Looks now and then which of its own addresses this machine speaks from to others, which sends nothing. Where it has no way
 * at all, the old one is waited for.
 */
export const nodeNetwork: Network = (changed) => {
  let was: string | null = null;
  const look = async (): Promise<void> => {
    const now = (await Promise.all(EVERYWHERE.map(([type, address]) => source(type, address)))).join(" ").trim();
    if (now === "" || now === was) return;
    if (was !== null) changed("moved");
    was = now;
  };
  void look();
  const timer = setInterval(() => void look(), LOOK);
  timer.unref();
  return () => clearInterval(timer);
};

/** The address that this machine speaks from to that one; empty when there is no way. */
function source(type: "udp4" | "udp6", address: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket(type);
    const end = (found: string): void => {
      socket.removeAllListeners();
      socket.on("error", () => {});
      socket.close();
      resolve(found);
    };
    socket.unref();
    socket.on("error", () => end(""));
    socket.on("connect", () => end(socket.address().address));
    socket.connect(9, address);
  });
}
