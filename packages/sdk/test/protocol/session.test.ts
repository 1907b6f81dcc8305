/** Frames: what honest ends seal, what someone between does to them, and what a peer that has the keys can do wrong. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, u64, utf8 } from "../../src/protocol/bytes.js";
import {
  CLOSE,
  closeReason,
  DATA_MAX,
  FRAME_MAX,
  HEADER,
  kindOf,
  KINDS,
  TAG,
  type CloseReason,
} from "../../src/protocol/frame.js";
import { Source } from "../../src/protocol/schedule.js";
import {
  Epoch,
  EPOCH_BYTES,
  EPOCH_FRAMES,
  EPOCH_TIME,
  OpenError,
  Opener,
  openSession,
  Sealer,
  SealError,
  type SealFailure,
} from "../../src/protocol/session.js";
import { anyBytes, changed, numbers, resized, talk, type Talk } from "./ends.js";

const SECRET = utf8("what nobody between may read");
const KEYS = Source.extract(utf8("salt"), utf8("keys"));

function epoch(number = 0, counter = 0): Epoch {
  const key = KEYS.expand(32, utf8("couplet/1 key "), utf8("i2r"));
  const one = new Epoch("i2r", number, key, KEYS.expand(16, utf8("couplet/1 nonce "), utf8("i2r")));
  one.counter = counter;
  return one;
}

/** Seals an inner part as it is. */
function raw(under: Epoch, inner: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(HEADER + inner.length + TAG);
  frame.set(under.header());
  under.seal(inner, frame.subarray(HEADER));
  return frame;
}

function isOpenError(error: unknown): boolean {
  assert.ok(error instanceof OpenError);
  assert.deepEqual([error.code, error.cause], ["CPL-1602", undefined]);
  return true;
}

function isSealError(failure: SealFailure): (error: unknown) => boolean {
  return (error) => error instanceof SealError && error.failure === failure && error.code === "CPL-1602";
}

/** One error, and nothing is opened any more: not even what would have been right. */
function fatal(opener: Opener, frame: Uint8Array, right: Uint8Array, what: string): void {
  assert.throws(() => opener.open(frame), isOpenError, what);
  assert.throws(() => opener.open(right), isOpenError, `${what}: the session goes on`);
  assert.equal(opener.closed, null, what);
}

function fatalInner(inner: Uint8Array): void {
  const under = epoch();
  const frame = raw(under, inner);
  fatal(new Opener(epoch()), frame, raw(under, utf8("x\x01")), String(inner.subarray(0, 20)));
}

test("the numbers are frozen", () => {
  const kinds = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => kindOf(byte) !== null);
  assert.deepEqual(kinds, [1, 2, 3, 4, 5]);
  assert.deepEqual(Object.values(KINDS), [1, 2, 3, 4, 5]);
  assert.deepEqual(Object.values(CLOSE), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
  for (const [reason, number] of Object.entries(CLOSE)) assert.equal(closeReason(number), reason);
  assert.equal(closeReason(999), "done");
  assert.deepEqual([DATA_MAX, FRAME_MAX], [16_619, 16_640]);
});

test("types that nobody knows and frames without one are fatal", () => {
  for (let kind = 6; kind < 256; kind += 1) {
    fatalInner(Uint8Array.of(120, kind, 0, 0));
    fatalInner(Uint8Array.of(kind));
  }
  for (const blank of [0, 1, 255, 256, DATA_MAX + 1]) fatalInner(new Uint8Array(blank));
});

test("a frame at the limit is opened and a longer one is not", () => {
  const inner = (length: number): Uint8Array => joined(new Uint8Array(length).fill(7), Uint8Array.of(1));
  const frame = raw(epoch(), inner(DATA_MAX));
  assert.equal(frame.length, FRAME_MAX);
  assert.deepEqual(new Opener(epoch()).open(frame), { kind: "data", data: new Uint8Array(DATA_MAX).fill(7) });
  fatalInner(inner(DATA_MAX + 1));
  // Nothing but the type is left of the shortest.
  const shortest = raw(epoch(), inner(0));
  assert.equal(shortest.length, HEADER + 1 + TAG);
  assert.deepEqual(new Opener(epoch()).open(shortest), { kind: "data", data: new Uint8Array() });
});

test("a key update carries nothing", () => {
  for (const data of [utf8("x"), utf8("\0"), new Uint8Array(48)]) fatalInner(joined(data, Uint8Array.of(3)));
});

test("a close says how many frames there were", () => {
  const close = (frames: bigint): Uint8Array => joined(Uint8Array.of(0, 1), u64(frames), Uint8Array.of(2));
  for (const frames of [0n, 2n, 256n, 2n ** 64n - 1n]) fatalInner(close(frames));
  const right = close(1n);
  for (let length = 0; length < 10; length += 1) fatalInner(joined(right.subarray(0, length), Uint8Array.of(2)));
  fatalInner(joined(right.subarray(0, 10), Uint8Array.of(7, 2)));
  const opener = new Opener(epoch());
  assert.deepEqual(opener.open(raw(epoch(), right)), { kind: "close", data: right.subarray(0, 10) });
  assert.deepEqual([opener.closed, opener.closeCode], ["leaving", 1]);
  // A later version's reason.
  const later = new Opener(epoch());
  later.open(raw(epoch(), joined(Uint8Array.of(3, 231), u64(1n), Uint8Array.of(2))));
  assert.deepEqual([later.closed, later.closeCode], ["done", 999]);
});

test("an epoch ends with its last frame", () => {
  const last = (counter: number): [Sealer, Opener] => [new Sealer(epoch(0, counter)), new Opener(epoch(0, counter))];
  const [sealer, opener] = last(EPOCH_FRAMES - 2);
  assert.equal(sealer.keyUpdateDue(0), false);
  assert.equal(opener.open(sealer.seal("data", utf8("x"))).kind, "data");
  assert.equal(sealer.keyUpdateDue(0), true);
  for (const kind of [1, 4, 5]) {
    const [spent, receiver] = last(EPOCH_FRAMES - 1);
    assert.throws(() => spent.seal("data", utf8("x")), isSealError("keyUpdateDue"));
    assert.throws(() => spent.seal("control", utf8("x")), isSealError("keyUpdateDue"));
    assert.throws(() => spent.sealPad(1), isSealError("keyUpdateDue"));
    assert.throws(() => receiver.open(raw(epoch(0, EPOCH_FRAMES - 1), Uint8Array.of(120, kind))), isOpenError);
  }
  // There is room for these two.
  const [updates, follows] = last(EPOCH_FRAMES - 1);
  assert.equal(follows.open(updates.sealKeyUpdate(0)).kind, "keyUpdate");
  const next = updates.seal("data", utf8("y"));
  assert.deepEqual([...next.subarray(0, HEADER)], [0x11, 0, 0, 1]);
  assert.deepEqual(follows.open(next), { kind: "data", data: utf8("y") });
  const [closes, closed] = last(EPOCH_FRAMES - 1);
  // The counter was put there by hand: the close counts one frame.
  assert.equal(closed.open(closes.sealClose("done")).kind, "close");
  const beyond = new Opener(epoch(0, EPOCH_FRAMES));
  assert.throws(() => beyond.open(raw(epoch(0, EPOCH_FRAMES), Uint8Array.of(3))), isOpenError);
});

test("the key is updated before a gibibyte, and after a quarter of an hour", () => {
  const sealer = new Sealer(epoch());
  assert.equal(sealer.keyUpdateDue(EPOCH_TIME - 1), false);
  assert.equal(sealer.keyUpdateDue(EPOCH_TIME), true);
  sealer.sealKeyUpdate(EPOCH_TIME);
  assert.equal(sealer.keyUpdateDue(2 * EPOCH_TIME - 1), false);
  assert.equal(sealer.keyUpdateDue(2 * EPOCH_TIME), true);
  // As many bytes would take half a minute to seal; so the cipher is left out.
  const blank = epoch();
  blank.seal = (): void => {
    blank.counter += 1;
  };
  const heavy = new Sealer(blank);
  const most = new Uint8Array(DATA_MAX);
  let sealed = 0;
  while (!heavy.keyUpdateDue(0)) {
    heavy.seal("data", most);
    sealed += FRAME_MAX;
  }
  assert.ok(sealed <= EPOCH_BYTES && sealed + FRAME_MAX > EPOCH_BYTES, String(sealed));
  assert.throws(() => heavy.seal("data", most), isSealError("keyUpdateDue"));
  heavy.sealKeyUpdate(0);
  assert.equal(heavy.seal("data", most).length, FRAME_MAX);
});

test("the last epoch has no next", () => {
  const sealer = new Sealer(epoch(0xffff));
  assert.throws(() => sealer.sealKeyUpdate(0), isSealError("over"));
  assert.throws(() => new Opener(epoch(0xffff)).open(raw(epoch(0xffff), Uint8Array.of(3))), isOpenError);
  const opener = new Opener(epoch(0xffff));
  const frame = sealer.seal("data", utf8("x"));
  assert.deepEqual([...frame.subarray(0, HEADER)], [0x11, 0, 255, 255]);
  assert.equal(opener.open(frame).kind, "data");
  assert.equal(opener.open(sealer.sealClose("done")).kind, "close");
});

test("the last epoch is reached by updates", () => {
  const [sealer, opener] = [new Sealer(epoch()), new Opener(epoch())];
  for (let updates = 0; updates < 3000; updates += 1) opener.open(sealer.sealKeyUpdate(0));
  assert.deepEqual([...sealer.seal("data").subarray(0, HEADER)], [0x11, 0, 3000 >> 8, 3000 & 0xff]);
});

type Direction = (talk: Talk) => readonly [Sealer, Opener];

/** From the host to the device, and back. */
const DIRECTIONS: readonly Direction[] = [
  ({ host, device }) => [host.sealer, device.opener],
  ({ host, device }) => [device.sealer, host.opener],
];

for (const [at, direction] of DIRECTIONS.entries()) {
  const back = DIRECTIONS[1 - at] as Direction;
  const way = at === 0 ? "to the device" : "to the host";

  test(`every byte of a frame counts: ${way}`, async () => {
    const change = async (work: (frame: Uint8Array) => Uint8Array, what: string): Promise<void> => {
      const [sealer, opener] = direction(await session());
      const right = sealer.seal("data", SECRET);
      fatal(opener, work(right), right, what);
    };
    const length = direction(await session())[0].seal("data", SECRET).length;
    assert.equal(length, 4 + 256 + 16);
    for (let byte = 0; byte < length; byte += 1) {
      await change((frame) => changed(frame, byte, 1 << (byte % 8)), `byte ${byte}`);
      await change((frame) => frame.subarray(0, byte), `cut to ${byte} bytes`);
    }
    for (const more of [1, 16, FRAME_MAX]) await change((frame) => resized(frame, frame.length + more), "longer");
    await change((frame) => joined(frame, frame), "twice in one message");
  });

  test(`frames are opened once and in order: ${way}`, async () => {
    const three = async (): Promise<{ opener: Opener; frames: Uint8Array[] }> => {
      const [sealer, opener] = direction(await session());
      return { opener, frames: [SECRET.subarray(1), SECRET, SECRET].map((text) => sealer.seal("data", text)) };
    };
    const nothing = new Uint8Array();
    const repeated = await three();
    const [first = nothing, second = nothing, third = nothing] = repeated.frames;
    assert.deepEqual(repeated.opener.open(first).data, SECRET.subarray(1));
    assert.deepEqual(repeated.opener.open(second).data, SECRET);
    fatal(repeated.opener, second, third, "repeated");
    fatal((await three()).opener, second, first, "swapped");
    const { opener } = await three();
    opener.open(first);
    fatal(opener, third, second, "one lost");
  });

  test(`frames of another direction, session or epoch are not opened: ${way}`, async () => {
    // As many frames have gone each way: only the keys differ.
    const here = await session();
    for (const each of DIRECTIONS) each(here)[1].open(each(here)[0].seal("data"));
    const own = direction(here)[0].seal("data", SECRET);
    fatal(back(here)[1], own, back(here)[0].seal("data", SECRET), "reflected");

    const [one, other] = [await session(), await session(5)];
    fatal(
      direction(one)[1],
      direction(other)[0].seal("data", SECRET),
      direction(one)[0].seal("data"),
      "of another session",
    );

    // A frame of epoch 0 after its KEYUPDATE; with the head of the new epoch, too.
    for (const head of [0, 1]) {
      const [updated, twin] = [await session(), await session()];
      const old = direction(twin)[0].seal("data", SECRET);
      old[3] = head;
      const [sealer, opener] = direction(updated);
      opener.open(sealer.sealKeyUpdate(0));
      fatal(opener, old, sealer.seal("data", SECRET), "of the epoch before");
    }
    const [sealer, opener] = direction(await session());
    const update = sealer.sealKeyUpdate(0);
    fatal(opener, sealer.seal("data", SECRET), update, "of the epoch to come");
  });

  test(`nothing follows a close: ${way}`, async () => {
    const [sealer, opener] = direction(await session());
    const frames = [sealer.seal("data", SECRET), sealer.sealKeyUpdate(0), sealer.seal("data", SECRET)];
    const close = sealer.sealClose("leaving");
    for (const frame of frames) opener.open(frame);
    assert.equal(opener.open(close).kind, "close", "it counts the frames of all epochs");
    for (const frame of [close, frames[0] as Uint8Array]) assert.throws(() => opener.open(frame), isOpenError);
    assert.equal(opener.closed, "leaving");
    assert.throws(() => sealer.seal("data", SECRET), isSealError("over"));
    assert.throws(() => sealer.sealKeyUpdate(0), isSealError("over"));
    assert.throws(() => sealer.sealClose("done"), isSealError("over"));
  });
}

/** Sessions as they come from a handshake, but for its time. */
async function session(seed = 3): Promise<Talk> {
  const source = Source.extract(utf8("salt"), Uint8Array.of(seed));
  return { device: openSession(source, "initiator"), host: openSession(source, "responder") };
}

test("a close that lost a frame before it is a cut", async () => {
  const { host, device } = await session();
  host.sealer.seal("data", SECRET);
  assert.throws(() => device.opener.open(host.sealer.sealClose("done")), isOpenError);
  assert.equal(device.opener.closed, null);
});

test("what does not fit is not sealed, and costs nothing", async () => {
  const { host, device } = await talk("pair");
  const long = new Uint8Array(DATA_MAX + 1).fill(7);
  assert.throws(() => host.sealer.seal("data", long), isSealError("tooLong"));
  assert.throws(() => host.sealer.seal("control", long.subarray(9), long.subarray(0, 9)), isSealError("tooLong"));
  for (const pad of [DATA_MAX + 1, Number.MAX_SAFE_INTEGER, Number.NaN, Number.POSITIVE_INFINITY, -1]) {
    assert.throws(() => host.sealer.sealPad(pad), isSealError("tooLong"));
  }
  const frame = host.sealer.seal("data", long.subarray(1, 9), long.subarray(9));
  assert.equal(frame.length, FRAME_MAX);
  assert.deepEqual(device.opener.open(frame).data, long.subarray(1));
});

test("what is sealed is opened, whatever it is, and short frames look the same", async () => {
  const next = numbers(42);
  const { host, device } = await talk("reconnect");
  for (let round = 0; round < 200; round += 1) {
    const edge = [0, 254, 255, 256, 4095, 4096, DATA_MAX][next() % 7] ?? 0;
    // Also what looks like padding and like types.
    const data = next() % 2 === 0 ? anyBytes(next, 600) : new Uint8Array(edge).fill(next() % 6);
    for (const [from, to] of [
      [host, device],
      [device, host],
    ] as const) {
      if (next() % 8 === 0) assert.equal(to.opener.open(from.sealer.sealKeyUpdate(0)).kind, "keyUpdate");
      const kind = next() % 2 === 0 ? "data" : "control";
      const frame = from.sealer.seal(kind, data);
      const inner = data.length < 4096 ? Math.ceil((data.length + 1) / 256) * 256 : data.length + 1;
      assert.equal(frame.length, HEADER + inner + TAG);
      assert.deepEqual(to.opener.open(frame), { kind, data });
    }
  }
  for (const reason of Object.keys(CLOSE) as CloseReason[]) {
    const { host: closing, device: told } = await session(CLOSE[reason] + 1);
    told.opener.open(closing.sealer.sealClose(reason));
    assert.equal(told.opener.closed, reason);
  }
});

test("any bytes end the session", async () => {
  const next = numbers(7);
  for (let round = 0; round < 300; round += 1) {
    const { host, device } = await session();
    const noise = anyBytes(next, 400);
    const frame = next() % 2 === 0 ? joined(Uint8Array.of(0x11, 0, 0, 0), noise) : noise;
    fatal(device.opener, frame, host.sealer.seal("data", utf8("x")), "noise");
  }
});
