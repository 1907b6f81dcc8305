/** Frames of WebSockets, as a client sends and takes them (RFC 6455, 5). Pure. */

export const CONTINUATION = 0x0;
export const TEXT = 0x1;
export const BINARY = 0x2;
export const CLOSE = 0x8;
export const PING = 0x9;
export const PONG = 0xa;

/** Bytes that a control frame can carry (RFC 6455, 5.5). */
export const CONTROL_MAX = 125;
/** What `close` says when the other end gave no code (RFC 6455, 7.1.5). */
export const NO_STATUS = 1005;
/** When there was no closing handshake (RFC 6455, 7.1.5). */
export const ABNORMAL = 1006;
const PROTOCOL = 1002;
const NOT_UTF8 = 1007;
const TOO_BIG = 1009;

/** What the server may not do; `code` is what it is closed with (RFC 6455, 7.4.1). */
export class WebSocketViolation extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = "WebSocketViolation";
    this.code = code;
  }
}

/** What has come. */
export type Incoming =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "binary"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "ping" | "pong"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "close"; readonly code: number; readonly reason: string };

/** A frame of a client: masked (RFC 6455, 5.3). `mask`: four random bytes, new for each frame. */
export function encodeFrame(opcode: number, final: boolean, payload: Uint8Array, mask: Uint8Array): Uint8Array {
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const out = new Uint8Array(2 + extended + 4 + length);
  out[0] = (final ? 0x80 : 0) | opcode;
  out[1] = 0x80 | (extended === 0 ? length : extended === 2 ? 126 : 127);
  const view = new DataView(out.buffer);
  if (extended === 2) view.setUint16(2, length);
  if (extended === 8) view.setBigUint64(2, BigInt(length));
  out.set(mask.subarray(0, 4), 2 + extended);
  const at = 6 + extended;
  for (let index = 0; index < length; index += 1) out[at + index] = (payload[index] ?? 0) ^ (mask[index & 3] ?? 0);
  return out;
}

/** The payload of a close frame (RFC 6455, 5.5.1). */
export function closePayload(code: number | null, reason: Uint8Array): Uint8Array {
  if (code === null) return new Uint8Array(0);
  const out = new Uint8Array(2 + reason.length);
  out[0] = code >>> 8;
  out[1] = code;
  out.set(reason, 2);
  return out;
}

interface Head {
  readonly final: boolean;
  readonly opcode: number;
  readonly length: number;
}

/** Puts messages together from the bytes of a server. Holds at most one message, a control frame and a frame's head. */
export class MessageReader {
  readonly #most: number;
  readonly #headBytes = new Uint8Array(10);
  #headLength = 0;
  #head: Head | null = null;
  readonly #control = new Uint8Array(CONTROL_MAX);
  #filled = 0;
  /** The message under way: what it is, and what of it has come. */
  #opcode = 0;
  #message = new Uint8Array(0);
  #messageLength = 0;
  #over = false;

  /** `most`: bytes of a message. */
  constructor(most: number) {
    this.#most = most;
  }

  /** What these bytes complete, one after the other. Throws a `WebSocketViolation`. Nothing comes after a close. */
  *push(piece: Uint8Array): Generator<Incoming, void, undefined> {
    let at = 0;
    while (!this.#over && (at < piece.length || this.#head?.length === this.#filled)) {
      if (!this.#head) {
        this.#headBytes[this.#headLength++] = piece[at++] ?? 0;
        this.#head = this.#parseHead();
        if (!this.#head || this.#head.length > 0) continue;
      }
      const head = this.#head;
      const part = piece.subarray(at, at + head.length - this.#filled);
      at += part.length;
      this.#keep(head, part);
      this.#filled += part.length;
      if (this.#filled < head.length) return;
      this.#head = null;
      this.#headLength = 0;
      const done = this.#complete(head, this.#filled);
      this.#filled = 0;
      if (done) yield done;
    }
  }

  /** The head, once all of it is there (RFC 6455, 5.2). */
  #parseHead(): Head | null {
    const bytes = this.#headBytes;
    const first = bytes[0] ?? 0;
    const second = bytes[1] ?? 0;
    if (this.#headLength < 2) return null;
    const short = second & 0x7f;
    if (this.#headLength < (short === 126 ? 4 : short === 127 ? 10 : 2)) return null;
    const view = new DataView(bytes.buffer);
    const long = short === 127 ? view.getBigUint64(2) : BigInt(short === 126 ? view.getUint16(2) : short);
    if ((short === 126 && long < 126n) || (short === 127 && long < 65_536n)) {
      throw new WebSocketViolation(PROTOCOL, "a frame's length is not written in the shortest way");
    }
    if (first & 0x70) throw new WebSocketViolation(PROTOCOL, "a frame has reserved bits");
    if (second & 0x80) throw new WebSocketViolation(PROTOCOL, "a server's frame is masked");
    const opcode = first & 0x0f;
    const final = (first & 0x80) !== 0;
    this.#check(opcode, final, long);
    return { final, opcode, length: Number(long) };
  }

  #check(opcode: number, final: boolean, length: bigint): void {
    if (opcode > BINARY && (opcode < CLOSE || opcode > PONG)) throw new WebSocketViolation(PROTOCOL, "a frame is of no known kind");
    if (opcode >= CLOSE) {
      if (!final || length > CONTROL_MAX) throw new WebSocketViolation(PROTOCOL, "a control frame is too long, or in parts");
      return;
    }
    if ((opcode === CONTINUATION) !== (this.#opcode !== 0)) throw new WebSocketViolation(PROTOCOL, "messages are mixed up");
    if (length + BigInt(this.#messageLength) > BigInt(this.#most)) throw new WebSocketViolation(TOO_BIG, "a message is too long");
    if (opcode !== CONTINUATION) this.#opcode = opcode;
  }

  #keep(head: Head, part: Uint8Array): void {
    if (head.opcode >= CLOSE) {
      this.#control.set(part, this.#filled);
      return;
    }
    const length = this.#messageLength + part.length;
    if (length > this.#message.length) {
      // What a frame announces is believed only as far as it has come.
      const announced = this.#messageLength + head.length - this.#filled;
      const room = Math.min(Math.max(length, 2 * this.#message.length, Math.min(announced, 65_536)), this.#most);
      const larger = new Uint8Array(head.final ? Math.min(room, announced) : room);
      larger.set(this.#message.subarray(0, this.#messageLength));
      this.#message = larger;
    }
    this.#message.set(part, this.#messageLength);
    this.#messageLength = length;
  }

  #complete(head: Head, length: number): Incoming | null {
    if (head.opcode === CLOSE) {
      this.#over = true;
      return closed(this.#control.subarray(0, length));
    }
    if (head.opcode >= CLOSE) return { kind: head.opcode === PING ? "ping" : "pong", bytes: this.#control.slice(0, length) };
    if (!head.final) return null;
    const whole = this.#messageLength === this.#message.length;
    const bytes = whole ? this.#message : this.#message.slice(0, this.#messageLength);
    const opcode = this.#opcode;
    this.#message = new Uint8Array(0);
    this.#messageLength = 0;
    this.#opcode = 0;
    return opcode === TEXT ? { kind: "text", text: decodeText(bytes) } : { kind: "binary", bytes };
  }
}

/** Which codes may stand in a close frame (RFC 6455, 7.4; the IANA registry, to 1014). */
function mayClose(code: number): boolean {
  return (code >= 1000 && code <= 1014 && code !== 1004 && code !== NO_STATUS && code !== ABNORMAL) || (code >= 3000 && code < 5000);
}

function closed(payload: Uint8Array): Incoming {
  if (payload.length === 0) return { kind: "close", code: NO_STATUS, reason: "" };
  const code = ((payload[0] ?? 0) << 8) | (payload[1] ?? 0);
  if (payload.length < 2 || !mayClose(code)) throw new WebSocketViolation(PROTOCOL, "the code of a close is none");
  return { kind: "close", code, reason: decodeText(payload.subarray(2)) };
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new WebSocketViolation(NOT_UTF8, "a text is not UTF-8");
  }
}
