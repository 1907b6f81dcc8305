/** The apps behind a host, as it lists them: names of a stranger, until they are checked. */

/** An app: null is the one of a host that names none. */
export type App = string | null;

/** As many as a person can choose from. */
const APPS_MAX = 64;
/** What a host's settings allow in a name, and what an HTTP header carries. */
const NAME = /^[!-~]{1,128}$/;

/** The apps that `GET /api/pair/me` lists; a host that lists none has one without a name. */
export function appsOf(me: unknown): readonly App[] {
  const listed = typeof me === "object" && me !== null ? (me as { apps?: unknown }).apps : undefined;
  if (!Array.isArray(listed)) return [null];
  const names = listed.slice(0, APPS_MAX).flatMap((one: unknown) => {
    const name = typeof one === "object" && one !== null ? (one as { name?: unknown }).name : undefined;
    return typeof name === "string" && NAME.test(name) ? [name] : [];
  });
  return [...new Set(names)];
}

/** Which one to open: the one that was open, where it is still there, else the first; undefined: there is none. */
export function chosenApp(apps: readonly App[], wanted: App | undefined): App | undefined {
  return wanted !== undefined && apps.includes(wanted) ? wanted : apps[0];
}
