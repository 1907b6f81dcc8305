/** A program that is suspended: its alarms come before what lies in its sockets is read. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { closes, idle, online, passing, staged, type Stage } from "./stage.js";

/** Holds what the host sends, after so many messages. Returns what gives it all. */
function holds({ fake }: Stage, after = 0): () => Promise<void> {
  const held: Uint8Array[] = [];
  let seen = 0;
  fake.tamper = (message) => {
    seen += 1;
    if (seen <= after) return [message];
    held.push(message);
    return [];
  };
  return async () => {
    fake.tamper = (message) => [message];
    assert.ok(held.length > 0, "something was on its way");
    for (const message of held) for (const session of fake.sessions) session.raw(message);
    await idle();
  };
}

async function sleeps({ clock }: Stage, milliseconds: number): Promise<void> {
  clock.sleep(milliseconds);
  await clock.pass(1);
}

test("an answer that lay in the socket while the program slept is one in time", async () => {
  let answer = (_: Response): void => {};
  const stage = await staged({ app: () => new Promise<Response>((resolve) => (answer = resolve)) });
  const { clock, fake, host } = stage;
  await clock.pass(3000);
  const sessions = fake.sessions;
  const asked = host.fetch("/");
  // What asks for it, after five seconds of silence.
  await clock.pass(4000);
  const give = holds(stage);
  await clock.pass(2000);
  await sleeps(stage, 20_000);
  await give();
  await clock.pass(20_000);
  answer(new Response("late"));
  assert.equal(await (await passing(clock, asked)).text(), "late");

  // And after 25 seconds in which nobody waits.
  const giveAgain = holds(stage);
  await clock.pass(26_000);
  await sleeps(stage, 30 * 60_000);
  await giveAgain();
  await clock.pass(60_000);
  assert.deepEqual([host.state.state, fake.sessions], ["direct", sessions]);
  await closes(stage);
});

test("so is the host's first word", async () => {
  const stage = await staged();
  const { clock, fake, host } = stage;
  await clock.pass(3000);
  const give = holds(stage, 1);
  fake.cut();
  await clock.pass(1000);
  const sessions = fake.sessions;
  assert.deepEqual([host.state.state, sessions.length], ["offline", 1]);
  await sleeps(stage, 60_000);
  await give();
  assert.deepEqual([host.state.state, fake.sessions], ["direct", sessions]);
  await closes(stage);
});

test("a host that is gone all the same is given up soon after the program woke", async () => {
  const stage = await staged({ app: () => new Promise<Response>(() => {}) });
  const { clock, fake, host } = stage;
  const is = (state: string): void => assert.equal(host.state.state, state);
  await clock.pass(3000);
  fake.tamper = () => [];
  host.fetch("/").catch(() => {});
  await clock.pass(6000);
  await sleeps(stage, 20_000);
  is("direct");
  await clock.pass(10_000);
  is("offline");
  fake.tamper = (message) => [message];
  await online(clock, host);

  fake.tamper = () => [];
  await clock.pass(30_000);
  await sleeps(stage, 30 * 60_000);
  is("direct");
  await clock.pass(10_000);
  is("offline");
  fake.tamper = (message) => [message];
  await online(clock, host);
  await closes(stage);
});
