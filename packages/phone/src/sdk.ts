/** The SDK, from its sources in this repository: the one place that says where it is. */
export * from "../../sdk/src/index.js";
