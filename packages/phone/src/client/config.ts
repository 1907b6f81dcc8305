/** What the server of these pages says of itself: whether apps are shown here, and at which origins. */

import { isAppsOrigin } from "../bridge/index.js";

/** `GET /p/config.json`, once it is checked. `apps` has one `*`: the place of a label. */
export interface Config {
  readonly apps: string | null;
}

/** The longest answer that is read, in characters. */
const ANSWER_MAX = 4096;

/** Checks an answer. @throws {TypeError} It is none. */
export function readConfig(json: unknown): Config {
  const apps = typeof json === "object" && json !== null ? (json as { apps?: unknown }).apps : undefined;
  if (apps === null) return { apps };
  if (typeof apps === "string" && isAppsOrigin(apps)) return { apps };
  throw new TypeError("the server's configuration cannot be used");
}

/** Asks the server. Rejects when it does not answer, or with what is no configuration. */
export async function fetchConfig(signal: AbortSignal): Promise<Config> {
  const answer = await fetch("/p/config.json", { credentials: "omit", redirect: "error", signal });
  const text = await answer.text();
  if (!answer.ok || text.length > ANSWER_MAX) throw new TypeError(`the server answers ${answer.status}`);
  return readConfig(JSON.parse(text));
}
