/** The way from a link to a paired host, step by step: what each event makes of it, and nothing else. */
import type { PairState } from "../sdk.js";
import type { Link } from "./link.js";
import type { Trouble } from "./trouble.js";

/** How long the owner has to answer, in milliseconds (spec/protocol.md, 3). */
export const OWNER = 120_000;

/** What all steps after the link was read have. */
interface Asked {
  readonly link: Link;
  /** What this device is called, as its user has it. */
  readonly name: string;
}

/** How far a pairing is. */
export type Ceremony =
  /** The link is read, and nothing is sent. `refused`: what is wrong with the name. */
  | ({ readonly step: "confirm"; readonly refused: string } & Asked)
  | ({ readonly step: "connecting" } & Asked)
  /** The owner is asked, until about `until` (milliseconds since 1970). */
  | ({ readonly step: "approval"; readonly checkCode: string; readonly hostName: string; readonly until: number } & Asked)
  | ({ readonly step: "finishing"; readonly hostName: string } & Asked)
  | { readonly step: "paired"; readonly hostName: string }
  /** It came to nothing. `asked`: what can be tried again; null: the link itself cannot be read. */
  | { readonly step: "failed"; readonly trouble: Trouble; readonly asked: Asked | null };

/** What happens. */
export type Event =
  | { readonly is: "begun"; readonly name: string }
  | { readonly is: "told"; readonly state: PairState; readonly now: number }
  | { readonly is: "paired"; readonly hostName: string }
  | { readonly is: "failed"; readonly trouble: Trouble }
  /** The user goes back to the name. */
  | { readonly is: "renaming" };

/** A link that could be read. */
export function proposed(link: Link, name: string): Ceremony {
  return { step: "confirm", link, name, refused: "" };
}

/** One that could not. */
export function unreadable(trouble: Trouble): Ceremony {
  return { step: "failed", trouble, asked: null };
}

/** The next step. What does not belong to the present one changes nothing. */
export function next(now: Ceremony, event: Event): Ceremony {
  switch (event.is) {
    case "begun":
      return begun(now, event.name);
    case "told":
      return told(now, event.state, event.now);
    case "paired":
      return isUnderWay(now) ? { step: "paired", hostName: event.hostName } : now;
    case "failed":
      return failed(now, event.trouble);
    case "renaming":
      return now.step === "failed" && now.asked !== null ? proposed(now.asked.link, now.asked.name) : now;
  }
}

/** Whether something is sent, or waited for. */
export function isUnderWay(now: Ceremony): now is Extract<Ceremony, { readonly step: "connecting" | "approval" | "finishing" }> {
  return now.step === "connecting" || now.step === "approval" || now.step === "finishing";
}

function begun(now: Ceremony, name: string): Ceremony {
  if (now.step === "confirm") return { step: "connecting", link: now.link, name };
  if (now.step === "failed" && now.asked !== null) return { step: "connecting", link: now.asked.link, name };
  return now;
}

function told(now: Ceremony, state: PairState, at: number): Ceremony {
  if (!isUnderWay(now)) return now;
  const { link, name } = now;
  switch (state.state) {
    case "approval":
      return { step: "approval", link, name, checkCode: state.checkCode, hostName: state.hostName, until: at + OWNER };
    case "finishing":
      return { step: "finishing", link, name, hostName: now.step === "connecting" ? "" : now.hostName };
    // Its host comes with the end of the call.
    case "paired":
    case "connecting":
      return now;
  }
}

function failed(now: Ceremony, trouble: Trouble): Ceremony {
  if (!isUnderWay(now)) return now;
  const asked = { link: now.link, name: now.name };
  if (trouble.kind === "name") return { step: "confirm", ...asked, refused: `${trouble.message} ${trouble.next}` };
  return { step: "failed", trouble, asked };
}
