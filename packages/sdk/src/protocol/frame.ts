/**
 * The layout of a frame (spec/protocol.md, 4): one binary message of a WebSocket.
 *
 * ```text
 * frame = 11 ‖ 00 ‖ epoch u16 ‖ sealed(inner)      inner = data ‖ type u8 ‖ 00*
 * ```
 */

/** The longest frame, in bytes. */
export const FRAME_MAX = 16_640;
/** The bytes before the sealed part, which are authenticated with it. */
export const HEADER = 4;
/** The AEAD's tag. */
export const TAG = 16;
/** The most data that a frame carries: what is left after header, type and tag. */
export const DATA_MAX = FRAME_MAX - HEADER - 1 - TAG;
/** What short frames are padded to a multiple of: the inner part, type included. */
export const PADDING = 256;
/** Frames with this much data or more are not padded. */
export const PADDED_BELOW = 4096;

/** What a frame carries. The one list of its types. */
export const KINDS = { data: 1, close: 2, keyUpdate: 3, pad: 4, control: 5 } as const;

/** What a frame carries. */
export type Kind = keyof typeof KINDS;

/** The type with this number; null: there is none. */
export function kindOf(byte: number): Kind | null {
  for (const [kind, number] of Object.entries(KINDS)) if (number === byte) return kind as Kind;
  return null;
}

/** Why a session was closed, in its CLOSE frame. Numbers are never reused; an unknown one counts as `done`. */
export const CLOSE = {
  /** Nothing more to say. */
  done: 0,
  /** The host stops, or the device's program ends. */
  leaving: 1,
  /** The device was revoked. */
  revoked: 2,
  /** The device's access has ended. */
  expired: 3,
  /** What the device may do was changed: it may connect again at once. */
  changed: 4,
  /** The host has as many sessions as it may have. */
  busy: 5,
  /** A newer session of the same device took its place. */
  replaced: 6,
  /** The pairing came to nothing; a `rejected` message said why. */
  rejected: 7,
  /** It has lasted as long as a session may: connect again. */
  tooOld: 8,
} as const;

/** Why a session was closed. */
export type CloseReason = keyof typeof CLOSE;

/** The reason with this number; `done` for one that this version does not know. */
export function closeReason(number: number): CloseReason {
  for (const [reason, known] of Object.entries(CLOSE)) if (known === number) return reason as CloseReason;
  return "done";
}
