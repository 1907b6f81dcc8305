/** What `document.cookie` is at once after a write. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { merged } from "../../src/app/shim/cookie_text.js";

const NOW = Date.parse("2026-01-01T00:00:00Z");

it("is what a browser says", () => {
  for (const [before, written, path, after] of [
    ["", "a=1", "/", "a=1"],
    ["a=1", "b=2; Path=/", "/", "a=1; b=2"],
    ["a=1; b=2", "a=3", "/", "a=3; b=2"],
    ["a=1; ab=2", "a=; Max-Age=0", "/", "ab=2"],
    ["a=1", "a=x; expires=Thu, 01 Jan 1970 00:00:00 GMT", "/", ""],
    ["a=1", "a=2; expires=Thu, 01 Jan 2099 00:00:00 GMT", "/", "a=2"],
    ["a=1", "a=2; max-age=60; expires=Thu, 01 Jan 1970 00:00:00 GMT", "/", "a=2"],
    ["", "a=1; HttpOnly", "/", ""],
    ["", "a=1; path=/deep", "/", ""],
    ["", "a=1; path=/deep", "/deep/er", "a=1"],
    ["", "a=1; path=/deep", "/deeper", ""],
    ["", " a = 1 ; Secure; SameSite=Lax", "/", "a=1"],
    ["", "a=b=c", "/", "a=b=c"],
    ["", "", "/", ""],
    ["", ";", "/", ""],
    ["", "plain", "/", "plain"],
    ["plain", "other", "/", "other"],
  ] as const) {
    assert.equal(merged(before, written, path, NOW), after, written);
  }
});
