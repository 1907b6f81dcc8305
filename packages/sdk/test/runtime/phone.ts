/** A phone's app, in a thread that is made like React Native: pairs with the host of the test, whose sockets are in the other one. */
import { randomBytes } from "node:crypto";
import { parentPort, workerData, type MessagePort } from "node:worker_threads";

import type { Socket } from "../../src/index.js";
import { becomeReactNative } from "./react_native.js";

export interface Setting {
  readonly link: string;
  readonly streams: boolean;
}

/** A socket whose other end is in the other thread. */
class FarSocket {
  binaryType = "blob";
  readyState = 0;
  readonly bufferedAmount = 0;
  onopen: ((event: unknown) => void) | null = null;
  onmessage: ((event: unknown) => void) | null = null;
  onerror: ((event: unknown) => void) | null = null;
  onclose: ((event: unknown) => void) | null = null;
  readonly #port: MessagePort;

  constructor(url: string) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1 as unknown as MessagePort;
    parentPort?.postMessage({ url, port: port2 }, [port2 as unknown as MessagePort]);
    this.#port.on("message", ({ kind, event }: { kind: "open" | "message" | "error" | "close"; event: unknown }) => {
      this.readyState = kind === "open" ? 1 : kind === "close" ? 3 : this.readyState;
      this[`on${kind}`]?.(event);
      if (kind === "close") this.#port.close();
    });
  }

  send(message: Uint8Array): void {
    this.#port.postMessage(message);
  }

  close(): void {
    this.#port.postMessage(null);
  }
}

const { link, streams } = workerData as Setting;
becomeReactNative(streams);
const { pair, KeyValueStore } = await import("../../src/index.js");
const { incoming } = await import("../../src/client/body.js");

/** A body of so many pieces of 1 MiB, and what was asked of it. */
function long(pieces: number): { readonly body: Parameters<typeof incoming>[0]; readonly isClosed: () => boolean } {
  const piece = new Uint8Array(1 << 20);
  let [left, isClosed] = [pieces, false];
  const body = { receive: async () => (left-- > 0 ? piece : null), close: () => void (isClosed = true) };
  return { body, isClosed: () => isClosed };
}

async function refusal(work: () => unknown): Promise<string> {
  try {
    await work();
    return "is not refused";
  } catch (error) {
    const { code, name, message } = error as { code?: string; name: string; message: string };
    return `${code ?? name}: ${message}`;
  }
}

const texts = new Map<string, string>();
const host = await pair(link, {
  name: "Phone",
  random: (count) => new Uint8Array(randomBytes(count)),
  openSocket: (url) => new FarSocket(url) as unknown as Socket,
  fetch: () => Promise.reject(new Error("there is no relay")),
  locks: null,
  storage: new KeyValueStore({
    get: async (key) => texts.get(key) ?? null,
    set: async (key, value) => void texts.set(key, value),
    delete: async (key) => void texts.delete(key),
    keys: async () => [...texts.keys()],
  }),
});
const answer = await host.fetch("/notes", { method: "POST", body: "Grüße" });
const sent = await host.fetch(new Request("http://localhost/", { method: "POST", body: "of a Request" }));
const bytes = await host.fetch("/notes", { method: "POST", body: new TextEncoder().encode("ü") });
const [short, tooLong] = [long(64), long(65)];
const whole = await incoming(short.body, (error) => error);
const socket = host.webSocket("/live");
socket.binaryType = "arraybuffer";
const heard = await new Promise((resolve) => {
  socket.onopen = () => socket.send("hello");
  socket.onmessage = ({ data }) => resolve(data);
  socket.onerror = ({ message }) => resolve(message);
});
const told = {
  kind: texts.size,
  text: await answer.text(),
  again: await refusal(() => answer.text()),
  url: answer.url,
  status: answer.status,
  header: answer.headers.get("x-own"),
  request: await sent.text(),
  json: await (await host.fetch("/json")).json(),
  none: await (await host.fetch("/nothing")).text(),
  bytes: [...new Uint8Array(await bytes.arrayBuffer())],
  long: (whole as ArrayBuffer).byteLength,
  tooLong: await refusal(() => incoming(tooLong.body, (error) => error)),
  isClosed: tooLong.isClosed(),
  form: await refusal(() => host.fetch("/", { method: "POST", body: new FormData() })),
  blob: await refusal(() => host.fetch("/", { method: "POST", body: new Blob(["x"]) })),
  heard,
};
await host.close();
parentPort?.postMessage({ told });
