import assert from "node:assert/strict";
import { test } from "node:test";

import { restore, type Locks, type State } from "../../src/index.js";
import { closes, idle, online, staged } from "./stage.js";

/** Web Locks, as far as pages of one origin see them: in the order of the requests. */
class MemoryLocks implements Locks {
  readonly #held: { name: string; mode: string }[] = [];
  readonly #waiting: { name: string; mode: string; start: () => void }[] = [];

  request(name: string, { mode, signal }: { mode: "shared" | "exclusive"; signal: AbortSignal }, held: () => Promise<void>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const lock = { name, mode };
      const start = (): void => {
        signal.removeEventListener("abort", stop);
        this.#held.push(lock);
        held().then(resolve, reject).finally(() => {
          this.#held.splice(this.#held.indexOf(lock), 1);
          this.#next();
        });
      };
      const waiting = { name, mode, start };
      const stop = (): void => {
        const at = this.#waiting.indexOf(waiting);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal.reason);
        this.#next();
      };
      signal.addEventListener("abort", stop, { once: true });
      this.#waiting.push(waiting);
      this.#next();
    });
  }

  #next(): void {
    const first = this.#waiting[0];
    if (first === undefined) return;
    const others = this.#held.filter((it) => it.name === first.name);
    const isFree = first.mode === "shared" ? others.every((it) => it.mode === "shared") : others.length === 0;
    if (!isFree) return;
    this.#waiting.shift();
    first.start();
    this.#next();
  }
}

for (const withLocks of [false, true]) {
  test(`two pages with the same credentials both work, ${withLocks ? "with" : "without"} locks`, async () => {
    const locks = withLocks ? new MemoryLocks() : null;
    const stage = await staged({}, { locks });
    const { clock, fake, host, storage, given } = stage;
    const [other] = await restore({ storage, ...given });
    assert.ok(other !== undefined);
    await online(clock, other);
    assert.equal(fake.sessions.length, 2);
    assert.equal(await (await host.fetch("/")).text(), await (await other.fetch("/")).text());
    await closes({ clock: withoutCount(clock), host: other });
    await closes(stage);
  });
}

/** Another page's alarms are not this one's. */
function withoutCount(clock: Awaited<ReturnType<typeof staged>>["clock"]) {
  return Object.create(clock, { pending: { value: 0 }, pass: { value: (time: number) => clock.pass(time) } }) as typeof clock;
}

test("a page whose place another one took leaves that alone until it is gone, or somebody here wants it", async () => {
  const stage = await staged({}, { locks: new MemoryLocks() });
  const { clock, fake, host, storage, given } = stage;
  const [other] = await restore({ storage, ...given });
  assert.ok(other !== undefined);
  await online(clock, other);
  await clock.pass(3000);
  // The host had one place for both.
  fake.sessions[0]?.leave("replaced");
  await clock.pass(5 * 60_000);
  const { state } = host;
  assert.ok(state.state === "offline" && state.reason.kind === "closed" && state.reason.reason === "replaced");
  assert.equal(other.state.state, "direct");
  // Somebody uses it.
  const answer = host.fetch("/");
  await clock.pass(1500);
  assert.equal(await (await answer).text(), "hello\n");
  fake.sessions.find((it) => it !== fake.sessions[0])?.leave("replaced");
  await clock.pass(60_000);
  const waiting = [host, other].find((it) => it.state.state === "offline");
  const holding = [host, other].find((it) => it !== waiting);
  assert.ok(waiting !== undefined && holding !== undefined);
  const states: State[] = [];
  waiting.on("state", (it) => states.push(it));
  await holding.close();
  await clock.pass(1000);
  await idle();
  assert.equal(waiting.state.state, "direct", "the other page was closed");
  await closes({ clock, host: waiting });
});
