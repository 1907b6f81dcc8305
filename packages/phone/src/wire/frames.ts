/** What windows and the worker of an app's origin say to each other, and to the client's page. Each has `couplet`, which names it. */

/** Where the keeper is. */
export const KEEPER = "/.couplet/keeper";

/** From the keeper, or from a page of the app, to the worker. */
export type ToWorker =
  /** A keeper is there. Answered with `ready` once the worker has a port. */
  | { readonly couplet: "hello" }
  /** A port to the client's page comes with this; `client` is that page's origin. */
  | { readonly couplet: "port"; readonly client: string }
  /** Nothing: a worker that hears something lives on. */
  | { readonly couplet: "ping" }
  /** A WebSocket; its port comes with this. */
  | { readonly couplet: "socket"; readonly path: string; readonly protocols: readonly string[] }
  /** A script wrote `document.cookie`. Answered over the port that comes with this, once requests go with it. */
  | { readonly couplet: "write"; readonly text: string };

/** From the worker. */
export type FromOwnWorker =
  /** To keepers: ask for a port. */
  | { readonly couplet: "join" }
  | { readonly couplet: "ready" }
  /** To pages: what `document.cookie` is now; answered over the port that comes with this, if one does. */
  | { readonly couplet: "cookies"; readonly text: string };
