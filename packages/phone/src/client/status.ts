/** How things stand with a host, in words and with a mark. */
import { isFinal, isOnline, reasonText, type State } from "../sdk.js";
import type { Ceremony } from "./ceremony.js";
import { texts } from "./texts.js";
import { sentence } from "./trouble.js";

/** What the bar shows. */
export interface Status {
  /** Which mark, and which words. */
  readonly look: "connecting" | "relay" | "offline" | "elsewhere" | "over";
  /** A word or two. */
  readonly word: string;
  /** The way there, or why there is none; in a sentence. */
  readonly path: string;
  /** What was tried, one a line. */
  readonly details: readonly string[];
  /** What to do; empty: nothing. */
  readonly next: string;
}

/** Whether another tab has taken the place of this one's session: the SDK goes on when that one is closed. */
export function isElsewhere(state: State): boolean {
  return state.state === "offline" && state.reason.kind === "closed" && state.reason.reason === "replaced";
}

export function statusOf(state: State): Status {
  const none = { details: [], next: "" };
  switch (state.state) {
    case "connecting":
      return { look: "connecting", word: texts.state.connecting, path: texts.state.path.connecting, ...none };
    // Never in a page, which reaches no address of the local network.
    case "direct":
    case "relay":
      return { look: "relay", word: texts.state.relay, path: texts.state.path.relay("relay" in state ? state.relay : state.endpoint), ...none };
    case "offline": {
      const [first = "", ...details] = reasonText(state.reason).split("\n");
      const path = sentence(first.replace(/:$/, ""));
      const look = isElsewhere(state) ? "elsewhere" : "offline";
      return { look, word: texts.state[look], path, details, next: state.error.next };
    }
    default:
      return { look: "over", word: texts.state.over, path: sentence(state.error.message), details: [], next: state.error.next };
  }
}

/** What is said aloud when it changes; empty: nothing, as the page itself says it. */
export function saidOf(state: State, host: string): string {
  if (isFinal(state)) return "";
  if (isElsewhere(state)) return texts.state.said.elsewhere(host);
  if (isOnline(state)) return texts.state.said.relay(host);
  return state.state === "offline" ? texts.state.said.offline(host) : texts.state.said.connecting(host);
}

/** What is said aloud at a step of the pairing, beside the title of its page. */
export function saidOfStep(now: Ceremony): string {
  switch (now.step) {
    case "confirm":
      return "";
    case "connecting":
      return texts.connecting.lead;
    case "approval":
      return texts.approval.spoken(now.hostName, spelled(now.checkCode));
    case "finishing":
      return texts.finishing.lead;
    case "paired":
      return texts.paired.lead;
    case "failed":
      return now.trouble.next;
  }
}

/** A check code as it is read aloud: digit by digit. */
export function spelled(checkCode: string): string {
  return [...checkCode.replaceAll(" ", "")].join(" ");
}
