/** The hook of the example in React, over as much of React as it uses: what people copy leaves no host open behind them. */
import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { test } from "node:test";

import { MemoryStore, type Host, type PairState, type RestoreOptions } from "../src/index.js";
import { FakeHost } from "../src/testing.js";
import type { Couplet } from "../examples/react/couplet.js";

type Cleanup = (() => void) | void;

/** One component: its state, and its effects, which run after each time that it is drawn. */
class Component<T> {
  drawn: T | undefined;
  readonly #draw: () => T;
  readonly #cells: { value: unknown; list?: readonly unknown[]; cleanup?: Cleanup }[] = [];
  #at = 0;
  #isDue = false;
  #effects: (() => void)[] = [];
  #isGone = false;

  constructor(draw: () => T) {
    this.#draw = draw;
    this.#render();
  }

  unmount(): void {
    this.#isGone = true;
    for (const cell of this.#cells) cell.cleanup?.();
  }

  /** What a hook keeps, and whether what it depends on is new. */
  cell(first: () => unknown, list?: readonly unknown[]) {
    const at = this.#at++;
    const known = this.#cells[at];
    const cell = known ?? (this.#cells[at] = { value: first() });
    const isNew = known === undefined || list === undefined || list.some((it, n) => !Object.is(it, cell.list?.[n]));
    if (list !== undefined) cell.list = list;
    return { cell, isNew };
  }

  set(cell: { value: unknown }, value: unknown): void {
    assert.ok(!this.#isGone, "nothing is set once the component is gone");
    cell.value = value;
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => this.#render());
  }

  effect(run: () => void): void {
    this.#effects.push(run);
  }

  #render(): void {
    [this.#at, this.#isDue, this.#effects, active] = [0, false, [], this];
    this.drawn = this.#draw();
    for (const run of this.#effects) run();
  }
}

let active: Component<unknown> | null = null;
const now = (): Component<unknown> => active ?? assert.fail("a hook outside of a component");

const react = {
  useState(first: unknown) {
    const component = now();
    const { cell } = component.cell(() => first);
    return [cell.value, (value: unknown) => component.set(cell, value)];
  },
  useRef: (current: unknown) => now().cell(() => ({ current })).cell.value,
  useCallback(call: unknown, list: readonly unknown[]) {
    const { cell, isNew } = now().cell(() => call, list);
    if (isNew) cell.value = call;
    return cell.value;
  },
  useEffect(run: () => Cleanup, list: readonly unknown[]) {
    const component = now();
    const { cell, isNew } = component.cell(() => null, list);
    if (!isNew) return;
    component.effect(() => {
      cell.cleanup?.();
      cell.cleanup = run();
    });
  },
};

(globalThis as { react?: unknown }).react = react;
const source = `export const { ${Object.keys(react).join(", ")} } = globalThis.react;`;
registerHooks({
  resolve: (name, context, next) => (name === "react" ? { url: `data:text/javascript,${source}`, shortCircuit: true } : next(name, context)),
});
const { useCouplet } = (await import("../examples/react/couplet.js")) as { useCouplet: (options: RestoreOptions) => Couplet };

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

function staged(fake: FakeHost) {
  const options: RestoreOptions = { storage: new MemoryStore(), ...fake.connections };
  const component = new Component(() => useCouplet(options));
  const drawn = (): Couplet => component.drawn ?? assert.fail();
  return { component, drawn };
}

test("the hook pairs, shows the code and the host, and closes it with the component", async () => {
  const fake = new FakeHost({ asks: true });
  const { component, drawn } = staged(fake);
  await until(() => drawn().isRestored);
  const pairing = drawn().pair(fake.link(), "Page");
  await until(() => drawn().pairing?.state === "approval");
  const { checkCode } = drawn().pairing as Extract<PairState, { state: "approval" }>;
  await fake.approve(checkCode);
  await pairing;
  await until(() => drawn().state?.state === "direct");
  const host = drawn().host as Host;
  component.unmount();
  await until(() => fake.sessions.length === 0);
  assert.equal(host.state.state, "closed");
});

for (const asks of [true, false]) {
  test(`a component that goes ${asks ? "while the owner is asked" : "once the host has paired"} leaves no host open`, { timeout: 20_000 }, async () => {
    const fake = new FakeHost({ asks });
    const { component, drawn } = staged(fake);
    await until(() => drawn().isRestored);
    const pairing = drawn().pair(fake.link(), "Page");
    if (asks) await until(() => drawn().pairing?.state === "approval");
    else await fake.until(() => fake.devices.length === 1);
    const code = drawn().pairing?.state === "approval" ? (drawn().pairing as { checkCode: string }).checkCode : null;
    component.unmount();
    // The owner does not know yet that nobody waits.
    if (code !== null) await fake.approve(code).catch(() => {});
    await pairing;
    for (let turns = 0; turns < 200; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(fake.sessions.length, 0);
  });
}
