/** Runs in the client's page of a browser test: pairs, and opens apps, as the client does. */
import { type AppState, newLabel, openApp, type OpenApp, wipeApp } from "../../src/bridge/index.js";
import { CoupletError, type Host, pair } from "../../src/sdk.js";

const opened = new Map<string, OpenApp>();
const states = new Map<string, AppState[]>();
const leaves: string[] = [];
/** Whether questions about leaving stay open. */
let asks = false;
/** Whether the next jar that is asked for never comes. */
let holds = false;
let host: Host | null = null;
let code = "";
/** What becomes of what apps ask for: it goes to the host, is refused, or waits for ever. */
let way: "host" | "refused" | "nowhere" = "host";

/** The host, as long as nothing is in the way. */
function guarded(its: Host): Host {
  const fetch: Host["fetch"] = async (input, init) => {
    if (way === "refused") throw new CoupletError("CPL-1601", "Another tab has the host");
    return way === "nowhere" ? new Promise<Response>(() => {}) : its.fetch(input, init);
  };
  return new Proxy(its, {
    get(target, key) {
      const value: unknown = key === "fetch" ? fetch : Reflect.get(target, key, target);
      return typeof value === "function" && key !== "fetch" ? (value.bind(target) as unknown) : value;
    },
  });
}

function container(): HTMLElement {
  const found = document.getElementById("container");
  if (found === null) throw new Error("there is no container");
  return found;
}

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
    if (host === null) throw new Error("not paired");
    states.set(label, []);
    const jar = {
      load: async () => {
        const isHeld = holds;
        holds = false;
        return isHeld ? new Promise<null>(() => {}) : localStorage.getItem(label);
      },
      save: async (text: string) => localStorage.setItem(label, text),
    };
    const onState = (state: AppState): void => void states.get(label)?.push(state);
    const onLeave = (url: string): void | Promise<void> => {
      leaves.push(url);
      if (asks) return new Promise<void>(() => {});
    };
    opened.set(label, openApp({ host: guarded(host), app, label, appsOrigin, jar, container: container(), title: app, path, onState, onLeave }));
  },
  states: (label: string) => states.get(label) ?? [],
  state: (label: string) => opened.get(label)?.state,
  leaves: () => leaves,
  asks: (does: boolean) => void (asks = does),
  reload: (label: string) => opened.get(label)?.reload(),
  back: (label: string) => opened.get(label)?.back(),
  close: (label: string) => opened.get(label)?.close(),
  wipeApp: (label: string, appsOrigin: string) => wipeApp({ label, appsOrigin, container: container() }),
  holdsJar: () => void (holds = true),
  leads: (to: typeof way) => void (way = to),
};

/** What tests call. */
export type PageApi = typeof api;

(window as unknown as { couplet: PageApi }).couplet = api;
