/** Names, credentials, codes, keys and secrets: what is read, what is refused, and what is never printed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import { isBlank, same, wipe } from "../../src/protocol/bytes.js";
import { CheckCode } from "../../src/protocol/check_code.js";
import { isDeviceCredential, parseCredential } from "../../src/protocol/credential.js";
import {
  fromBase32,
  fromBase64Url,
  fromHex,
  toBase32,
  toBase64,
  toBase64Url,
  toHex,
} from "../../src/protocol/digits.js";
import { CoupletError, isKnownCode, KNOWN_CODES, nextOf, parseCode, titleOf } from "../../src/protocol/error.js";
import { InvalidKey, PublicKey, StaticSecret, WebKey } from "../../src/protocol/identity.js";
import { checkedName, NAME_MAX } from "../../src/protocol/name.js";
import { offerFromBytes, offerToBytes } from "../../src/protocol/offer.js";
import { CredentialHash, RoomId } from "../../src/protocol/room.js";
import { pairingRoom, relaySecretHash } from "../../src/protocol/schedule.js";
import { fresh, Secret, SecretText, type SecretKind } from "../../src/protocol/secret.js";
import { anyBytes, filled, key, numbers, offer } from "./ends.js";
import { read } from "./repository.js";

test("titles are those of the Rust crates", () => {
  const rust = new Map<string, string>();
  for (const [, number, title] of read("crates/protocol/src/error.rs").matchAll(/= (\d{4}), \d{3}, "([^"]*)";/g)) {
    rust.set(`CPL-${number}`, title ?? "");
  }
  assert.ok(rust.size > 90);
  for (const code of KNOWN_CODES) {
    assert.equal(titleOf(code), rust.get(code), code);
    assert.match(nextOf(code) ?? "", /^[A-Z].*[.?]$/, code);
  }
});

test("an error has a code, what happened and what to do next", () => {
  const error = new CoupletError("CPL-1203");
  assert.deepEqual([error.code, error.message, error.next], ["CPL-1203", titleOf("CPL-1203"), nextOf("CPL-1203")]);
  assert.equal(new CoupletError("CPL-1203", "what", { next: "do" }).next, "do");
  // Of a later version.
  const later = new CoupletError("CPL-1999");
  assert.ok(later.message.length > 0 && later.next.length > 0 && !isKnownCode("CPL-1999"));
  assert.equal(isKnownCode("toString"), false);
  assert.equal(parseCode("CPL-1203"), "CPL-1203");
  for (const text of ["", "CPL-", "CPL-12", "CPL-12034", "cpl-1203", "CPL-1203 ", "CPL-١٢٠٣", "xCPL-1203"]) {
    assert.equal(parseCode(text), null, text);
  }
});

test("real names pass and are trimmed", () => {
  for (const name of ["iPad Pro", "Zoë’s Gerät", "寝室のタブレット", "👩‍👩‍👧 phone", "❤️ 1️⃣", "a"]) {
    assert.equal(checkedName(`  ${name}\n`), name);
  }
  assert.equal(checkedName("é".repeat(NAME_MAX)).length, NAME_MAX);
  assert.equal([...checkedName("👩".repeat(NAME_MAX))].length, NAME_MAX);
});

test("names that could fool a reader are refused", () => {
  const refusedFor = (name: string, why: RegExp): void =>
    assert.throws(
      () => checkedName(name),
      (error: CoupletError) => error.code === "CPL-1205" && why.test(error.message),
    );
  refusedFor(" \t ", /^it is empty/);
  refusedFor("é".repeat(65), /^it is longer than 64/);
  refusedFor("👩".repeat(65), /^it is longer than 64/);
  const forbidden: [string, string][] = [
    ["a\0b", "0000"],
    ["a\u202Eb", "202E"],
    ["a\u2066b", "2066"],
    ["a\x1b[2Jb", "001B"],
    ["a\u0085b", "0085"],
    ["\u200D", "200D"],
    ["iPad\uFE0F", "FE0F"],
    ["\u3164", "3164"],
    ["\u2800", "2800"],
    ["\uFEFFiPad", "FEFF"],
    ["a\uD800b", "D800"],
    ["a\u{E0041}", "E0041"],
  ];
  for (const [name, number] of forbidden) refusedFor(name, new RegExp(`U\\+${number}:`));
});

test("whatever passes is a fixed point", () => {
  const next = numbers(9);
  for (let round = 0; round < 3000; round += 1) {
    const scalars = Array.from({ length: next() % 80 }, () => next() % [128, 0x300, 0x3000, 0x11_0000][next() % 4]!);
    try {
      const name = checkedName(String.fromCodePoint(...scalars));
      assert.equal(checkedName(name), name);
      assert.ok([...name].length <= NAME_MAX);
    } catch (error) {
      assert.ok(error instanceof CoupletError && error.code === "CPL-1205", String(error));
    }
  }
});

test("what people type as a check code is read and nonsense is not", () => {
  const code = CheckCode.parse("012345");
  assert.equal(code?.show(), "012 345");
  for (const typed of ["012 345", "012-345", " 0 1 2 3 4 5 "]) assert.ok(CheckCode.parse(typed)?.equals(code), typed);
  assert.equal(CheckCode.parse("012346")?.equals(code), false);
  for (const wrong of ["", "01234", "0123456", "01234a", "٠١٢٣٤٥", "12345６", `${" ".repeat(99)}012345`]) {
    assert.equal(CheckCode.parse(wrong), null, wrong);
  }
});

test("forms of credentials are the documented ones", () => {
  assert.equal(parseCredential("pair", `otp_${"A".repeat(22)}`)?.expose(), `otp_${"A".repeat(22)}`);
  assert.ok(isDeviceCredential(`dev_${"_".repeat(32)}`) && isDeviceCredential("ab".repeat(16)));
  assert.ok(parseCredential("claim", `clm_${"-".repeat(22)}`) !== null);
  const form = "A".repeat(31);
  for (const wrong of ["", "dev_", "dev_short", `DEV_${form}A`, `dev_${form}=`, `dev_${form}é`, `dev_${form}A\n`]) {
    assert.equal(parseCredential("device", wrong), null, wrong);
    assert.equal(isDeviceCredential(wrong), false, wrong);
  }
  assert.equal(parseCredential("bearer", "AB".repeat(16)), null, "upper case");
});

test("digits read back, and have one form", () => {
  const next = numbers(17);
  for (let round = 0; round < 500; round += 1) {
    const bytes = anyBytes(next, 70);
    assert.deepEqual(fromHex(toHex(bytes)), bytes);
    assert.deepEqual(fromBase32(toBase32(bytes)), bytes);
    assert.deepEqual(fromBase64Url(toBase64Url(bytes)), bytes);
    const node = Buffer.from(bytes);
    const known = [node.toString("hex"), node.toString("base64url"), node.toString("base64")];
    assert.deepEqual([toHex(bytes), toBase64Url(bytes), toBase64(bytes)], known);
  }
  assert.equal(toBase32(Buffer.from("foobar")), "MZXW6YTBOI", "RFC 4648, 10");
  for (const wrong of ["A", "AAA", "AAAAAA", "MZ======", "mz", "M1", "MZ ", "AB"])
    assert.equal(fromBase32(wrong), null, wrong);
  for (const wrong of ["a", "A0", "0g", "é0", "0 "]) assert.equal(fromHex(wrong), null, wrong);
  for (const wrong of ["A", "AB", "AAB", "A+==", "AA==", "A/A"]) assert.equal(fromBase64Url(wrong), null, wrong);
});

test("rooms and their hashes are lower-case hex of the right length", () => {
  const room = "0123456789abcdef0123456789abcdef";
  assert.equal(RoomId.parse(room)?.toHex(), room);
  assert.equal(CredentialHash.parse(room.repeat(2))?.exposeHex(), room.repeat(2));
  for (const bad of ["", "0123", room.toUpperCase(), room.slice(1), `${room}0`, `${room.slice(2)}é`]) {
    assert.equal(RoomId.parse(bad), null, bad);
    assert.equal(CredentialHash.parse(bad + room), null, bad);
  }
  const secret = filled("room", 7);
  assert.equal(new Set(Array.from({ length: 300 }, (_, n) => pairingRoom(secret, n).toHex())).size, 300);
  assert.notEqual(relaySecretHash(secret).exposeHex(), relaySecretHash(filled("room", 8)).exposeHex());
  for (const number of [-1, 0.5, 2 ** 32, Number.NaN]) assert.throws(() => pairingRoom(secret, number), RangeError);
});

test("nothing prints a secret", async () => {
  const bytes = Uint8Array.from({ length: 32 }, (_, at) => 200 + (at % 50));
  const marks = [toHex(bytes), bytes.join(","), "200", toBase64(bytes), "tell-nobody", "123456", "123 456"];
  const webKey = await WebKey.generate();
  const things = {
    secret: new Secret("psk", bytes.slice()),
    key: new StaticSecret(new Secret("key", bytes.slice())),
    text: new SecretText("tell-nobody"),
    hash: new CredentialHash(bytes.slice()),
    code: CheckCode.parse("123456"),
    nested: [{ inner: new Secret("room", bytes.slice()) }],
    webKey,
  };
  const printed = [
    String(things.secret),
    String(things.key),
    String(things.text),
    String(things.hash),
    String(things.code),
  ];
  for (const text of [...printed, JSON.stringify(things), inspect(things, { depth: 9, showHidden: true })]) {
    for (const mark of marks) assert.ok(!text.includes(mark), text);
  }
  assert.match(JSON.stringify(things), /\[redacted\]/);
  assert.equal(String(new RoomId(new Uint8Array(16).fill(0xab))), "abababab…");
  assert.ok(!JSON.stringify(structuredClone(things.secret)).includes("200"), "a clone takes nothing along");
});

test("a secret is wiped, copied and compared", () => {
  const bytes = new Uint8Array(32).fill(7);
  const secret = new Secret("psk", bytes);
  const copy = secret.copy();
  assert.ok(copy.equals(secret) && !copy.equals(filled("psk", 8)));
  secret.wipe();
  assert.ok(isBlank(bytes) && !isBlank(copy.expose()));
  assert.throws(() => secret.expose());
  for (const [kind, length] of [
    ["psk", 31],
    ["psk", 33],
    ["offer", 32],
    ["room", 0],
  ] as [SecretKind, number][]) {
    assert.throws(() => new Secret(kind, new Uint8Array(length)), { code: "CPL-1607" });
  }
  assert.ok(same(Uint8Array.of(1, 2), Uint8Array.of(1, 2)));
  for (const other of [[1], [1, 2, 0], [1, 3], []]) assert.ok(!same(Uint8Array.of(1, 2), Uint8Array.from(other)));
  wipe(null, undefined, bytes);
});

test("what is given as Node's Buffer is copied where a copy is promised", () => {
  const given = new Secret("psk", Buffer.alloc(32, 7));
  const copy = given.copy();
  given.wipe();
  assert.deepEqual(copy.expose(), new Uint8Array(32).fill(7));
  const read = Buffer.from(offerToBytes(offer()));
  const before = toHex(read);
  offerFromBytes(read);
  assert.equal(toHex(read), before, "only the parser's own copy is wiped");
});

test("no secret comes of a generator that gives nothing", () => {
  const random = (length: number): Uint8Array => globalThis.crypto.getRandomValues(new Uint8Array(length));
  assert.equal(fresh("entropy", random).expose().length, 32);
  for (const broken of [() => new Uint8Array(32), () => new Uint8Array(31).fill(1), () => undefined]) {
    assert.throws(() => fresh("entropy", broken as (length: number) => Uint8Array), { code: "CPL-1900" });
  }
});

test("X25519 is RFC 7748's, and keys of low order agree on nothing", async () => {
  // RFC 7748, 6.1.
  const of = (hex: string): StaticSecret => new StaticSecret(new Secret("key", fromHex(hex) ?? new Uint8Array()));
  const alice = of("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
  const bob = of("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  assert.equal(toHex(bob.publicKey.toBytes()), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  const agreed = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
  assert.deepEqual([alice.agree(bob.publicKey), bob.agree(alice.publicKey)].map(toHex), [agreed, agreed]);
  const webKey = await WebKey.generate();
  assert.ok(webKey !== null);
  for (let round = 1; round < 20; round += 1) {
    const other = key(round);
    assert.deepEqual(await webKey.agree(other.publicKey), other.agree(webKey.publicKey), "noble and WebCrypto agree");
  }
  const low = [
    new Uint8Array(32),
    Uint8Array.of(1, ...new Uint8Array(31)),
    Uint8Array.of(0xec, ...new Uint8Array(30).fill(255), 0x7f),
  ];
  for (const bytes of low) {
    assert.throws(() => alice.agree(new PublicKey(bytes)), InvalidKey);
    await assert.rejects(webKey.agree(new PublicKey(bytes)), InvalidKey);
  }
  assert.throws(() => new PublicKey(new Uint8Array(31)), { code: "CPL-1607" });
  assert.match(alice.publicKey.fingerprint(), /^[A-Z2-7]{4}(-[A-Z2-7]{4}){3}$/);
  alice.wipe();
  assert.throws(() => alice.agree(key(1).publicKey), InvalidKey);
});
