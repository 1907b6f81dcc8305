/** What apps begin with: pair with a host, or come back to those that are known. */
import { CoupletError } from "../protocol/error.js";
import { checkedAccount, type Account } from "./relay.js";
import { Host } from "./connect.js";
import { hostId, type Credentials } from "./credentials.js";
import { reasonOf } from "./clock.js";
import { environment, type Given } from "./environment.js";
import { pairWith, type PairState } from "./pair.js";
import { tell } from "./state.js";
import { stored, type CredentialStore, type Unusable } from "./store.js";
import { readForm } from "./store/form.js";
import { IndexedDbStore } from "./store/indexed_db.js";

/** What both ways in take. */
export interface Options extends Given {
  /** Where credentials are kept. It may be absent where there is IndexedDB, which is taken then; nowhere else. */
  readonly storage?: CredentialStore | undefined;
  /** Who this device's owner is at a relay with accounts. It is not kept, and shown to that relay alone. */
  readonly account?: Account | undefined;
}

/** What pairing takes. */
export interface PairOptions extends Options {
  /** What its user calls this device: 1 to 64 characters. */
  readonly name: string;
  /** Its model, as the owner sees it. */
  readonly model?: string | undefined;
  /** Its system: `iOS 19`, `Linux`. */
  readonly platform?: string | undefined;
  /** What it is; found out when it is not said. */
  readonly kind?: "mobile" | "desktop" | "browser" | undefined;
  /** Whose certificate counts for the relay besides those that the system trusts, in PEM; kept. Node.js only. */
  readonly relayCa?: string | undefined;
  /** That it is meant: this host is another one than a known host of the same name or address. */
  readonly anotherHost?: boolean | undefined;
  /** Told how far it is: with `approval`, show the check code. */
  readonly onState?: ((state: PairState) => void) | undefined;
  /** Calls it off: see {@link pair}. */
  readonly signal?: AbortSignal | undefined;
}

/** What coming back takes. */
export interface RestoreOptions extends Options {
  /** Only this one: a {@link Host.id}. */
  readonly id?: string | undefined;
  /** Told of stored credentials that cannot be used, beside others that can. They stay stored. */
  readonly onUnusable?: Unusable | undefined;
}

function storage(options: Options): CredentialStore {
  if (options.storage !== undefined) return options.storage;
  if (typeof indexedDB !== "undefined") return new IndexedDbStore();
  // In memory they would be gone with the program, which nobody would see before it starts again.
  throw new CoupletError("CPL-1607", "This runtime has no IndexedDB, and no other `storage` is given", {
    next: "Give `storage`: a FileStore of couplet/node, a KeyValueStore over a keychain, or a MemoryStore for one run.",
  });
}

function kindOfDevice(): string {
  const { navigator } = globalThis as { navigator?: { product?: string; userAgent?: string } };
  if (navigator?.product === "ReactNative") return "mobile";
  // Pages and their workers, and not Node.js, which has a navigator as well.
  return navigator?.userAgent?.startsWith("Mozilla/") === true ? "browser" : "desktop";
}

/**
 * Pairs with the host that made this link, keeps the credentials, and opens a session. `COUPLET:…` and `https://RELAY/p#…`,
 * in any letter case.
 *
 * When the host's owner is asked, `onState` is called with `approval` and the check code that this device must show: the owner
 * types it at the host, within two minutes.
 *
 * @throws {CoupletError} Nothing is paired; `code` says why, `next` what to do. Only after `CPL-1602` may credentials have been
 * kept all the same: the next session, as `restore` opens it, finishes such a pairing if the host took it for done. Rejects with
 * the signal's reason, and nothing is kept, as long as the host cannot take it for done; called off later, it is `CPL-1602`.
 * @throws {TypeError} `account` names no relay; there is no link, or no name.
 */
export async function pair(link: string, options: PairOptions): Promise<Host> {
  if (typeof link !== "string") throw new TypeError("pair(link, { name }): the link is missing");
  if (typeof options?.name !== "string") throw new TypeError("pair(link, { name }): the name of this device is missing");
  const where = environment(options);
  const store = storage(options);
  const { name, model = null, platform = null, kind = kindOfDevice(), relayCa = null } = options;
  const account = checkedAccount(options.account);
  if (options.signal?.aborted === true) throw reasonOf(options.signal);
  const credentials = await pairWith(
    link,
    {
      claim: { name, model, platform, kind },
      anotherHost: options.anotherHost ?? false,
      relayCa,
      account,
      store,
      onState: (state) => tell(options.onState ?? (() => {}), state),
      signal: options.signal,
    },
    where,
  );
  return new Host({ environment: where, store, candidates: [credentials], account });
}

/** Those that can be read. @throws {CoupletError} `CPL-1607`: there are some, and none can. */
async function readable(store: CredentialStore, unusable: Unusable): Promise<Credentials[]> {
  const errors: CoupletError[] = [];
  const forms = await stored(store.list((error) => void errors.push(error)));
  const found: Credentials[] = [];
  for (const form of forms) {
    try {
      found.push(await readForm(form));
    } catch (error) {
      errors.push(error instanceof CoupletError ? error : new CoupletError("CPL-1607", undefined, { cause: error }));
    }
  }
  const [first] = errors;
  if (found.length === 0 && first !== undefined) throw first;
  for (const error of errors) tell(unusable, error);
  return found;
}

/**
 * The hosts that this device is paired with, in the order of their names; each opens its session now. Those that are not
 * wanted: `close()` them, or name one by its `id`.
 *
 * @throws {CoupletError} `CPL-1607`: nothing of what is stored can be read; nothing says where it is.
 */
export async function restore(options: RestoreOptions = {}): Promise<Host[]> {
  const where = environment(options);
  const store = storage(options);
  const account = checkedAccount(options.account);
  const hosts = new Map<string, Credentials[]>();
  for (const credentials of await readable(store, options.onUnusable ?? (() => {}))) {
    const id = hostId(credentials.keys.hostKey);
    if (options.id !== undefined && options.id !== id) continue;
    hosts.set(id, [...(hosts.get(id) ?? []), credentials]);
  }
  const byName = [...hosts.values()].sort((a, b) => compare(a[0]?.hostName ?? "", b[0]?.hostName ?? ""));
  return byName.map((found) => {
    // Unfinished ones first: a session by them finishes the pairing.
    const candidates = found.sort((a, b) => Number(a.pairedAt !== null) - Number(b.pairedAt !== null));
    return new Host({ environment: where, store, candidates, account });
  });
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
