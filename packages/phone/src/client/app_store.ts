/**
 * What is kept of apps in IndexedDB, beside the credentials: their labels, the jars of their cookies, and the labels that were
 * thrown away, until what their origins hold is removed.
 */
import { newLabel, type JarStorage } from "../bridge/index.js";
import { labelled, type Pairing, type Row } from "./labels.js";

/** Keeps labels and jars. */
export interface AppStore {
  /** The label for this app, made when there is none. Two pages that ask at once get the same. */
  label(pairing: Pairing, app: string | null): Promise<string>;
  /** Where the jar of a label is kept. What is saved for a label that was thrown away is kept by nobody. */
  jar(label: string): JarStorage;
  /**
   * Throws away the labels and jars of a host, or of one pairing with it; those of all hosts when none is named. `open`: labels
   * whose apps were open until now, and may have stored something since another page threw them away.
   */
  forget(of?: Ended, open?: readonly string[]): Promise<void>;
  /**
   * Throws away those of hosts that are not paired any more: what is left of pairings that ended while no page was open.
   * `paired` is asked after it was looked what there is, so that a pairing of another tab is not taken for one that ended.
   */
  keepOnly(paired: () => Promise<readonly string[]>): Promise<void>;
  /** Labels that were thrown away, whose origins may still hold what apps have stored. */
  leavings(): Promise<readonly string[]>;
  /** An origin holds nothing any more. */
  cleared(label: string): Promise<void>;
}

/** What has ended: every pairing with a host, or that of one device alone. */
export type Ended = Pick<Pairing, "host"> & Partial<Pairing>;

const LABELS = "labels";
const JARS = "jars";
const LEAVINGS = "leavings";

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The tables of one transaction. */
interface Tables {
  readonly labels: IDBObjectStore;
  readonly jars: IDBObjectStore;
  readonly leavings: IDBObjectStore;
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
    return this.#change(async (tables) => {
      const kept = await done(tables.labels.get(pairing.host) as IDBRequest<Row | undefined>);
      const { row, label, dropped } = labelled(kept, pairing, app, newLabel);
      tables.labels.put(row);
      throwAway(tables, dropped);
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
          if (isKnown) jars.put(text, label);
          else jars.delete(label);
        }),
    };
  }

  forget(of?: Ended, open: readonly string[] = []): Promise<void> {
    const isOver = ({ host, device }: Row): boolean => of === undefined || (of.host === host && (of.device ?? device) === device);
    return this.#change(async (tables) => {
      throwAway(tables, open);
      const rows = await done(tables.labels.getAll() as IDBRequest<Row[]>);
      for (const row of rows) if (isOver(row)) drop(tables, row);
    });
  }

  async keepOnly(paired: () => Promise<readonly string[]>): Promise<void> {
    const before = await this.#change(({ labels }) => done(labels.getAll() as IDBRequest<Row[]>));
    const hosts = await paired();
    const ended = before.filter(({ host }) => !hosts.includes(host));
    if (ended.length === 0) return;
    await this.#change(async (tables) => {
      for (const { host, device } of ended) {
        const row = await done(tables.labels.get(host) as IDBRequest<Row | undefined>);
        // Another device: it was paired anew meanwhile.
        if (row?.device === device) drop(tables, row);
      }
    });
  }

  leavings(): Promise<readonly string[]> {
    return this.#change(({ leavings }) => done(leavings.getAllKeys() as IDBRequest<string[]>));
  }

  cleared(label: string): Promise<void> {
    return this.#change(async ({ leavings }) => void leavings.delete(label));
  }

  /** One transaction: what another page does comes before or after it. */
  async #change<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    const database = await this.#open();
    const transaction = database.transaction([LABELS, JARS, LEAVINGS], "readwrite", { durability: "strict" });
    const kept = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
    });
    const tables = {
      labels: transaction.objectStore(LABELS),
      jars: transaction.objectStore(JARS),
      leavings: transaction.objectStore(LEAVINGS),
    };
    const [result] = await Promise.all([work(tables), kept]);
    return result;
  }

  #open(): Promise<IDBDatabase> {
    this.#opened ??= new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(this.#name, 2);
      // What an earlier version has kept stays.
      request.onupgradeneeded = () => {
        const { objectStoreNames: there } = request.result;
        if (!there.contains(LABELS)) request.result.createObjectStore(LABELS, { keyPath: "host" });
        if (!there.contains(JARS)) request.result.createObjectStore(JARS);
        if (!there.contains(LEAVINGS)) request.result.createObjectStore(LEAVINGS);
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

function drop(tables: Tables, row: Row): void {
  tables.labels.delete(row.host);
  throwAway(tables, Object.values(row.labels));
}

function throwAway({ jars, leavings }: Tables, labels: readonly string[]): void {
  for (const label of labels) {
    jars.delete(label);
    leavings.put(true, label);
  }
}
