/** What the tests of stores share. */
import assert from "node:assert/strict";

import type { CredentialStore, StoredCredentials } from "../../src/index.js";
import { storedHost } from "../../src/client/store/form.js";
import { closes, staged } from "./stage.js";

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
  assert.ok(one !== undefined && other !== undefined);
  const host = storedHost(one);
  const { paired_at: _, ...pending } = one;
  assert.deepEqual([await store.list(), await store.load(host), await store.remove(host)], [[], [], false]);
  await store.save(pending);
  await store.save(other);
  assert.deepEqual(await store.load(host), [pending]);
  await store.save(one);
  assert.deepEqual(await store.load(host), [one], "finished ones replace both");
  const again = { ...pending, device_id: "another" };
  await store.save(again);
  assert.deepEqual(await store.load(host), [again, one], "unfinished ones leave the finished alone, and come first");

  // A new pairing stands beside the old one, and neither has to make room for news of the other.
  const young = { ...pending, psk_id: "AAAAAAAAAAA" };
  const [news, grown] = [{ ...one, room_number: 3 }, { ...young, paired_at: 5 }];
  await store.save(young);
  await store.save(news, true);
  assert.deepEqual(await store.load(host), [young, news], "news of the old one");
  await store.save({ ...pending, room_number: 4 }, true);
  assert.deepEqual(await store.load(host), [young, news], "of one that is finished, and not of this one");
  await store.save({ ...news, psk_id: "BBBBBBBBBBA" }, true);
  assert.deepEqual(await store.load(host), [young, news], "of one that is not there");
  assert.deepEqual([await store.drop(pending), await store.load(host)], [false, [young, news]]);
  await store.save(grown, true);
  assert.deepEqual(await store.load(host), [grown], "the next session finishes it");
  await store.save(news, true);
  assert.deepEqual(await store.load(host), [grown], "the old one is over");
  await store.save(again);
  assert.deepEqual([await store.drop(again), await store.drop(again), await store.load(host)], [true, false, [grown]]);
  await store.save(one);
  await store.save(again);
  assert.equal((await store.list()).length, 3);
  assert.deepEqual([await store.remove(host), await store.load(host), (await store.list()).length], [true, [], 1]);
}
