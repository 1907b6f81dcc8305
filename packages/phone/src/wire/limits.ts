/** Bounds that both ends of the port hold to. Lengths are in bytes, or in UTF-16 code units for texts. */

/** How much of an answer may be on its way to the worker. */
export const WINDOW = 256 * 1024;
/** The most that all grants together may leave open. */
export const CREDIT_MAX = 1 << 20;
/** The worker grants in steps of this size, so that there are not as many grants as chunks. */
export const STEP = 32 * 1024;
/** A path with its query. */
export const PATH_MAX = 16 * 1024;
/** Headers of a request: how many, and how long all of them are. */
export const HEADERS_MAX = 128;
export const HEADERS_LENGTH_MAX = 16 * 1024;
/** What may be under way at once for one app: requests, and WebSockets. */
export const REQUESTS_MAX = 256;
export const SOCKETS_MAX = 24;
/** How many of the requests are sent at once: a session has 64 places, and other apps of the host use it as well. */
export const SENT_MAX = 24;
/** A cookie as an app writes it (RFC 6265, 6.1), and all that one label may have. */
export const COOKIE_MAX = 4096;
export const COOKIES_MAX = 180;
/** Messages that an app may send in one second; a download at 100 MB/s needs fewer. */
export const MESSAGES_PER_SECOND = 10_000;
/** What an app says of its page. */
export const TITLE_MAX = 200;
/** One message of a WebSocket, as in the SDK. */
export const SOCKET_MESSAGE_MAX = 64 << 20;
/** How often an app may ask to lead elsewhere, in so many milliseconds. */
export const LEAVES = 3;
export const LEAVES_PER = 30_000;
