import assert from "node:assert/strict";
import { test } from "node:test";
import { Http2Error } from "../src/http2/index.js";
import { decodeHeaders, encodeHeaders, type Header, listSize } from "../src/http2/hpack.js";
import { decodeHuffman } from "../src/http2/huffman.js";
import { STATIC_TABLE } from "../src/http2/static_table.js";

const MOST = 65_536;
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ""), "hex"));
const decoded = (hex: string): Header[] => decodeHeaders(bytes(hex), MOST).headers;
const text = (huffman: string): string => Buffer.from(decodeHuffman(bytes(huffman))).toString("latin1");

function refused(hex: string): void {
  assert.throws(
    () => decodeHeaders(bytes(hex), MOST),
    (error: unknown) => error instanceof Http2Error && error.code === 9,
  );
}

test("the static table is that of RFC 7541, Appendix A", () => {
  assert.equal(STATIC_TABLE.length, 61);
  assert.deepEqual(STATIC_TABLE[0], [":authority", ""]);
  assert.deepEqual(STATIC_TABLE[1], [":method", "GET"]);
  assert.deepEqual(STATIC_TABLE[15], ["accept-encoding", "gzip, deflate"]);
  assert.deepEqual(STATIC_TABLE[31], ["cookie", ""]);
  assert.deepEqual(STATIC_TABLE[60], ["www-authenticate", ""]);
});

test("RFC 7541, C.1: integers", () => {
  // 1337 with a prefix of five bits is 1f 9a 0a; as the size of a table it is more than this end takes.
  refused("3f9a0a");
  // 10 with a prefix of seven bits: a value of ten bytes.
  assert.deepEqual(decoded("0001610a30313233343536373839"), [["a", "0123456789"]]);
  // 127 + 0: the shortest that needs a second byte.
  assert.deepEqual(decoded(`000161 7f00 ${"62".repeat(127)}`), [["a", "b".repeat(127)]]);
  refused("0001617fffffffffff00");
  refused("0001617f80808080808000");
});

test("RFC 7541, C.2: representations", () => {
  assert.deepEqual(decoded("400a637573746f6d2d6b65790d637573746f6d2d686561646572"), [["custom-key", "custom-header"]]);
  assert.deepEqual(decoded("040c2f73616d706c652f70617468"), [[":path", "/sample/path"]]);
  assert.deepEqual(decoded("100870617373776f726406736563726574"), [["password", "secret"]]);
  assert.deepEqual(decoded("82"), [[":method", "GET"]]);
});

test("RFC 7541, C.3.1 and C.4.1: requests, plain and with Huffman's code", () => {
  const expected = [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
  ];
  assert.deepEqual(decoded("828684410f7777772e6578616d706c652e636f6d"), expected);
  assert.deepEqual(decoded("828684418cf1e3c2e5f23a6ba0ab90f4ff"), expected);
});

test("RFC 7541, C.5.1 and C.6.1: answers, plain and with Huffman's code", () => {
  const expected = [
    [":status", "302"],
    ["cache-control", "private"],
    ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
    ["location", "https://www.example.com"],
  ];
  assert.deepEqual(
    decoded(
      "4803333032580770726976617465611d4d6f6e2c203231204f63742032303133 2032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
    ),
    expected,
  );
  assert.deepEqual(decoded("488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3"), expected);
});

test("RFC 7541, C.3.2 to C.6.3: what needs the dynamic table is refused", () => {
  refused("828684be58086e6f2d6361636865");
  refused("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565");
  refused("828684be5886a8eb10649cbf");
  refused("4803333037c1c0bf");
  refused("4883640effc1c0bf");
  refused("7e0161");
  refused("be");
  refused("80");
});

test("RFC 7541, C.4 and C.6: strings with Huffman's code", () => {
  assert.equal(text("a8eb10649cbf"), "no-cache");
  assert.equal(text("25a849e95ba97d7f"), "custom-key");
  assert.equal(text("25a849e95bb8e8b4bf"), "custom-value");
  assert.equal(text("6402"), "302");
  assert.equal(text("640eff"), "307");
  assert.equal(text("d07abe941054d444a8200595040b8166e084a62d1bff"), "Mon, 21 Oct 2013 20:13:22 GMT");
  assert.equal(text("9bd9ab"), "gzip");
  assert.equal(
    text("94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"),
    "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
  );
  assert.equal(text(""), "");
});

test("Huffman's code is decoded strictly (RFC 7541, 5.2)", () => {
  const bad = (hex: string): void => {
    assert.throws(() => decodeHuffman(bytes(hex)), (error: unknown) => error instanceof Http2Error && error.code === 9);
  };
  // "0" is 00000: three bits of padding, which must be ones.
  assert.equal(text("07"), "0");
  bad("00");
  bad("06");
  // A whole byte of padding.
  bad("07ff");
  bad("ff");
  // The end of the string, spelled out: thirty ones.
  bad("ffffffff");
  bad("fffffffc");
});

test("a table's size may be set to nothing, at the beginning of a block alone", () => {
  assert.deepEqual(decoded("2082"), [[":method", "GET"]]);
  assert.deepEqual(decoded("202082"), [[":method", "GET"]]);
  refused("8220");
  refused("2182");
});

test("what is cut off is refused", () => {
  const whole = bytes("488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff");
  for (let length = 1; length < whole.length; length += 1) {
    try {
      const { headers } = decodeHeaders(whole.subarray(0, length), MOST);
      assert.ok(headers.length < 3);
    } catch (error) {
      assert.ok(error instanceof Http2Error && error.code === 9);
    }
  }
  refused("0001610a3031");
  refused("00");
});

test("a list is read no further than it may be long", () => {
  const block = encodeHeaders(Array.from({ length: 100 }, (): Header => ["accept", "x".repeat(100)]), new Set());
  const { headers, tooLong } = decodeHeaders(block, 1_000);
  assert.equal(tooLong, true);
  assert.ok(listSize(headers) <= 1_000);
  assert.equal(decodeHeaders(block, 100 * (6 + 100 + 32)).tooLong, false);
});

test("what is encoded is decoded, and depends on no table", () => {
  const list: Header[] = [
    [":method", "GET"],
    [":path", "/a"],
    ["accept", ""],
    ["authorization", "Bearer secret"],
    ["cookie", ""],
    ["x-long", "y".repeat(70_000)],
    ["x-latin", "\u00e9\u00ff"],
    ["accept-encoding", "gzip, deflate"],
  ];
  const block = encodeHeaders(list, new Set(["authorization", "cookie"]));
  assert.deepEqual(decodeHeaders(block, 1 << 20).headers, list);
  // Never indexed, RFC 7541, 6.2.3: 0001 and the name's index, 23.
  assert.deepEqual([...encodeHeaders([["authorization", "a"]], new Set(["authorization"]))], [0x1f, 23 - 15, 1, 0x61]);
  // Nothing that the static table has whole, either.
  assert.deepEqual([...encodeHeaders([["cookie", ""]], new Set(["cookie"]))], [0x1f, 32 - 15, 0]);
  // Without indexing, RFC 7541, 6.2.2.
  assert.deepEqual([...encodeHeaders([["x", "a"]], new Set())], [0x00, 1, 0x78, 1, 0x61]);
  assert.throws(() => encodeHeaders([["x", "\u0100"]], new Set()), Http2Error);
});
