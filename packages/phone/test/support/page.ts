/** Runs in the client's page of a browser test: pairs, and opens apps, as the client does. */
import { type AppState, newLabel, openApp, type OpenApp } from "../../src/bridge/index.js";
import { type Host, pair } from "../../src/sdk.js";

const jars = new Map<string, string | null>();
const opened = new Map<string, OpenApp>();
const states = new Map<string, AppState[]>();
const leaves: string[] = [];
let host: Host | null = null;
let code = "";

const api = {
  /** Pairs; the check code is to be read meanwhile. */
  async pair(link: string, name: string): Promise<string> {
    // Its own relay is another origin, and the way over the local network would leave it out.
    host = await pair(link, { name, lan: false, onState: (state) => void (code = state.state === "approval" ? state.checkCode : code) });
    return host.name;
  },
  code: () => code,
  label: () => newLabel(),
  open(app: string, label: string, appsOrigin: string, path?: string): void {
    const container = document.getElementById("container");
    if (host === null || container === null) throw new Error("not paired");
    states.set(label, []);
    const jar = {
      load: async () => jars.get(label) ?? null,
      save: async (text: string | null) => void jars.set(label, text),
    };
    const onState = (state: AppState): void => void states.get(label)?.push(state);
    const onLeave = (url: string): void => void leaves.push(url);
    opened.set(label, openApp({ host, app, label, appsOrigin, jar, container, title: app, path, onState, onLeave }));
  },
  states: (label: string) => states.get(label) ?? [],
  state: (label: string) => opened.get(label)?.state,
  jar: (label: string) => jars.get(label) ?? null,
  leaves: () => leaves,
  reload: (label: string) => opened.get(label)?.reload(),
  back: (label: string) => opened.get(label)?.back(),
  close: (label: string) => opened.get(label)?.close(),
  wipe: (label: string) => opened.get(label)?.wipe(),
};

/** What tests call. */
export type PageApi = typeof api;

(window as unknown as { couplet: PageApi }).couplet = api;
