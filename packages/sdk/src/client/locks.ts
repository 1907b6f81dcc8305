/**
 * Pages of one origin, which share credentials (Web Locks API). Each page that has a session with a host holds a lock with
 * the others. One whose session made way for another page's waits until none has any, or somebody there wants one: so pages
 * do not take the host's few slots from each other by turns.
 */

/** What is used of `navigator.locks`. */
export interface Locks {
  request(
    name: string,
    options: { readonly mode: "shared" | "exclusive"; readonly signal: AbortSignal },
    held: () => Promise<void>,
  ): Promise<unknown>;
}

/** Those of the browser; null: it has none, or this is none. */
export function browserLocks(): Locks | null {
  const found = (globalThis.navigator as { readonly locks?: Locks } | undefined)?.locks;
  return typeof found?.request === "function" && typeof document === "object" ? found : null;
}

/** Holds the lock with others, until the end is called. */
export function holdWithOthers(locks: Locks | null, name: string): () => void {
  if (locks === null) return () => {};
  const controller = new AbortController();
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  // That it was not held harms nobody.
  const held = async (): Promise<unknown> => locks.request(name, { mode: "shared", signal: controller.signal }, () => ended);
  held().catch(() => {});
  return () => {
    end();
    controller.abort();
  };
}

/** Waits until nobody holds the lock. Rejects when it is called off. */
export async function waitForNone(locks: Locks, name: string, signal: AbortSignal): Promise<void> {
  await locks.request(name, { mode: "exclusive", signal }, async () => {});
}
