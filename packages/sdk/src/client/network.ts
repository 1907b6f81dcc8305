/** Noticing that this device has another way to the network, or was asleep. */

/**
 * What happened. `moved`: it has another way to the network. `woke`: it may have been asleep, and connections may be dead
 * without having ended.
 */
export type Change = "moved" | "woke";

/** Calls whenever something happened. Returns what ends that. */
export type Network = (changed: (change: Change) => void) => () => void;

/** Watches, where it can be: without news of the network a session comes back a little later, and no more than that. */
export function watched(network: Network, changed: (change: Change) => void): () => void {
  try {
    const end = network(changed);
    return () => {
      try {
        end();
      } catch {
        // It is not listened to any more.
      }
    };
  } catch {
    return () => {};
  }
}

/** The events of browsers; elsewhere none. */
export const browserNetwork: Network = (changed) => {
  const moved = (): void => changed("moved");
  const woke = (): void => {
    if (document.visibilityState === "visible") changed("woke");
  };
  const isPage = typeof window === "object" && typeof window.addEventListener === "function";
  const isSeen = typeof document === "object" && typeof document.addEventListener === "function";
  if (isPage) window.addEventListener("online", moved);
  if (isSeen) document.addEventListener("visibilitychange", woke);
  return () => {
    if (isPage) window.removeEventListener("online", moved);
    if (isSeen) document.removeEventListener("visibilitychange", woke);
  };
};
