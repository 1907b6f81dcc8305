/** Cookies of one label. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { Jar } from "../../src/bridge/jar.js";

function stored(): { text: string | null; saves: number; load(): Promise<string | null>; save(text: string): Promise<void> } {
  return {
    text: null,
    saves: 0,
    async load() {
      return this.text;
    },
    async save(text) {
      this.text = text;
      this.saves += 1;
    },
  };
}

it("shows scripts what they may see, and requests everything of their path", async () => {
  let changes = 0;
  const jar = new Jar(stored(), () => (changes += 1));
  jar.take(["s=1; HttpOnly; Secure; SameSite=Strict", "x=2; Path=/", "deep=3; Path=/deep"], "/");
  assert.equal(jar.header("/"), "s=1; x=2");
  assert.equal(jar.view("/"), "x=2");
  assert.equal(jar.view("/deep/er"), "deep=3; x=2");
  assert.equal(changes, 3);
  jar.write("s=forged", "/");
  jar.write("t=9; HttpOnly", "/");
  jar.write("s=; Max-Age=0; Path=/", "/");
  assert.equal(jar.header("/"), "s=1; x=2");
  jar.write("x=; Max-Age=0; Path=/", "/");
  assert.equal(jar.view("/"), "");
  await jar.flush();
});

it("keeps what stays with the app from who comes from elsewhere", async () => {
  const jar = new Jar(stored(), () => {});
  jar.take(["s=1; SameSite=Strict", "l=2; SameSite=Lax", "n=3; SameSite=None; Secure", "d=4"], "/");
  assert.equal(jar.header("/"), "s=1; l=2; n=3; d=4");
  assert.equal(jar.header("/", "lax"), "l=2; n=3; d=4");
  assert.equal(jar.header("/", "none"), "n=3");
  await jar.flush();
});

it("passes over what is none, and what names other hosts", async () => {
  const jar = new Jar(stored(), () => {});
  jar.take(["", ";", "=", "\u0000=1", "a=1; Domain=example.com", "b=2; Domain=localhost.evil.example", "__Host-c=3; Domain=localhost; Path=/", `d=${"x".repeat(5000)}`], "/");
  assert.equal(jar.header("/"), "");
  jar.take(["__Host-e=4; Secure; Path=/", "__Secure-f=5; Path=/", "g=6; Domain=localhost"], "/");
  assert.equal(jar.header("/"), "__Host-e=4; g=6");
  await jar.flush();
});

it("keeps the newest of too many", async () => {
  const jar = new Jar(stored(), () => {});
  for (let at = 0; at < 400; at += 1) jar.take([`c${at}=1`], "/");
  const names = jar.view("/").split("; ");
  assert.ok(names.length <= 201 && names.includes("c399=1"), String(names.length));
  await jar.flush();
});

it("is saved, and comes back in another tab", async () => {
  const storage = stored();
  const jar = new Jar(storage, () => {});
  jar.take(["a=1; Max-Age=1000", "b=2; HttpOnly"], "/");
  await jar.flush();
  assert.equal(storage.saves, 1);
  const other = new Jar(storage, () => {});
  await other.load();
  assert.equal(other.header("/"), "a=1; b=2");
  assert.equal(other.view("/"), "a=1");
  for (const text of ["", "{", "null", '{"cookies":5}', '{"cookies":[{"key":1}]}']) {
    storage.text = text;
    await jar.load();
    assert.equal(jar.header("/"), "", text);
  }
});

it("passes over what the store says late, when it was asked again meanwhile", async () => {
  const answers: ((text: string | null) => void)[] = [];
  const jar = new Jar({ load: () => new Promise((answer) => answers.push(answer)), save: async () => {} }, () => {});
  const asked = async (): Promise<void> => {
    const before = answers.length;
    while (answers.length === before) await new Promise((resolve) => setImmediate(resolve));
  };
  const first = jar.load();
  await asked();
  const second = jar.load();
  await asked();
  answers[1]?.(null);
  await second;
  jar.take(["a=1"], "/");
  answers[0]?.(null);
  await first;
  assert.equal(jar.header("/"), "a=1");
  await jar.flush();
});
