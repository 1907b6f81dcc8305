/** Couplet for apps: pair with a host, and speak HTTP with it through a sealed session. */
export type { ByteLink } from "./link.js";
export { CoupletError } from "./protocol/error.js";
