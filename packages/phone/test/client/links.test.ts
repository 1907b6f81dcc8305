/** Links, devices, apps, labels, places and the server's configuration: what is read of what others wrote. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeHost } from "../../../sdk/src/testing.js";
import { cameraTrouble } from "../../src/client/camera.js";
import { appsOf, chosenApp } from "../../src/client/apps.js";
import { readConfig } from "../../src/client/config.js";
import { deviceOf } from "../../src/client/device.js";
import { labelled } from "../../src/client/labels.js";
import { codeOf, linkInFragment, readLink, takeLink } from "../../src/client/link.js";
import { isWord, parked, routeOf } from "../../src/client/places.js";

const fake = new FakeHost({ relay: "relay.example" });
const link = fake.link();
const offer = link.slice("COUPLET:".length);

test("a link in a fragment, in each of its forms", () => {
  assert.equal(linkInFragment("", "relay.example"), null);
  assert.equal(linkInFragment("#", "relay.example"), null);
  assert.equal(linkInFragment(`#${offer}`, "relay.example:8442"), `https://relay.example:8442/p#${offer}`);
  assert.equal(linkInFragment(`#${link}`, "relay.example"), link);
  assert.equal(linkInFragment(`#${encodeURIComponent(`HTTPS://R.EXAMPLE/P#${offer}`)}`, "relay.example"), `HTTPS://R.EXAMPLE/P#${offer}`);
  // Whatever it is, it is read as a link, and said to be none.
  assert.equal(linkInFragment("#%E0%A4%A", "relay.example"), "%E0%A4%A");
  assert.equal(linkInFragment(`#${"A".repeat(20_000)}`, "relay.example"), "#");
});

test("a link leaves the address whether it can be read or not", () => {
  for (const hash of [`#${offer}`, "#nonsense!"]) {
    const turned: unknown[] = [];
    const history = { state: { at: "home" }, replaceState: (...its: unknown[]) => void turned.push(its) };
    assert.notEqual(takeLink({ location: { hash, host: "relay.example", pathname: "/p" }, history }), null);
    assert.deepEqual(turned, [[null, "", "/p"]]);
  }
});

test("what a person can know of a link, and that its text alone has the secret", () => {
  const read = readLink(`  ${link.toLowerCase()} `);
  assert.equal(read.fingerprint, fake.fingerprint);
  assert.deepEqual(read.places, ["relay relay.example"]);
  assert.ok(Math.abs(read.expiresAt - Date.now() - 300_000) < 5000);
  assert.throws(() => readLink("COUPLET:AAAA"), { code: "CPL-1605" });
});

test("what the camera has seen", () => {
  const codes = {
    [link]: "link",
    [`HTTPS://OTHER.EXAMPLE/P#${offer}`]: "link",
    [link.slice(0, -5)]: "unusable",
    "couplet://192.168.1.2:7878?pair=otp_x": "plain",
    "https://weather.example/p": "other",
    "": "other",
    "WIFI:S:net;T:WPA;P:secret;;": "other",
  };
  for (const [text, code] of Object.entries(codes)) assert.equal(codeOf(text), code, text);
});

test("why a camera is not there", () => {
  const error = (name: string): DOMException => new DOMException("", name);
  assert.equal(cameraTrouble(error("NotAllowedError"), true), "refused");
  assert.equal(cameraTrouble(error("SecurityError"), true), "refused");
  assert.equal(cameraTrouble(error("NotReadableError"), true), "busy");
  assert.equal(cameraTrouble(error("NotFoundError"), true), "none");
  assert.equal(cameraTrouble(error("OverconstrainedError"), true), "none");
  assert.equal(cameraTrouble(new TypeError(), true), "none");
  assert.equal(cameraTrouble(error("NotAllowedError"), false), "insecure");
});

test("what a device is called", () => {
  const android = (device: string): string => `Mozilla/5.0 (Linux; Android 14; ${device}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Mobile Safari/537.36`;
  const safari = (system: string): string => `Mozilla/5.0 (${system}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15`;
  const called = (userAgent: string, told?: string, maxTouchPoints = 0): string => deviceOf({ userAgent, maxTouchPoints }, told).name;
  assert.equal(called(android("K")), "Android phone, Chrome");
  assert.equal(called(android("K"), "Pixel 9"), "Pixel 9, Chrome");
  assert.equal(called(android("SM-S901B Build/UP1A")), "SM-S901B, Chrome");
  assert.equal(called(android("K").replace(" Mobile", "")), "Android tablet, Chrome");
  assert.equal(called(safari("iPhone; CPU iPhone OS 19_0 like Mac OS X")), "iPhone, Safari");
  assert.equal(called(safari("Macintosh; Intel Mac OS X 10_15_7"), undefined, 5), "iPad, Safari");
  assert.equal(called(safari("Macintosh; Intel Mac OS X 10_15_7")), "Mac, Safari");
  assert.equal(called("Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"), "Android phone, Firefox");
  assert.equal(called("curl"), "Browser");
  // A model may say anything: it stays a name that hosts take.
  assert.equal(called(android("K"), "\u202Eevil\u0000\n phone"), "evil phone, Chrome");
  assert.equal([...called(android("K"), "x".repeat(500))].length <= 64, true);
});

test("the apps that a host lists, and what is no name", () => {
  assert.deepEqual(appsOf({}), [null]);
  assert.deepEqual(appsOf(null), [null]);
  assert.deepEqual(appsOf({ apps: "x" }), [null]);
  assert.deepEqual(appsOf({ apps: [] }), []);
  const listed = [{ name: "notes" }, { name: "wiki" }, { name: "notes" }, { name: "a b" }, { name: "é" }, { name: "" }, { name: 7 }, null, "x"];
  assert.deepEqual(appsOf({ apps: listed }), ["notes", "wiki"]);
  assert.equal(appsOf({ apps: Array.from({ length: 500 }, (_, at) => ({ name: `a${at}` })) }).length, 64);
  assert.equal(chosenApp(["notes", "wiki"], "wiki"), "wiki");
  assert.equal(chosenApp(["notes", "wiki"], "gone"), "notes");
  assert.equal(chosenApp([null], undefined), null);
  assert.equal(chosenApp([], "notes"), undefined);
});

test("labels: one for each app of a pairing, and new ones for a new pairing", () => {
  let made = 0;
  const make = (): string => `label${(made += 1)}`;
  const first = labelled(undefined, { host: "h", device: "d" }, "notes", make);
  assert.equal(first.label, "label1");
  const again = labelled(first.row, { host: "h", device: "d" }, "notes", make);
  assert.deepEqual([again.label, again.dropped], ["label1", []]);
  const unnamed = labelled(first.row, { host: "h", device: "d" }, null, make);
  assert.deepEqual(unnamed.row.labels, { notes: "label1", "": "label2" });
  // What every object has is no label.
  const proto = labelled(unnamed.row, { host: "h", device: "d" }, "__proto__", make);
  assert.equal(proto.label, "label3");
  assert.equal(labelled(proto.row, { host: "h", device: "d" }, "__proto__", make).label, "label3");
  assert.equal(labelled(undefined, { host: "h", device: "d" }, "constructor", make).label, "label4");
  const anew = labelled(unnamed.row, { host: "h", device: "other" }, "notes", make);
  assert.deepEqual([anew.label, anew.dropped], ["label5", ["label1", "label2"]]);
  assert.deepEqual(anew.row.labels, { notes: "label5" });
});

test("the server's configuration names a wildcard of a domain, or nothing", () => {
  const good = ["https://*.apps.example", "https://*.apps.example:8443", "http://*.localhost:8080"];
  for (const apps of good) assert.deepEqual(readConfig({ apps }), { apps });
  assert.deepEqual(readConfig({ apps: null }), { apps: null });
  const bad = ["https://apps.example", "http://*.apps.example", "https://*.evil.example/x", "https://*@evil.example", "https://*", "", "javascript:*", 1];
  for (const apps of [...bad, undefined, []]) assert.throws(() => readConfig({ apps }), TypeError, String(apps));
  for (const json of [null, [], "x", 1]) assert.throws(() => readConfig(json), TypeError);
});

test("the history: one step above the first page, and nothing that these pages did not write", () => {
  assert.deepEqual(routeOf(null), { at: "home" });
  assert.deepEqual(routeOf({ at: "host", id: "nnug-2z7a-htp4-vc75", app: "wiki", more: 1 }), { at: "host", id: "nnug-2z7a-htp4-vc75", app: "wiki" });
  const at = { at: "host", id: "nnug", app: null };
  assert.deepEqual(routeOf({ ...at, path: "/a?b#c" }), { ...at, path: "/a?b#c" });
  for (const path of ["//evil.example/", "https://evil.example/", "a", "", `/${"a".repeat(2048)}`, "/a b", "/\u00e9", 7, null]) assert.deepEqual(routeOf({ ...at, path }), at);
  assert.deepEqual(routeOf({ at: "host", id: "<b>" }), { at: "home" });
  assert.deepEqual(routeOf({ at: "elsewhere" }), { at: "home" });
  const done: string[] = [];
  const history = {
    state: null as unknown,
    back: () => void done.push("back"),
    pushState: (state: unknown) => (done.push("push"), (history.state = state)),
    replaceState: (state: unknown) => (done.push("replace"), (history.state = state)),
  };
  parked(history, { at: "scan" }, false);
  parked(history, { at: "pair" }, false);
  parked(history, { at: "home" }, true);
  history.state = null;
  parked(history, { at: "host", id: "nnug" }, false);
  // Frames have steps of their own: none of them is taken for ours.
  parked(history, { at: "home" }, false);
  assert.deepEqual(done, ["push", "replace", "back", "push", "replace"]);
});

test("what other tabs say", () => {
  assert.equal(isWord({ is: "changed" }), true);
  assert.equal(isWord({ is: "forgotten", id: "nnug" }), true);
  for (const data of [null, {}, { is: "forgotten" }, "changed"]) assert.equal(isWord(data), false);
});
