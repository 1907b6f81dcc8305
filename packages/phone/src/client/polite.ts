/**
 * A host as apps are given it: while another tab has the session, what an app asks for by itself, as pages that poll do, is
 * refused at once. Each such request would take the session back, and the tabs would have it by turns for ever.
 */
import { CoupletError, CoupletWebSocket, type Host } from "../sdk.js";
import { isElsewhere } from "./status.js";
import { texts } from "./texts.js";

function refusal(host: Host): CoupletError {
  return new CoupletError("CPL-1601", texts.host.elsewhere(host.name), { next: texts.host.elsewhereNext });
}

/** The same host, for apps. */
export function polite(host: Host): Host {
  const fetch: Host["fetch"] = async (input, init) => {
    if (isElsewhere(host.state)) throw refusal(host);
    return host.fetch(input, init);
  };
  const webSocket: Host["webSocket"] = (path, protocols, init) => {
    if (!isElsewhere(host.state)) return host.webSocket(path, protocols, init);
    const random = (length: number): Uint8Array<ArrayBuffer> => crypto.getRandomValues(new Uint8Array(length));
    return new CoupletWebSocket({ url: String(path), protocols: [], opened: Promise.reject(refusal(host)), abort: () => {}, random });
  };
  return new Proxy(host, {
    get(target, key) {
      if (key === "fetch") return fetch;
      if (key === "webSocket") return webSocket;
      const value: unknown = Reflect.get(target, key, target);
      // Its private fields are its own.
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}
