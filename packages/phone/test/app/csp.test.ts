/** Policies: the shim runs, the client may show the page, and everything else is as strict as it was. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { admitted, own, unreported } from "../../src/app/html/csp.js";

const admission = { shim: "https://l.apps/.couplet/shim.js", download: "https://l.apps/.couplet/download", nonce: "N", ancestor: "https://relay" };
const [SHIM, DOWNLOAD] = [admission.shim, admission.download];

const CASES: readonly (readonly [before: string, after: string])[] = [
  ["script-src 'self'", `script-src 'self'; script-src-elem 'self' ${SHIM}`],
  ["script-src 'none'", `script-src 'none'; script-src-elem ${SHIM}`],
  ["script-src", `script-src; script-src-elem ${SHIM}`],
  ["script-src 'NONE'", `script-src 'NONE'; script-src-elem ${SHIM}`],
  ["default-src 'none'", `default-src 'none'; script-src-elem ${SHIM}; frame-src ${DOWNLOAD}`],
  ["script-src 'nonce-a'", `script-src 'nonce-a'; script-src-elem 'nonce-a' ${SHIM}`],
  ["script-src 'nonce-a' 'strict-dynamic'", "script-src 'nonce-a' 'strict-dynamic'; script-src-elem 'nonce-a' 'strict-dynamic' 'nonce-N'"],
  ["script-src 'strict-dynamic' 'unsafe-inline'", "script-src 'strict-dynamic' 'unsafe-inline'; script-src-elem 'strict-dynamic' 'unsafe-inline' 'nonce-N'"],
  // Its nonce would switch this off.
  ["script-src 'unsafe-inline'", `script-src 'unsafe-inline'; script-src-elem 'unsafe-inline' ${SHIM}`],
  ["script-src 'self'; script-src-elem 'none'", `script-src 'self'; script-src-elem ${SHIM}`],
  ["SCRIPT-SRC 'self'", `script-src 'self'; script-src-elem 'self' ${SHIM}`],
  ["script-src a; script-src *", `script-src a; script-src-elem a ${SHIM}`],
  ["frame-src 'none'; child-src x", `frame-src ${DOWNLOAD}; child-src x`],
  ["child-src x", `child-src x; frame-src x ${DOWNLOAD}`],
  ["frame-ancestors 'none'", "frame-ancestors 'self' https://relay"],
  ["frame-ancestors *", "frame-ancestors 'self' https://relay"],
  ["img-src x; report-uri https://app/r; report-to g", "img-src x"],
  ["report-uri /r", ""],
  ["img-src a, script-src 'none'", `img-src a, script-src 'none'; script-src-elem ${SHIM}`],
  [" ; ,, ;", ""],
  ["connect-src ws://localhost:8888", "connect-src ws://localhost:8888"],
  ["sandbox allow-scripts", "sandbox allow-scripts"],
];

it("changes each policy by what it takes", () => {
  for (const [before, after] of CASES) assert.equal(admitted(before, admission), after, before);
});

it("says of itself who may show a page, and that it loads nothing by plugins", () => {
  assert.equal(own(admission, true), "frame-ancestors 'self' https://relay; object-src 'none'");
  assert.equal(own(admission, false), "frame-ancestors 'self' https://relay");
});

it("what a page loads reports nothing either, and is as strict as it was", () => {
  assert.equal(unreported("script-src 'self'; report-uri /r, img-src a; report-to g"), "script-src 'self', img-src a");
  assert.equal(unreported("report-uri /r"), "");
});
