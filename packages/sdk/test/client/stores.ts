/** What the tests of stores share. */
import type { CredentialStore, StoredCredentials } from "../../src/index.js";
import { storedHost } from "../../src/client/store/form.js";
import { closes, staged } from "./stage.js";

// Plain JavaScript, as pages load it as well.
const { keeps } = (await import(new URL("../../../../../tests/sdk/store.js", import.meta.url).href)) as {
  keeps(store: CredentialStore, one: StoredCredentials, other: StoredCredentials, host: string): Promise<void>;
};

/** Two forms as they are stored, of different hosts. */
export async function forms(): Promise<readonly StoredCredentials[]> {
  const made: StoredCredentials[] = [];
  for (const relay of ["relay.example", "other.example:8443"]) {
    const stage = await staged({ relay });
    made.push(...(await stage.storage.list()));
    await closes(stage);
  }
  return made;
}

/** What every store does. */
export async function holds(store: CredentialStore): Promise<void> {
  const [one, other] = await forms();
  if (one === undefined || other === undefined) throw new Error("two are paired");
  await keeps(store, one, other, storedHost(one));
}
