/** The SDK, from its sources in this repository: the one place that says where it is. */
export * from "../../sdk/src/index.js";

// What it has for itself, and these pages as well.
export { shown as shownEndpoint } from "../../sdk/src/client/attempt.js";
export { storedHost } from "../../sdk/src/client/store/form.js";
export { scan, type Decode } from "../../sdk/src/element/scan.js";
export { titleOf } from "../../sdk/src/protocol/error.js";
export { shownName } from "../../sdk/src/protocol/name.js";
export { offerFromLink, OfferError } from "../../sdk/src/protocol/offer.js";
