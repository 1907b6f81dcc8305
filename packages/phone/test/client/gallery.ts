/** Runs in the page of tests: shows the client's pages in states that are over too soon, or come too seldom, to be waited for. */
import { h, render } from "preact";

import { App } from "../../src/client/app.js";
import type { Ceremony } from "../../src/client/ceremony.js";
import { Client } from "../../src/client/client.js";
import { Fault } from "../../src/client/fault.js";
import { BEGINNING, type Open, type Shared } from "../../src/client/shared.js";
import { troubleOf } from "../../src/client/trouble.js";
import { CoupletError, MemoryStore, type State } from "../../src/sdk.js";

const never = (): Promise<never> => new Promise(() => {});
const ID = "nnug-2z7a-htp4-vc75";
const link = { text: "", fingerprint: ID.toUpperCase(), expiresAt: 0, places: ["relay relay.example"] };
const asked = { link, name: "Ann’s phone" };
const error = new CoupletError("CPL-1601");
const relay: State = { state: "relay", relay: "relay.example" };
const open: Open = {
  ...{ id: ID, name: "Kitchen", state: relay, me: { device_name: "Ann’s phone", scope: { read_only: true, paths: ["/notes", "/wiki"] } } as unknown as Open["me"] },
  ...{ apps: ["notes", "wiki"], app: "notes", shown: [], trouble: null, leaving: null, isForgetting: false, isGone: false },
};
const hosts = [{ id: ID, name: "Kitchen", fingerprint: ID.toUpperCase(), isUnfinished: false }];

function pairing(ceremony: Ceremony): Partial<Shared> {
  return { route: { at: "pair" }, ceremony };
}

function failed(code: string): Partial<Shared> {
  return pairing({ step: "failed", trouble: troubleOf(new CoupletError(code)), asked });
}

function host(part: Partial<Open>, more: Partial<Shared> = {}): Partial<Shared> {
  return { route: { at: "host", id: ID }, hosts, config: { apps: "https://*.apps.example" }, open: { ...open, ...part }, ...more };
}

/** Every one of them. */
const SCENES = {
  finishing: pairing({ step: "finishing", ...asked, hostName: "Kitchen" }),
  paired: pairing({ step: "paired", hostName: "Kitchen" }),
  "failed-expired": failed("CPL-1801"),
  "failed-unanswered": failed("CPL-1209"),
  "failed-full": failed("CPL-1204"),
  "failed-locked": failed("CPL-1805"),
  "failed-account": failed("CPL-1802"),
  "failed-between": failed("CPL-1821"),
  "failed-handshake": failed("CPL-1701"),
  "failed-busy": failed("CPL-1207"),
  clearing: { isClearing: true },
  forgetting: { hosts, forgetting: ID },
  opening: { route: { at: "host", id: ID }, hosts },
  asking: host({ apps: null, app: undefined }),
  "no-app": host({ apps: [], app: undefined }),
  trouble: host({ trouble: troubleOf(new CoupletError("CPL-1013")) }),
  "relay-away": host({}, { config: null, server: "away" }),
  "over-closed": host({ state: { state: "closed", error } }),
  "over-going": host({ state: { state: "revoked", error } }, { leavings: "going" }),
  "over-left": host({ state: { state: "expired", error }, isGone: true }, { leavings: "left" }),
  leave: host({ leaving: { app: "notes", url: `https://elsewhere.example/${"long/".repeat(40)}` } }),
} satisfies Record<string, Partial<Shared>>;

export type Scene = keyof typeof SCENES | "fault";

const client = new Client({
  storage: new MemoryStore(),
  apps: {
    ...{ label: never, jar: () => ({ load: never, save: never }), forget: async () => {}, keepOnly: async () => {} },
    ...{ leavings: async () => [], cleared: async () => {} },
  },
  given: {},
  device: never,
  config: never,
  isOnline: () => true,
  tick() {},
  turn() {},
  tell() {},
  wipe: never,
  clear: never,
});

function Broken(): never {
  throw new Error("A page of ours fails.");
}

const api = {
  scenes: (): readonly Scene[] => [...(Object.keys(SCENES) as Scene[]), "fault"],
  show(name: Scene): void {
    const root = document.querySelector("div");
    if (root === null) return;
    root.id = "app";
    render(null, root);
    client.cell.set({ ...BEGINNING, ...(name === "fault" ? {} : SCENES[name]) });
    render(h(Fault, null, name === "fault" ? h(Broken, null) : h(App, { client })), root);
  },
};

/** What tests call. */
export type Gallery = typeof api;

for (const [name, fields] of [
  ["meta", { name: "viewport", content: "width=device-width, initial-scale=1" }],
  ["link", { rel: "stylesheet", href: "/p/phone.css" }],
] as const) {
  document.head.append(Object.assign(document.createElement(name), fields));
}
(window as unknown as { gallery: Gallery }).gallery = api;
