/** Pairing: from a link to credentials (spec/protocol.md, 2 and 3). */
import { parseCredential } from "../protocol/credential.js";
import { sameEndpoint, type Endpoint } from "../protocol/endpoint.js";
import { CoupletError, nextOf, parseHostCode } from "../protocol/error.js";
import { StaticSecret, type StaticKey } from "../protocol/identity.js";
import type { Claim, Grant } from "../protocol/message.js";
import { areAlike, checkedName } from "../protocol/name.js";
import { offerFromLink, offerKeys, type Offer } from "../protocol/offer.js";
import { AttemptError, lines } from "./attempt.js";
import { reasonOf, TimedOut, unlessAborted, within, type Clock } from "./clock.js";
import { grantedCredentials, hostId, learnEndpoints, wipeCredentials, type Credentials } from "./credentials.js";
import type { Environment } from "./environment.js";
import { Met, type Opened } from "./greet.js";
import { leadsTo, type Ways } from "./path.js";
import { accountAt, type Account } from "./relay.js";
import type { SealedStream } from "./sealed.js";
import { loadOf, makeKey, stored, type CredentialStore, type StoredCredentials } from "./store.js";
import { readForm, writeForm } from "./store/form.js";

/** How long the owner has to answer, in milliseconds: the host's 120 s, and some more for the way. */
const OWNER = 135_000;
/** How long the host may take to say that it is paired, once it knows that this device is. */
const PAIRED = 15_000;
/** A host that asks nobody grants within this; after it, the owner is being asked, and wants the check code. */
const UNASKED = 700;

/** How far a pairing is. */
export type PairState =
  /** The host is being reached. */
  | { readonly state: "connecting" }
  /** The owner is being asked: show them this code, `123 456`, which they type at the host. */
  | { readonly state: "approval"; readonly checkCode: string; readonly hostName: string }
  /** Granted, and kept; both ends tell each other. */
  | { readonly state: "finishing" }
  /** Done. */
  | { readonly state: "paired" };

/** What is asked for. */
export interface PairRequest {
  readonly claim: Claim;
  /** That it is meant: this host is another one than a known host of the same name or address. */
  readonly anotherHost: boolean;
  readonly relayCa: string | null;
  readonly account: Account | undefined;
  readonly store: CredentialStore;
  readonly onState: (state: PairState) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * Pairs with the host that made this link, and keeps the credentials.
 *
 * @throws {CoupletError} Rejects with the signal's reason.
 */
export async function pairWith(link: string, request: PairRequest, environment: Environment): Promise<Credentials> {
  const offer = offerFromLink(link);
  let ours: StaticKey | null = null;
  try {
    const claim = checkedClaim(request.claim);
    const known = await knownHosts(request.store);
    if (!request.anotherHost) refuseOtherKey(known, offer, null);
    ours = await makeKey(request.store, environment.random);
    return await pairAs({ offer, ours, claim }, known, request, environment);
  } catch (error) {
    if (ours instanceof StaticSecret) ours.wipe();
    throw error;
  } finally {
    offer.secret.wipe();
  }
}

/** What a pairing is begun with. */
interface Claiming {
  readonly offer: Offer;
  readonly ours: StaticKey;
  readonly claim: Claim;
}

async function pairAs(
  claiming: Claiming,
  known: readonly Credentials[],
  request: PairRequest,
  environment: Environment,
): Promise<Credentials> {
  const { offer, ours } = claiming;
  request.onState({ state: "connecting" });
  const met = await meet(claiming, request, environment);
  try {
    if (!request.anotherHost) refuseOtherKey(known, offer, met.hostName);
  } catch (error) {
    met.leave();
    throw error;
  }
  const code = met.confirmed.checkCode.show();
  const opened = met.confirm();
  try {
    const credentials = await agree(opened, { offer, ours, code }, request, environment.clock);
    opened.stream.leave("done");
    request.onState({ state: "paired" });
    return credentials;
  } catch (error) {
    opened.stream.leave("leaving");
    throw error;
  }
}

function checkedClaim(claim: Claim): Claim {
  const optional = (text: string | null): string | null => (text === null ? null : checkedName(text));
  const { name, model, platform, kind } = claim;
  return { name: checkedName(name), model: optional(model), platform: optional(platform), kind };
}

/**
 * Tries the endpoints of the offer one after the other, those on the local network first: two copies of M1 would be two
 * tries. What somebody says before there are keys ends nothing: another machine may have the host's address where this
 * device is. But where one says that its secrets can be guessed, nothing is paired: a relay leads to the same host
 * (spec/protocol.md, 7).
 */
async function meet(claiming: Claiming, request: PairRequest, environment: Environment): Promise<Met> {
  const { offer } = claiming;
  const signal = request.signal ?? new AbortController().signal;
  const isFar = (endpoint: Endpoint): boolean => endpoint.kind === "relay";
  const door = { kind: "offer", keys: offerKeys(offer) } as const;
  const ways: Ways = { environment, door, account: null, relayCa: request.relayCa, climbs: null };
  const endpoints = offer.endpoints.filter((endpoint) => leadsTo(ways, endpoint));
  const tried: AttemptError[] = [];
  try {
    for (const endpoint of [...endpoints.filter((it) => !isFar(it)), ...endpoints.filter(isFar)]) {
      try {
        const relay = endpoint.kind === "relay" ? endpoint.name : null;
        const account = relay === null ? null : await accountAt(request.account, relay, environment.clock, signal);
        return await Met.toPair({ ...ways, account }, endpoint, claiming, signal);
      } catch (error) {
        if (signal.aborted || !(error instanceof AttemptError)) throw error;
        tried.push(error.at(endpoint));
        if (error.kind === "weakRandom") break;
      }
    }
  } finally {
    door.keys.psk.wipe();
    door.keys.pairingTokenHash.wipe();
  }
  throw unmet(offer, tried, environment);
}

/** What to say of several failures: the most telling one first. */
function unmet(offer: Offer, tried: readonly AttemptError[], { clock, lan }: Environment): CoupletError {
  const isExpired = clock.wall() > offer.expiresAt * 1000;
  const of = (kind: AttemptError["kind"]) => tried.find((attempt) => attempt.kind === kind);
  const telling = of("weakRandom") ?? of("refused") ?? of("wrongKey") ?? of("handshake") ?? of("unsupported") ?? of("relay");
  const message =
    tried.length === 0
      ? "The link names no address that this device can use"
      : `The host cannot be reached:${lines(tried)}`;
  const blocked = "A page that was served over https cannot reach the local network: the host needs a relay for it.";
  const isBlocked = tried.length === 0 && !lan && offer.endpoints.length > 0;
  const expired = "By this device's clock the link has expired: ask for a new one.";
  // No other link helps where this program cannot open what it needs.
  const isLacking = telling?.cause instanceof CoupletError;
  const next = isBlocked ? blocked : isExpired && !isLacking ? expired : nextToDo(telling, offer);
  return new CoupletError(telling?.code ?? "CPL-1601", message, { next, cause: telling });
}

function nextToDo(telling: AttemptError | undefined, offer: Offer): string | undefined {
  switch (telling?.kind) {
    case "wrongKey":
      return `Another machine may have the host's address, or someone is in between. The link's key is ${offer.hostKey.fingerprint()}: use a link of the host itself.`;
    case "weakRandom":
      return "Update the host: its pairing secrets can be guessed.";
    default:
      // What would be said to a paired device does not help here.
      return telling?.code === "CPL-1805" ? "Ask for a new link." : telling?.next;
  }
}

/** From the confirmed session to finished credentials. */
async function agree(
  opened: Opened,
  { offer, ours, code }: { readonly offer: Offer; readonly ours: StaticKey; readonly code: string },
  request: PairRequest,
  clock: Clock,
): Promise<Credentials> {
  const { store, onState, signal } = request;
  const ask = (): void => onState({ state: "approval", checkCode: code, hostName: opened.hostName });
  const grant = await granted(opened.stream, clock, signal, ask);
  // By the name that was compared with those of known hosts, not by another one now.
  const credentials = grantedCredentials(offer, ours, { ...grant, hostName: opened.hostName }, request.relayCa);
  try {
    const before = await stored(readable(store, hostId(offer.hostKey)));
    await stored(store.save(writeForm(credentials)));
    onState({ state: "finishing" });
    // The last moment: the host counts this device as paired once it knows that its grant was taken.
    if (signal?.aborted === true) {
      await stored(giveUp(store, credentials, before));
      throw reasonOf(signal);
    }
    await finish(opened.stream, credentials, before, request, clock);
    return credentials;
  } catch (error) {
    wipeCredentials(credentials);
    throw error;
  }
}

/** Waits for the owner, and shows the code when it seems that there is something to wait for. */
async function granted(
  stream: SealedStream,
  clock: Clock,
  signal: AbortSignal | undefined,
  ask: () => void,
): Promise<Grant> {
  const off = clock.after(UNASKED, ask);
  const said = async (): Promise<Grant> => {
    for (;;) {
      const control = await stream.control();
      if (control.t === "grant") return checkedGrant(control.grant);
      if (control.t === "rejected") throw rejected(control.code);
      // Addresses may change meanwhile; the grant names them anew.
      if (control.t !== "endpoints") throw outOfPlace();
    }
  };
  try {
    return await unlessAborted(signal, within(clock, OWNER, said()));
  } catch (error) {
    if (error instanceof TimedOut) throw new CoupletError("CPL-1209", "No answer of the owner came in time");
    if (error instanceof CoupletError && error.code === "CPL-1602") {
      throw new CoupletError("CPL-1602", `The connection to the host ended before it answered: ${error.message}`, {
        next: "Try the same link again while it is valid, or ask for a new one.",
      });
    }
    throw error;
  } finally {
    off();
  }
}

/** What it grants has the form that it must have (spec/protocol.md, 1 and 4): other text is shown, and sent, by nobody. */
function checkedGrant(grant: Grant): Grant {
  const isDevice = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(grant.deviceId);
  if (!isDevice || parseCredential("device", grant.deviceToken.expose()) === null) throw outOfPlace();
  return grant;
}

/** Both sides have stored what they need; each tells the other. Called off now, it is as if the connection had ended. */
async function finish(
  stream: SealedStream,
  credentials: Credentials,
  before: readonly StoredCredentials[],
  request: PairRequest,
  clock: Clock,
): Promise<void> {
  const said = async () => {
    stream.say({ t: "ack" });
    for (;;) {
      const control = await stream.control();
      if (control.t !== "endpoints") return control;
      learnEndpoints(credentials, control.list, control.serial);
    }
  };
  const control = await unlessAborted(request.signal, within(clock, PAIRED, said())).catch((error: unknown) => {
    throw unfinished(error, request.signal?.aborted === true ? "It was called off" : "The connection to the host ended");
  });
  if (control.t === "rejected") {
    // The host's last word: what was kept is of no use.
    await giveUp(request.store, credentials, before).catch(() => {});
    throw rejected(control.code);
  }
  if (control.t !== "paired") throw unfinished(outOfPlace(), "The host said what it may not");
  credentials.pairedAt = Math.floor(clock.wall() / 1000);
  await stored(request.store.save(writeForm(credentials)));
}

function unfinished(cause: unknown, what: string): CoupletError {
  return new CoupletError("CPL-1602", `${what} just before the pairing was finished`, {
    next: "Connect without a link: if the host does not know this device, pair it with a new one.",
    cause,
  });
}

/** What stands there already. What is damaged is replaced, where the store lets it be; a store that does not work is not. */
function readable(store: CredentialStore, host: string): Promise<readonly StoredCredentials[]> {
  return loadOf(store, host).catch((error: unknown) => {
    if (error instanceof CoupletError) return [];
    throw error;
  });
}

/** Drops credentials that came to nothing, and nothing else; unfinished ones that made room for them stand there again. */
async function giveUp(store: CredentialStore, credentials: Credentials, before: readonly StoredCredentials[]): Promise<void> {
  const isDropped = await store.drop(writeForm(credentials));
  const unfinished = before.find((it) => it.paired_at === undefined);
  if (isDropped && unfinished !== undefined) await store.save(unfinished);
}

async function knownHosts(store: CredentialStore): Promise<Credentials[]> {
  const known: Credentials[] = [];
  for (const one of await stored(store.list(() => {}))) {
    // What cannot be read says nothing, and is in nobody's way.
    const read = await readForm(one).catch(() => null);
    if (read !== null) known.push(read);
  }
  return known;
}

/** The known host of which the offer seems to be, by name or by address, but with another key. */
function refuseOtherKey(known: readonly Credentials[], offer: Offer, name: string | null): void {
  // One that was paired with this very key settles it.
  if (known.some((it) => it.keys.hostKey.equals(offer.hostKey))) return;
  const isOf = (it: Credentials): boolean =>
    name !== null
      ? areAlike(it.hostName, name)
      : it.endpoints.some((here) => here.kind === "lan" && offer.endpoints.some((there) => sameEndpoint(here, there)));
  const other = known.find(isOf);
  if (other === undefined) return;
  const [pinned, offered] = [other.keys.hostKey.fingerprint(), offer.hostKey.fingerprint()];
  throw new CoupletError("CPL-1604", `${other.hostName} is known under another key\nknown:   ${pinned}\noffered: ${offered}`, {
    next:
      "It may be another host of that name or at that address, or the same one set up anew, or someone who pretends to be " +
      "it. Compare the keys with the host's owner. If it was set up anew, forget the old one first; if it is another " +
      "host, pair with `anotherHost`.",
  });
}

function rejected(text: string): CoupletError {
  const code = parseHostCode(text);
  return code === null ? outOfPlace() : new CoupletError(code, undefined, { next: nextOf(code) ?? "Ask for a new link." });
}

function outOfPlace(): CoupletError {
  return new CoupletError("CPL-1602", "The host broke the order of a pairing");
}

