// What every store of credentials does: IndexedDB in Chromium, and all of them in packages/sdk/test/client/stores.ts.

/** A value as it can be compared: keys that WebCrypto holds have no other sign than that they are held. */
function shown(value) {
  return JSON.stringify(value, (_, it) => {
    if (typeof CryptoKey !== "undefined" && it instanceof CryptoKey) return `${it.type} ${it.extractable}`;
    const isPlain = typeof it === "object" && it !== null && !Array.isArray(it);
    return isPlain ? Object.fromEntries(Object.entries(it).sort(([a], [b]) => (a < b ? -1 : 1))) : it;
  });
}

function same(got, wanted, what = "what is stored") {
  if (shown(got) !== shown(wanted)) throw new Error(`${what}: ${shown(got)}, not ${shown(wanted)}`);
}

/** Holds an empty store to it, with finished credentials of two hosts; `host` is the id of the first. */
export async function keeps(store, one, other, host) {
  const { paired_at: _, ...pending } = one;
  same([await store.list(), await store.load(host), await store.remove(host)], [[], [], false]);
  await store.save(pending);
  await store.save(other);
  same(await store.load(host), [pending]);
  await store.save(one);
  same(await store.load(host), [one], "finished ones replace both");
  const again = { ...pending, device_id: "another" };
  await store.save(again);
  same(await store.load(host), [again, one], "unfinished ones leave the finished alone, and come first");

  // A new pairing stands beside the old one, and neither has to make room for news of the other.
  const young = { ...pending, psk_id: "AAAAAAAAAAA" };
  const [news, grown] = [{ ...one, room_number: 3 }, { ...young, paired_at: 5 }];
  await store.save(young);
  await store.save(news, true);
  same(await store.load(host), [young, news], "news of the old one");
  await store.save({ ...pending, room_number: 4 }, true);
  same(await store.load(host), [young, news], "of one that is finished, and not of this one");
  await store.save({ ...news, psk_id: "BBBBBBBBBBA" }, true);
  same(await store.load(host), [young, news], "of one that is not there");
  same([await store.drop(pending), await store.load(host)], [false, [young, news]]);
  await store.save(grown, true);
  same(await store.load(host), [grown], "the next session finishes it");
  await store.save(news, true);
  same(await store.load(host), [grown], "the old one is over");
  await store.save(again);
  same([await store.drop(again), await store.drop(again), await store.load(host)], [true, false, [grown]]);
  await store.save(one);
  await store.save(again);
  same((await store.list()).length, 3);
  same([await store.remove(host), await store.load(host), (await store.list()).length], [true, [], 1]);
}
