/**
 * Which of a pairing's rooms to ask for first.
 *
 * A room that opens and does not lead to the host may be held by somebody who knows its id from another relay: the host then
 * has rooms above it (spec/protocol.md, 6), and so the device goes up as well. It does so slowly where the host may just be
 * away, and after it has come to a room that is not there: that counts as a failure of this network.
 */
import { ENDPOINTS_MAX } from "../protocol/endpoint.js";
import { AHEAD } from "./relay.js";

/** After how many tries in vain it goes up a room. */
const TRIES = 16;

interface Climb {
  readonly up: number;
  /** Tries in vain since. */
  readonly tries: number;
  /** It was up there already, in vain. */
  readonly isWeary: boolean;
}

const WEARY: Climb = { up: 0, tries: 0, isWeary: true };

/** How far up it is at each relay. */
export class Climbs {
  readonly #climbs = new Map<string, Climb>();

  /** How many rooms above the one that it wrote down it asks for first. */
  up(relay: string): number {
    return this.#climbs.get(relay)?.up ?? 0;
  }

  /**
   * A try came to nothing: for what the relay said, or although a room opened (null). True if only because it was up.
   */
  failed(relay: string, code: string | null): boolean {
    if (this.#climbs.size >= ENDPOINTS_MAX && !this.#climbs.has(relay)) this.#climbs.clear();
    const climb = this.#climbs.get(relay) ?? { up: 0, tries: 0, isWeary: false };
    if (code === "CPL-1801" && climb.up > 0) {
      this.#climbs.set(relay, WEARY);
      return true;
    }
    let { up, tries } = climb;
    if (code === null && !climb.isWeary) tries = TRIES;
    else if (code === null || code === "CPL-1807") tries += 1;
    if (tries >= TRIES) [up, tries] = [up + 1, 0];
    this.#climbs.set(relay, up > AHEAD ? WEARY : { up, tries, isWeary: climb.isWeary });
    return false;
  }

  clear(): void {
    this.#climbs.clear();
  }
}
