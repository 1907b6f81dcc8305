import assert from "node:assert/strict";
import { test } from "node:test";
import { CoupletWebSocket, type OpenedSocket, type SocketCloseEvent, type SocketErrorEvent, type SocketMessageEvent, socketHeaders, WebSocketViolation } from "../src/client/websocket.js";
import { encodeFrame, MessageReader } from "../src/client/websocket_frames.js";
import type { ByteLink } from "../src/link.js";

const MOST = 1_000;

/** The other end of a socket, by hand. */
class Stage {
  readonly sent: Uint8Array[] = [];
  readonly events: string[] = [];
  readonly socket: CoupletWebSocket;
  readonly ended: Promise<SocketCloseEvent<CoupletWebSocket>>;
  error: unknown = null;
  closed: { reason: unknown } | null = null;
  #left: () => void = () => undefined;
  /** The link has been closed. */
  readonly left = new Promise<void>((resolve) => {
    this.#left = resolve;
  });
  #pieces: (Uint8Array | null)[] = [];
  #failure: { reason: unknown } | null = null;
  #wake: () => void = () => undefined;
  #stall: Promise<void> | null = null;
  #unstall: () => void = () => undefined;

  constructor(options: { opened?: Promise<OpenedSocket>; abort?: () => void; closeWait?: number } = {}) {
    const link: ByteLink = {
      send: async (bytes) => {
        await this.#stall;
        if (this.closed) throw this.closed.reason ?? new Error("closed");
        this.sent.push(bytes.slice());
      },
      receive: async () => {
        for (;;) {
          if (this.#failure) throw this.#failure.reason;
          const piece = this.#pieces.shift();
          if (piece !== undefined) return piece;
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      },
      close: (reason) => {
        this.closed ??= { reason };
        this.#left();
        this.breakOff(reason ?? new Error("closed"));
      },
    };
    const opened = options.opened ?? Promise.resolve({ link, protocol: "", extensions: "" });
    this.socket = new CoupletWebSocket({
      url: "wss://host/",
      opened,
      abort: options.abort,
      messageMax: MOST,
      closeWait: options.closeWait ?? 1_000,
      random: (count) => new Uint8Array(count).fill(0x55),
    });
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.events.push("open");
    this.socket.onmessage = (event) => this.events.push(`message ${typeof event.data === "string" ? event.data : "bytes"}`);
    this.socket.onerror = (event) => {
      this.error = event.error;
      this.events.push("error");
    };
    this.ended = new Promise((resolve) => {
      this.socket.onclose = (event) => {
        this.events.push(`close ${event.code}`);
        resolve(event);
      };
    });
  }

  give(...bytes: readonly (number | Uint8Array)[]): void {
    this.#pieces.push(Buffer.concat(bytes.map((its) => (typeof its === "number" ? Uint8Array.of(its) : its))));
    this.#wake();
  }

  end(): void {
    this.#pieces.push(null);
    this.#wake();
  }

  breakOff(reason: unknown): void {
    this.#failure ??= { reason };
    this.#wake();
  }

  stall(): void {
    this.#stall = new Promise((resolve) => {
      this.#unstall = resolve;
    });
  }

  resume(): void {
    this.#stall = null;
    this.#unstall();
  }
}

const frame = (first: number, payload: Uint8Array | string = ""): Uint8Array => {
  const bytes = Buffer.from(payload);
  const head = bytes.length < 126 ? [first, bytes.length] : [first, 126, bytes.length >> 8, bytes.length & 255];
  return Buffer.concat([Uint8Array.from(head), bytes]);
};

const BROKEN: readonly (readonly [what: string, code: number, bytes: Uint8Array])[] = [
  ["a masked frame", 1002, Uint8Array.from([0x81, 0x81, 1, 2, 3, 4, 5])],
  ["a reserved bit", 1002, frame(0xc1, "a")],
  ["an unknown opcode", 1002, frame(0x83, "a")],
  ["an unknown control opcode", 1002, frame(0x8b, "a")],
  ["a ping in parts", 1002, frame(0x09, "a")],
  ["a ping that is too long", 1002, frame(0x89, "a".repeat(126))],
  ["a continuation of nothing", 1002, frame(0x80, "a")],
  ["a message amid a message", 1002, Buffer.concat([frame(0x01, "a"), frame(0x81, "b")])],
  ["a length of two bytes that one would hold", 1002, Uint8Array.from([0x81, 126, 0, 5, 1, 2, 3, 4, 5])],
  ["a length of eight bytes that two would hold", 1002, Uint8Array.from([0x81, 127, 0, 0, 0, 0, 0, 0, 1, 0])],
  ["a message that is too long", 1009, frame(0x82, "a".repeat(MOST + 1))],
  ["a message that says it is very long", 1009, Uint8Array.from([0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255])],
  ["parts that are too long together", 1009, Buffer.concat([frame(0x02, "a".repeat(MOST)), frame(0x80, "b")])],
  ["a text that is not UTF-8", 1007, frame(0x81, Uint8Array.of(0xff))],
  ["a text that is cut off within a character", 1007, frame(0x81, Buffer.from("é").subarray(0, 1))],
  ["a surrogate in UTF-8", 1007, frame(0x81, Uint8Array.of(0xed, 0xa0, 0x80))],
  ["a close of one byte", 1002, frame(0x88, "a")],
  ["a close with a code that none may send", 1002, frame(0x88, Uint8Array.of(1005 >> 8, 1005 & 255))],
  ["a close with a code below all", 1002, frame(0x88, Uint8Array.of(0, 1))],
  ["a close with a code that is not given out", 1002, frame(0x88, Uint8Array.of(2000 >> 8, 2000 & 255))],
  ["a close whose reason is not UTF-8", 1007, frame(0x88, Uint8Array.of(1000 >> 8, 1000 & 255, 0xff))],
];

for (const [what, code, bytes] of BROKEN) {
  test(`${what} fails the socket, and the other end is told ${code}`, async () => {
    const stage = new Stage();
    stage.give(bytes);
    const { code: seen, wasClean } = await stage.ended;
    assert.deepEqual([seen, wasClean], [1006, false]);
    assert.ok(stage.error instanceof WebSocketViolation);
    assert.equal(stage.error.code, code);
    await stage.left;
    const [last] = stage.sent.slice(-1);
    assert.ok(last);
    assert.equal(last[0], 0x88);
    assert.equal(((last[6] ?? 0) << 8) | (last[7] ?? 0), code ^ 0x5555);
    assert.deepEqual(stage.closed, { reason: undefined });
  });
}

test("all frames may come byte by byte", async () => {
  const stage = new Stage();
  const all = Buffer.concat([frame(0x01, "ab"), frame(0x89, "?"), frame(0x00), frame(0x80, "ç"), frame(0x82, "x".repeat(200)), frame(0x81), frame(0x88)]);
  for (const byte of all) stage.give(byte);
  assert.equal((await stage.ended).code, 1005);
  assert.deepEqual(stage.events, ["open", "message abç", "message bytes", "message ", "close 1005"]);
  assert.equal(stage.sent[0]?.[0], 0x8a);
  assert.deepEqual(stage.sent[1]?.subarray(0, 2), Uint8Array.of(0x88, 0x80));
});

test("nothing after a close counts", async () => {
  const stage = new Stage();
  stage.give(frame(0x88, Uint8Array.of(1000 >> 8, 1000 & 255)), frame(0x81, "more"), frame(0xff));
  assert.equal((await stage.ended).wasClean, true);
  assert.deepEqual(stage.events, ["open", "close 1000"]);
});

test("what is sent is masked with what the random source gives, anew for each frame (RFC 6455, 5.3)", () => {
  const hello = encodeFrame(1, true, Buffer.from("Hello"), Uint8Array.of(0x37, 0xfa, 0x21, 0x3d));
  assert.equal(Buffer.from(hello).toString("hex"), "818537fa213d7f9f4d5158");
  assert.deepEqual(encodeFrame(2, false, new Uint8Array(256), new Uint8Array(4)).subarray(0, 4), Uint8Array.of(0x02, 0xfe, 1, 0));
  const long = encodeFrame(2, true, new Uint8Array(65_536), new Uint8Array(4));
  assert.deepEqual(long.subarray(0, 10), Uint8Array.of(0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0));
});

test("pings that come while the link takes nothing are answered by one pong, to the last", async () => {
  const stage = new Stage();
  await new Promise<void>((resolve) => stage.socket.addEventListener("open", () => resolve()));
  stage.stall();
  for (let index = 0; index < 10_000; index += 1) stage.give(frame(0x89, String(index)));
  stage.give(frame(0x81, "seen"));
  await new Promise<void>((resolve) => stage.socket.addEventListener("message", () => resolve()));
  stage.resume();
  stage.socket.close();
  stage.give(frame(0x88));
  await stage.ended;
  assert.ok(stage.sent.length <= 3, `${stage.sent.length} frames`);
  const last = stage.sent.at(-2) ?? new Uint8Array(0);
  assert.equal(Buffer.from(last.subarray(6).map((byte) => byte ^ 0x55)).toString(), "9999");
});

test("what waits to be sent is bounded", async () => {
  const stage = new Stage();
  await new Promise<void>((resolve) => stage.socket.addEventListener("open", () => resolve()));
  stage.stall();
  stage.socket.send(new Uint8Array(MOST));
  assert.equal(stage.socket.bufferedAmount, MOST);
  assert.equal(stage.socket.readyState, CoupletWebSocket.OPEN);
  stage.socket.send("1");
  assert.equal(stage.socket.readyState, CoupletWebSocket.CLOSING);
  assert.deepEqual(stage.events, ["open"]);
  assert.equal((await stage.ended).code, 1006);
});

test("so is how many messages wait, though they are empty", async () => {
  const stage = new Stage();
  await new Promise<void>((resolve) => stage.socket.addEventListener("open", () => resolve()));
  stage.stall();
  let sent = 0;
  while (stage.socket.readyState === CoupletWebSocket.OPEN && sent < 1_000_000) {
    stage.socket.send("");
    sent += 1;
  }
  assert.ok(sent < 300_000, `${sent} messages wait`);
  assert.equal((await stage.ended).code, 1006);
});

test("an end that does not answer a close is left after a while", async () => {
  const stage = new Stage({ closeWait: 10 });
  await new Promise<void>((resolve) => stage.socket.addEventListener("open", () => resolve()));
  stage.socket.close(1000);
  stage.give(frame(0x81, "unheard"));
  const { code, wasClean } = await stage.ended;
  assert.deepEqual([code, wasClean], [1006, false]);
  assert.deepEqual(stage.events, ["open", "error", "close 1006"]);
});

test("a link that breaks or ends fails the socket, whatever it is doing", async () => {
  for (const how of ["break", "end"] as const) {
    for (const closing of [false, true]) {
      const stage = new Stage();
      await new Promise<void>((resolve) => stage.socket.addEventListener("open", () => resolve()));
      stage.socket.send("a");
      if (closing) stage.socket.close();
      if (how === "break") stage.breakOff(new Error("gone"));
      else stage.end();
      assert.equal((await stage.ended).code, 1006);
      assert.deepEqual(stage.events, ["open", "error", "close 1006"]);
    }
  }
});

test("a socket that is closed before it is open stops opening, and one that cannot open fails", async () => {
  let aborted = 0;
  let open: (opened: OpenedSocket) => void = () => undefined;
  const opened = new Promise<OpenedSocket>((resolve) => {
    open = resolve;
  });
  const stage = new Stage({
    opened,
    abort: () => {
      aborted += 1;
    },
  });
  assert.throws(() => stage.socket.send("early"), { name: "InvalidStateError" });
  stage.socket.close();
  assert.equal(stage.socket.readyState, CoupletWebSocket.CLOSING);
  assert.equal((await stage.ended).code, 1006);
  assert.equal(aborted, 1);
  let left = false;
  const link: ByteLink = {
    send: () => Promise.reject(new Error("closed")),
    receive: () => Promise.reject(new Error("closed")),
    close: () => {
      left = true;
    },
  };
  open({ link, protocol: "", extensions: "" });
  await opened;
  await null;
  assert.equal(left, true);
  assert.deepEqual(stage.events, ["error", "close 1006"]);
  const refused = new Stage({ opened: Promise.reject(new Error("refused")) });
  assert.equal((await refused.ended).code, 1006);
  assert.match(String(refused.error), /refused/);
  const extended = new Stage({ opened: Promise.resolve({ link, protocol: "", extensions: "permessage-deflate" }) });
  assert.equal((await extended.ended).code, 1006);
});

test("close takes the codes and reasons that the DOM's takes", () => {
  const stage = new Stage();
  for (const code of [0, 999, 1001, 1005, 1006, 2999, 5000]) {
    assert.throws(() => stage.socket.close(code), { name: "InvalidAccessError" });
  }
  assert.throws(() => stage.socket.close(1000, "ü".repeat(62)), { name: "SyntaxError" });
  for (const protocols of [["a b"], [""], ["a", "a"], ["ä"]]) assert.throws(() => socketHeaders(protocols), { name: "SyntaxError" });
  assert.deepEqual(socketHeaders(["a", "b"]), [
    ["sec-websocket-version", "13"],
    ["sec-websocket-protocol", "a, b"],
  ]);
  assert.throws(() => new MessageReader(10).push(frame(0x8f)).next(), WebSocketViolation);
  assert.equal(stage.socket.readyState, CoupletWebSocket.CONNECTING);
});

test("listeners are the DOM's: in order, once, removed, with handleEvent, by signal", async () => {
  const stage = new Stage();
  const { socket } = stage;
  const calls: string[] = [];
  const twice = (event: SocketMessageEvent<CoupletWebSocket>): void => {
    calls.push(`twice ${String(event.data)}`);
    assert.equal(event.target, socket);
  };
  const controller = new AbortController();
  socket.onmessage = () => calls.push("on");
  socket.addEventListener("message", twice);
  socket.addEventListener("message", twice);
  socket.addEventListener("message", { handleEvent: () => calls.push("object") }, { once: true });
  socket.addEventListener("message", () => calls.push("signal"), { signal: controller.signal });
  socket.addEventListener("message", null);
  const removed = (): void => assert.fail("it was removed");
  socket.addEventListener("error", removed as (event: SocketErrorEvent<CoupletWebSocket>) => void);
  socket.removeEventListener("error", removed);
  const second = new Promise<void>((resolve) => {
    socket.addEventListener("message", (event) => {
      if (event.data === "1") controller.abort();
      else resolve();
    });
  });
  stage.give(frame(0x81, "1"), frame(0x81, "2"));
  await second;
  assert.deepEqual(calls, ["on", "twice 1", "object", "signal", "on", "twice 2"]);
});

test("random bytes give messages, nothing or a violation, and never hang or fill memory", () => {
  let state = 0x2545f491;
  const random = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  for (let round = 0; round < 5_000; round += 1) {
    const reader = new MessageReader(MOST);
    try {
      for (let piece = 0; piece < 8; piece += 1) {
        const bytes = Uint8Array.from({ length: 1 + (random() % 40) }, () => random() & (random() % 3 === 0 ? 0x8f : 0xff));
        if (random() % 2 === 0) bytes[0] = [0x81, 0x82, 0x01, 0x80, 0x00, 0x89, 0x88][random() % 7] ?? 0;
        if (random() % 2 === 0 && bytes.length > 1) bytes[1] = random() % 40;
        for (const incoming of reader.push(bytes)) assert.ok(incoming.kind !== "binary" || incoming.bytes.length <= MOST);
      }
    } catch (error) {
      assert.ok(error instanceof WebSocketViolation, String(error));
    }
  }
});
