/** What keeps a session open: it opens one, and a new one whenever that ends (spec/protocol.md, 4 and 6). */
import { toBase64Url } from "../protocol/digits.js";
import type { Endpoint } from "../protocol/endpoint.js";
import { CoupletError } from "../protocol/error.js";
import type { CloseReason } from "../protocol/frame.js";
import { AttemptError } from "./attempt.js";
import { Backoff } from "./backoff.js";
import { afterAwake, Bell, limit, sleep, type Limit } from "./clock.js";
import { hostId, learnEndpoints, wipeCredentials, type Credentials } from "./credentials.js";
import type { Environment } from "./environment.js";
import type { Opened } from "./greet.js";
import { Http } from "./http.js";
import { holdWithOthers, waitForNone } from "./locks.js";
import { watched, type Change } from "./network.js";
import { Pauses } from "./pauses.js";
import { race, Unreachable } from "./race.js";
import type { Account } from "./relay.js";
import type { Ending, SealedStream } from "./sealed.js";
import { brokenState, finalState, isFinal, reasonError, type Reason, type State } from "./state.js";
import { loadOf, type CredentialStore, type StoredCredentials } from "./store.js";
import { readForm, writeForm } from "./store/form.js";

/** A session that lived for less, in milliseconds, was not worth the name: the next try waits. */
const LIVED = 2000;
/** How long somebody who wants a session waits at least for the next try. */
const IMPATIENT = 1000;
/** How long to leave the place to the session that took it. Less than a request waits for a session: it gets one then. */
const REPLACED = 5000;
/**
 * How long a session lasts before which the host's having no place for it is no new matter, in milliseconds; and how many times
 * in a row the wait doubles, when nobody here wants one.
 */
const STEADY = 60_000;
const YIELDS = 6;
/** How long the host may take to say its first word in a session. */
const BEGIN = 10_000;
/** How far apart addresses that a host says are written down at least. */
const LEARN = 1000;
/** How many sessions at most in which nothing but what was under way goes on. */
const DRAINING = 4;
/** How long it may take to answer who was asleep. */
const PROBE = 5000;

/** An open session. */
export interface Live {
  readonly http: Http;
  readonly stream: SealedStream;
}

/** How to go on after a session. */
type Next =
  | { readonly then: "retry"; readonly reason: Reason; readonly pause: number; readonly isReplaced: boolean }
  | { readonly then: "stop"; readonly state: State };

/** What a keeper is made of. */
export interface Keeping {
  readonly environment: Environment;
  readonly store: CredentialStore;
  /** Unfinished ones first; once the host has spoken in a session, those that opened it are the only ones. */
  readonly candidates: readonly Credentials[];
  readonly account: Account | undefined;
}

/** Keeps a session open for as long as it runs. */
export class Keeper {
  readonly host: string;
  readonly #environment: Environment;
  readonly #store: CredentialStore;
  readonly #account: Account | undefined;
  /** What relays said of each of the candidates: the rooms of one may be there, and those of another not. */
  readonly #pauses = new Map<string, Pauses>();
  /** Candidates that the host does not know any more, of several. */
  readonly #dropped = new Set<string>();
  /** What is being written, and whether more will be after it. */
  #keeping: Promise<void> = Promise.resolve();
  #willKeep = false;
  /** When addresses were written last, and what calls off that those heard since will be. */
  #learnedAt = -LEARN;
  #unlearned: (() => void) | null = null;
  readonly #closing: Limit;
  readonly #wanted = new Bell();
  readonly #woken = new Bell();
  #candidates: Credentials[];
  #last: Endpoint | null = null;
  #live: Live | null = null;
  /** Sessions that the host takes no more requests in, for as long as something is under way there. */
  readonly #draining = new Set<SealedStream>();
  #state: State = { state: "connecting" };
  /** How often in a row the host had no place for a session of this device. */
  #yields = 0;
  #offlineSince: Date | null = null;
  /** The race that is under way. */
  #racing: Limit | null = null;
  /** The session ends because this device is somewhere else. */
  #hasMoved = false;
  #isForgetting = false;
  readonly #watchers = new Set<() => void>();
  readonly #running: Promise<void>;

  constructor({ environment, store, candidates, account }: Keeping) {
    const [first] = candidates;
    if (first === undefined) throw new CoupletError("CPL-1608");
    this.host = hostId(first.keys.hostKey);
    this.#environment = environment;
    this.#store = store;
    this.#account = account;
    this.#candidates = [...candidates];
    this.#closing = limit(environment.clock, null);
    this.#running = this.#run();
  }

  /** How things stand. */
  get state(): State {
    return this.#state;
  }

  /** The open session. */
  get live(): Live | null {
    return this.#live;
  }

  /** What is known of the pairing: the first that may be in use. */
  get credentials(): Credentials | null {
    return this.#candidates[0] ?? null;
  }

  /** Calls whenever state or session change. Returns what ends that. */
  watch(changed: () => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  /** Somebody wants a session: no reason to wait long. */
  want(): void {
    this.#wanted.ring();
  }

  /** The host was asked to forget this device: what it says then is no news. */
  forgetting(): void {
    this.#isForgetting = true;
  }

  /** Ends the session, tells the host, and opens no other. */
  async stop(state: "closed" | "forgotten"): Promise<void> {
    this.#set(finalState(state));
    this.#leave();
    this.#closing.abort(new CoupletError("CPL-1602", "This connection was closed"));
    await this.#running;
  }

  /** Ends what is open, and tells the host. */
  #leave(): void {
    for (const stream of [...this.#draining]) stream.leave("leaving");
    this.#live?.stream.leave("leaving");
  }

  async #run(): Promise<void> {
    const backoff = new Backoff(this.#environment.random);
    const unwatch = watched(this.#environment.network, (change) => this.#changed(change));
    try {
      while (!this.#isOver()) await this.#round(backoff).catch((error: unknown) => this.#fault(error, backoff));
    } catch (error) {
      // Called off; or it could not even be tried again, which must not go unseen.
      if (!this.#closing.signal.aborted) this.#set(brokenState(error));
    } finally {
      unwatch();
      this.#closing.done();
      await this.#keeping;
      for (const candidate of this.#candidates) wipeCredentials(candidate);
    }
  }

  #isOver(): boolean {
    return this.#closing.signal.aborted || isFinal(this.#state);
  }

  /** What no host can bring about, as a generator that gives nothing: said, and tried again. */
  #fault(error: unknown, backoff: Backoff): Promise<void> {
    if (this.#closing.signal.aborted) throw error;
    this.#leave();
    this.#live = null;
    this.#offline({ kind: "unreachable", attempts: [] }, asError(error));
    return this.#wait(backoff.wait(), 0, false);
  }

  /** One session, and the wait after it. */
  async #round(backoff: Backoff): Promise<void> {
    const { clock } = this.#environment;
    if (!(await this.#reload())) return this.#set(finalState("forgotten"));
    const opened = await this.#open();
    if (opened === "moved") return;
    if (!("stream" in opened)) {
      this.#offline(opened);
      return this.#wait(backoff.wait(), 0, false);
    }
    const began = clock.now();
    const next = await this.#hold(opened);
    if (next.then === "stop") return this.#set(next.state);
    const time = clock.now() - began;
    const lived = time >= LIVED;
    if (lived) backoff.reset();
    if (time >= STEADY || (lived && next.pause === 0)) this.#yields = 0;
    this.#offline(next.reason);
    // What broke may be back at once: a Wi-Fi that was changed, a host that was started anew.
    if (next.pause === 0) return this.#wait(lived ? 0 : backoff.wait(), 0, false);
    // Others have the place: two of them must not take it from each other by turns for ever.
    const more = next.pause * (2 ** this.#yields - 1);
    this.#yields = Math.min(this.#yields + 1, YIELDS);
    await this.#wait(more + backoff.wait(), next.pause, next.isReplaced);
  }

  /** Takes what is stored now. False: there is nothing any more. A store that does not work keeps nobody from the host. */
  async #reload(): Promise<boolean> {
    try {
      const stored = await loadOf(this.#store, this.host);
      if (stored.length === 0) return false;
      const left = stored.filter((one) => !this.#dropped.has(one.psk_id));
      const known = (form: StoredCredentials) => this.#candidates.find((it) => nameOf(it) === form.psk_id) ?? readForm(form);
      this.#candidates = await Promise.all((left.length > 0 ? left : stored).map(known));
    } catch {
      // What is in memory is good for another session.
    }
    return true;
  }

  /** Opens a session with the first credentials that the host takes. */
  async #open(): Promise<Opened | Reason | "moved"> {
    // An outage is one: its trials do not make it flicker.
    if (this.#state.state !== "offline") this.#set({ state: "connecting" });
    const { clock } = this.#environment;
    const racing = limit(clock, null, this.#closing.signal);
    this.#racing = racing;
    const attempts: AttemptError[] = [];
    let fault: unknown = null;
    const how = { environment: this.#environment, account: this.#account, last: this.#last };
    try {
      for (const candidate of [...this.#candidates]) {
        try {
          const pauses = this.#pausesOf(candidate);
          const opened = await race(candidate, { ...how, pauses }, racing.signal);
          this.#candidates = [candidate, ...this.#candidates.filter((it) => it !== candidate)];
          pauses.clear();
          return opened;
        } catch (error) {
          if (racing.signal.aborted) throw error;
          if (error instanceof Unreachable) attempts.push(...error.attempts);
          // Such as a key that cannot be used: others may be.
          else fault ??= error;
        }
      }
      if (fault !== null) throw fault;
    } catch (error) {
      if (racing.signal.aborted && !this.#closing.signal.aborted) return "moved";
      throw error;
    } finally {
      this.#racing = null;
      racing.done();
    }
    return attempts.length === 0 ? { kind: "noAddress" } : { kind: "unreachable", attempts };
  }

  #pausesOf(candidate: Credentials): Pauses {
    const pauses = this.#pauses.get(nameOf(candidate)) ?? new Pauses(this.#environment.clock);
    this.#pauses.set(nameOf(candidate), pauses);
    return pauses;
  }

  /** Runs the session to its end. */
  async #hold(opened: Opened): Promise<Next> {
    const { endpoint, room, stream, hostName } = opened;
    const { clock, locks } = this.#environment;
    let isSettled = false;
    this.#hasMoved = false;
    const http = new Http(stream, this.#environment);
    const release = holdWithOthers(locks, this.#lock());
    const off = afterAwake(clock, BEGIN, () => stream.abandon());
    stream.onData = () => {
      if (isSettled) return;
      isSettled = true;
      off();
      this.#settle(hostName, room, endpoint);
    };
    stream.onEndpoints = (list, serial) => this.#learn(list, serial);
    this.#live = { http, stream };
    // Whoever wanted one has it: when it ends, that is no reason to take the place of another page.
    this.#wanted.still();
    this.#woken.still();
    this.#tell();
    if (this.#closing.signal.aborted) stream.leave("leaving");
    const ending = await Promise.race([stream.ended, http.retired]);
    off();
    release();
    this.#keepLearned();
    this.#live = null;
    if (ending === undefined) return this.#drain(http, stream);
    http.end();
    const relay = endpoint.kind === "relay" ? endpoint.name : null;
    return this.#after(ending, relay, isSettled, http.isBroken);
  }

  /** The host takes nothing more in it: it is left to what is under way there. */
  #drain(http: Http, stream: SealedStream): Next {
    this.#draining.add(stream);
    stream.onEndpoints = () => {};
    void stream.ended.then(() => {
      this.#draining.delete(stream);
      http.end();
    });
    const [oldest] = this.#draining;
    if (this.#draining.size > DRAINING) oldest?.leave("leaving");
    return { then: "retry", reason: { kind: "closed", reason: "leaving" }, pause: 0, isReplaced: false };
  }

  /**
   * What the host says in a session shows that it took the confirm: it counts this device as paired with these credentials,
   * and with no others. That a handshake was answered shows neither, as the confirm may not have arrived.
   */
  #settle(hostName: string, room: number | null, endpoint: Endpoint): void {
    const [credentials] = this.#candidates;
    if (credentials === undefined) return;
    this.#candidates = [credentials];
    const number = room ?? credentials.roomNumber;
    const isNews = credentials.pairedAt === null || credentials.hostName !== hostName || credentials.roomNumber !== number;
    credentials.roomNumber = number;
    credentials.pairedAt ??= Math.floor(this.#environment.clock.wall() / 1000);
    credentials.hostName = hostName;
    if (isNews) this.#keep(credentials);
    this.#offlineSince = null;
    this.#last = endpoint;
    this.#set(
      endpoint.kind === "lan"
        ? { state: "direct", endpoint: endpoint.address }
        : { state: "relay", relay: endpoint.name },
    );
  }

  #learn(list: readonly Endpoint[], serial: bigint): void {
    const [credentials] = this.#candidates;
    if (credentials === undefined || !learnEndpoints(credentials, list, serial)) return;
    const { clock } = this.#environment;
    this.#unlearned ??= clock.after(Math.max(this.#learnedAt + LEARN - clock.now(), 0), () => this.#keepLearned());
  }

  #keepLearned(): void {
    const [credentials] = this.#candidates;
    if (this.#unlearned === null) return;
    this.#unlearned();
    this.#unlearned = null;
    this.#learnedAt = this.#environment.clock.now();
    if (credentials !== undefined) this.#keep(credentials);
  }

  /** Writes the credentials, as they are then, one time after the other. */
  #keep(credentials: Credentials): void {
    if (this.#willKeep) return;
    this.#willKeep = true;
    this.#keeping = this.#keeping.then(() => {
      this.#willKeep = false;
      return this.#write(credentials);
    });
  }

  /** Unless the host was forgotten, or another pairing has taken their place meanwhile. Closed, it is still known. */
  async #write(credentials: Credentials): Promise<void> {
    try {
      const stored = await loadOf(this.#store, this.host);
      const isThere = stored.some((one) => one.psk_id === nameOf(credentials));
      if (isThere && (this.#state.state === "closed" || !this.#isOver())) await this.#store.save(writeForm(credentials), true);
    } catch {
      // They are as they were, and are good for another session.
    }
  }

  /** What the end of a session asks for. */
  async #after(ending: Ending, relay: string | null, isSettled: boolean, isBroken: boolean): Promise<Next> {
    const retry = (reason: Reason, pause = 0, isReplaced = false): Next => ({ then: "retry", reason, pause, isReplaced });
    if (isBroken) return retry({ kind: "broken", relay });
    switch (ending.by) {
      case "host":
        return this.#closed(ending.reason, isSettled, retry);
      case "us":
        return retry(this.#hasMoved ? { kind: "moved" } : { kind: "closed", reason: ending.reason });
      case "broken":
        return retry({ kind: "broken", relay });
      case "truncated":
      case "silent":
        return retry({ kind: "lost", relay });
    }
  }

  async #closed(
    reason: CloseReason,
    isSettled: boolean,
    retry: (reason: Reason, pause?: number, isReplaced?: boolean) => Next,
  ): Promise<Next> {
    const closed: Reason = { kind: "closed", reason };
    if (reason === "replaced") return retry(closed, REPLACED, true);
    if (reason === "busy") return retry(closed, IMPATIENT);
    if (reason !== "revoked" && reason !== "expired") return retry(closed);
    // Where the host says no to credentials that are not the only ones, the others are still to be tried.
    if (!isSettled && this.#candidates.length > 1) {
      const refused = this.#candidates.shift();
      if (refused !== undefined) this.#dropped.add(nameOf(refused));
      return retry({ kind: "lost", relay: null });
    }
    if (reason === "revoked") await this.#wipe();
    return { then: "stop", state: finalState(this.#isForgetting ? "forgotten" : reason) };
  }

  /** The host itself said that they are of no use any more. */
  async #wipe(): Promise<void> {
    const [credentials] = this.#candidates;
    // What is being written would come back.
    await this.#keeping;
    try {
      const ours = new Set(this.#dropped);
      if (credentials !== undefined) ours.add(nameOf(credentials));
      const stored = await loadOf(this.#store, this.host);
      if (stored.every((one) => ours.has(one.psk_id))) await this.#store.remove(this.host);
    } catch {
      // What is left opens nothing.
    }
  }

  #changed(change: Change): void {
    const live = this.#live;
    if (change === "moved") {
      this.#pauses.clear();
      this.#racing?.abort(new Error("moved"));
      // The old way may still be there: then the host learns of it, but nobody waits for that.
      this.#hasMoved = live !== null;
      this.#leave();
    } else if (live !== null) {
      void live.http.probe(PROBE);
      return;
    }
    this.#woken.ring();
  }

  #offline(reason: Reason, error: CoupletError = reasonError(reason)): void {
    this.#offlineSince ??= new Date(this.#environment.clock.wall());
    this.#set({ state: "offline", since: this.#offlineSince, reason, error });
  }

  #set(state: State): void {
    if (isFinal(this.#state) && (state.state !== "forgotten" || this.#state.state === "forgotten")) return;
    this.#state = state;
    this.#tell();
  }

  #tell(): void {
    for (const changed of [...this.#watchers]) changed();
  }

  #lock(): string {
    return `couplet ${this.host}`;
  }

  /**
   * Waits, but not for long when somebody wants a session: `least` and a second; and not when this device has another way to
   * the network. One whose place was taken by another page goes on when that has no session, or somebody here wants one.
   */
  async #wait(wait: number, least: number, isReplaced: boolean): Promise<void> {
    const { clock, locks } = this.#environment;
    if (this.#isOver()) return;
    await sleep(clock, least, this.#closing.signal);
    const over = limit(clock, null, this.#closing.signal);
    const { signal } = over;
    const elapsed = isReplaced && locks !== null ? waitForNone(locks, this.#lock(), signal) : sleep(clock, wait, signal);
    const wanted = this.#wanted.wait(signal).then(() => sleep(clock, IMPATIENT, signal));
    try {
      await Promise.race([elapsed, wanted, this.#woken.wait(signal)]);
    } finally {
      over.abort(new Error("waited enough"));
    }
  }
}

/** Names a pairing among several with the same host, as it is stored. */
function nameOf(credentials: Credentials): string {
  return toBase64Url(credentials.keys.pskId);
}

function asError(error: unknown): CoupletError {
  return error instanceof CoupletError ? error : new CoupletError("CPL-1601", "No session can be opened", { cause: error });
}
