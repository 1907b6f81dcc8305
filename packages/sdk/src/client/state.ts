/** How things stand between a device and its host. */
import { CoupletError } from "../protocol/error.js";
import type { CloseReason } from "../protocol/frame.js";
import { lines, type AttemptError } from "./attempt.js";

/** Why there is no session. */
export type Reason =
  /** No address that is known was of use. */
  | { readonly kind: "unreachable"; readonly attempts: readonly AttemptError[] }
  /** None is known that this device can use. */
  | { readonly kind: "noAddress" }
  /** The host closed the session. */
  | { readonly kind: "closed"; readonly reason: CloseReason }
  /** The connection broke; `broken`: what came could not be opened, as it was changed on the way or a program is faulty. */
  | { readonly kind: "lost" | "broken"; readonly relay: string | null }
  /** This device has another way to the network now. */
  | { readonly kind: "moved" };

/** The state of a connection to a host. */
export type State =
  /** A session is being opened. */
  | { readonly state: "connecting" }
  /** A session is open, straight over the local network. */
  | { readonly state: "direct"; readonly endpoint: string }
  /** A session is open through a relay. */
  | { readonly state: "relay"; readonly relay: string }
  /** There is no session. It is tried again and again. */
  | { readonly state: "offline"; readonly since: Date; readonly reason: Reason; readonly error: CoupletError }
  /** The owner revoked this device; its access has ended; what was stored of the pairing is gone; the app closed it. Over. */
  | { readonly state: "revoked" | "expired" | "forgotten" | "closed"; readonly error: CoupletError };

/** A state in which it is over. */
export type FinalState = Extract<State, { readonly state: "revoked" | "expired" | "forgotten" | "closed" }>;

/** A state in which a session is open. */
export type OnlineState = Extract<State, { readonly state: "direct" | "relay" }>;

/** Whether a session is open. */
export function isOnline(state: State): state is OnlineState {
  return state.state === "direct" || state.state === "relay";
}

/** Whether nothing but a new pairing, or the owner, or the app can change it. */
export function isFinal(state: State): state is FinalState {
  return "error" in state && state.state !== "offline";
}

/** A state that ends it all. */
export function finalState(state: FinalState["state"]): FinalState {
  switch (state) {
    case "revoked":
      return { state, error: new CoupletError("CPL-1603", "The owner revoked this device") };
    case "expired":
      return { state, error: new CoupletError("CPL-1603", "This device's access has ended") };
    case "forgotten":
      return { state, error: new CoupletError("CPL-1608", "What was stored of the pairing is gone") };
    case "closed":
      return { state, error: new CoupletError("CPL-1602", "This connection was closed", { next: "Open it again." }) };
  }
}

/** It ended for what nobody foresaw. */
export function brokenState(cause: unknown): FinalState {
  return { state: "closed", error: new CoupletError("CPL-1602", "This connection cannot go on", { next: "Open it again.", cause }) };
}

/** Why there is no session, as an error: the most telling of several. */
export function reasonError(reason: Reason): CoupletError {
  if (reason.kind !== "unreachable") return new CoupletError("CPL-1601", reasonText(reason));
  const { attempts } = reason;
  const last = [...attempts].reverse();
  const of = (kind: AttemptError["kind"]): AttemptError | undefined => last.find((it) => it.kind === kind);
  const telling = of("wrongKey") ?? of("unsupported") ?? of("relay");
  return new CoupletError(telling?.code ?? "CPL-1601", `The host cannot be reached:${lines(attempts)}`, {
    next: telling?.next,
    cause: telling,
  });
}

/** In one line or more. */
export function reasonText(reason: Reason): string {
  switch (reason.kind) {
    case "unreachable":
      return `no address leads to it:${lines(reason.attempts)}`;
    case "noAddress":
      return "no address of it is known that this device can use";
    case "closed":
      return CLOSED[reason.reason] ?? "it closed the session";
    case "lost":
      return `${through(reason.relay)}the connection broke`;
    case "broken":
      return `${through(reason.relay)}what came could not be opened: it was changed on the way`;
    case "moved":
      return "this device is in another network now";
  }
}

const CLOSED: Partial<Record<CloseReason, string>> = {
  busy: "it has as many sessions as it may have",
  leaving: "it stopped",
  replaced: "a newer session of this device took the place",
};

function through(relay: string | null): string {
  return relay === null ? "" : `through the relay ${relay}: `;
}

/** Tells who listens. What they throw is theirs, and disturbs nothing here. */
export function tell<State>(listener: (state: State) => void, state: State): void {
  try {
    listener(state);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
