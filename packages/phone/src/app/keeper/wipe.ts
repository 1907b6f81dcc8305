/** Takes away everything that scripts of an origin can store. */

/** Resolves with whether nothing is left. */
export async function wipe(container: ServiceWorkerContainer | undefined): Promise<boolean> {
  const parts = [storages(), databases(), cached(), files(), buckets(), cookies(), workers(container)];
  const done = await Promise.all(parts.map((part) => part.catch(() => false)));
  return done.every(Boolean);
}

async function storages(): Promise<boolean> {
  localStorage.clear();
  sessionStorage.clear();
  return localStorage.length + sessionStorage.length === 0;
}

async function databases(): Promise<boolean> {
  const all = await indexedDB.databases();
  const deleted = all.map(({ name = "" }) => {
    return new Promise<void>((resolve, reject) => {
      const request = indexedDB.deleteDatabase(name);
      request.onsuccess = () => resolve();
      request.onerror = () => reject(request.error);
    });
  });
  await Promise.all(deleted);
  return (await indexedDB.databases()).length === 0;
}

async function cached(): Promise<boolean> {
  const names = await caches.keys();
  await Promise.all(names.map((name) => caches.delete(name)));
  return (await caches.keys()).length === 0;
}

/** What of the origin's own folder is not typed yet: its names. */
interface Folder extends FileSystemDirectoryHandle {
  keys(): AsyncIterableIterator<string>;
}

async function files(): Promise<boolean> {
  const storage = navigator.storage as StorageManager | undefined;
  if (storage?.getDirectory === undefined) return true;
  const folder = (await storage.getDirectory()) as Folder;
  for await (const name of folder.keys()) await folder.removeEntry(name, { recursive: true });
  for await (const _ of folder.keys()) return false;
  return true;
}

/** Where there are several, each has databases, caches and files of its own (Storage Buckets). */
async function buckets(): Promise<boolean> {
  type Buckets = { keys(): Promise<readonly string[]>; delete(name: string): Promise<void> };
  const { storageBuckets } = navigator as { readonly storageBuckets?: Buckets };
  if (storageBuckets === undefined) return true;
  await Promise.all((await storageBuckets.keys()).map((name) => storageBuckets.delete(name)));
  return (await storageBuckets.keys()).length === 0;
}

interface Cookie {
  readonly name?: string;
  readonly domain?: string | null;
  readonly path?: string;
}

/** Cookies of the browser's own, which go nowhere, but stay. Those of paths that nobody can name here are not seen. */
async function cookies(): Promise<boolean> {
  const { cookieStore } = window as unknown as { readonly cookieStore?: { getAll(): Promise<readonly Cookie[]> } };
  const seen = async (): Promise<readonly Cookie[]> => {
    if (cookieStore !== undefined) return cookieStore.getAll();
    const names = document.cookie === "" ? [] : document.cookie.split("; ").map((cookie) => cookie.split("=", 1)[0] ?? "");
    return names.flatMap((name) => ["/", "/.couplet", "/.couplet/"].map((path) => ({ name, path })));
  };
  for (const { name = "", domain = null, path = "/" } of await seen()) {
    const over = `${name}=x; Max-Age=0; Path=${path}${domain === null ? "" : `; Domain=${domain}`}`;
    // As it was set: a browser takes the one for another than the other, or refuses it here.
    for (const kind of ["", "; Secure; SameSite=None", "; Secure; SameSite=None; Partitioned"]) document.cookie = over + kind;
  }
  return (await seen()).length === 0;
}

/** They end with the last page that they answer for. */
async function workers(container: ServiceWorkerContainer | undefined): Promise<boolean> {
  const registrations = (await container?.getRegistrations()) ?? [];
  return (await Promise.all(registrations.map((registration) => registration.unregister()))).every(Boolean);
}
