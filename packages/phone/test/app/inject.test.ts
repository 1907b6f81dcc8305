/** Where the shim goes into a document, however that is cut in pieces. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { charsetOf, isWide, metaCharset } from "../../src/app/html/charset.js";
import { escaped, headersOf, isPage, located, shimTag, withShim } from "../../src/app/html/index.js";
import { injected } from "../../src/app/html/inject.js";
import { scan } from "../../src/app/html/scan.js";

const TAG = "<script></script>";

function stream(parts: readonly Uint8Array[]): ReadableStream<Uint8Array<ArrayBuffer>> {
  const left = [...parts];
  return new ReadableStream({
    pull(controller) {
      const part = left.shift();
      if (part === undefined) controller.close();
      else controller.enqueue(part.slice());
    },
  });
}

async function whole(body: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  return Buffer.from(await new Response(body).arrayBuffer()).toString("latin1");
}

const never = (): Promise<void> => new Promise(() => {});

/** Documents: `|` is where the script goes. */
const DOCUMENTS = [
  "<!doctype html>|<html><head><title>x</title>",
  "<!DOCTYPE html SYSTEM \"about:legacy-compat\">|\n<html>",
  "\xef\xbb\xbf<!doctype html>|<p>x",
  "\n\t <!doctype html>|<p>x",
  "<!-- a > b --><!doctype html>|<p>x",
  "<!--><!doctype html>|<p>x",
  "<!---><!doctype html>|<p>x",
  "<!-- a --!><!-- b --><!doctype html>|<p>x",
  "<?xml version='1.0'?><!doctype html>|<p>x",
  "|<html><!doctype html>",
  "|<p>x",
  "|text <!doctype html>",
  "|<!element><p>",
  "|",
  "|<!-- never closed",
  "|<!doctyp",
  "\xef\xbb\xbf|",
  "<!doctype html>|",
];

it("stands behind the doctype, wherever the document is cut", async () => {
  for (const marked of DOCUMENTS) {
    const at = marked.indexOf("|");
    const text = marked.replace("|", "");
    const bytes = Buffer.from(text, "latin1");
    const expected = text.slice(0, at) + TAG + text.slice(at);
    assert.equal(await whole((await injected(stream([bytes]), TAG, never)).body), expected, marked);
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const { body } = await injected(stream([bytes.subarray(0, cut), bytes.subarray(cut)]), TAG, never);
      assert.equal(await whole(body), expected, `${marked} cut at ${cut}`);
    }
    const { body } = await injected(stream([...bytes].map((byte) => Uint8Array.of(byte))), TAG, never);
    assert.equal(await whole(body), expected, `${marked} byte by byte`);
  }
});

it("says more only while more can change it", () => {
  assert.equal(scan("<!do", false), "more");
  assert.deepEqual(scan("<!do", true), { at: 0 });
  assert.deepEqual(scan("<div", false), { at: 0 });
  assert.equal(scan("<!-- ", false), "more");
});

it("does not wait for the rest of a page that comes slowly", async () => {
  let settle = (): void => {};
  const settled = new Promise<void>((resolve) => (settle = resolve));
  let close = (): void => {};
  const slow = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      controller.enqueue(new Uint8Array(Buffer.from("<!doctype html><p>x")));
      close = () => controller.close();
    },
  });
  const going = injected(slow, TAG, () => settled);
  settle();
  const { body } = await going;
  const reader = body.getReader();
  let text = "";
  while (text.length < 36) text += Buffer.from((await reader.read()).value ?? []).toString();
  assert.equal(text, `<!doctype html>${TAG}<p>x`);
  close();
  assert.equal((await reader.read()).done, true);
});

it("passes on an error, and a reader who leaves", async () => {
  let cancelled: unknown = null;
  const failing = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (controller) => controller.enqueue(new Uint8Array(2000)),
    pull: (controller) => controller.error(new Error("it broke off")),
  });
  const { body } = await injected(failing, TAG, never);
  await assert.rejects(whole(body), /broke off/);
  const endless = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: (controller) => controller.enqueue(new Uint8Array(2000)),
    cancel: (reason) => void (cancelled = reason),
  });
  await (await injected(endless, TAG, never)).body.cancel("left");
  assert.equal(cancelled, "left");
});

it("leaves a document of 64 KiB of comments, and one in UTF-16, as it is", async () => {
  const long = Buffer.from(`<!--${"x".repeat(70_000)}--><!doctype html>`);
  assert.equal(await whole((await injected(stream([long]), TAG, never)).body), long.toString("latin1"));
  for (const wide of [Buffer.from("\ufeff<!doctype html>", "utf16le"), Buffer.from([0xfe, 0xff, 0, 60, 0, 33])]) {
    assert.equal(await whole((await injected(stream([wide]), TAG, never)).body), wide.toString("latin1"));
  }
});

it("says the encoding that a meta says, which it pushes out of sight", async () => {
  for (const [html, charset] of [
    ['<meta charset="windows-1252">', "windows-1252"],
    ["<META CHARSET=Shift_JIS />", "shift_jis"],
    ['<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r"],
    ["<meta charset='utf-16'>", "utf-8"],
    ["<!-- <meta charset=koi8-r> -->", null],
    [`${" ".repeat(1024)}<meta charset=koi8-r>`, null],
    ["<meta name=charset content=x>", null],
    ["<meta charset='x\r\ny: z'>", "x"],
  ] as const) {
    assert.equal(metaCharset(html), charset, html);
  }
  const headers = new Headers({ "content-type": "text/html", "content-length": "40" });
  await withShim(stream([Buffer.from("<!doctype html><meta charset=koi8-r>")]), headers, TAG, never);
  assert.deepEqual([headers.get("content-type"), headers.get("content-length")], ["text/html; charset=koi8-r", null]);
  const named = new Headers({ "content-type": "text/html;charset=utf-8" });
  await withShim(stream([Buffer.from("<meta charset=koi8-r>")]), named, TAG, never);
  assert.equal(named.get("content-type"), "text/html;charset=utf-8");
  assert.equal(charsetOf('text/html; charset="UTF-8"'), "utf-8");
  assert.ok(isWide("utf-16le") && !isWide("utf-8") && !isWide(null));
});

it("goes into pages, and into nothing else", () => {
  const page = (headers: { [name: string]: string }): boolean => isPage(new Headers(headers));
  assert.ok(page({ "content-type": "text/html" }) && page({ "content-type": "Text/HTML; charset=utf-8" }));
  for (const type of ["text/plain", "application/xhtml+xml", "text/html-sandboxed", "text/html; charset=utf-16", ""]) {
    assert.ok(!page({ "content-type": type }), type);
  }
  assert.ok(!page({}) && !page({ "content-type": "text/html", "content-disposition": "Attachment; filename=x" }));
});

it("is told its cookies in a tag that they cannot leave", () => {
  const cookies = `a="><script>alert(1)</script>'\`&\u2028\u{1f36a}`;
  const tag = shimTag({ client: "https://relay.example", cookies }, "n");
  assert.equal(tag.match(/</g)?.length, 2);
  assert.ok(/^[\x20-\x7e]*$/.test(tag));
  const value = /data-cookies="([^"]*)"/.exec(tag)?.[1]?.replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)));
  assert.equal(value, cookies);
  assert.equal(escaped("a<b"), "a&#60;b");
});

it("makes what leads to the app itself lead to where it is shown", () => {
  const origin = "https://abc.apps.example";
  const at = (location: string): string | null => {
    const found = located(location, `${origin}/dir/page`, origin);
    return found === null ? null : `${found.isOwn ? "own" : "away"} ${found.url}`;
  };
  assert.equal(at("/x"), `own ${origin}/x`);
  assert.equal(at("x?y#z"), `own ${origin}/dir/x?y#z`);
  assert.equal(at("http://localhost/x"), `own ${origin}/x`);
  assert.equal(at("https://localhost:8888/x"), `own ${origin}/x`);
  assert.equal(at("http://127.0.0.1:3000"), `own ${origin}/`);
  assert.equal(at("http://[::1]/x"), `own ${origin}/x`);
  assert.equal(at("//localhost/x"), `own ${origin}/x`);
  assert.equal(at("//elsewhere.example/x"), "away https://elsewhere.example/x");
  assert.equal(at("/\\elsewhere.example/x"), "away https://elsewhere.example/x");
  assert.equal(at("http://localhost.evil.example/"), "away http://localhost.evil.example/");
  assert.equal(at("http://localhost@evil.example/"), "away http://localhost@evil.example/");
  assert.equal(at("javascript:alert(1)"), "away javascript:alert(1)");
  assert.equal(at("http://"), null);
  assert.equal(headersOf([["a", "1"], ["a", "2"]]).get("a"), "1, 2");
});
