/** What this phone is called when its user does not say otherwise: by what its browser says of itself. */

/** What a browser says. */
export interface Browser {
  readonly userAgent: string;
  readonly maxTouchPoints?: number;
  readonly userAgentData?: { getHighEntropyValues?(hints: string[]): Promise<{ readonly model?: string }> };
}

/** What the host's owner is shown of this device. */
export interface Device {
  readonly name: string;
  readonly model: string | undefined;
  readonly platform: string | undefined;
}

/** The longest name that is proposed, in characters: a model's name may be anything. */
const NAME_MAX = 40;

const BROWSERS: readonly (readonly [RegExp, string])[] = [
  [/\bSamsungBrowser\//, "Samsung Internet"],
  [/\b(EdgA|EdgiOS|Edg)\//, "Edge"],
  [/\b(OPR|OPT)\//, "Opera"],
  [/\b(FxiOS|Firefox)\//, "Firefox"],
  [/\b(CriOS|Chrome|HeadlessChrome)\//, "Chrome"],
  [/\bSafari\//, "Safari"],
];

/** The model that an Android's user agent names, unless it is the `K` that browsers say in place of any. */
function modelIn(userAgent: string): string | undefined {
  const named = /\(Linux; (?:U; )?Android [^;)]+; ([^;)]+)\)/.exec(userAgent)?.[1]?.replace(/ Build\/.*$/, "").trim();
  return named === undefined || named === "" || named === "K" || named === "Mobile" || named === "Tablet" ? undefined : named;
}

function kindOf({ userAgent, maxTouchPoints = 0 }: Browser): { readonly name: string; readonly platform: string | undefined } {
  if (/\biPhone\b/.test(userAgent)) return { name: "iPhone", platform: "iOS" };
  // An iPad says that it is a Mac; no Mac has more than one point of touch.
  if (/\biPad\b/.test(userAgent) || (/\bMacintosh\b/.test(userAgent) && maxTouchPoints > 1)) return { name: "iPad", platform: "iPadOS" };
  if (/\bAndroid\b/.test(userAgent)) return { name: /\bMobile\b/.test(userAgent) ? "Android phone" : "Android tablet", platform: "Android" };
  if (/\bCrOS\b/.test(userAgent)) return { name: "Chromebook", platform: "ChromeOS" };
  if (/\bMacintosh\b/.test(userAgent)) return { name: "Mac", platform: "macOS" };
  if (/\bWindows\b/.test(userAgent)) return { name: "Windows computer", platform: "Windows" };
  if (/\bLinux\b/.test(userAgent)) return { name: "Linux computer", platform: "Linux" };
  return { name: "Browser", platform: undefined };
}

/** A proposal: `Pixel 9, Chrome`. */
export function deviceOf(browser: Browser, told?: string): Device {
  const kind = kindOf(browser);
  // Letters that a host refuses in names are not worth an error: the name is only proposed.
  const model = (told?.trim() || modelIn(browser.userAgent))?.replace(/[^\p{L}\p{N} ._()+-]/gu, "").trim().slice(0, NAME_MAX);
  const known = model === "" ? undefined : model;
  const name = BROWSERS.find(([pattern]) => pattern.test(browser.userAgent))?.[1];
  return { name: [known ?? kind.name, name].filter((part) => part !== undefined).join(", "), model: known, platform: kind.platform };
}

/** The same, when the browser tells the model only to those who ask. */
export async function deviceHere(browser: Browser): Promise<Device> {
  const told = await browser.userAgentData?.getHighEntropyValues?.(["model"]).catch(() => ({ model: undefined }));
  return deviceOf(browser, told?.model);
}
