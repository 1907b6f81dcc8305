/** The pages' worker, which lets them open without a network: an update takes over before a page begins, never under one. */

/** How long an update may take to take over, in milliseconds; after that the page begins as it is. */
const TAKE_OVER = 2000;

/**
 * When an update waits and no other tab is open, it takes over now. Resolves with whether the page is to be loaded again by
 * it; to be called before anything else, as the link in the address must survive that.
 */
export async function takeOver(workers: ServiceWorkerContainer | undefined): Promise<boolean> {
  const registration = await workers?.getRegistration("/p").catch(() => undefined);
  const waiting = registration?.waiting ?? null;
  if (workers === undefined || waiting === null || workers.controller === null) return false;
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), TAKE_OVER);
    const channel = new MessageChannel();
    // It says no where other tabs are open, and yes before it becomes the one.
    channel.port1.onmessage = ({ data }) => {
      if (data === "no") {
        clearTimeout(timer);
        resolve(false);
      }
    };
    workers.addEventListener(
      "controllerchange",
      () => {
        clearTimeout(timer);
        resolve(true);
      },
      { once: true },
    );
    waiting.postMessage("take over", [channel.port2]);
  });
}

/** Keeps the pages on this device. That it cannot be harms nobody: they are then loaded each time. */
export async function install(workers: ServiceWorkerContainer | undefined): Promise<void> {
  await workers?.register("/p/worker.js", { scope: "/p", updateViaCache: "none" }).catch(() => {});
}
