/** Error codes of HTTP/2 (RFC 9113, 7), and the one error that this folder raises. */

export const NO_ERROR = 0x0;
export const PROTOCOL_ERROR = 0x1;
export const INTERNAL_ERROR = 0x2;
export const FLOW_CONTROL_ERROR = 0x3;
export const STREAM_CLOSED = 0x5;
export const FRAME_SIZE_ERROR = 0x6;
export const REFUSED_STREAM = 0x7;
export const CANCEL = 0x8;
export const COMPRESSION_ERROR = 0x9;
export const ENHANCE_YOUR_CALM = 0xb;

/**
 * Who ended it: `peer` the server, by RST_STREAM, GOAWAY or its SETTINGS; `violation` the server, by what HTTP/2
 * forbids; `local` this end, by its own bounds, or because it was closed; `link` what is beneath, which broke.
 */
export type Http2ErrorSource = "peer" | "violation" | "local" | "link";

/** What else is known of an error. */
export interface Http2ErrorDetail {
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/** Why a request, or a whole connection, came to nothing. */
export class Http2Error extends Error {
  /** RFC 9113, 7; a code of a server's own stands as it came. */
  readonly code: number;
  readonly source: Http2ErrorSource;
  /** The server has certainly not looked at the request, which may be sent again, elsewhere (RFC 9113, 8.7). */
  readonly retryable: boolean;

  constructor(code: number, source: Http2ErrorSource, message: string, detail: Http2ErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = "Http2Error";
    this.code = code;
    this.source = source;
    this.retryable = detail.retryable ?? false;
  }
}

/** What ends only the stream, when it is thrown while a frame is read: RST_STREAM answers it (RFC 9113, 5.4.2). */
export class StreamViolation extends Http2Error {
  constructor(code: number, message: string) {
    super(code, "violation", message);
  }
}

/** What ends the connection: GOAWAY answers it (RFC 9113, 5.4.1). */
export function violation(code: number, message: string): Http2Error {
  return new Http2Error(code, "violation", message);
}

/** Whatever was thrown, as the one error. */
export function typed(cause: unknown): Http2Error {
  return cause instanceof Http2Error ? cause : new Http2Error(INTERNAL_ERROR, "local", "the HTTP/2 client failed", { cause });
}
