/** What is kept of apps in IndexedDB, beside the credentials: their labels, and the jars of their cookies. */
import { newLabel, type JarStorage } from "../bridge/index.js";
import { labelled, type Pairing, type Row } from "./labels.js";

/** Keeps labels and jars. */
export interface AppStore {
  /** The label for this app, made when there is none. Two pages that ask at once get the same. */
  label(pairing: Pairing, app: string | null): Promise<string>;
  /** Where the jar of a label is kept. What is saved for a label that was thrown away is kept by nobody. */
  jar(label: string): JarStorage;
  /** Throws away the labels and jars of a host. */
  forget(host: string): Promise<void>;
  /** Throws away those of all other hosts: what is left of pairings that ended while no page was open. */
  keepOnly(hosts: readonly string[]): Promise<void>;
}

const LABELS = "labels";
const JARS = "jars";

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The two tables of one transaction. */
interface Tables {
  readonly labels: IDBObjectStore;
  readonly jars: IDBObjectStore;
}

/** A store in IndexedDB. Pages of the same origin share it. */
export class IndexedDbAppStore implements AppStore {
  readonly #name: string;
  readonly #onGone: () => void;
  #opened: Promise<IDBDatabase> | null = null;

  /** `onGone`: the browser has taken the database away, as when the user clears what pages have stored. */
  constructor(onGone: () => void, name = "couplet-apps") {
    this.#name = name;
    this.#onGone = onGone;
  }

  label(pairing: Pairing, app: string | null): Promise<string> {
    return this.#change(async ({ labels, jars }) => {
      const kept = await done(labels.get(pairing.host) as IDBRequest<Row | undefined>);
      const { row, label, dropped } = labelled(kept, pairing, app, newLabel);
      labels.put(row);
      for (const one of dropped) jars.delete(one);
      return label;
    });
  }

  jar(label: string): JarStorage {
    return {
      load: () => this.#change(async ({ jars }) => (await done(jars.get(label) as IDBRequest<string | undefined>)) ?? null),
      save: (text) =>
        this.#change(async ({ labels, jars }) => {
          const rows = await done(labels.getAll() as IDBRequest<Row[]>);
          const isKnown = rows.some((row) => Object.values(row.labels).includes(label));
          if (text === null || !isKnown) jars.delete(label);
          else jars.put(text, label);
        }),
    };
  }

  forget(host: string): Promise<void> {
    return this.#change(async (tables) => drop(tables, await done(tables.labels.get(host) as IDBRequest<Row | undefined>)));
  }

  keepOnly(hosts: readonly string[]): Promise<void> {
    return this.#change(async (tables) => {
      const rows = await done(tables.labels.getAll() as IDBRequest<Row[]>);
      for (const row of rows) if (!hosts.includes(row.host)) drop(tables, row);
    });
  }

  /** One transaction: what another page does comes before or after it. */
  async #change<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    const database = await this.#open();
    const transaction = database.transaction([LABELS, JARS], "readwrite", { durability: "strict" });
    const kept = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
    });
    const tables = { labels: transaction.objectStore(LABELS), jars: transaction.objectStore(JARS) };
    const [result] = await Promise.all([work(tables), kept]);
    return result;
  }

  #open(): Promise<IDBDatabase> {
    this.#opened ??= new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(this.#name, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(LABELS, { keyPath: "host" });
        request.result.createObjectStore(JARS);
      };
      request.onsuccess = () => {
        const database = request.result;
        const gone = (): void => {
          this.#opened = null;
          this.#onGone();
        };
        database.onclose = gone;
        database.onversionchange = () => {
          database.close();
          gone();
        };
        resolve(database);
      };
      request.onerror = () => reject(request.error);
    }).catch((cause: unknown) => {
      this.#opened = null;
      throw cause;
    });
    return this.#opened;
  }
}

function drop({ labels, jars }: Tables, row: Row | undefined): void {
  if (row === undefined) return;
  labels.delete(row.host);
  for (const label of Object.values(row.labels)) jars.delete(label);
}
