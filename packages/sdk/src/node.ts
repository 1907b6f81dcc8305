/** Couplet in Node.js: all of the core, and what of it needs Node's own modules. */
export * from "./index.js";
