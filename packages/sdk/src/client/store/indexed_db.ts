/**
 * Credentials in a browser's IndexedDB.
 *
 * The device key is one that WebCrypto holds and gives to nobody, where it knows X25519. The other secrets, and the device
 * key where it does not, are encrypted with AES-GCM under a key that WebCrypto holds as well: a copy of the browser's files
 * or a database that was read out does not have them. The name that they stand under is bound to them. Code that runs in
 * the page can use them while it runs: that no page can prevent. A page that is no secure context (http, from another
 * machine) has no WebCrypto: there, they lie in the database as they are.
 */
import { same, utf8 } from "../../protocol/bytes.js";
import { CoupletError } from "../../protocol/error.js";
import { WebKey, type StaticKey } from "../../protocol/identity.js";
import { hostOf, listed, loaded, saving, type CredentialStore, type Unusable } from "../store.js";
import { ofHost, storedHost, type HeldKey, type StoredCredentials } from "./form.js";

const STORE = "credentials";
const KEYS = "keys";
const WRAPPING = "wrapping";
const PROBE = "probe";
const PENDING = ".pending";

/** One stored pairing. */
interface Row {
  readonly host: string;
  readonly isPending: boolean;
  /** Which pairing it is of; no secret. Rows of an earlier version have none until they are read. */
  readonly pskId?: string;
  /** Absent: it stands in `sealed` with the rest. */
  readonly deviceKey?: HeldKey;
  /** AES-GCM of the rest as JSON, with the row's name as associated data; or the rest itself, where there is no WebCrypto. */
  readonly sealed: { readonly iv: Uint8Array<ArrayBuffer>; readonly bytes: ArrayBuffer } | StoredCredentials;
}

/** A row, and the name that it stands under. */
interface Named {
  readonly name: string;
  readonly row: Row;
}

/** What a request to the database comes to. */
function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The end of a transaction: what it wrote is kept. */
function kept(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
    transaction.onerror = () => reject(transaction.error);
  });
}

/** A store in IndexedDB. Pages of the same origin share it. */
export class IndexedDbStore implements CredentialStore {
  readonly #name: string;
  #opened: Promise<IDBDatabase> | null = null;

  /** `name`: of the database. Two apps at one origin take two. */
  constructor(name = "couplet") {
    this.#name = name;
  }

  async list(unusable?: Unusable): Promise<readonly StoredCredentials[]> {
    const database = await this.#open();
    const rows = database.transaction(STORE).objectStore(STORE);
    const [names, all] = await Promise.all([done(rows.getAllKeys()), done<Row[]>(rows.getAll())]);
    const found = all.map((row, at) => ({ name: String(names[at]), row }));
    return listed(await this.#read(database, found), unusable);
  }

  async load(host: string): Promise<readonly StoredCredentials[]> {
    const database = await this.#open();
    const rows = database.transaction(STORE).objectStore(STORE);
    const named = async (name: string): Promise<Named[]> => {
      const row = await done<Row | undefined>(rows.get(name));
      return row === undefined ? [] : [{ name, row }];
    };
    const found = await Promise.all([host + PENDING, host].map(named));
    return loaded(await this.#read(database, found.flat()));
  }

  async save(credentials: StoredCredentials, news = false): Promise<void> {
    const database = await this.#open();
    const host = storedHost(credentials);
    const name = credentials.paired_at === undefined ? host + PENDING : host;
    const row = await this.#row(database, name, credentials);
    const transaction = database.transaction(STORE, "readwrite", { durability: "strict" });
    const rows = transaction.objectStore(STORE);
    // In one transaction: another page may have written there since it was looked at.
    const [pending = null, finished = null] = await Promise.all([host + PENDING, host].map((key) => pskId(rows, key)));
    const { isKept, ends } = saving(credentials, news, [pending, finished]);
    if (isKept) rows.put(row, name);
    if (isKept && ends) rows.delete(host + PENDING);
    await kept(transaction);
  }

  async drop(credentials: StoredCredentials): Promise<boolean> {
    const database = await this.#open();
    const name = storedHost(credentials) + PENDING;
    const transaction = database.transaction(STORE, "readwrite", { durability: "strict" });
    const rows = transaction.objectStore(STORE);
    const isThere = (await pskId(rows, name)) === credentials.psk_id;
    if (isThere) rows.delete(name);
    await kept(transaction);
    return isThere;
  }

  async remove(host: string): Promise<boolean> {
    const database = await this.#open();
    const transaction = database.transaction(STORE, "readwrite", { durability: "strict" });
    const rows = transaction.objectStore(STORE);
    const keys = [host + PENDING, host];
    const counts = Promise.all(keys.map((key) => done(rows.count(key))));
    for (const key of keys) rows.delete(key);
    await kept(transaction);
    return (await counts).some((count) => count > 0);
  }

  /** A key that WebCrypto holds, where it can, and where the database takes such keys. */
  async makeKey(): Promise<StaticKey | null> {
    const key = await WebKey.generate();
    if (key === null) return null;
    const database = await this.#open();
    try {
      const transaction = database.transaction(KEYS, "readwrite");
      const keys = transaction.objectStore(KEYS);
      keys.put(key.pair, PROBE);
      keys.delete(PROBE);
      await kept(transaction);
      return key;
    } catch {
      return null;
    }
  }

  /** Opened once; anew after it was closed under us, as when the user clears what the page has stored. */
  #open(): Promise<IDBDatabase> {
    this.#opened ??= new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(this.#name, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(STORE);
        request.result.createObjectStore(KEYS);
      };
      request.onsuccess = () => {
        const database = request.result;
        database.onclose = () => this.#forget();
        database.onversionchange = () => {
          database.close();
          this.#forget();
        };
        resolve(database);
      };
      request.onerror = () => reject(request.error);
      request.onblocked = () => reject(new CoupletError("CPL-1607", "another page holds what is stored"));
    }).catch((cause: unknown) => {
      this.#forget();
      throw cause;
    });
    return this.#opened;
  }

  #forget(): void {
    this.#opened = null;
  }

  /** The key that the rest is encrypted under: made once, never to be read. null: there is no WebCrypto. */
  async #wrapping(database: IDBDatabase): Promise<CryptoKey | null> {
    const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined;
    if (subtle === undefined) return null;
    const there = await done<CryptoKey | undefined>(database.transaction(KEYS).objectStore(KEYS).get(WRAPPING));
    if (there !== undefined) return there;
    const made = await subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
    const transaction = database.transaction(KEYS, "readwrite", { durability: "strict" });
    const keys = transaction.objectStore(KEYS);
    // Another page may have been faster: the first counts.
    const first = done<CryptoKey | undefined>(keys.get(WRAPPING)).then((other) => {
      if (other === undefined) keys.put(made, WRAPPING);
      return other ?? made;
    });
    await kept(transaction);
    return first;
  }

  /** What is written under this name. */
  async #row(database: IDBDatabase, name: string, credentials: StoredCredentials): Promise<Row> {
    const { device_key: key, psk_id, paired_at } = credentials;
    const held = typeof key === "string" ? null : key;
    const sealed = await this.#seal(database, name, held === null ? credentials : { ...credentials, device_key: "" });
    return { host: hostOf(name), isPending: paired_at === undefined, pskId: psk_id, ...(held === null ? {} : { deviceKey: held }), sealed };
  }

  async #seal(database: IDBDatabase, name: string, credentials: StoredCredentials): Promise<Row["sealed"]> {
    const key = await this.#wrapping(database);
    if (key === null) return credentials;
    const iv = crypto.getRandomValues(new Uint8Array(12));
    const text = utf8(JSON.stringify(credentials));
    const bytes = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: utf8(name) }, key, text);
    text.fill(0);
    return { iv, bytes };
  }

  async #read(database: IDBDatabase, found: readonly Named[]): Promise<PromiseSettledResult<StoredCredentials>[]> {
    const key = found.length > 0 ? await this.#wrapping(database) : null;
    return Promise.allSettled(found.map((one) => this.#unseal(database, one, key)));
  }

  async #unseal(database: IDBDatabase, { name, row }: Named, key: CryptoKey | null): Promise<StoredCredentials> {
    const host = hostOf(name);
    const bound = await opened(row, key, name).catch(() => null);
    if (bound !== null) return ofHost(bound, host);
    const form = await opened(row, key, null).catch((cause: unknown) => {
      throw new CoupletError("CPL-1607", `the stored credentials of the host ${host} are damaged`, { cause });
    });
    ofHost(form, host);
    // It is as good as before where it cannot be written.
    await this.#renew(database, { name, row }, form).catch(() => {});
    return form;
  }

  /** Binds its name to what an earlier version sealed without it, unless another page has written there since. */
  async #renew(database: IDBDatabase, { name, row }: Named, form: StoredCredentials): Promise<void> {
    const renewed = await this.#row(database, name, form);
    const transaction = database.transaction(STORE, "readwrite", { durability: "strict" });
    const rows = transaction.objectStore(STORE);
    const now = await done<Row | undefined>(rows.get(name));
    if (now !== undefined && isSameSeal(now, row)) rows.put(renewed, name);
    await kept(transaction);
  }
}

/** Which pairing stands there. */
async function pskId(rows: IDBObjectStore, name: string): Promise<string | null> {
  const row = await done<Row | undefined>(rows.get(name));
  if (row === undefined) return null;
  return row.pskId ?? ("iv" in row.sealed ? null : row.sealed.psk_id);
}

/** What a row holds; sealed under its name, or, by an earlier version, under none. */
async function opened({ sealed, deviceKey }: Row, key: CryptoKey | null, name: string | null): Promise<StoredCredentials> {
  if (!("iv" in sealed)) return sealed;
  if (key === null) throw new Error("no WebCrypto");
  const how = { name: "AES-GCM", iv: sealed.iv, ...(name === null ? {} : { additionalData: utf8(name) }) };
  const text = new Uint8Array(await crypto.subtle.decrypt(how, key, sealed.bytes));
  const read = JSON.parse(new TextDecoder().decode(text)) as StoredCredentials;
  text.fill(0);
  return deviceKey === undefined ? read : { ...read, device_key: deviceKey };
}

function isSameSeal({ sealed: one }: Row, { sealed: other }: Row): boolean {
  return "iv" in one && "iv" in other && same(one.iv, other.iv);
}
