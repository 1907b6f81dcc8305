/** Offers in all their forms, for whatever may stand in them (spec/protocol.md, 2). */
import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, utf8 } from "../../src/protocol/bytes.js";
import { toBase32, toHex } from "../../src/protocol/digits.js";
import {
  ENDPOINTS_MAX,
  endpointFromBytes,
  endpointToBytes,
  isWithinRelay,
  lanEndpoint,
  relayName,
  type Endpoint,
} from "../../src/protocol/endpoint.js";
import {
  OfferError,
  offerFromBytes,
  offerFromLink,
  offerToBytes,
  offerToLink,
  type Offer,
  type OfferFailure,
} from "../../src/protocol/offer.js";
import { anyBytes, changed, numbers, offer } from "./ends.js";

/** Where the endpoints begin. */
const FIXED = 54;

function relay(text: string): Endpoint {
  const name = relayName(text);
  assert.ok(name !== null, text);
  return { kind: "relay", name };
}

function plain(): Offer {
  return { ...offer(), endpoints: [relay("relay.example.org:8443"), lanEndpoint("192.0.2.7:7878")] };
}

function with_(...endpoints: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return joined(offerToBytes(offer()), ...endpoints);
}

function isOfferError(failure: OfferFailure): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof OfferError, String(error));
    assert.deepEqual([error.failure, error.code], [failure, "CPL-1605"]);
    return true;
  };
}

const hex = (read: Offer): string => toHex(offerToBytes(read));
const bytesOf = (...bytes: readonly number[]): Uint8Array<ArrayBuffer> => Uint8Array.from(bytes);

/** What comes of it: an offer's bytes, or null; nothing but an OfferError is thrown. */
function tried(work: () => Offer): string | null {
  try {
    return hex(work());
  } catch (error) {
    assert.ok(error instanceof OfferError, String(error));
    return null;
  }
}

test("an offer reads back from each of its forms", () => {
  const relays = [relay("a.b"), relay("c.d:9")];
  const lan = [
    lanEndpoint("192.168.1.42:7878"),
    lanEndpoint("[fd00::42]:7878"),
    lanEndpoint("[2001:db8:0:1:0:0:0:1]:1"),
  ];
  for (const endpoints of [[], lan, relays, [...lan, ...relays], [...relays, ...lan]]) {
    const whole = { ...offer(), endpoints };
    assert.equal(hex(offerFromBytes(offerToBytes(whole))), hex(whole));
    for (const form of ["app", "web"] as const) {
      const link = offerToLink(whole, form);
      // What QR's alphanumeric mode has, and the `#` of a web link.
      assert.match(link, /^[A-Z0-9$%*+\-./: ]*#?[A-Z0-9$%*+\-./: ]*$/);
      // The relay of a link's authority comes first.
      const first = form === "web" ? endpoints.find((endpoint) => endpoint.kind === "relay") : undefined;
      const order = first === undefined ? endpoints : [first, ...endpoints.filter((endpoint) => endpoint !== first)];
      for (const typed of [link, `\t ${link.toLowerCase()}\n`, `\u3000${link}\u0085`]) {
        assert.deepEqual(offerFromLink(typed).endpoints, order, typed);
        assert.equal(hex(offerFromLink(typed)), hex({ ...whole, endpoints: order }));
      }
    }
  }
});

test("a changed byte is refused or another offer; what is read is written the same", () => {
  const next = numbers(3);
  const right = offerToBytes({ ...offer(), endpoints: [lanEndpoint("192.0.2.7:7878"), lanEndpoint("[fd00::1]:9")] });
  for (let at = 0; at < right.length; at += 1) {
    for (let bit = 0; bit < 8; bit += 1) {
      const read = tried(() => offerFromBytes(changed(right, at, 1 << bit)));
      assert.notEqual(read, toHex(right), `byte ${at}`);
    }
  }
  for (let round = 0; round < 5000; round += 1) {
    const noise = next() % 2 === 0 ? with_(anyBytes(next, 40)) : joined(bytesOf(1, 1), anyBytes(next, 90));
    const read = tried(() => offerFromBytes(noise));
    if (read !== null)
      assert.equal(
        tried(() => offerFromBytes(Buffer.from(read, "hex"))),
        read,
      );
    const text = String.fromCharCode(
      ...Array.from(anyBytes(next, 60), (byte) => (next() % 9 === 0 ? byte * 255 : byte)),
    );
    for (const start of ["", "COUPLET:", "https://", "HTTPS://A.B/P#", "HTTPS://A.B:1/P#AEAQ"]) {
      tried(() => offerFromLink(start + text));
    }
  }
});

test("a changed character of a link is refused or another offer", () => {
  for (const form of ["app", "web"] as const) {
    // Its case does not count, but changes the bytes and so the link.
    const whole = form === "app" ? { ...plain(), endpoints: plain().endpoints.slice(1) } : plain();
    const link = offerToLink(whole, form);
    for (let at = 0; at < link.length; at += 1) {
      for (let code = 32; code < 127; code += 1) {
        const typed = link.slice(0, at) + String.fromCharCode(code) + link.slice(at + 1);
        if (typed.toUpperCase() !== link.toUpperCase())
          assert.notEqual(
            tried(() => offerFromLink(typed)),
            hex(whole),
            typed,
          );
      }
    }
  }
});

test("base32 has one form", () => {
  // 62 bytes leave four bits over in the last character: it stands for zeros, or it is not base32.
  const link = offerToLink({ ...plain(), endpoints: plain().endpoints.slice(1) }, "app");
  assert.equal(link.length, 8 + 100);
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const last = alphabet.indexOf(link.slice(-1));
  assert.equal(last & 0b1111, 0);
  const isDamaged = isOfferError("damaged");
  for (let unused = 1; unused < 16; unused += 1) {
    assert.throws(() => offerFromLink(link.slice(0, -1) + alphabet[last | unused]), isDamaged);
  }
  const spoilt = [
    `${link}====`,
    `${link}=`,
    link.replace("COUPLET:", "COUPLET: "),
    `${link.slice(0, 40)}-${link.slice(40)}`,
  ];
  for (const wrong of spoilt) assert.throws(() => offerFromLink(wrong), isDamaged, wrong);
  const starts = [
    "COUPLET",
    "COUPLET//",
    "COUPLET:COUPLET:",
    "HTTP://A.B/P#",
    "HTTPS://A.B/P",
    "HTTPS:///P#",
    "HTTPS://A.B/X/P#",
  ];
  for (const start of starts) assert.throws(() => offerFromLink(link.replace("COUPLET:", start)), OfferError, start);
  for (const wrong of ["", "https://example.org/", "ﬀ", link.replace("C", "Ｃ"), `${link.slice(0, 9)}é`]) {
    assert.throws(() => offerFromLink(wrong), isOfferError("notALink"), wrong);
  }
});

test("endpoints have one form each", () => {
  const mapped = bytesOf(3, 18, ...Array<number>(10).fill(0), 255, 255, 192, 0, 2, 7, 0, 80);
  assert.throws(() => offerFromBytes(with_(mapped)), isOfferError("endpoint"), "a mapped address");
  const v6 = bytesOf(3, 18, ...Array<number>(16).fill(0xfd), 0, 80);
  assert.equal(offerFromBytes(with_(v6)).endpoints.length, 1);
  assert.throws(() => offerFromBytes(with_(v6, v6)), isOfferError("duplicate"));
  // Names that differ by case only are the same endpoint.
  const [lower, upper] = [joined(bytesOf(1, 3), utf8("a.b")), joined(bytesOf(1, 3), utf8("A.b"))];
  assert.throws(() => offerFromBytes(with_(lower, upper)), isOfferError("duplicate"));
  const web = `https://a.b/p#${toBase32(with_(upper))}`;
  assert.throws(() => offerFromLink(web), isOfferError("duplicate"), "the authority's relay again");
  for (const port of ["0", "00", "080", "65536", "+80", "-1", " 80", "80 ", "8a", "", "1e3", "0x50"]) {
    assert.equal(relayName(`a.b:${port}`), null, `port ${port}`);
    assert.throws(() => lanEndpoint(`192.0.2.7:${port}`), RangeError, `port ${port}`);
  }
  const names = [
    "",
    ".",
    "a..b",
    ".a",
    "a.",
    "-a",
    "a-",
    "a_b",
    "a b",
    "ä.b",
    "[::1]",
    "a.b:1:2",
    "a.b/",
    "a@b",
    "a\0",
    "a\n",
  ];
  for (const name of names) assert.equal(relayName(name), null, name);
  assert.equal(relayName("RELAY.Example.ORG:65535"), "relay.example.org:65535");
});

test("addresses are written as RFC 5952 has them, and read in any form", () => {
  const forms: [string, string][] = [
    ["[fd00:0:0:0:0:0:0:42]:7878", "[fd00::42]:7878"],
    ["[FD00::42]:7878", "[fd00::42]:7878"],
    ["[2001:db8:0:0:1:0:0:1]:1", "[2001:db8::1:0:0:1]:1"],
    ["[2001:db8:0:1:1:1:1:1]:1", "[2001:db8:0:1:1:1:1:1]:1"],
    ["[0:0:0:0:0:0:0:0]:1", "[::]:1"],
    ["[0:0:0:0:0:0:0:1]:1", "[::1]:1"],
    ["[1:0:0:0:0:0:0:0]:1", "[1::]:1"],
    ["[0001:0:0:2::]:1", "[1:0:0:2::]:1"],
    ["[::ffff:c000:207]:80", "192.0.2.7:80"],
    ["192.0.2.7:80", "192.0.2.7:80"],
  ];
  for (const [typed, wanted] of forms) {
    const endpoint = lanEndpoint(typed);
    assert.deepEqual(endpoint, { kind: "lan", address: wanted });
    assert.deepEqual(endpointFromBytes(endpointToBytes(endpoint)), endpoint);
  }
  const wrong = [
    "",
    "192.0.2.7",
    "192.0.2:1",
    "256.0.2.7:1",
    "192.0.2.07:1",
    "::1:80",
    "[::1]",
    "[1::2::3]:1",
    "[1:2:3:4:5:6:7]:1",
  ];
  for (const text of [
    ...wrong,
    "[1:2:3:4:5:6:7:8:9]:1",
    "[1:2:3:4::5:6:7:8]:1",
    "[12345::]:1",
    "[g::]:1",
    "host:80",
    "[]:1",
  ]) {
    assert.throws(() => lanEndpoint(text), RangeError, text);
  }
  for (const bytes of [[], [2], [2, 6], [2, 6, 1, 2, 3, 4, 0, 80, 0], [1, 0], [1, 1, 0xff]]) {
    assert.equal(endpointFromBytes(Uint8Array.from(bytes)), "malformed");
  }
  assert.equal(endpointFromBytes(bytesOf(9, 1, 0)), "skipped");
  assert.throws(() => endpointToBytes({ kind: "relay", name: "a b" }), RangeError);
});

test("a place of a relay's is its name or one below it", () => {
  for (const node of ["relay.org", "relay.org:9", "n1.relay.org", "a.b.relay.org:443"]) {
    assert.ok(isWithinRelay(node, "relay.org:8443"), node);
  }
  for (const other of ["org", "xrelay.org", "relay.org.evil.net", "relay.orga"])
    assert.ok(!isWithinRelay(other, "relay.org"), other);
});

test("sizes at the limits pass and one more does not", () => {
  const label = "a".repeat(63);
  assert.ok(relayName(label) !== null && relayName(`${label}a`) === null);
  // 253 bytes of name, and 255 with the port.
  const name = (length: number): string => `${label}.${label}.${label}.${"b".repeat(length - 192)}`;
  assert.ok(relayName(name(253)) !== null && relayName(name(254)) === null);
  assert.ok(relayName(`${name(253)}:9`) !== null && relayName(`${name(253)}:99`) === null);

  const widest = (count: number): Endpoint[] => Array.from({ length: count }, (_, at) => relay(`${name(252)}${at}:9`));
  const whole = { ...plain(), endpoints: widest(ENDPOINTS_MAX) };
  assert.equal(offerToBytes(whole).length, FIXED + 8 * 257);
  for (const form of ["app", "web"] as const)
    assert.equal(hex(offerFromLink(offerToLink(whole, form))), hex(whole), "the longest");
  const ninth = joined(offerToBytes(whole), endpointToBytes(widest(9)[8] as Endpoint));
  assert.throws(() => offerFromBytes(ninth), isOfferError("tooMany"));
  // The authority's relay is one of the eight.
  const web = (bytes: Uint8Array): Offer => offerFromLink(`HTTPS://A.B/P#${toBase32(bytes)}`);
  assert.throws(() => web(offerToBytes(whole)), isOfferError("tooMany"));
  assert.equal(web(offerToBytes({ ...whole, endpoints: widest(7) })).endpoints.length, 8);
  // Those of unknown kinds count too, before they are skipped.
  const unknown = (count: number): Uint8Array =>
    Uint8Array.from({ length: 3 * count }, (_, at) => [9, 1, at / 3][at % 3] ?? 0);
  assert.deepEqual(offerFromBytes(with_(unknown(8))).endpoints, []);
  assert.throws(() => offerFromBytes(with_(unknown(9))), isOfferError("tooMany"));
  // Only what can be an offer is said to be of a newer version: any text has a first byte.
  const begins = (first: number, length: number): Uint8Array => Uint8Array.from({ length }, (_, at) => (at === 0 ? first : 0x5a));
  for (const version of [2, 15]) assert.throws(() => offerFromBytes(begins(version, FIXED)), isOfferError("version"));
  for (const [version, length] of [[0, 80], [16, 80], [107, 80], [255, 80], [2, FIXED - 1], [2, 1]] as const) {
    assert.throws(() => offerFromBytes(begins(version, length)), isOfferError("damaged"), `${version} ${length}`);
  }
  assert.throws(() => offerFromLink("COUPLET:NONSENSE"), isOfferError("damaged"));
  // Longer links are not looked at.
  const long = (length: number): string => `COUPLET:${"A".repeat(length - 8)}`;
  assert.throws(() => offerFromLink(long(4096)), isOfferError("damaged"));
  assert.throws(() => offerFromLink(long(4097)), isOfferError("notALink"));
  assert.throws(() => offerFromLink(`${" ".repeat(1_000_000)}x ${" ".repeat(1_000_000)}`), isOfferError("notALink"));
  for (let length = 0; length < FIXED; length += 1) {
    assert.throws(() => offerFromBytes(offerToBytes(plain()).subarray(0, length)), isOfferError("short"));
  }
});
