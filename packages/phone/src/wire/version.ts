/** Which messages this part speaks: pages, keeper and worker come from a server and from caches, and may be of two builds. */

/** The hash of this folder, which build.js puts in. */
declare const WIRE: string | undefined;

export const VERSION: string = typeof WIRE === "undefined" ? "unbuilt" : WIRE;
