/** A minimal, bounded HTTP/2 client over any ordered link (RFC 9113, RFC 7541, RFC 8441). Knows nothing of Couplet. */
export { Connection } from "./connection.js";
export { Http2Error, type Http2ErrorSource } from "./error.js";
export type { RequestInit } from "./headers.js";
export type { Header } from "./hpack.js";
export type { Bounds } from "./settings.js";
export type { Http2Body, Http2Response } from "./stream.js";
