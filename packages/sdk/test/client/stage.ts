/** What the tests of the client share: time that is driven, a host in memory, and a device that is paired with it. */
import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";

import { CoupletError, MemoryStore, pair, type Clock, type CredentialStore, type Given, type Host, type Socket } from "../../src/index.js";
import { FakeHost, type FakeHostOptions } from "../../src/testing.js";

interface Alarm {
  readonly at: number;
  readonly call: () => void;
}

/** Time that passes when it is told to. */
export class DrivenClock implements Clock {
  #now = 1000;
  readonly #alarms = new Set<Alarm>();

  now(): number {
    return this.#now;
  }

  wall(): number {
    return 1_800_000_000_000 + this.#now;
  }

  after(milliseconds: number, call: () => void): () => void {
    const alarm = { at: this.#now + milliseconds, call };
    this.#alarms.add(alarm);
    return () => this.#alarms.delete(alarm);
  }

  /** Alarms that are set. */
  get pending(): number {
    return this.#alarms.size;
  }

  /** Lets time pass, and what comes of it happen. */
  async pass(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    for (;;) {
      await idle();
      const due = [...this.#alarms].filter((alarm) => alarm.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#alarms.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.call();
    }
    this.#now = end;
    await idle();
  }

  /** As for a program that is suspended: time passes, and alarms come late. */
  sleep(milliseconds: number): void {
    this.#now += milliseconds;
  }
}

/** What disks have still to do, in their own time. */
let working = 0;

/** A store on a disk: time does not pass while it works. */
export function onDisk<Store extends CredentialStore>(store: Store): Store {
  return new Proxy(store, {
    get(its, name) {
      const value: unknown = Reflect.get(its, name, its);
      if (typeof value !== "function") return value;
      return async (...given: unknown[]): Promise<unknown> => {
        working += 1;
        try {
          return await (value.apply(its, given) as unknown);
        } finally {
          working -= 1;
        }
      };
    },
  });
}

/** Waits until all that can happen without time has happened. */
export async function idle(): Promise<void> {
  for (let turns = 0; turns < 12; turns += 1) {
    await turn();
    while (working > 0) await turn();
  }
}

/** Resolves with what it comes to, letting time pass meanwhile. */
export async function passing<T>(clock: DrivenClock, work: Promise<T>, most = 60_000): Promise<T> {
  let isOver = false;
  const over = work.then(
    () => void (isOver = true),
    () => void (isOver = true),
  );
  for (let passed = 0; !isOver && passed < most; passed += 50) await clock.pass(50);
  await Promise.race([over, idle()]);
  assert.ok(isOver, "it comes to no end in time");
  return work;
}

/** A paired device, its host, and the time that both live in. */
export interface Stage {
  readonly clock: DrivenClock;
  readonly fake: FakeHost;
  readonly host: Host;
  readonly storage: CredentialStore;
  readonly given: Given;
}

/** Pairs, and waits for the session. */
export async function staged(options: FakeHostOptions = {}, more: Given & { storage?: CredentialStore } = {}): Promise<Stage> {
  const clock = new DrivenClock();
  const fake = new FakeHost(options);
  const { storage = new MemoryStore(), ...rest } = more;
  const given = { ...fake.connections, clock, ...rest };
  const host = await passing(clock, pair(fake.link(), { name: "Phone", storage, ...given }));
  await online(clock, host);
  return { clock, fake, host, storage, given };
}

/** Waits for a session. */
export async function online(clock: DrivenClock, host: Host): Promise<void> {
  for (let passed = 0; passed < 60_000; passed += 50) {
    if (host.state.state === "direct" || host.state.state === "relay") return;
    await clock.pass(50);
  }
  assert.fail(`no session: ${JSON.stringify(host.state)}`);
}

/** Waits for a state. */
export async function reaches(clock: DrivenClock, host: Host, wanted: string, most = 60_000): Promise<void> {
  for (let passed = 0; passed < most && host.state.state !== wanted; passed += 50) await clock.pass(50);
  assert.equal(host.state.state, wanted);
}

/** Holds an error to its code; every one says what to do next. */
export function ofCode(code: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof CoupletError, String(error));
    assert.equal(error.code, code, error.message);
    assert.ok(error.next.length > 5);
    return true;
  };
}

/** Closes, and holds it to leaving no alarm behind. */
export async function closes({ clock, host }: Pick<Stage, "clock" | "host">): Promise<void> {
  await passing(clock, host.close());
  await clock.pass(2000);
  assert.equal(clock.pending, 0, "no alarm is left behind");
}

/** A socket whose messages reach the host at this many bytes a second. */
export function slowed(clock: Clock, socket: Socket, rate: number): Socket {
  const send = socket.send.bind(socket);
  let free = clock.now();
  let waiting = 0;
  const slow = {
    send(message: Uint8Array<ArrayBuffer>): void {
      const bytes = message.slice();
      waiting += bytes.length;
      free = Math.max(free, clock.now()) + (1000 * bytes.length) / rate;
      clock.after(free - clock.now(), () => {
        waiting -= bytes.length;
        if (socket.readyState === 1) send(bytes);
      });
    },
  };
  return new Proxy(socket, {
    get: (its, name) => (name === "send" ? slow.send : name === "bufferedAmount" ? waiting : bound(its, name)),
    set: (its, name, value) => Reflect.set(its, name, value, its),
  });
}

function bound(its: object, name: string | symbol): unknown {
  const value: unknown = Reflect.get(its, name, its);
  return typeof value === "function" ? (value.bind(its) as unknown) : value;
}
