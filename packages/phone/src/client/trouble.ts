/** What went wrong, as the pages show it: what happened, what to do next, and the buttons that lead there. */
import { AttemptError, CoupletError, titleOf } from "../sdk.js";
import { texts } from "./texts.js";

/** What sort of trouble it is: texts.trouble has a title for each. */
export type Kind = keyof typeof texts.trouble.title;

/** What a button does. `another`: pair with a host that looks like a known one. `rename`: choose another name. */
export type Act = "retry" | "scan" | "paste" | "hosts" | "another" | "rename" | "clear";

/** For people. */
export interface Trouble {
  readonly kind: Kind;
  readonly title: string;
  /** What happened, in a sentence or two; empty: the title says it. */
  readonly message: string;
  /** What to do now. */
  readonly next: string;
  /** What was tried, one a line. */
  readonly details: readonly string[];
  /** `CPL-1203`; empty: it has none. */
  readonly code: string;
  /** The first is the one to press. */
  readonly acts: readonly Act[];
}

/** By the code that came. Codes of later versions are a fault. */
const KINDS: Readonly<Record<string, Kind>> = {
  "CPL-1013": "busy",
  "CPL-1103": "gone",
  "CPL-1104": "gone",
  "CPL-1114": "fault",
  "CPL-1201": "expired",
  "CPL-1203": "used",
  "CPL-1204": "full",
  "CPL-1205": "name",
  "CPL-1207": "busy",
  "CPL-1208": "rejected",
  "CPL-1209": "unanswered",
  "CPL-1218": "taken",
  "CPL-1601": "unreachable",
  "CPL-1602": "broke",
  "CPL-1603": "gone",
  "CPL-1604": "wrongKey",
  "CPL-1605": "link",
  "CPL-1606": "version",
  "CPL-1607": "storage",
  "CPL-1608": "gone",
  "CPL-1610": "busy",
  "CPL-1701": "handshake",
  "CPL-1801": "expired",
  "CPL-1802": "account",
  "CPL-1803": "busy",
  "CPL-1804": "used",
  "CPL-1805": "locked",
  "CPL-1806": "locked",
  "CPL-1807": "hostOffline",
  "CPL-1808": "relayDown",
  "CPL-1817": "account",
  "CPL-1818": "relayDown",
  "CPL-1819": "relayDown",
  "CPL-1820": "between",
  "CPL-1821": "between",
  "CPL-1822": "clock",
  "CPL-1823": "between",
  "CPL-1826": "busy",
  "CPL-1827": "account",
  "CPL-1900": "fault",
};

const ANEW: readonly Act[] = ["scan", "paste", "hosts"];
const AGAIN: readonly Act[] = ["retry", "scan", "hosts"];

const ACTS: Readonly<Record<Kind, readonly Act[]>> = {
  expired: ANEW,
  used: ANEW,
  rejected: ANEW,
  unanswered: AGAIN,
  taken: AGAIN,
  full: ["scan", "hosts"],
  name: ["rename", "hosts"],
  unreachable: AGAIN,
  noNetwork: ["retry", "hosts"],
  broke: AGAIN,
  hostOffline: AGAIN,
  relayDown: AGAIN,
  between: AGAIN,
  busy: AGAIN,
  locked: AGAIN,
  clock: AGAIN,
  wrongKey: ANEW,
  otherKey: ["hosts", "another"],
  link: ANEW,
  version: ["hosts"],
  storage: ["clear", "hosts"],
  gone: ANEW,
  account: ["hosts"],
  handshake: AGAIN,
  fault: AGAIN,
};

/** The network's own trouble, where this device has none at all. */
const OF_NETWORK: readonly Kind[] = ["unreachable", "relayDown", "between"];

/** What the pages know beside the error. */
export interface Around {
  /** Whether the browser takes this device for connected. */
  readonly isOnline?: boolean;
  /** Whether the link's time is over by this device's clock: a relay does not tell that from a link that was used. */
  readonly isLate?: boolean;
}

/** What kind an error is of. */
export function kindOf(error: unknown, { isOnline = true, isLate = false }: Around = {}): Kind {
  if (!(error instanceof CoupletError)) return "fault";
  const kind = KINDS[error.code] ?? "fault";
  if (!isOnline && OF_NETWORK.includes(kind)) return "noNetwork";
  if (isLate && kind === "used") return "expired";
  // A known host's name or address under another key: what the link says, not what somebody answered.
  if (kind === "wrongKey" && !(error instanceof AttemptError) && !(error.cause instanceof AttemptError)) return "otherKey";
  return kind;
}

/** An error for people. Only what the SDK says is shown of it: other errors' texts may be anything. */
export function troubleOf(error: unknown, around: Around = {}): Trouble {
  const kind = kindOf(error, around);
  const known = error instanceof CoupletError ? error : null;
  const [first = "", ...details] = (known?.message ?? "").split("\n");
  const title = texts.trouble.title[kind];
  const message = sentence(first.replace(/:$/, ""));
  // What is so for every occurrence, the title says; that the host cannot be reached is no news beside why.
  const isNews = first !== titleOf(known?.code ?? "") && ![title, texts.trouble.title.unreachable].includes(message);
  return {
    kind,
    title,
    message: isNews ? message : "",
    next: texts.trouble.next[kind] ?? known?.next ?? texts.trouble.again,
    details,
    code: known?.code ?? "",
    acts: ACTS[kind],
  };
}

/** A sentence of what is said in passing. */
export function sentence(text: string): string {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return whole === "" || /[.!?…]$/.test(whole) ? whole : `${whole}.`;
}
