/** The hidden frame of an app's origin, in which nothing of the app shows. */

/** The app can reach the keeper's frame, which must therefore be able to do no more. */
const SANDBOX = "allow-scripts allow-same-origin";

/** A pattern of origins, one for each label: a wildcard below a domain. Plain http is for a machine's own names alone. */
const PATTERN = /^(?:https:\/\/\*\.[a-z0-9-]+(?:\.[a-z0-9-]+)*|http:\/\/\*\.(?:[a-z0-9-]+\.)*localhost)(?::[0-9]{1,5})?$/;

/** Whether apps can be shown at origins of this pattern. */
export function isAppsOrigin(pattern: string): boolean {
  return PATTERN.test(pattern);
}

/** Where an app is shown. @throws {TypeError} The label or the pattern is none. */
export function originOf(appsOrigin: string, label: string): string {
  if (!/^[a-z2-7]{26}$/.test(label)) throw new TypeError("a label is 26 characters of base32");
  if (!isAppsOrigin(appsOrigin)) throw new TypeError("the apps' origin is a pattern such as https://*.apps.example");
  return new URL(appsOrigin.replace("*", label)).origin;
}

/** A frame. `referrer`: whether it is told where it is shown, by which the app's worker knows who leads it somewhere. */
export function frameOf(name: string, sandbox: string, referrer: "origin" | "no-referrer"): HTMLIFrameElement {
  const frame = document.createElement("iframe");
  frame.className = name;
  frame.setAttribute("sandbox", sandbox);
  frame.referrerPolicy = referrer;
  return frame;
}

/** A keeper's frame, which nobody sees or comes to by keys. */
export function keeperFrame(): HTMLIFrameElement {
  const frame = frameOf("keeper", SANDBOX, "no-referrer");
  frame.hidden = true;
  frame.tabIndex = -1;
  frame.setAttribute("aria-hidden", "true");
  return frame;
}
