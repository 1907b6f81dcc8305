/** Where credentials are kept. */
import { CoupletError } from "../protocol/error.js";
import { StaticSecret, type StaticKey } from "../protocol/identity.js";
import { fresh, type Random } from "../protocol/secret.js";
import { ofHost, storedHost, type StoredCredentials } from "./store/form.js";

export type { HeldKey, StoredCredentials } from "./store/form.js";

/**
 * Keeps the credentials of each host. For one host there may be two: those of a finished pairing (`paired_at` is there), and
 * those of one that was granted and not finished. Any method may reject: what cannot be kept is then an error of who asked.
 */
export interface CredentialStore {
  /**
   * All that there are. What cannot be read is told to `unusable`, stays where it is, and hides none of the others; where
   * nobody wants to know, it is an error.
   */
  list(unusable?: Unusable): Promise<readonly StoredCredentials[]>;
  /** Those of one host that can be read, unfinished ones first; none for an unknown host. Rejects when none of several can. */
  load(host: string): Promise<readonly StoredCredentials[]>;
  /**
   * Keeps them, wholly or not at all. Finished ones replace the finished, and the unfinished of the same pairing (`psk_id`);
   * unfinished ones leave the finished alone, as those still work when the new pairing comes to nothing. `news`: they are
   * news of a pairing that was there a moment ago. They are kept only if it still is, so that what was forgotten meanwhile
   * stays forgotten, and another pairing that took its place stays there.
   */
  save(credentials: StoredCredentials, news?: boolean): Promise<void>;
  /** Forgets unfinished ones, if those that stand there are of the same pairing. Resolves with whether they are. */
  drop(credentials: StoredCredentials): Promise<boolean>;
  /** Forgets a host, both. Resolves with whether it was known. */
  remove(host: string): Promise<boolean>;
  /** Makes a device key, where the store can keep a better one than bytes. */
  makeKey?(): Promise<StaticKey | null>;
}

/** Is told of stored credentials that cannot be used: `message` says which. */
export type Unusable = (error: CoupletError) => void;

/** Texts under keys, as keychains, key stores and files keep them: all that {@link KeyValueStore} needs. */
export interface KeyValue {
  get(key: string): Promise<string | null>;
  set(key: string, value: string): Promise<void>;
  delete(key: string): Promise<void>;
  /** All keys that there are; others than ours are passed over. */
  keys(): Promise<readonly string[]>;
}

/** In front of each of our keys. Keychains of React Native take letters, digits, `.`, `-` and `_`. */
const PREFIX = "couplet.";
const PENDING = ".pending";
/** The longest text that is looked at. */
const TEXT_MAX = 64 * 1024;

/** A store of texts under keys. */
export class KeyValueStore implements CredentialStore {
  readonly #texts: KeyValue;

  constructor(texts: KeyValue) {
    this.#texts = texts;
  }

  async list(unusable?: Unusable): Promise<readonly StoredCredentials[]> {
    const keys = (await this.#texts.keys()).filter((key) => key.startsWith(PREFIX));
    return listed(await Promise.allSettled(keys.map((key) => this.#read(key, hostOf(key.slice(PREFIX.length))))), unusable);
  }

  async load(host: string): Promise<readonly StoredCredentials[]> {
    return loaded(await Promise.allSettled([PENDING, ""].map((end) => this.#read(PREFIX + host + end, host))));
  }

  async save(credentials: StoredCredentials, news = false): Promise<void> {
    const host = storedHost(credentials);
    const [pending, finished] = [PREFIX + host + PENDING, PREFIX + host];
    const there = await Promise.all([pending, finished].map((key) => this.#pskId(key, host)));
    const { isKept, ends } = saving(credentials, news, there);
    if (!isKept) return;
    await this.#texts.set(credentials.paired_at === undefined ? pending : finished, JSON.stringify(credentials));
    if (ends) await this.#texts.delete(pending);
  }

  async drop(credentials: StoredCredentials): Promise<boolean> {
    const host = storedHost(credentials);
    const key = PREFIX + host + PENDING;
    const isThere = (await this.#pskId(key, host)) === credentials.psk_id;
    if (isThere) await this.#texts.delete(key);
    return isThere;
  }

  async remove(host: string): Promise<boolean> {
    const keys = [PENDING, ""].map((end) => PREFIX + host + end);
    // Also what cannot be read.
    const known = await Promise.all(keys.map((key) => this.#texts.get(key)));
    // Both, whatever becomes of the first.
    const ended = await Promise.allSettled(keys.map((key) => this.#texts.delete(key)));
    for (const one of ended) if (one.status === "rejected") throw one.reason;
    return known.some((text) => text !== null);
  }

  /** Of what can be read. */
  async #pskId(key: string, host: string): Promise<string | null> {
    return (await this.#read(key, host).catch(() => null))?.psk_id ?? null;
  }

  async #read(key: string, host: string): Promise<StoredCredentials | null> {
    const text = await this.#texts.get(key);
    return text === null ? null : ofHost(parsed(key, text), host);
  }
}

function parsed(key: string, text: string): StoredCredentials {
  try {
    if (text.length > TEXT_MAX) throw new RangeError();
    return JSON.parse(text) as StoredCredentials;
  } catch {
    throw new CoupletError("CPL-1607", `the credentials that are stored as ${key} are damaged`);
  }
}

/**
 * What saving comes to where these pairings stand, the unfinished and the finished: whether anything is kept, and whether the
 * unfinished one is finished with it.
 */
export function saving(
  { psk_id: pskId, paired_at: pairedAt }: StoredCredentials,
  news: boolean,
  [pending, finished]: readonly (string | null)[],
): { readonly isKept: boolean; readonly ends: boolean } {
  const isFinished = pairedAt !== undefined;
  const isPending = pending === pskId;
  return { isKept: !news || isPending || (isFinished && finished === pskId), ends: isFinished && isPending };
}

/** Which host is stored under this name, finished or not. */
export function hostOf(name: string): string {
  return name.endsWith(PENDING) ? name.slice(0, -PENDING.length) : name;
}

/**
 * What there is of a host, and what of it can be read. Nothing is of use that is another host's, whatever store gives it.
 *
 * @throws {CoupletError} `CPL-1607`: none of several can.
 */
export async function loadOf(store: CredentialStore, host: string): Promise<StoredCredentials[]> {
  const forms = await store.load(host);
  return loaded(await Promise.allSettled(forms.map(async (form) => ofHost(form, host))));
}

/** What of a host's entries can be read; that is an error only where none of several can. */
export function loaded(read: readonly PromiseSettledResult<StoredCredentials | null>[]): StoredCredentials[] {
  const errors: unknown[] = [];
  const found = usable(read, (error) => void errors.push(error));
  if (found.length === 0 && errors.length > 0) throw errors[0];
  return found;
}

/** What of all entries can be read. */
export function listed(
  read: readonly PromiseSettledResult<StoredCredentials | null>[],
  unusable: Unusable | undefined,
): StoredCredentials[] {
  return usable(read, (error) => {
    // A store that does not work is no damaged entry.
    if (unusable === undefined || !(error instanceof CoupletError)) throw error;
    unusable(error);
  });
}

function usable(
  read: readonly PromiseSettledResult<StoredCredentials | null>[],
  failed: (error: unknown) => void,
): StoredCredentials[] {
  return read.flatMap((one) => {
    if (one.status === "rejected") failed(one.reason);
    return one.status === "fulfilled" && one.value !== null ? [one.value] : [];
  });
}

/** Keeps credentials in memory, for as long as the program runs. */
export class MemoryStore extends KeyValueStore {
  constructor() {
    const texts = new Map<string, string>();
    super({
      get: async (key) => texts.get(key) ?? null,
      set: async (key, value) => void texts.set(key, value),
      delete: async (key) => void texts.delete(key),
      keys: async () => [...texts.keys()],
    });
  }
}

/** A new device key: one that the store holds, or bytes. */
export async function makeKey(store: CredentialStore, random: Random): Promise<StaticKey> {
  const held = (await store.makeKey?.()) ?? null;
  return held ?? new StaticSecret(fresh("key", random));
}

/** What a store does, or that it cannot be used. */
export async function stored<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (cause instanceof CoupletError) throw cause;
    throw new CoupletError("CPL-1607", "what the app stores cannot be read or written", { cause });
  }
}
