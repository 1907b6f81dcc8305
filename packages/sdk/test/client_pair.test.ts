import assert from "node:assert/strict";
import { test } from "node:test";

import { CoupletError, MemoryStore, pair, restore, type Host, type PairState } from "../src/index.js";
import { FakeHost } from "../src/testing.js";

/** Waits for a state. */
export function reaches(host: Host, wanted: string): Promise<void> {
  return new Promise((resolve) => {
    const stop = host.on("state", ({ state }) => {
      if (state !== wanted) return;
      queueMicrotask(() => stop());
      resolve();
    });
  });
}

test("a device pairs by its link, asks the app, and comes back without a link", async () => {
  const fake = new FakeHost({ app: (request) => new Response(`hello from ${new URL(request.url).pathname}`) });
  const storage = new MemoryStore();
  const states: PairState[] = [];
  const onState = (state: PairState): void => void states.push(state);
  const host = await pair(fake.link(), { name: "Phone", storage, onState, ...fake.connections });
  assert.deepEqual(states.map((it) => it.state), ["connecting", "finishing", "paired"]);
  assert.deepEqual([host.name, host.fingerprint], ["Fake host", fake.fingerprint]);
  await reaches(host, "direct");
  assert.equal(await (await host.fetch("/lab")).text(), "hello from /lab");
  assert.deepEqual(fake.devices, [{ id: host.deviceId, name: "Phone" }]);
  await host.close();

  const [again, ...others] = await restore({ storage, ...fake.connections });
  assert.ok(again !== undefined && others.length === 0);
  assert.equal(await (await again.fetch("/again")).text(), "hello from /again");
  await again.close();
  await assert.rejects(again.fetch("/"), (error) => error instanceof CoupletError && error.code === "CPL-1602");
});
