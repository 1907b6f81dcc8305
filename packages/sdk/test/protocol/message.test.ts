/** CONTROL messages, whatever may stand in them (spec/protocol.md, 3 and 4). */
import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, utf8, view } from "../../src/protocol/bytes.js";
import { encodeMap, Malformed, TEXT_MAX, type Field } from "../../src/protocol/cbor.js";
import { toHex } from "../../src/protocol/digits.js";
import { ENDPOINTS_MAX, lanEndpoint, type Endpoint } from "../../src/protocol/endpoint.js";
import {
  decodeAnswer,
  decodeClaim,
  decodeControl,
  encodeControl,
  type Control,
  type Grant,
} from "../../src/protocol/message.js";
import { SecretText } from "../../src/protocol/secret.js";
import { anyBytes, changed, entropy, filled, numbers } from "./ends.js";

function isRefused(bytes: Uint8Array, what = toHex(bytes).slice(0, 80)): void {
  assert.throws(
    () => decodeControl(bytes),
    (error: unknown) => error instanceof Malformed && error.code === "CPL-1602",
    what,
  );
}

function grant(): Grant {
  return {
    deviceId: "i",
    deviceToken: new SecretText("t"),
    hostName: "h",
    pskId: new Uint8Array(8).fill(1),
    psk: filled("psk", 2),
    roomSecret: filled("room", 3),
    endpoints: [lanEndpoint("192.0.2.7:80")],
  };
}

const MESSAGES: readonly Control[] = [
  { t: "confirm", reveal: entropy(4), rooms: null },
  { t: "confirm", reveal: null, rooms: null },
  { t: "confirm", reveal: null, rooms: { kept: 0, opened: 0xffff_ffff } },
  { t: "confirm", reveal: null, rooms: { kept: 23, opened: 23 } },
  { t: "grant", grant: grant() },
  { t: "grant", grant: { ...grant(), roomSecret: null, endpoints: [] } },
  { t: "ack" },
  { t: "paired" },
  { t: "rejected", code: "CPL-1208" },
  { t: "endpoints", list: [], serial: 0n },
  {
    t: "endpoints",
    list: [{ kind: "relay", name: "relay.example.org:8443" }, lanEndpoint("[fd00::42]:7")],
    serial: 2n ** 64n - 1n,
  },
];

/** A map with these entries, as they are. */
function map(...entries: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return joined(Uint8Array.of(0xa0 + entries.length), ...entries);
}

function text(value: string): Uint8Array<ArrayBuffer> {
  const bytes = utf8(value);
  const head = bytes.length < 24 ? [0x60 + bytes.length] : [0x79, bytes.length >> 8, bytes.length & 0xff];
  if (bytes.length >= 24 && bytes.length < 256) head.splice(0, 3, 0x78, bytes.length);
  return joined(Uint8Array.from(head), bytes);
}

function entry(key: string, ...value: readonly number[]): Uint8Array<ArrayBuffer> {
  return joined(text(key), Uint8Array.from(value));
}

const bytesOf = (...bytes: readonly number[]): Uint8Array<ArrayBuffer> => Uint8Array.from(bytes);
const hex = (control: Control | null): string | null => (control === null ? null : toHex(encodeControl(control)));

/** Where the heads of a message stand: major type, where, how long, argument. */
function heads(message: Uint8Array): { major: number; at: number; length: number; argument: bigint }[] {
  const found = [];
  for (let at = 0; at < message.length;) {
    const [major, short] = [(message[at] ?? 0) & 0xe0, (message[at] ?? 0) & 0x1f];
    const more = short < 24 ? 0 : 1 << (short - 24);
    let argument = more === 0 ? BigInt(short) : 0n;
    for (const byte of message.subarray(at + 1, at + 1 + more)) argument = (argument << 8n) | BigInt(byte);
    found.push({ major, at, length: 1 + more, argument });
    at += 1 + more + (major === 0x40 || major === 0x60 ? Number(argument) : 0);
  }
  return found;
}

/** The same message with one of its heads in another form: each longer one, and without a length. */
function otherForms(message: Uint8Array): Uint8Array[] {
  const forms: Uint8Array[] = [];
  for (const { major, at, length, argument } of heads(message)) {
    const isString = major === 0x40 || major === 0x60;
    const [before, after] = [message.subarray(0, at), message.subarray(at + length)];
    const body = after.subarray(0, isString ? Number(argument) : 0);
    const rest = after.subarray(body.length);
    const long = new Uint8Array(8);
    view(long).setBigUint64(0, argument);
    for (const [sign, size] of [
      [24, 1],
      [25, 2],
      [26, 4],
      [27, 8],
    ] as const) {
      if (1 + size > length) forms.push(joined(before, bytesOf(major | sign), long.subarray(8 - size), after));
    }
    if (isString) {
      const head = message.subarray(at, at + length);
      forms.push(joined(before, bytesOf(major | 0x1f), head, body, bytesOf(0xff), rest));
    }
    // A break at the end of the message suits the outer map, and a list that comes last.
    forms.push(joined(before, bytesOf(major | 0x1f), after, bytesOf(0xff)));
    // Reserved forms, and a tag in front.
    for (const sign of [28, 29, 30]) forms.push(joined(before, bytesOf(major | sign), after));
    forms.push(joined(before, bytesOf(0xc0), message.subarray(at)));
  }
  return forms;
}

test("a message reads back, and has one form", () => {
  for (const message of MESSAGES) {
    const right = encodeControl(message);
    assert.equal(hex(decodeControl(right)), toHex(right));
    assert.deepEqual(decodeControl(right), message);
    const forms = otherForms(right);
    assert.ok(forms.length >= 3 * 9, "a map, a key and a value at least");
    for (const form of forms) isRefused(form);
    for (let length = 0; length < right.length; length += 1) isRefused(right.subarray(0, length));
    for (const byte of [0, 0x60, 0xa0, 0xf6, 0xff]) isRefused(joined(right, bytesOf(byte)));
  }
});

test("a changed byte is refused or another message", () => {
  const next = numbers(5);
  for (const message of MESSAGES.filter((each) => each.t !== "endpoints" || each.list.length === 0)) {
    const right = encodeControl(message);
    for (let at = 0; at < right.length; at += 1) {
      for (const by of [1 << (at % 8), 1 + (next() % 255)]) {
        let read: string | null = null;
        try {
          read = hex(decodeControl(changed(right, at, by)));
        } catch (error) {
          assert.ok(error instanceof Malformed, String(error));
        }
        assert.notEqual(read, toHex(right), `byte ${at}`);
      }
    }
  }
});

test("any bytes are read or refused, and what is read is written and read the same", () => {
  const next = numbers(11);
  for (let round = 0; round < 20_000; round += 1) {
    const base = encodeControl(MESSAGES[next() % MESSAGES.length] as Control);
    const bytes = next() % 4 === 0 ? joined(bytesOf(0xa2, 0x61, 0x74), anyBytes(next, 40)) : new Uint8Array(base);
    for (let times = next() % 3; times > 0; times -= 1) bytes[next() % bytes.length] = next() & 0xff;
    for (const decode of [decodeControl, decodeClaim, decodeAnswer]) {
      try {
        const read = decode(bytes);
        if (decode !== decodeControl || read === null) continue;
        const written = encodeControl(read as Control);
        assert.ok(written.length <= bytes.length);
        assert.equal(hex(decodeControl(written)), toHex(written));
      } catch (error) {
        assert.ok(error instanceof Malformed, String(error));
      }
    }
  }
});

test("unknown fields are ignored, whatever is in them", () => {
  const value = [0x83, 0x38, 99, 0x42, 1, 2, 0xa1, 0xf6, 0xf5];
  const t = joined(text("t"), text("endpoints"));
  const message = map(t, entry("z", ...value), entry("list", 0x80), entry("serial", 7));
  assert.deepEqual(decodeControl(message), { t: "endpoints", list: [], serial: 7n });
  // What this version does not know is not an error.
  assert.equal(decodeControl(map(joined(text("t"), text("later")))), null);
});

test("keys stand in order and once", () => {
  const [t, code] = [joined(text("t"), text("rejected")), joined(text("code"), text("CPL-1208"))];
  assert.deepEqual(decodeControl(map(t, code)), { t: "rejected", code: "CPL-1208" });
  const [shorter, letter] = [entry("u", 0), entry("coda", 0)];
  for (const entries of [
    [code, t],
    [t, t, code],
    [t, code, code],
    [shorter, t, code],
    [t, code, letter],
  ]) {
    isRefused(map(...entries));
  }
  // By length first: "zz" before "aaa", the other way round than by letter alone.
  const [zz, aaa] = [entry("zz", 0), entry("aaa", 0)];
  assert.ok(decodeControl(map(t, zz, aaa, code)));
  isRefused(map(t, aaa, zz, code));
});

test("what no message holds is refused even where it would be ignored", () => {
  const t = joined(text("t"), text("ack"));
  const huge = Array<number>(8).fill(255);
  const fine = [[0xf4], [0xf5], [0xf6], [0x20], [0x3b, ...huge], [0x1b, ...huge], [0x80], [0xa0]];
  for (const value of fine) assert.deepEqual(decodeControl(map(t, entry("z", ...value))), { t: "ack" });
  // Floats, undefined, simple values, tags, a break; text that is no UTF-8; what breaks off; lengths without an end.
  const wrong = [
    [0xf9, 0, 0],
    [0xfa, 0, 0, 0, 0],
    [0xfb, 0, 0, 0, 0, 0, 0, 0, 0],
    [0xf7],
    [0xe0],
    [0xf3],
    [0xf8, 32],
    [0xf8, 255],
    [0xc0, 0],
    [0xc2, 0x41, 1],
    [0xd9, 0xd9, 0xf7, 0],
    [0xff],
    [0x61, 0xff],
    [0x62, 0xc3, 0x28],
    [0x63, 0xed, 0xa0, 0x80],
    [0x41],
    [0x81],
    [0xa1, 0],
    [0x9b, ...huge],
    [0x9f, 0xff],
    [0xbf, 0xff],
    [0x5f, 0xff],
    [0x7f, 0xff],
    [0xbb, ...huge, 0],
    [0x5b, ...huge],
    [0x7b, ...huge],
    [0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
  ];
  for (const value of wrong) isRefused(map(t, entry("z", ...value)));
  for (const key of [[0], [0x41, 0x7a], [0xf6], [0x81, 0], [0x61, 0xff]]) isRefused(map(t, bytesOf(...key, 0)));
  const t0 = [0xa1, 0x61, 0x74];
  for (const whole of [[], [0xa0], [0x80], [0], [0xf6], [...text("ack")], [...t0, 0], [...t0, 0xf6]]) {
    isRefused(Uint8Array.from(whole));
  }
  // A byte order mark is a character like any other.
  assert.deepEqual(decodeControl(map(joined(text("t"), text("rejected")), joined(text("code"), text("\uFEFFx")))), {
    t: "rejected",
    code: "\uFEFFx",
  });
  // Nothing recurses: as deep as a frame is long.
  const deep = [...Array<number>(16_000).fill(0x81), 0];
  assert.deepEqual(decodeControl(map(t, entry("z", ...deep))), { t: "ack" });
});

test("declared lengths cost neither memory nor time", () => {
  const before = process.memoryUsage().arrayBuffers;
  for (const head of [0x5b, 0x7b, 0x9b, 0xbb, 0x9a, 0xba]) {
    const tail = new Uint8Array(16_000).fill(0x9b);
    const length = Array<number>(head % 2 === 1 ? 8 : 4).fill(0xff);
    isRefused(joined(map(joined(text("t"), text("endpoints"))).fill(0xa2, 0, 1), entry("list", head, ...length), tail));
    isRefused(joined(bytesOf(head, ...length), tail));
  }
  // As many items as are left, over and over: each level ends the message.
  isRefused(joined(bytesOf(0xa1), text("t"), ...Array<Uint8Array>(5000).fill(bytesOf(0x99, 0x3e, 0x80))));
  assert.ok(process.memoryUsage().arrayBuffers - before < 10_000_000);
});

/** `control` in bytes, with the first of these replaced. */
function replaced(control: Control, from: readonly number[], to: readonly number[]): Uint8Array {
  const whole = toHex(encodeControl(control));
  const at = whole.indexOf(toHex(Uint8Array.from(from)));
  assert.ok(at >= 0 && at % 2 === 0);
  const changedHex = whole.slice(0, at) + toHex(Uint8Array.from(to)) + whole.slice(at + 2 * from.length);
  return Uint8Array.from(Buffer.from(changedHex, "hex"));
}

test("fields are of their type and size", () => {
  const message: Control = { t: "grant", grant: grant() };
  const confirm: Control = { t: "confirm", reveal: entropy(4), rooms: null };
  const bytes = (length: number, byte: number): number[] => [0x58, length, ...Array<number>(length).fill(byte)];
  for (const length of [24, 31, 33, 64]) {
    isRefused(replaced(message, bytes(32, 2), bytes(length, 2)), `psk of ${length} bytes`);
    isRefused(replaced(message, bytes(32, 3), bytes(length, 3)), `room secret of ${length} bytes`);
    isRefused(replaced(confirm, bytes(32, 4), bytes(length, 4)), `rP of ${length} bytes`);
  }
  const lan = [0x81, 0x48, 2, 6, 192, 0, 2, 7, 0, 80];
  const wrong: [number[], number[]][] = [
    [
      [0x48, 1, 1, 1, 1, 1, 1, 1, 1],
      [0x47, 1, 1, 1, 1, 1, 1, 1],
    ],
    [
      [0x61, 0x69],
      [0x41, 0x69],
    ],
    [[0x61, 0x68], [0x01]],
    [
      [0x61, 0x74, 0x65, ...utf8("grant")],
      [0x61, 0x73, 0x65, ...utf8("grant")],
    ],
    [
      [0x48, 2, 6],
      [0x68, 2, 6],
    ],
    [
      [0x48, 2, 6],
      [0x48, 2, 5],
    ],
    [lan, [...lan.slice(0, -1), 0]],
    [lan, [0x81, 0x40]],
    [lan, [0x81, 0x41, 9]],
    [lan, [0xf6]],
  ];
  for (const [from, to] of wrong) isRefused(replaced(message, from, to));
  // Of an unknown kind: left out.
  const unknown = decodeControl(replaced(message, lan, [0x81, 0x43, 9, 1, 0]));
  assert.ok(unknown?.t === "grant" && unknown.grant.endpoints.length === 0);
  const numbered = (...number: number[]): Uint8Array => replaced({ t: "endpoints", list: [], serial: 5n }, [5], number);
  assert.deepEqual(decodeControl(numbered(6)), { t: "endpoints", list: [], serial: 6n });
  isRefused(numbered(0x20));
  isRefused(numbered(0x61, 0x35));
  const rooms: Control = { t: "confirm", reveal: null, rooms: { kept: 7, opened: 9 } };
  isRefused(replaced(rooms, [7], [0x1b, 0, 0, 0, 1, 0, 0, 0, 0]));
  isRefused(replaced(rooms, [9], [0x1b, 0, 0, 0, 1, 0, 0, 0, 0]));
});

test("sizes at the limits pass and one more does not", () => {
  for (const length of [TEXT_MAX, TEXT_MAX + 1]) {
    const code = "é".repeat(Math.floor(length / 2)) + "e".repeat(length % 2);
    assert.equal(utf8(code).length, length);
    const bytes = map(joined(text("t"), text("rejected")), joined(text("code"), text(code)));
    if (length > TEXT_MAX) {
      assert.throws(() => encodeControl({ t: "rejected", code }), Malformed);
      isRefused(bytes);
    } else {
      assert.deepEqual(decodeControl(bytes), { t: "rejected", code });
      assert.deepEqual(encodeControl({ t: "rejected", code }), bytes);
    }
  }
  const endpoints = (count: number): Endpoint[] =>
    Array.from({ length: count }, (_, at) => lanEndpoint(`192.0.2.7:${at + 1}`));
  for (const count of [0, ENDPOINTS_MAX, ENDPOINTS_MAX + 1, 24]) {
    const list = endpoints(count).map((_, at) => bytesOf(2, 6, 192, 0, 2, 7, 0, at + 1));
    const fields: Record<string, Field> = { t: "endpoints", list, serial: 1n };
    if (count > ENDPOINTS_MAX) isRefused(encodeMap(fields));
    else assert.deepEqual(decodeControl(encodeMap(fields)), { t: "endpoints", list: endpoints(count), serial: 1n });
  }
  for (const serial of [
    0n,
    23n,
    24n,
    255n,
    256n,
    65_535n,
    65_536n,
    2n ** 32n - 1n,
    2n ** 32n,
    2n ** 53n,
    2n ** 64n - 1n,
  ]) {
    assert.deepEqual(decodeControl(encodeControl({ t: "endpoints", list: [], serial })), {
      t: "endpoints",
      list: [],
      serial,
    });
  }
  for (const serial of [-1n, 2n ** 64n]) {
    assert.throws(() => encodeControl({ t: "endpoints", list: [], serial }), Malformed);
  }
});
