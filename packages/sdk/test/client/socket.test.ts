import assert from "node:assert/strict";
import { test } from "node:test";

import { AttemptError } from "../../src/client/attempt.js";
import { Wire, type Socket } from "../../src/client/socket.js";
import { DrivenClock, idle, passing } from "./stage.js";

type Event = { readonly data?: unknown; readonly code?: number; readonly reason?: string };

/** A WebSocket that does what the test says. */
class ScriptedSocket implements Socket {
  binaryType = "blob";
  readyState = 0;
  bufferedAmount = 0;
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  readonly sent: Uint8Array[] = [];
  closes = 0;
  terminated = 0;

  send(message: Uint8Array): void {
    this.sent.push(message);
  }

  close(): void {
    this.closes += 1;
  }

  terminate(): void {
    this.terminated += 1;
  }

  happen(name: "open" | "message" | "error" | "close", event: Event = {}): void {
    if (name === "open") this.readyState = 1;
    if (name === "close") this.readyState = 3;
    this[`on${name}`]?.(event as never);
  }
}

function opening(): { clock: DrivenClock; socket: ScriptedSocket; controller: AbortController; wire: Promise<Wire> } {
  const [clock, socket, controller] = [new DrivenClock(), new ScriptedSocket(), new AbortController()];
  const wire = Wire.open("ws://host", () => socket, clock, controller.signal);
  wire.catch(() => {});
  return { clock, socket, controller, wire };
}

async function opened() {
  const all = opening();
  all.socket.happen("open");
  return { ...all, wire: await all.wire };
}

const isAttempt = (kind: string) => (error: unknown) => error instanceof AttemptError && error.kind === kind;

test("a socket that does not open says so, and is cut when nobody waits for it any more", async () => {
  const failed = opening();
  failed.socket.happen("error");
  failed.socket.happen("close", { code: 1006, reason: "" });
  await assert.rejects(failed.wire, isAttempt("noConnection"));

  const left = opening();
  const reason = new Error("enough");
  left.controller.abort(reason);
  await assert.rejects(left.wire, reason);
  assert.deepEqual([left.socket.closes, left.socket.terminated], [1, 1]);
  left.socket.happen("open");
  left.socket.happen("message", { data: new ArrayBuffer(4) });
  left.socket.happen("close");

  const forbidden = Wire.open("ws://host", () => assert.fail("a page of https opens no ws"), new DrivenClock(), new AbortController().signal);
  await assert.rejects(forbidden, isAttempt("noConnection"));
  await assert.rejects(Wire.open("ws://host", () => new ScriptedSocket(), new DrivenClock(), AbortSignal.abort(reason)), reason);
});

test("messages are read in their order, and after them the end", async () => {
  const { socket, wire } = await opened();
  for (const byte of [1, 2]) socket.happen("message", { data: Uint8Array.of(byte).buffer });
  socket.happen("close", { code: 4000, reason: "CPL-1203" });
  assert.deepEqual([await wire.receive(), await wire.receive(), await wire.receive()], [Uint8Array.of(1), Uint8Array.of(2), null]);
  assert.deepEqual(wire.end, { isBroken: false, hint: "CPL-1203" });
});

test("only a code of ours at its own number is a hint", async () => {
  const others = ["CPL-1603", "CPL-1604", "CPL-1607", "CPL-1802", "CPL-120", "CPL-12030", "bye"].map((reason) => [4000, reason, null] as const);
  for (const [code, reason, hint] of [[4000, "CPL-1203", "CPL-1203"], [4000, "CPL-1606", "CPL-1606"], [1000, "CPL-1203", null], ...others] as const) {
    const { socket, wire } = await opened();
    socket.happen("close", { code, reason });
    assert.equal(wire.end?.hint, hint);
  }
});

test("text, what is too long, and what nobody reads end the connection", async () => {
  const whole = new ArrayBuffer(16_640);
  for (const [data, times] of [["text", 1], [new ArrayBuffer(16_641), 1], [new Blob([]), 1], [whole, 800], [new ArrayBuffer(0), 20_000]] as const) {
    const { socket, wire } = await opened();
    for (let n = 0; n < times; n += 1) socket.happen("message", { data });
    assert.equal(wire.end?.isBroken, true);
    assert.equal(socket.closes, 1);
  }
  // Who reads is sent as much as there is.
  const { socket, wire } = await opened();
  for (let n = 0; n < 2000; n += 1) {
    socket.happen("message", { data: whole });
    assert.equal((await wire.receive())?.length, 16_640);
  }
});

test("who sends waits while much waits to be sent, and no longer than the connection lasts", async () => {
  const { clock, socket, wire } = await opened();
  wire.send(new Uint8Array(10));
  await wire.drained();
  socket.bufferedAmount = 300_000;
  let isDrained = false;
  const drained = wire.drained().then(() => (isDrained = true));
  await clock.pass(5000);
  assert.equal(isDrained, false);
  socket.bufferedAmount = 1000;
  await passing(clock, drained);

  // Without a clock that goes, as in a page in the background.
  socket.bufferedAmount = 300_000;
  const heard = wire.drained();
  await idle();
  socket.bufferedAmount = 1000;
  socket.happen("message", { data: new ArrayBuffer(5) } as Event);
  await heard;

  socket.bufferedAmount = 300_000;
  const cut = wire.drained();
  socket.happen("close", { code: 1006 });
  await passing(clock, cut);
  wire.send(new Uint8Array(10));
  assert.equal(socket.sent.length, 1, "what is over sends nothing");
  await idle();
  assert.equal(clock.pending, 0);
});

test("a close is given a second, and an end by the other leaves no alarm", async () => {
  const patient = await opened();
  patient.wire.close();
  await patient.clock.pass(900);
  assert.deepEqual([patient.socket.closes, patient.socket.terminated], [1, 0]);
  await patient.clock.pass(200);
  assert.equal(patient.socket.terminated, 1);
  assert.equal(await patient.wire.receive(), null);

  const prompt = await opened();
  prompt.wire.close();
  prompt.socket.happen("close", { code: 1000 });
  assert.equal(prompt.clock.pending, 0);
});

test("a socket that throws when it is used is over", async () => {
  const { socket, wire } = await opened();
  socket.send = () => {
    throw new Error("closing");
  };
  wire.send(new Uint8Array(1));
  assert.equal(wire.isOver, true);
});
