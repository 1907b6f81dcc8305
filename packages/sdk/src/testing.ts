/** For the tests of apps: a host to pair with, in memory. */
export type { ByteLink } from "./link.js";
