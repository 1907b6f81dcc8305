/**
 * Where a React Native app keeps credentials: the Keychain of iOS, and the Android Keystore's encrypted store. Give `pair` and
 * `restore` one of these as `storage`.
 */
import { KeyValueStore, type KeyValue } from "couplet";

/** What is used of `expo-secure-store`. */
export interface ExpoSecureStore {
  getItemAsync(key: string, options?: ExpoOptions): Promise<string | null>;
  setItemAsync(key: string, value: string, options?: ExpoOptions): Promise<void>;
  deleteItemAsync(key: string, options?: ExpoOptions): Promise<void>;
  /** `WHEN_UNLOCKED_THIS_DEVICE_ONLY` is right for most apps: no backup takes the pairing to another phone. */
  readonly AFTER_FIRST_UNLOCK_THIS_DEVICE_ONLY: number;
  readonly WHEN_UNLOCKED_THIS_DEVICE_ONLY: number;
}

interface ExpoOptions {
  readonly keychainAccessible?: number;
}

/** What is used of `react-native-keychain`. */
export interface ReactNativeKeychain {
  getGenericPassword(options: KeychainOptions): Promise<false | { readonly password: string }>;
  setGenericPassword(username: string, password: string, options: KeychainOptions): Promise<unknown>;
  resetGenericPassword(options: KeychainOptions): Promise<unknown>;
  getAllGenericPasswordServices(): Promise<string[]>;
  readonly ACCESSIBLE: { readonly WHEN_UNLOCKED_THIS_DEVICE_ONLY: string };
}

interface KeychainOptions {
  readonly service: string;
  readonly accessible?: string;
}

/** The key under which the names of the others stand: neither store of Expo tells which it has. */
const INDEX = "couplet-index";

/** Over `expo-secure-store`: `import * as SecureStore from "expo-secure-store"`. */
export function expoStore(store: ExpoSecureStore): KeyValueStore {
  const options = { keychainAccessible: store.WHEN_UNLOCKED_THIS_DEVICE_ONLY };
  const index = async (): Promise<string[]> => JSON.parse((await store.getItemAsync(INDEX, options)) ?? "[]") as string[];
  const write = (names: readonly string[]): Promise<void> => store.setItemAsync(INDEX, JSON.stringify(names), options);
  const inTurn = turns();
  const texts: KeyValue = {
    get: (key) => store.getItemAsync(key, options),
    // The name first: one that is listed and absent is passed over, one that is there and not listed would be lost.
    set: (key, value) =>
      inTurn(async () => {
        const names = await index();
        if (!names.includes(key)) await write([...names, key]);
        await store.setItemAsync(key, value, options);
      }),
    delete: (key) =>
      inTurn(async () => {
        await store.deleteItemAsync(key, options);
        await write((await index()).filter((name) => name !== key));
      }),
    keys: index,
  };
  return new KeyValueStore(texts);
}

/** Over `react-native-keychain`: `import * as Keychain from "react-native-keychain"`. */
export function keychainStore(keychain: ReactNativeKeychain): KeyValueStore {
  const accessible = keychain.ACCESSIBLE.WHEN_UNLOCKED_THIS_DEVICE_ONLY;
  return new KeyValueStore({
    get: async (service) => {
      const found = await keychain.getGenericPassword({ service });
      return found === false ? null : found.password;
    },
    set: async (service, value) => {
      const kept = await keychain.setGenericPassword("couplet", value, { service, accessible });
      if (kept === false) throw new Error("the keychain keeps nothing");
    },
    delete: async (service) => void (await keychain.resetGenericPassword({ service })),
    keys: () => keychain.getAllGenericPasswordServices(),
  });
}

/** One after the other: two writers of the index would lose a name. */
function turns(): (work: () => Promise<void>) => Promise<void> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const next = last.then(work, work);
    last = next.catch(() => {});
    return next;
  };
}
