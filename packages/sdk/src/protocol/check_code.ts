/**
 * The check code: six digits that the device shows and the owner types, so that who approves knows that the device in
 * front of them is the one at the other end (spec/protocol.md, 3).
 */
import { same, utf8, view } from "./bytes.js";
import type { Source } from "./schedule.js";

/** Six decimal digits. It prints `[redacted]`; {@link CheckCode.show} is for the screen. */
export class CheckCode {
  readonly #digits: string;

  private constructor(digits: string) {
    this.#digits = digits;
  }

  /** Derives it from the handshake and the two nonces, of which the device committed to its own first. */
  static derive(prk: Source, device: Uint8Array, host: Uint8Array): CheckCode {
    const bytes = prk.expand(8, utf8("couplet/1 check"), device, host);
    const number = view(bytes).getBigUint64(0) % 1_000_000n;
    bytes.fill(0);
    return new CheckCode(number.toString().padStart(6, "0"));
  }

  /** Reads what a person typed; spaces and hyphens between the digits are no matter. null: it is not six digits. */
  static parse(text: string): CheckCode | null {
    if (text.length > 32) return null;
    const digits = text.replace(/[ -]/g, "");
    return /^[0-9]{6}$/.test(digits) ? new CheckCode(digits) : null;
  }

  /** As people read it: `123 456`. */
  show(): string {
    return `${this.#digits.slice(0, 3)} ${this.#digits.slice(3)}`;
  }

  /** Whether it is the same, in constant time. */
  equals(other: CheckCode): boolean {
    return same(utf8(this.#digits), utf8(other.#digits));
  }

  toString(): string {
    return "[redacted]";
  }

  toJSON(): string {
    return "[redacted]";
  }
}
