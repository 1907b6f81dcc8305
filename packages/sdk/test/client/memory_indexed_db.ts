/** IndexedDB in memory, as far as the store uses it: one transaction after the other, each as long as it has requests. */

type Data = Map<string, Map<string, unknown>>;

class Request<T> {
  result!: T;
  error: unknown = null;
  onsuccess: ((event: { target: Request<T> }) => void) | null = null;
  onerror: (() => void) | null = null;
  onupgradeneeded: (() => void) | null = null;
}

/** Once everything has happened that follows from what was called last. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class Transaction {
  oncomplete: (() => void) | null = null;
  onabort: (() => void) | null = null;
  onerror: (() => void) | null = null;
  error: unknown = null;
  readonly #data: Data;
  readonly #waiting: (() => void)[] = [];
  #isOver = false;

  constructor(data: Data) {
    this.#data = data;
  }

  async run(): Promise<void> {
    for (await turn(); this.#waiting.length > 0; await turn()) this.#waiting.shift()?.();
    this.#isOver = true;
    this.oncomplete?.();
  }

  objectStore(name: string) {
    const rows = this.#data.get(name) ?? new Map<string, unknown>();
    const sorted = (): string[] => [...rows.keys()].sort();
    const ask = <T>(work: () => T): Request<T> => {
      if (this.#isOver) throw new DOMException("the transaction is over", "TransactionInactiveError");
      const request = new Request<T>();
      this.#waiting.push(() => {
        request.result = work();
        request.onsuccess?.({ target: request });
      });
      return request;
    };
    return {
      get: (key: string) => ask(() => structuredClone(rows.get(key))),
      getAll: () => ask(() => sorted().map((key) => structuredClone(rows.get(key)))),
      getAllKeys: () => ask(sorted),
      count: (key: string) => ask(() => Number(rows.has(key))),
      put: (value: unknown, key: string) => ask(() => void rows.set(key, structuredClone(value))),
      delete: (key: string) => ask(() => void rows.delete(key)),
    };
  }
}

/** Takes the place of `indexedDB` while a test runs; what stands in its tables is there to be looked at and changed. */
export class MemoryIndexedDb {
  readonly data: Data = new Map();
  #last: Promise<void> = Promise.resolve();

  /** The rows of a table. */
  table(name: string): Map<string, unknown> {
    const table = this.data.get(name) ?? new Map<string, unknown>();
    this.data.set(name, table);
    return table;
  }

  /** As the global has it. */
  get factory(): IDBFactory {
    const database = {
      createObjectStore: (name: string) => this.table(name),
      transaction: (): Transaction => {
        const transaction = new Transaction(this.data);
        this.#last = this.#last.then(() => transaction.run());
        return transaction;
      },
    };
    const open = (): Request<typeof database> => {
      const request = new Request<typeof database>();
      setImmediate(() => {
        request.result = database;
        if (this.data.size === 0) request.onupgradeneeded?.();
        request.onsuccess?.({ target: request });
      });
      return request;
    };
    return { open } as unknown as IDBFactory;
  }
}
