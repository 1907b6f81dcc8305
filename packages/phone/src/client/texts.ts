/** Every text of the client's pages. To translate them, translate this file, and set `lang` in index.html. */

const plural = (n: number, one: string, many: string): string => `${n} ${n === 1 ? one : many}`;

/** Seconds as a person hears them. */
function spoken(seconds: number): string {
  if (seconds < 60) return plural(seconds, "second", "seconds");
  const rest = seconds % 60;
  const minutes = plural(Math.floor(seconds / 60), "minute", "minutes");
  return rest === 0 ? minutes : `${minutes} ${plural(rest, "second", "seconds")}`;
}

export const texts = {
  title: "Couplet",
  back: "Back",
  cancel: "Cancel",
  close: "Close",
  clock: (seconds: number) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`,
  left: (seconds: number) => `${spoken(seconds)} left.`,
  unnamed: "Unnamed host",
  fingerprint: "Fingerprint",
  code: (code: string) => `Code ${code}`,
  fault: {
    title: "Something went wrong on this page.",
    next: "Load it again. What is paired stays paired.",
    reload: "Load again",
  },

  home: {
    title: "Your hosts",
    empty: "No host yet",
    lead: "A host is the computer that your apps run on. Its owner shows a code: couplet pair, or “Connect mobile” in its dashboard.",
    loading: "Looking for paired hosts…",
    unfinished: "Pairing not finished: open it to finish.",
    scan: "Scan a code",
    paste: "Paste a link",
    forgotten: (name: string) => `${name} is forgotten on this device.`,
    forget: (name: string) => `Forget ${name}`,
    untold: (name: string) =>
      `${name} is forgotten on this device, but could not be told: its owner still sees this device, and can revoke it there.`,
    unusable: "A stored pairing cannot be read. Pair with that host again; what is damaged is then replaced.",
    cleared: "The pairings of this browser are removed, with what their apps had stored.",
    clearedPart:
      "The pairings of this browser are removed. What some of their apps had stored could not be reached: to remove that too, " +
      "clear the browser’s data in its settings.",
    clearedLater: "Another tab or window of this browser holds on to what is stored. Close all of them: it is removed then.",
    leavings:
      "What some apps had stored in this browser could not be removed yet: their addresses do not answer. It is tried again when " +
      "this page is opened.",
  },

  server: {
    offline: { title: "This device is offline.", next: "Hosts come back by themselves when the network does." },
    away: {
      title: "The server of these pages does not answer.",
      next: "What you see was kept on this device. It is tried again by itself; your hosts may answer all the same.",
    },
    retry: "Try now",
  },

  scan: {
    title: "Scan the code",
    asking: "Allow the camera when the browser asks.",
    looking: "Hold the host’s code in front of the camera.",
    privacy: "It is read on this device; no picture leaves it.",
    view: "The camera’s picture",
    other: "That is not a Couplet code. Looking on…",
    plain: "That code is for apps that pair over plain HTTP. Ask the host for the code “Phones and Couplet apps”. Looking on…",
    unusable: "That Couplet code cannot be used: it is damaged, or of a newer version. Looking on…",
    found: "Code found.",
    paused: "The camera rests while this page is not seen.",
    refused: {
      title: "The camera is not allowed.",
      next: "Allow it for this page in the browser’s settings (the symbol beside the address), then try again. Or paste the link.",
    },
    none: { title: "This device has no camera that can be used.", next: "Paste the link instead." },
    busy: { title: "The camera does not start.", next: "Another app may be using it: close that, then try again. Or paste the link." },
    insecure: {
      title: "The browser lets no camera be used here.",
      next: "This page did not come over https. Open the link with the phone’s own camera app, or paste it.",
    },
    retry: "Try again",
  },

  paste: {
    title: "Paste the link",
    lead: "It begins with COUPLET: or is https://RELAY/p#…",
    label: "Link",
    hint: "It is a secret, good once and for a few minutes.",
    fromClipboard: "Paste",
    noClipboard: "The browser does not give the clipboard. Hold your finger on the field, and choose Paste.",
    go: "Go on",
    missing: "Paste the link first.",
  },

  confirm: {
    title: "Pair this device?",
    lead: "It is let in at the host that made this link, and at no other:",
    where: "Looked for at",
    ends: "Link ends in",
    over: "By this device’s clock the link has ended. The host decides: try it, or ask for a new one.",
    name: "Name of this device",
    nameHint: "So its owner knows it, there and later.",
    go: "Pair",
  },

  connecting: {
    title: "Reaching the host…",
    lead: "It must prove with its key that it is the one that made the link.",
  },

  approval: {
    title: "Type this at the host",
    lead: (host: string) => `${host} asks its owner. Type the code there, at its terminal or on its dashboard:`,
    spoken: (host: string, digits: string) => `Check code ${digits}. Type it at ${host}.`,
    left: "Time left, about",
    over: "The time is about over. If the host gives no answer, try again.",
    keep: "Keep this page open until then.",
  },

  finishing: { title: "Let in", lead: "Finishing…" },
  paired: { title: (host: string) => `Paired with ${host}`, lead: "Opening…" },

  trouble: {
    again: "Try again.",
    details: "What was tried",
    /** What happened. */
    title: {
      expired: "The link is unknown to the host, or has expired.",
      used: "The link was used already, or has ended.",
      rejected: "The owner said no.",
      unanswered: "The owner did not answer in time.",
      taken: "Another device is using this link.",
      full: "The host has as many devices as it may have.",
      name: "That name cannot be used.",
      unreachable: "The host cannot be reached.",
      noNetwork: "This device is offline.",
      broke: "The connection broke off.",
      hostOffline: "The host is not connected to its relay.",
      relayDown: "The relay does not answer.",
      between: "This network does not let you through to the relay.",
      busy: "The host or its relay is busy.",
      locked: "There were too many wrong tries.",
      clock: "This device’s clock is wrong.",
      wrongKey: "That is not the host that made the link.",
      otherKey: "You know a host like this one, with another key.",
      link: "The pairing link cannot be used.",
      version: "This page and the host do not speak the same version.",
      storage: "What this page has stored cannot be used.",
      gone: "The host does not know this device any more.",
      account: "This relay wants an account.",
      handshake: "The connection could not be secured.",
      fault: "Something went wrong.",
    },
    /** What to do, where these pages know more than the error does. */
    next: {
      noNetwork: "Connect it to a network, then try again.",
      otherKey:
        "It may be another host of that name or address, or the same one set up anew, or someone who pretends to be it. Compare " +
        "the keys with the host’s owner. If it was set up anew, forget the old one first.",
      account: "These pages cannot sign in there. Use an app that can, or ask the host’s owner for a relay without accounts.",
      storage: "Remove what these pages have stored, then pair again. A private window may keep nothing at all.",
    } as Partial<Record<string, string>>,
    act: {
      retry: "Try again",
      scan: "Scan a new code",
      paste: "Paste a link",
      hosts: "Your hosts",
      another: "Pair with the other host",
      rename: "Change the name",
      clear: "Remove what is stored",
    },
  },

  state: {
    connecting: "Connecting",
    relay: "Relay",
    offline: "Away",
    elsewhere: "In another tab",
    over: "Ended",
    said: {
      connecting: (host: string) => `Connecting with ${host}.`,
      relay: (host: string) => `Connected with ${host} through a relay.`,
      offline: (host: string) => `${host} is away. It is tried again by itself.`,
      elsewhere: (host: string) => `${host} is in use in another tab.`,
    },
    path: {
      connecting: "A session is being opened.",
      relay: (relay: string) => `Through the relay ${relay}, which cannot read it`,
    },
  },

  host: {
    bar: "Host",
    app: "App",
    unnamedApp: "App",
    menuOf: (host: string) => `Menu of ${host}`,
    opening: "Opening the app…",
    asking: "Asking the host for its apps…",
    frame: (app: string, host: string) => `${app} on ${host}`,
    reload: "Load the app again",
    back: "Back in the app",
    hosts: "Your hosts",
    forget: "Forget this host",
    path: "Path",
    deviceName: "This device",
    limits: "Allowed here",
    readOnly: "reading only",
    paths: (paths: readonly string[]) => `only ${paths.join(", ")}`,
    ends: "Access ends",
    away: (host: string) => `${host} is away.`,
    awayNext: "It is tried again by itself.",
    awayDetails: "Why",
    retry: "Try now",
    elsewhere: (host: string) => `${host} is in use in another tab or window of this browser.`,
    elsewhereNext: "It goes on here when that one is closed, or at once if you want.",
    takeOver: "Use it here",
    noApps: "No app is behind this host.",
    noAppsNext: "Its owner starts one with couplet serve http://127.0.0.1:3000.",
    noFrames: {
      title: "No apps can be shown in a browser here.",
      next: (host: string) => `You are paired with ${host}. Its apps open in two other ways:`,
      ways: [
        "On a computer: run couplet connect there, with a link of its own, and open the address that it prints.",
        "In an app that is made with Couplet’s SDK.",
      ],
      operator: "Whoever serves these pages can change that: apps need a domain of their own.",
    },
    failed: "The app cannot be shown.",
  },

  leave: {
    title: (app: string | null) => `Leave ${app ?? "the app"}?`,
    lead: "It leads to an address outside. That opens in a tab of its own:",
    go: "Open it",
    stay: "Stay here",
  },

  forget: {
    title: (host: string) => `Forget ${host}?`,
    lead: (host: string) =>
      `${host} is told, if it can be reached, and what this device has stored of it and of its apps is removed. To come back, you need a new link.`,
    go: "Forget",
    keep: "Keep",
    leaving: "Forgetting…",
  },

  clear: {
    title: "Remove all that is stored?",
    lead: "The pairings of this browser are removed, with what their apps have stored. Hosts are not told: their owners still see this device.",
    go: "Remove",
    going: "Removing…",
  },

  over: {
    revoked: (host: string) => `${host} has revoked this device.`,
    expired: (host: string) => `This device’s access to ${host} has ended.`,
    forgotten: (host: string) => `${host} is forgotten here.`,
    closed: (host: string) => `The connection with ${host} is closed.`,
    lead: {
      none: "What this device had stored of it and of its apps is removed.",
      going: "What this device had stored of it and of its apps is being removed.",
      left:
        "What this device had stored of it is removed, but not all that its apps had stored in this browser: their addresses do " +
        "not answer. It is tried again when this page is opened.",
    },
    next: {
      revoked: "To come back, ask the host’s owner for a new link.",
      expired: "To come back, ask the host’s owner for a new link.",
      forgotten: "It was forgotten in another tab, or the browser’s data was cleared. To come back, you need a new link.",
      closed: "Open it again.",
    },
    again: "Pair again",
    reopen: "Open again",
    hosts: "Your hosts",
  },
};
