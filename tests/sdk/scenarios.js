// What a device does with the SDK, the same in Node.js and in a page. Each exported act is played by tests/tests/sdk/scenarios.rs.

import { keeps } from "./store.js";

const PATIENCE = 30_000;
/** So long two windows are left alone: longer than the one whose place was taken leaves it to the other (keep.ts, REPLACED). */
const QUIET = 9000;

/** Plays an act and tells the stage how it went. */
export async function play(act, { couplet, stage: url, storage, ...more }) {
  const tell = async (word, body) => {
    const answer = await fetch(`${url}/ask/${word}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body ?? {}),
    });
    if (!answer.ok) throw new Error(`the stage does not answer ${word}: ${answer.status}`);
    return answer.json();
  };
  try {
    const stage = { couplet, storage, ...more, ask: tell, setting: await tell("setting") };
    const wanted = acts[act];
    if (!wanted) throw new Error(`there is no act ${act}`);
    await tell("passed", await wanted(stage));
  } catch (error) {
    await tell("failed", `${error?.code ?? ""} ${error?.message ?? error}\n${error?.stack ?? ""}`);
  }
}

function check(holds, what) {
  if (!holds) throw new Error(`does not hold: ${what}`);
}

function same(got, wanted, what) {
  const [one, other] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (one !== other) throw new Error(`${what}: ${one}, not ${other}`);
}

/** What a promise is refused with. */
async function refusal(promise, what) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`is not refused: ${what}`);
}

/** Waits for a state of the host, or says which one it is in instead. */
function reaches(host, wanted) {
  return new Promise((resolve, reject) => {
    const late = () => new Error(`not ${wanted} in ${PATIENCE} ms, but ${host.state.state}: ${host.state.error?.message}`);
    const timer = setTimeout(() => reject(late()), PATIENCE);
    const stop = host.on("state", (state) => {
      if (state.state !== wanted) return;
      clearTimeout(timer);
      stop();
      resolve(state);
    });
  });
}

// The pattern that the app sends and knows (tests/src/pattern.rs): two periods, so that any piece is in one.
const PERIOD = 65_521;
const PATTERN = new Uint8Array(2 * PERIOD);
{
  let state = 0x9e3779b97f4a7c15n;
  for (let at = 0; at < PERIOD; at += 1) {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
    PATTERN[at] = PATTERN[at + PERIOD] = Number(state >> 56n);
  }
}

/** At most so many bytes of the pattern, from an offset on. */
function chunk(offset, most) {
  const start = offset % PERIOD;
  return PATTERN.subarray(start, start + Math.min(most, PERIOD));
}

/** Whether these are the pattern's bytes from an offset on. */
function matches(offset, bytes) {
  for (let at = 0; at < bytes.length; ) {
    const wanted = chunk(offset + at, bytes.length - at);
    for (let n = 0; n < wanted.length; n += 1) if (bytes[at + n] !== wanted[n]) return false;
    at += wanted.length;
  }
  return true;
}

async function* patternOf(total) {
  for (let sent = 0; sent < total; ) {
    const piece = chunk(sent, total - sent);
    sent += piece.length;
    yield piece;
  }
}

/** What the program holds now, in MiB, without what it does not need any more. */
function held() {
  globalThis.gc();
  // V8 counts the buffers that a collection has let go of until the next one begins: up to all that passed since the last.
  globalThis.gc();
  if (typeof process === "object") {
    const { heapUsed, external } = process.memoryUsage();
    return (heapUsed + external) / 1048576;
  }
  return performance.memory.usedJSHeapSize / 1048576;
}

/** Which way the session is to take: a device that is elsewhere does not reach the local network. */
function options(stage) {
  return { storage: stage.storage, lan: stage.setting.way === "lan" };
}

/** Pairs by a new link; the owner types the check code that is shown here. */
async function pairs(stage, name = "Phone") {
  const link = await stage.ask("link");
  const said = [];
  let approved;
  const host = await stage.couplet.pair(link, {
    ...options(stage),
    name,
    relayCa: stage.relayCa,
    onState: (state) => {
      said.push(state.state);
      if (state.state === "approval") approved ??= stage.ask("approve", { name, code: state.checkCode });
    },
  });
  check(approved, "the owner is asked");
  await approved;
  same(said, ["connecting", "approval", "finishing", "paired"], "how it went");
  return host;
}

/** Comes back with what was stored; nobody is asked anything. */
async function back(stage) {
  const hosts = await stage.couplet.restore(options(stage));
  same(hosts.length, 1, "hosts that are known");
  return hosts[0];
}

async function hello(host) {
  const answer = await host.fetch("/");
  same([answer.status, await answer.text()], [200, "hello\n"], "the app's answer");
}

function once(socket, event) {
  return new Promise((resolve) => socket.addEventListener(event, resolve, { once: true }));
}

function nextMessage(socket) {
  const failed = once(socket, "close").then((event) => {
    throw new Error(`closed: ${event.code}`);
  });
  failed.catch(() => {});
  return Promise.race([once(socket, "message").then((event) => event.data), failed]);
}

/** All that a page has stored, as it lies there. */
async function stored(name) {
  const done = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const database = await done(indexedDB.open(name));
  const rows = [];
  for (const store of database.objectStoreNames) {
    rows.push(...(await done(database.transaction(store).objectStore(store).getAll())));
  }
  database.close();
  return rows;
}

export const acts = {
  /** Pairs, and uses the app. */
  async pair(stage) {
    const host = await pairs(stage);
    await hello(host);
    const { devices } = await stage.ask("devices");
    same(devices.map((device) => [device.device_name, device.device_id]), [["Phone", host.deviceId]], "the owner's list");
    same(host.state.state, stage.setting.way === "lan" ? "direct" : "relay", "the way");
    await host.close();
    const error = await refusal(host.fetch("/"), "a host that was closed");
    same(error.code, "CPL-1602", "why");
  },

  /** Comes back in another process or page, without a code, and asks in all the ways that apps do. */
  async come_back(stage) {
    const host = await back(stage);
    await hello(host);
    const asked = await host.fetch("/echo/a%20b?c=d", { method: "PUT", headers: { "x-own": "1" }, body: "text" });
    const seen = await asked.json();
    same([seen.method, seen.uri], ["PUT", "/echo/a%20b?c=d"], "what reaches the app");
    same(seen.headers["x-own"], ["1"], "a header");
    same(seen.headers["x-couplet-device-name"], ["Phone"], "whom the app sees");
    same(seen.headers["content-type"], ["text/plain;charset=UTF-8"], "the type of a text");
    const missing = await host.fetch("/nowhere");
    same(missing.status, 404, "what the app answers is an answer");
    const cookies = await host.fetch("/cookies");
    same(cookies.headers.getSetCookie(), ["app=1; Path=/", "theme=dark; Path=/"], "all headers are there");
    await missing.body?.cancel();
    await cookies.body?.cancel();
    await host.close();
  },

  /** What lies in the browser opens nothing without the browser: WebCrypto holds the keys, and gives them to nobody. */
  async keys(stage) {
    const rows = await stored("couplet");
    const row = rows.find((it) => it.host !== undefined);
    const wrapping = rows.find((it) => it instanceof CryptoKey);
    check(row.deviceKey.privateKey instanceof CryptoKey && !row.deviceKey.privateKey.extractable, "the device key is held");
    check(!wrapping.extractable, "and the key of the rest");
    const error = await refusal(crypto.subtle.exportKey("pkcs8", row.deviceKey.privateKey), "who asks for the key");
    check(error instanceof DOMException, `it is WebCrypto that refuses: ${error}`);
    same(Object.keys(row).sort(), ["deviceKey", "host", "isPending", "pskId", "sealed"], "what lies there");
    const host = await back(stage);
    const sealed = new TextDecoder("latin1").decode(row.sealed.bytes);
    // Words so long that chance does not spell them.
    const words = [JSON.stringify(host.name), host.deviceId, "psk_id", "device_token", "room_number"];
    for (const word of words) check(!sealed.includes(word), `${word} is sealed`);
    await host.close();
  },

  /** The browser's database does what every store does: also where WebCrypto has no X25519, and when two pages begin at once. */
  async database(stage) {
    const { IndexedDbStore } = stage.couplet;
    const known = await back(stage);
    await known.close();
    const [one] = await stage.storage.load(known.id);
    check(typeof one.device_key !== "string", "WebCrypto holds the key");
    const random = () => btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))));
    const text = () => random().replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    await keeps(new IndexedDbStore("contract"), one, { ...one, host_key: text() }, known.id);

    const { generateKey } = SubtleCrypto.prototype;
    SubtleCrypto.prototype.generateKey = function (algorithm, ...rest) {
      if ((algorithm.name ?? algorithm) === "X25519") return Promise.reject(new DOMException("none", "NotSupportedError"));
      return generateKey.call(this, algorithm, ...rest);
    };
    const older = new IndexedDbStore("older");
    try {
      same(await older.makeKey(), null, "a key that WebCrypto would hold");
      const bytes = { ...one, device_key: text() };
      await keeps(older, bytes, { ...bytes, host_key: text() }, known.id);
      const paired = new IndexedDbStore("older paired");
      const host = await pairs({ ...stage, storage: paired }, "Older");
      await hello(host);
      const row = (await stored("older paired")).find((it) => it.host !== undefined);
      const [form] = await paired.load(host.id);
      check(typeof form.device_key === "string" && form.device_key.length > 40, "the device key is bytes");
      same([row.deviceKey, row.sealed.iv.length], [undefined, 12], "what lies there");
      check(!new TextDecoder("latin1").decode(row.sealed.bytes).includes(form.device_key), "it is sealed with the rest");
      check(await host.forget(), "the host knows");
    } finally {
      SubtleCrypto.prototype.generateKey = generateKey;
    }

    const window = await stage.open();
    for (let turn = 0; turn < 10; turn += 1) {
      const name = `both ${turn}`;
      const pages = [new IndexedDbStore(name), new window.device.couplet.IndexedDbStore(name)];
      const forms = pages.map(() => ({ ...one, device_key: text(), host_key: text() }));
      await Promise.all(pages.map((page, at) => page.save(forms[at])));
      for (const page of pages) same((await page.list()).map((it) => it.host_key).sort(), forms.map((it) => it.host_key).sort(), "each reads both");
      same((await stored(name)).filter((it) => it instanceof CryptoKey).length, 1, "keys that the rest is sealed under");
    }
    window.close();
  },

  /** Streams both ways without holding what passes, and lets go of what is not wanted any more. */
  async stream(stage) {
    const host = await back(stage);
    const total = stage.setting.bytes;
    await hello(host);
    const before = held();
    let [most, got] = [0, 0];
    // Who reads may hold nothing but the reader.
    const opened = async () => {
      const down = await host.fetch(`/download/${total}`);
      same(down.headers.get("content-length"), String(total), "the length that is announced");
      return down.body.getReader();
    };
    const reader = await opened();
    for (let pieces = 0; ; pieces += 1) {
      const { done, value } = await reader.read();
      if (done) break;
      check(matches(got, value), `byte ${got} and on come as they were sent`);
      got += value.length;
      if (pieces % 1000 === 0) most = Math.max(most, held() - before);
    }
    same(got, total, "what came");
    const watched = async function* () {
      let pieces = 0;
      for await (const piece of patternOf(total)) {
        if ((pieces += 1) % 1000 === 0) most = Math.max(most, held() - before);
        yield piece;
      }
    };
    const up = await host.fetch("/upload", { method: "POST", body: watched() });
    same(await up.json(), { bytes: total, intact: true }, "what arrived");
    check(most < 32, `no more than it needs is held: ${most.toFixed(1)} MiB`);

    // Broken off: the app is told, and the session goes on.
    const stop = new AbortController();
    const endless = await host.fetch("/endless", { signal: stop.signal });
    const some = endless.body.getReader();
    await some.read();
    stop.abort(new Error("enough"));
    const why = await refusal((async () => { for (;;) if ((await some.read()).done) return; })(), "an endless download");
    same(why.message, "enough", "why it ended");
    const early = await refusal(host.fetch("/slow?ms=60000", { signal: AbortSignal.timeout(200) }), "an answer that is late");
    same(early.name, "TimeoutError", "why it ended");
    await hello(host);
    await host.close();
    return { most };
  },

  /** Speaks with the app over WebSockets. */
  async sockets(stage) {
    const host = await back(stage);
    const socket = host.webSocket("/ws");
    socket.binaryType = "arraybuffer";
    await once(socket, "open");
    for (const text of ["hello", "", "ünïcödé \u{1f63a}", "x".repeat(100_000)]) {
      const answer = nextMessage(socket);
      socket.send(text);
      same(await answer, text, "a text comes back");
    }
    const bytes = chunk(5, 70_000);
    const answer = nextMessage(socket);
    socket.send(bytes);
    check(matches(5, new Uint8Array(await answer)), "bytes come back");
    const ended = once(socket, "close");
    socket.close(1000, "bye");
    const { code, wasClean } = await ended;
    same([code, wasClean], [1000, true], "its end");
    const refused = await once(host.webSocket("/"), "error");
    check(refused.error instanceof Error, `why a page is no WebSocket: ${refused.message}`);
    await hello(host);
    await host.close();
  },

  /** Goes on after the relay was killed and started anew, and after the host was, without a new code. */
  async restarts(stage) {
    const host = await back(stage);
    await hello(host);
    for (const word of stage.setting.way === "lan" ? ["restart-host"] : ["restart-relay", "restart-host"]) {
      const away = reaches(host, "offline");
      await stage.ask(word);
      await away;
      await reaches(host, stage.setting.way === "lan" ? "direct" : "relay");
      await hello(host);
    }
    await host.close();
  },

  /** Two programs with the same credentials, at a host with one place for both: whoever asks is answered. */
  async programs(stage) {
    await stage.ask("sessions", { most: 1 });
    const first = await back(stage);
    await hello(first);
    // Only now: what is under way breaks off when the place is taken.
    const second = await back(stage);
    await hello(second);
    same((await reaches(first, "offline")).reason, { kind: "closed", reason: "replaced" }, "there is one place");
    // What the second one asked for before it is told would break off.
    const taken = reaches(second, "offline");
    await hello(first);
    same((await taken).reason, { kind: "closed", reason: "replaced" }, "and the first one has it again");
    await first.close();
    await hello(second);
    await second.close();
    await stage.ask("sessions", { most: 4 });
  },

  /** Two windows of one browser, at a host with one place for both: whoever has it keeps it until somebody in the other one asks. */
  async tabs(stage) {
    await stage.ask("sessions", { most: 1 });
    const first = await back(stage);
    await hello(first);
    const window = await stage.open();
    const second = await back({ ...stage, ...window.device });
    check(second.constructor !== first.constructor, "the other window runs a program of its own");
    await hello(second);
    const told = await reaches(first, "offline");
    same(told.reason, { kind: "closed", reason: "replaced" }, "why");
    const way = second.state.state;
    let changes = 0;
    const stop = [first, second].map((host) => host.on("state", () => void (changes += 1)));
    await new Promise((resolve) => setTimeout(resolve, QUIET));
    same([changes, first.state.state, second.state.state], [2, "offline", way], "what happens while nobody asks");
    for (const off of stop) off();
    const { held } = await navigator.locks.query();
    check(held.some(({ name }) => name.includes(first.id)), "it is a lock of the browser that they share");

    // Somebody asks in the first one: it has the place then, and the second one waits.
    const replaced = reaches(second, "offline");
    await hello(first);
    same((await replaced).reason.reason, "replaced", "why");
    await hello(second);
    await reaches(first, "offline");
    // The window is closed, and says nothing to anybody.
    window.close();
    await reaches(first, way);
    await hello(first);
    await first.close();
    await stage.ask("sessions", { most: 4 });
  },

  /** Its storage is cleared while it runs: what runs goes on, and nothing is written again. */
  async cleared(stage) {
    const host = await pairs(stage, "Cleared");
    await hello(host);
    const other = new stage.couplet.IndexedDbStore();
    check(await other.remove(host.id), "it was there");
    await hello(host);
    same((await other.list()).map(({ host_key }) => host_key), [], "what is there now");
    const gone = reaches(host, "forgotten");
    await stage.ask("restart-host");
    await gone;
    same((await refusal(host.fetch("/"), "a host that nothing is known of")).code, "CPL-1608", "its code");
    same((await stage.couplet.restore(options(stage))).length, 0, "what is left of it");
  },

  /** Is told within a second that its owner revoked it. */
  async revoked(stage) {
    const host = await back(stage);
    const before = Date.now();
    await hello(host);
    // On a slow machine a second is as long as ten times there and back.
    const soon = Math.max(1000, 10 * (Date.now() - before));
    const endless = await host.fetch("/endless");
    const reader = endless.body.getReader();
    await reader.read();
    const broken = refusal((async () => { for (;;) if ((await reader.read()).done) return; })(), "a download");
    const socket = host.webSocket("/ws");
    await once(socket, "open");
    const failed = once(socket, "error");
    const revoked = reaches(host, "revoked");
    const { took } = await stage.ask("revoke", { name: "Phone" });
    const asked = Date.now();
    const state = await revoked;
    const told = Date.now() - asked;
    check(told < soon, `it is told within ${soon} ms: it took ${told} ms, and the command ${took} ms`);
    same(state.error.code, "CPL-1603", "its code");
    const why = [await broken, (await failed).error].map((error) => `${error?.code}`);
    same(why, ["CPL-1603", "CPL-1603"], "why a download and a WebSocket that are open break off");
    const refused = await refusal(host.fetch("/"), "a revoked device");
    same(refused.code, "CPL-1603", "its code");
    check(state.error.next, "and what to do next");
    same((await stage.couplet.restore(options(stage))).length, 0, "what is left of it");
  },

  /** Is turned away, and keeps nothing. */
  async rejected(stage) {
    const link = await stage.ask("link");
    const pairing = stage.couplet.pair(link, {
      ...options(stage),
      name: "Stranger",
      relayCa: stage.relayCa,
      onState: (state) => {
        if (state.state === "approval") void stage.ask("reject", { name: "Stranger" });
      },
    });
    const error = await refusal(pairing, "a device that the owner does not want");
    same(error.code, "CPL-1208", "its code");
    same((await stage.couplet.restore(options(stage))).length, 0, "what is left of it");
  },

  /** Without the relay's own authority nothing goes through it: no system trusts that one. */
  async untrusted(stage) {
    const link = await stage.ask("link");
    const error = await refusal(stage.couplet.pair(link, { ...options(stage), name: "Phone" }), "a relay that nobody vouches for");
    same(error.code, "CPL-1820", `its code: ${error.message}`);
    same((await stage.couplet.restore(options(stage))).length, 0, "what is left of it");
  },

  /** Gives its pairing up: the host forgets it as well. */
  async forget(stage) {
    const host = await pairs(stage, "Guest");
    await hello(host);
    await host.forget();
    const { devices } = await stage.ask("devices");
    const guest = devices.find((device) => device.device_name === "Guest");
    check(guest === undefined || guest.revoked_at, `the host forgets it, too: ${JSON.stringify(guest)}`);
    same((await stage.couplet.restore(options(stage))).length, 0, "what is left of it");
    same((await refusal(host.fetch("/"), "a forgotten host")).code, "CPL-1608", "its code");
  },
};
