// Every text of the pages, in one place. To translate them, translate this file and set `locale` and `lang` in
// index.html.

import type { Scope } from "./api";

/** For dates. */
export const locale = "en-GB";

const plural = (n: number, one: string, many: string) => `${n} ${n === 1 ? one : many}`;

const list = (parts: string[]) => new Intl.ListFormat(locale, { type: "conjunction" }).format(parts);

function ago(seconds: number): string {
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ago`;
  return `${Math.floor(seconds / 86_400)}d ago`;
}

/** Seconds as a person hears them. */
function spoken(seconds: number): string {
  if (seconds < 60) return plural(seconds, "second", "seconds");
  const rest = seconds % 60;
  const minutes = plural(Math.floor(seconds / 60), "minute", "minutes");
  return rest === 0 ? minutes : `${minutes} ${plural(rest, "second", "seconds")}`;
}

const kinds: Record<string, string> = {
  mobile: "phone or tablet",
  bearer: "client with a token",
  desktop: "computer",
  browser: "browser",
  watch: "watch",
  other: "device",
};

const parts: Record<string, string> = {
  host: "Host",
  folder: "State folder",
  database: "Database",
  disk: "Disk",
  ports: "Ports",
  addresses: "Addresses",
  firewall: "Firewall",
  apps: "App",
  relay: "Relay",
  certificates: "Certificates",
  clock: "Clock",
};

const actors: Record<string, string> = {
  owner: "by the owner",
  device: "by the device",
  anyone: "from the network",
  host: "by the host",
};

const actions: Record<string, string> = {
  "offer.created": "Code opened",
  "offer.claimed": "Code scanned",
  "offer.withdrawn": "Code withdrawn",
  "offer.released": "Code open again",
  "offer.expired": "Code expired",
  "approval.wanted": "Approval asked for",
  "check_code.wrong": "Wrong check code",
  "credential.issued": "Credential handed out",
  "pairing.approved": "Device approved",
  "pairing.rejected": "Device rejected",
  "pin.wrong": "Wrong PIN",
  "device.paired": "Device paired",
  "device.updated": "Device changed",
  "device.revoked": "Device revoked",
  "owner.login": "Signed in to the dashboard",
  "owner.logout": "Signed out of the dashboard",
  "owner.logout_other": "Signed a browser out",
  "owner.logout_others": "Signed every other browser out",
  "owner.logout_all": "Signed every browser out",
};

export const texts = {
  loading: "Loading…",
  close: "Close",
  cancel: "Cancel",
  dismiss: "Dismiss this message",
  skip: "Skip to the page",
  nav: "Pages",
  signOut: "Sign out",
  aDevice: "A device",
  unexpected: "Something went wrong on this page",
  explain: (code: string) => `${code} – couplet explain ${code} says more.`,
  ago,
  expiresIn: "Expires in",
  minutes: (seconds: number) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`,
  pages: { devices: "Devices", activity: "Activity", host: "Host" },
  path: { lan: "local network", relay: "through the relay" },
  throughRelay: (name: string) => `through ${name}`,
  kind: (kind: string) => kinds[kind] ?? kind,
  actor: (actor: string) => actors[actor] ?? actor,
  action: (action: string) => actions[action] ?? action,
  scope(scope: Scope): string {
    const paths = scope.paths?.join(", ") || "everything";
    return scope.read_only ? `read only, ${paths}` : paths;
  },

  offline: {
    title: "The host does not answer.",
    detail: "What is shown may be old. It is tried again and again; if it stays so, look whether `couplet serve` runs.",
  },

  stranger: {
    title: "Sign in",
    lead: "This page is for the owner of the host. On the host, run:",
    next: "It prints a link that signs you in once, on this or any other device of your network. Paste it into the address bar.",
  },

  notice: {
    paired: (name: string) => `${name} is paired.`,
    revoked: (name: string) => `${name} is revoked: its access has ended.`,
    rejected: (name: string) => `${name} was turned away.`,
    pinsSpent: (name: string) => `${name} was sent away: three PINs were wrong. Did you not type them? Then somebody guesses.`,
    expired(name: string, code: string | null | undefined): string {
      if (code === "CPL-1232") return `${name} did not come for its credential.`;
      if (code === "CPL-1701") return `${name} went away, the third that did: its code has ended.`;
      return `Nobody answered ${name} in time. Let it try again with a new code.`;
    },
    wanted: (name: string) => `${name} waits for your approval.`,
    login: (network: string) => `A browser at ${network} has signed in. Was it not you? Sign it out on the page “Host”.`,
    loggedOut: (name: string) => `${name} is signed out.`,
    othersLoggedOut: "Every other browser is signed out.",
  },

  missed: {
    title: "What became of this code was missed.",
    detail: "The connection to the host had broken off. Look among the devices, or show a new code.",
  },

  /** Why a pairing has ended without a device. */
  ended(event: string, code: string | null | undefined, who: string | null | undefined): { title: string; detail: string } {
    if (code === "CPL-1701") {
      const detail = "Three devices began to use it and went away. Show a new code, and let only your device see it.";
      return { title: "This code has ended before its time.", detail };
    }
    const name = who ?? texts.aDevice;
    if (code === "CPL-1232") {
      const detail = "It was approved, but went away before. It has no access. Show a new code, and keep its app open until it is paired.";
      return { title: `${name} did not come for its credential.`, detail };
    }
    if (event === "offer.expired") return { title: `Nobody answered ${name} in time.`, detail: "Show a new code, and try again." };
    const anew = "Show a new code to try again.";
    if (!who) return { title: "This code was withdrawn.", detail: `The owner took it back, elsewhere. ${anew}` };
    if (code !== "CPL-1221") return { title: `${name} was turned away.`, detail: `The owner rejected it. ${anew}` };
    return {
      title: `${name} was turned away: the third check code was wrong.`,
      detail: "If the device is yours, show a new code and type the digits that it shows. If not, somebody else saw the code.",
    };
  },

  connect: {
    button: "Connect mobile",
    title: "Connect mobile device",
    opening: "Opening a code…",
    local: {
      title: "No other machine can reach this host.",
      detail: "Its addresses are its own: on a phone they mean the phone. The check-up on the page Host says what mends that.",
    },
    code: "QR code for pairing. The link beside it says the same.",
    scan: {
      link: "Scan this code with your device, or open the link there.",
      lan: "Scan this code with an app that pairs over plain HTTP on this network.",
      watch: "Scan this code with the phone of your watch.",
    },
    released: "The device went away. The code is open again: scan it once more.",
    link: "Link",
    copy: "Copy link",
    copied: "Copied. The link is a secret until it is used.",
    notCopied: "Not copied. The link is selected: copy it with the keyboard.",
    regenerate: "Regenerate QR",
    forms: "Code for",
    form: { link: "Phones and Couplet apps", lan: "Apps that know plain HTTP only", watch: "Watches" },
    shown: (seconds: number) => `A pairing code is shown. It expires in ${spoken(10 * Math.ceil(seconds / 10))}.`,
    left: (seconds: number) => `${spoken(seconds)} left.`,
    claimed: (name: string) => `${name} has scanned the code. Waiting for it…`,
    approved: (name: string) => `${name} is approved. Waiting until it comes for its credential…`,
    paired: (name: string) => `${name} is paired.`,
    paused: "Nobody scanned the code. No new one is made until you ask for it.",
    anew: "Show a new code",
  },

  approval: {
    waiting: (n: number) => (n === 1 ? "A device waits for you" : `${n} devices wait for you`),
    title: (name: string) => `Let ${name} in?`,
    code: "Check code",
    codeHint: "Type the six digits that the device shows. If it shows none, or others, reject it.",
    noCode: "Approve it only if it is in your hands, or in the hands of somebody you know.",
    approve: "Approve",
    reject: "Reject",
  },

  device: {
    name: "Name",
    model: "Model",
    platform: "System",
    network: "Address",
    path: "Last path",
    cameBy: "Came by",
    session: "Connected",
    scope: "May use",
    ends: "Access ends",
  },

  devices: {
    title: "Paired devices",
    lead: "Whoever is listed here may use the apps behind this host.",
    none: "No device is paired yet.",
    paired: "Paired",
    seen: "Last seen",
    never: "never used",
    revokedAt: "Revoked",
    revoked: (n: number) => plural(n, "revoked device", "revoked devices"),
    change: "Rename or restrict",
    changeOf: (name: string) => `Rename or restrict ${name}`,
    revoke: "Revoke",
    revokeOf: (name: string) => `Revoke ${name}`,
  },

  change: {
    title: (name: string) => `Change ${name}`,
    readOnly: "May only read",
    paths: "Paths that it may use",
    pathsHint: "One a line, like /wiki. Empty: every path.",
    end: "Access ends",
    endHint: "In this browser's time zone. Empty: never.",
    save: "Save",
  },

  revoke: {
    title: (name: string) => `Revoke ${name}?`,
    detail: "Its access ends at once, and what it has open breaks off. To come back it has to be paired anew.",
    confirm: "Revoke",
  },

  pins: {
    title: "Pairing by PIN",
    asks: (name: string) => `${name} asks to pair`,
    plain: "It pairs without encryption: others on this network can read what it is given.",
    type: "Type this PIN on the device:",
    or: (number: string) => `Or let it in from here, but only if the device shows ${number}:`,
    allow: (number: string) => `Allow: it shows ${number}`,
    allowOf: (number: string, name: string) => `Allow: it shows ${number}, ${name}`,
    number: (name: string) => `Type the number that ${name} shows`,
    letIn: "Let it in",
    letInOf: (name: string) => `Let it in: ${name}, which shows the typed number`,
    gone: (name: string) => `${name} no longer waits for its PIN.`,
    dismissOf: (name: string) => `Dismiss: ${name} no longer waits for its PIN`,
    rejectOf: (name: string) => `Reject ${name}`,
    rejectAll: "Reject all",
    rejectAllOf: (n: number) => `Reject all ${n} devices that ask to pair by PIN`,
    rejectAllTitle: (n: number) => `Reject all ${n}?`,
    rejectAllDetail(names: string[], others: number): string {
      const all = others > 0 ? [...names, plural(others, "other", "others")] : names;
      return `${list(all)} are turned away. They may ask again after a minute.`;
    },
    clear: "Clear ended",
    clearOf: (n: number) => `Clear ended: ${plural(n, "request", "requests")}`,
    cleared: (n: number) => `${plural(n, "request that had ended is", "requests that had ended are")} cleared.`,
    more: (n: number) => `${n} more ${n === 1 ? "asks" : "ask"}. Answer these, or clear those that have ended, to see ${n === 1 ? "it" : "them"}.`,
  },

  watches: {
    title: "Watches",
    active: "Active watches",
    none: "No watch is paired.",
    revoked: "Revoked watches",
    noneRevoked: "No watch was revoked.",
  },

  activity: {
    none: "Nothing has happened yet.",
    older: "Show older entries",
  },

  host: {
    name: "Host",
    version: "Version",
    session: "Signed in until",
    until: (date: string) => `${date}, or until nobody has used the page for an hour`,
    token: "the owner's token",
  },

  sessions: {
    title: "Signed-in browsers",
    lead: "Whoever uses one of these is the owner of this host. Sign out what you do not know, and what you do not need.",
    unknown: "A browser",
    current: "this browser",
    network: "Address",
    since: "Signed in",
    used: "Last used",
    signOut: "Sign out",
    signOutHere: "Sign out this browser",
    signOutOf: (name: string, network: string) => `Sign out ${name} at ${network}`,
    others: "Sign out all others",
    everywhere: "Sign out everywhere",
    everywhereHint: "“Everywhere” is this browser, too. Links that nobody has opened yet end as well.",
  },

  doctor: {
    title: "Check-up",
    lead: "Looks for what stands in the way of pairing and use, as `couplet doctor` does. It may take some seconds.",
    look: "Look now",
    again: "Look again",
    looking: "Looking…",
    found(failed: number, warnings: number): string {
      if (failed + warnings === 0) return "Nothing stands in the way.";
      const parts = [failed > 0 && `${failed} failed`, warnings > 0 && plural(warnings, "warning", "warnings")];
      return `Found: ${parts.filter((part) => part).join(", ")}.`;
    },
    state: { ok: "fine", warning: "Warning", failed: "Failed", skipped: "not looked at" },
    part: (part: string) => parts[part] ?? part,
  },

  relay: {
    title: "Relay",
    none: "This host is not enrolled with a relay: devices reach it on the local network only. `couplet enroll` changes that.",
    linking: "linking…",
    connected: "linked. Devices reach this host from anywhere.",
    lost: "no link. It is tried again and again.",
    refused: "refuses this host, and is not asked again. Enrol anew: couplet enroll TOKEN",
    since: "Since",
  },
};
