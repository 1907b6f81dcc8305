/** What `<couplet-connect>` says. */
import { reasonText, type State } from "../client/state.js";
import { CoupletError } from "../protocol/error.js";

/** What happened, and what to do now. */
export interface Trouble {
  readonly message: string;
  readonly next: string;
  /** `CPL-1203`; empty: it has none. */
  readonly code: string;
}

/** All that the element says; any of it can be replaced: `element.texts = { pair: "Verbinden" }`. */
export interface Texts {
  /** What the element is, for screen readers. */
  readonly label: string;
  /** What this device is called, when the app does not say. */
  readonly deviceName: string;
  readonly restoring: string;
  readonly unpaired: string;
  readonly unpairedHint: string;
  readonly link: string;
  readonly linkMissing: string;
  readonly pair: string;
  readonly scan: string;
  readonly scanning: string;
  readonly scanningHint: string;
  readonly cameraRefused: string;
  readonly stop: string;
  readonly connecting: string;
  readonly finishing: string;
  readonly cancel: string;
  readonly approval: (hostName: string) => string;
  readonly approvalHint: string;
  /** The check code for the ear; `digits` are single digits. */
  readonly approvalSpoken: (hostName: string, digits: readonly string[]) => string;
  readonly online: (hostName: string) => string;
  readonly direct: string;
  readonly relay: (relay: string) => string;
  readonly reconnecting: (hostName: string) => string;
  readonly offline: (hostName: string) => string;
  readonly retry: string;
  readonly revoked: (hostName: string) => string;
  readonly expired: (hostName: string) => string;
  readonly gone: (hostName: string) => string;
  readonly closed: (hostName: string) => string;
  readonly reopen: string;
  readonly again: string;
  readonly failed: string;
  readonly host: string;
  readonly path: string;
  readonly fingerprint: string;
  readonly forget: string;
  readonly forgetHint: (hostName: string) => string;
  readonly forgetSure: string;
  readonly untold: (hostName: string) => string;
  readonly keep: string;
  readonly leaving: string;
  readonly error: (error: unknown) => Trouble;
  readonly cause: (state: Extract<State, { readonly state: "offline" }>) => Trouble;
}

/** What an error says for itself. */
function troubleOf(error: unknown): Trouble {
  if (error instanceof CoupletError) return { message: sentence(error.message), next: error.next, code: error.code };
  const message = error instanceof Error && error.message !== "" ? error.message : "Something went wrong";
  return { message: sentence(message), next: "Try again.", code: "" };
}

function sentence(text: string): string {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?:)]$/.test(whole) || whole.includes("\n") ? whole : `${whole}.`;
}

export const ENGLISH: Texts = {
  label: "Connection to your host",
  deviceName: "Browser",
  restoring: "Looking for a paired host",
  unpaired: "Not paired yet",
  unpairedHint: "Ask your host for a link (couplet pair, or “Connect mobile” in its dashboard), and paste it here.",
  link: "Link",
  linkMissing: "Paste the link first.",
  pair: "Pair",
  scan: "Scan a code",
  scanning: "Hold the code in front of the camera",
  scanningHint: "It is read here; no picture leaves this device.",
  cameraRefused: "The camera cannot be used. Allow it in the browser’s settings, or paste the link.",
  stop: "Stop",
  connecting: "Reaching the host",
  finishing: "Let in; finishing",
  cancel: "Cancel",
  approval: (hostName) => `${hostName} asks its owner`,
  approvalHint: "Type this code at the host, within two minutes:",
  approvalSpoken: (hostName, digits) => `Check code ${digits.join(" ")}. Type it at ${hostName}.`,
  online: (hostName) => `Connected with ${hostName}`,
  direct: "straight, on your network",
  relay: (relay) => `through the relay ${relay}`,
  reconnecting: (hostName) => `Connecting with ${hostName}`,
  offline: (hostName) => `${hostName} is away`,
  retry: "Try now",
  revoked: (hostName) => `${hostName} has revoked this device`,
  expired: (hostName) => `This device’s access to ${hostName} has ended`,
  gone: (hostName) => `${hostName} is forgotten here`,
  closed: (hostName) => `The connection with ${hostName} is closed`,
  reopen: "Connect again",
  again: "Pair again",
  failed: "That did not work",
  host: "Host",
  path: "Path",
  fingerprint: "Fingerprint",
  forget: "Forget this device",
  forgetHint: (hostName) => `${hostName} is told, if it can be reached, and what is stored here is removed. To come back, you need a new link.`,
  forgetSure: "Forget",
  untold: (hostName) => `${hostName} could not be told: its owner still sees this device, and can revoke it there.`,
  keep: "Keep",
  leaving: "Forgetting",
  error: troubleOf,
  cause: ({ reason, error }) => ({ message: sentence(reasonText(reason)), next: error.next, code: error.code }),
};
