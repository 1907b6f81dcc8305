/** SETTINGS, of both ends (RFC 9113, 6.5; RFC 8441, 3). */
import { FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, violation } from "./error.js";
import { WINDOW_FIRST, WINDOW_MAX } from "./flow.js";
import { PAYLOAD_MAX, readU32 } from "./frame.js";

const HEADER_TABLE_SIZE = 0x1;
const ENABLE_PUSH = 0x2;
const MAX_CONCURRENT_STREAMS = 0x3;
const INITIAL_WINDOW_SIZE = 0x4;
const MAX_FRAME_SIZE = 0x5;
const MAX_HEADER_LIST_SIZE = 0x6;
const ENABLE_CONNECT_PROTOCOL = 0x8;

/** What this end allows itself and the server. */
export interface Bounds {
  /** Requests under way at most, whatever the server allows. */
  readonly streams: number;
  /** Requests that wait for their turn at most. */
  readonly queue: number;
  /** Bytes of one answer that may wait for their reader: at most 2^31-1. */
  readonly streamWindow: number;
  /** Bytes of all answers that may be on their way. Those that wait for their readers do not count. */
  readonly connectionWindow: number;
  /** The longest list of headers that is taken, as RFC 9113, 6.5.2 counts it. */
  readonly headerList: number;
  /** Headers that no end may put into a table (RFC 7541, 7.1.3). */
  readonly sensitive: readonly string[];
  /** Milliseconds that a server has to end its half of a stream that this end has closed. */
  readonly linger: number;
  /** Milliseconds from whenever; what floods are measured by. */
  readonly now: () => number;
}

export const BOUNDS: Bounds = {
  streams: 100,
  queue: 256,
  streamWindow: 1 << 20,
  connectionWindow: 4 << 20,
  headerList: 64 << 10,
  sensitive: ["authorization", "proxy-authorization", "cookie"],
  linger: 5_000,
  now: () => Date.now(),
};

/** The SETTINGS that this end sends. */
export function ownSettings(bounds: Bounds): readonly (readonly [number, number])[] {
  return [
    [HEADER_TABLE_SIZE, 0],
    [ENABLE_PUSH, 0],
    [INITIAL_WINDOW_SIZE, bounds.streamWindow],
    [MAX_HEADER_LIST_SIZE, bounds.headerList],
  ];
}

/** The server's, as they stand. */
export interface PeerSettings {
  readonly maxStreams: number;
  readonly initialWindow: number;
  readonly frameSize: number;
  readonly headerList: number;
  readonly extendedConnect: boolean;
}

export const PEER_FIRST: PeerSettings = {
  maxStreams: Infinity,
  initialWindow: WINDOW_FIRST,
  frameSize: PAYLOAD_MAX,
  headerList: Infinity,
  extendedConnect: false,
};

/** What the server's settings are after this payload. Throws for values that none may have. */
export function appliedSettings(before: PeerSettings, payload: Uint8Array): PeerSettings {
  if (payload.length % 6 !== 0) throw violation(FRAME_SIZE_ERROR, "a SETTINGS frame has a wrong length");
  let { maxStreams, initialWindow, frameSize, headerList, extendedConnect } = before;
  for (let at = 0; at < payload.length; at += 6) {
    const id = ((payload[at] ?? 0) << 8) | (payload[at + 1] ?? 0);
    const value = readU32(payload, at + 2);
    if (id === ENABLE_PUSH && value !== 0) throw violation(PROTOCOL_ERROR, "the server has SETTINGS_ENABLE_PUSH");
    if (id === MAX_CONCURRENT_STREAMS) maxStreams = value;
    if (id === INITIAL_WINDOW_SIZE) {
      if (value > WINDOW_MAX) throw violation(FLOW_CONTROL_ERROR, "the server's SETTINGS_INITIAL_WINDOW_SIZE is too large");
      initialWindow = value;
    }
    if (id === MAX_FRAME_SIZE) {
      if (value < PAYLOAD_MAX || value > 0xff_ffff) throw violation(PROTOCOL_ERROR, "the server's SETTINGS_MAX_FRAME_SIZE is wrong");
      frameSize = value;
    }
    if (id === MAX_HEADER_LIST_SIZE) headerList = value;
    if (id === ENABLE_CONNECT_PROTOCOL) {
      if (value > 1 || (extendedConnect && value === 0)) {
        throw violation(PROTOCOL_ERROR, "the server's SETTINGS_ENABLE_CONNECT_PROTOCOL is wrong");
      }
      extendedConnect = value === 1;
    }
  }
  return { maxStreams, initialWindow, frameSize, headerList, extendedConnect };
}
