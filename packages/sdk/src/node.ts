/** Couplet in Node.js: all of the core, and what of it needs Node's own modules. */
import { platform } from "node:os";

import type { Host } from "./client/connect.js";
import { pair as pairAnywhere, restore as restoreAnywhere, type PairOptions, type RestoreOptions } from "./client/open.js";
import { nodeFetch, nodeNetwork, nodeSockets } from "./node/connections.js";

export * from "./index.js";
export { FileStore } from "./node/file_store.js";

const SYSTEMS: Partial<Record<string, string>> = { darwin: "macOS", linux: "Linux", win32: "Windows" };

/**
 * As in a browser; and relays may have a CA of their own, for which `ws` must be installed. It needs a `storage`, such as a
 * {@link FileStore}.
 *
 * @throws {CoupletError} Nothing is paired; `code` says why, `next` what to do.
 */
export async function pair(link: string, options: PairOptions): Promise<Host> {
  const { openSocket = await nodeSockets(), fetch = nodeFetch, network = nodeNetwork } = options ?? {};
  const system = SYSTEMS[platform()] ?? platform();
  return pairAnywhere(link, { platform: system, kind: "desktop", ...options, openSocket, fetch, network });
}

/**
 * The hosts that this device is paired with; each opens its session now.
 *
 * @throws {CoupletError} `CPL-1607`: what is stored cannot be read.
 */
export async function restore(options: RestoreOptions = {}): Promise<Host[]> {
  const { openSocket = await nodeSockets(), fetch = nodeFetch, network = nodeNetwork } = options;
  return restoreAnywhere({ ...options, openSocket, fetch, network });
}
