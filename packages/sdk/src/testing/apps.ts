/** What a host does with a request before an app has it (spec/protocol.md, 5): finds the app, and keeps to the device's scope. */
import type { Scope } from "../api.js";
import { APP_HEADER } from "../client/request.js";

const REFUSALS = {
  "CPL-1105": [403, "This device may only read", "Use GET, HEAD or OPTIONS, or ask the owner for a wider scope."],
  "CPL-1106": [403, "This device may not use this path", "Use a path within this device's scope, or ask the owner for a wider one."],
  "CPL-1107": [400, "The path can be read in more than one way", "Send the path without dot segments, empty segments, '%', ';' and '\\'."],
  "CPL-1503": [502, "The app broke off its answer", "Try again."],
  "CPL-1505": [404, "This host has no such app", "Name one of this host's apps."],
} as const;

/** What a host answers in an app's place. */
export function refusal(code: keyof typeof REFUSALS, detail?: string): Response {
  const [status, title, next] = REFUSALS[code];
  const problem = { type: `urn:couplet:error:${code}`, title, status, detail: detail ?? next, code };
  return Response.json(problem, { status, headers: { "content-type": "application/problem+json" } });
}

/** The one of these apps that a request names, or the first; null: there is none such. Apps do not see that header. */
export function chosen(request: Request, names: readonly string[]): string | null {
  const wanted = request.headers.get(APP_HEADER) ?? names[0];
  request.headers.delete(APP_HEADER);
  return wanted !== undefined && names.includes(wanted) ? wanted : null;
}

/** What a scope says against a request. */
export function outOfScope({ method, url }: Request, isUpgrade: boolean, { read_only = false, paths = [] }: Scope): Response | null {
  const path = /^[a-z]+:\/\/[^/?#]*([^?#]*)/.exec(url)?.[1] ?? "/";
  if (read_only && (isUpgrade || !["GET", "HEAD", "OPTIONS"].includes(method))) return refusal("CPL-1105");
  if (paths.length === 0) return null;
  if (/[%\\;]|\/\//.test(path)) return refusal("CPL-1107");
  const isWithin = (prefix: string): boolean => `${path}/`.startsWith(prefix.endsWith("/") ? prefix : `${prefix}/`);
  return paths.some(isWithin) ? null : refusal("CPL-1106");
}
