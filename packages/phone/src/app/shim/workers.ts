/** An app has no service worker here: the place is taken. It is told so, and does not see the one that is there. */
import { texts } from "../texts.js";

/** Changes the page's `navigator.serviceWorker`. */
export function installWorkers(container: ServiceWorkerContainer): void {
  const refused = (): Promise<never> => Promise.reject(new DOMException(texts.noWorkers, "SecurityError"));
  const never = new Promise<never>(() => {});
  const set = (name: string, descriptor: PropertyDescriptor): void => {
    Object.defineProperty(container, name, { configurable: true, enumerable: true, ...descriptor });
  };
  set("controller", { get: () => null });
  // It resolves for those alone who have one.
  set("ready", { get: () => never });
  set("register", { value: refused });
  set("getRegistration", { value: () => Promise.resolve(undefined) });
  set("getRegistrations", { value: () => Promise.resolve([]) });
}
