/** What `document.cookie` is after a write, until the client's page says what it has made of it. */

/** `cookies`: before. `written`: what a script wrote, in a page at `path`, at `now` (milliseconds since 1970). */
export function merged(cookies: string, written: string, path: string, now: number): string {
  const [pair = "", ...attributes] = written.split(";");
  const at = pair.indexOf("=");
  const [name, value] = at === -1 ? ["", pair.trim()] : [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
  if (name === "" && value === "") return cookies;
  const all = new Map<string, string>();
  for (const attribute of attributes) {
    const [key = "", ...rest] = attribute.split("=");
    all.set(key.trim().toLowerCase(), rest.join("=").trim());
  }
  if (all.has("httponly") || !isOn(all.get("path") ?? "", path)) return cookies;
  const text = name === "" ? value : `${name}=${value}`;
  const isNamed = (cookie: string): boolean => (name === "" ? !cookie.includes("=") : cookie.startsWith(`${name}=`));
  const kept = cookies === "" ? [] : cookies.split("; ");
  if (isOver(all, now)) return kept.filter((cookie) => !isNamed(cookie)).join("; ");
  const index = kept.findIndex(isNamed);
  if (index === -1) kept.push(text);
  else kept[index] = text;
  return kept.join("; ");
}

/** Whether a page at `path` has cookies of this path (RFC 6265, 5.1.4). */
function isOn(cookiePath: string, path: string): boolean {
  if (!cookiePath.startsWith("/") || cookiePath === path) return true;
  return path.startsWith(cookiePath) && (cookiePath.endsWith("/") || path.charAt(cookiePath.length) === "/");
}

function isOver(attributes: ReadonlyMap<string, string>, now: number): boolean {
  const age = attributes.get("max-age");
  if (age !== undefined && /^-?\d+$/.test(age)) return Number(age) <= 0;
  const expires = Date.parse(attributes.get("expires") ?? "");
  return expires <= now;
}
