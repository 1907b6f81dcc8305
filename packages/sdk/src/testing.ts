/** For the tests of apps: a host to pair with, in memory. */
import type { Health, Me, Scope } from "./api.js";
import { toBase64Url, toHex } from "./protocol/digits.js";
import { lanEndpoint, type Endpoint } from "./protocol/endpoint.js";
import { StaticSecret, type PublicKey } from "./protocol/identity.js";
import type { Claim, Control } from "./protocol/message.js";
import { CheckCode } from "./protocol/check_code.js";
import { same } from "./protocol/bytes.js";
import { offerKeys, offerToLink, SUITE_1, type Offer } from "./protocol/offer.js";
import { Hello, Responder, type Proof } from "./protocol/responder.js";
import { fresh, Secret, SecretText, type Random } from "./protocol/secret.js";
import type { CloseReason } from "./protocol/frame.js";
import type { Fetch, Given } from "./client/environment.js";
import { systemRandom } from "./client/random.js";
import type { OpenSocket } from "./client/socket.js";
import { chosen, outOfScope, refusal } from "./testing/apps.js";
import type { App, SocketApp } from "./testing/server.js";
import { FakeSession, type Sessions } from "./testing/session.js";
import { openMemorySocket, type HostSocket } from "./testing/socket.js";
import type { FakeWebSocket } from "./testing/websocket.js";

export type { App, SocketApp } from "./testing/server.js";
export { FakeWebSocket } from "./testing/websocket.js";
export { FakeSession } from "./testing/session.js";

/** How a fake host is set up. */
export interface FakeHostOptions {
  /** Answers the requests of paired devices, as the app behind a real host does: the one named `app`. Without it, it says hello. */
  readonly app?: App;
  /** Several apps by their names, in place of that one. A request that names none goes to the first, one that names another is refused. */
  readonly apps?: Readonly<Record<string, App>>;
  /** What each device may do in the apps, as its owner limits it: everything, unless this says less. */
  readonly scope?: Scope;
  /** Is given each WebSocket that a device opens, and takes it unless it returns an answer; without it none is taken. */
  readonly webSocket?: SocketApp;
  /** What the host calls itself. */
  readonly name?: string;
  /** Whether its owner is asked: {@link FakeHost.approve}. */
  readonly asks?: boolean;
  /** Its address, which nobody connects with; and its relay's name, which leads to it as well. */
  readonly address?: string;
  readonly relay?: string;
  /** What `/health` says of its random generator. */
  readonly rng?: string;
  readonly random?: Random;
}

/** A device that is paired, as the host sees it. */
export interface FakeDevice {
  readonly id: string;
  readonly name: string;
}

interface Pairing extends FakeDevice {
  readonly key: PublicKey;
  readonly pskId: Uint8Array;
  readonly psk: Secret<"psk">;
  /** Why it may not come any more. */
  over: "revoked" | "expired" | null;
}

interface Open {
  readonly offer: Offer;
  readonly id: Uint8Array;
  state: "open" | "used";
}

/** A claim that waits for the owner. */
interface Waiting {
  readonly session: FakeSession;
  readonly code: CheckCode;
  readonly settle: (isIn: boolean) => void;
  wrong: number;
}

/** So many wrong check codes reject a device (spec/protocol.md, 3). */
const WRONG_CODES = 3;

/**
 * A host in memory. What it lets a device do is what a real one does; it has no limits, no disk and no network.
 *
 * ```ts
 * const fake = new FakeHost({ app: () => new Response("hello") });
 * const host = await pair(fake.link(), { name: "Test", storage: new MemoryStore(), ...fake.connections });
 * assert.equal(await (await host.fetch("/")).text(), "hello");
 * ```
 */
export class FakeHost {
  readonly name: string;
  /** Give these to `pair` and `restore`. */
  readonly connections: Pick<Given, "openSocket" | "fetch" | "lan" | "locks">;
  /** Whether anybody answers who connects from now on; {@link FakeHost.cut} ends what is open. */
  isReachable = true;
  /** What becomes of each message on its way to a device, as someone between would have it; `() => []`: nothing arrives. */
  tamper: (message: Uint8Array) => readonly Uint8Array[] = (message) => [message];
  /** What the relay answers instead of leading to the host. */
  relayAnswer: (() => Response) | null = null;
  readonly #options: FakeHostOptions;
  readonly #random: Random;
  readonly #key: StaticSecret;
  readonly #endpoints: readonly Endpoint[];
  readonly #apps: ReadonlyMap<string, App>;
  readonly #scope: Required<Scope>;
  readonly #offers: Open[] = [];
  readonly #pairings: Pairing[] = [];
  readonly #sessions = new Set<FakeSession>();
  readonly #connected = new Set<FakeSession>();
  readonly #waiting: Waiting[] = [];
  #serial = 0n;
  #watchers: (() => void)[] = [];

  constructor(options: FakeHostOptions = {}) {
    this.#options = options;
    this.name = options.name ?? "Fake host";
    this.#random = options.random ?? systemRandom;
    this.#apps = new Map(Object.entries(options.apps ?? { app: options.app ?? (() => new Response("hello\n")) }));
    this.#scope = { read_only: false, paths: [], ...options.scope };
    this.#key = new StaticSecret(fresh("key", this.#random));
    const relay = options.relay;
    this.#endpoints = [
      ...(options.address === "" ? [] : [lanEndpoint(options.address ?? "192.0.2.1:7878")]),
      ...(relay === undefined ? [] : [{ kind: "relay", name: relay } as const]),
    ];
    const openSocket: OpenSocket = (url) => openMemorySocket((socket) => this.#connect(url, socket));
    const fetch: Fetch = (url, init) => this.#fetch(url, init);
    this.connections = { openSocket, fetch, lan: true, locks: null };
  }

  /** Of the host's key. */
  get fingerprint(): string {
    return this.#key.publicKey.fingerprint();
  }

  /** A new link, good for five minutes and one device. */
  link(): string {
    const offer: Offer = {
      suites: SUITE_1,
      expiresAt: Math.floor(Date.now() / 1000) + 300,
      secret: fresh("offer", this.#random),
      hostKey: this.#key.publicKey,
      endpoints: this.#endpoints,
    };
    const keys = offerKeys(offer);
    this.#offers.push({ offer, id: keys.offerId, state: "open" });
    return offerToLink(offer, "app");
  }

  /** The devices that are paired. */
  get devices(): readonly FakeDevice[] {
    return this.#pairings.filter((it) => it.over !== "revoked").map(({ id, name }) => ({ id, name }));
  }

  /** The sessions that are open. */
  get sessions(): readonly FakeSession[] {
    return [...this.#sessions];
  }

  /** Waits until something is so; looked at whenever something happens at the host. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => void this.#watchers.push(resolve));
  }

  /**
   * The owner types the code that the device shows: `123 456`. Waits for a device that asks.
   *
   * @throws {Error} It is another one. The device waits on; the third wrong code turns it away.
   */
  async approve(checkCode: string): Promise<void> {
    await this.until(() => this.#waiting.length > 0);
    const [waiting] = this.#waiting;
    if (waiting === undefined) return;
    const typed = CheckCode.parse(checkCode);
    const isRight = typed !== null && waiting.code.equals(typed);
    waiting.wrong += isRight ? 0 : 1;
    if (isRight || waiting.wrong >= WRONG_CODES) {
      this.#waiting.shift();
      waiting.settle(isRight);
    }
    if (!isRight) throw new Error("another check code");
  }

  /** The owner says no to the device that asks. */
  async reject(): Promise<void> {
    await this.until(() => this.#waiting.length > 0);
    this.#waiting.shift()?.settle(false);
  }

  /** Revokes a device, or all; who has a session is told in it, others when they come back. */
  revoke(id?: string): void {
    this.#endAccess("revoked", id);
  }

  /** The access of a device, or of all, has ended. */
  expire(id?: string): void {
    this.#endAccess("expired", id);
  }

  #endAccess(why: "revoked" | "expired", id?: string): void {
    for (const pairing of this.#pairings) if (id === undefined || pairing.id === id) pairing.over = why;
    for (const session of this.#of(id)) session.leave(why);
    this.#tell();
  }

  /** Closes all sessions for this reason. */
  closeSessions(reason: CloseReason): void {
    for (const session of this.#of()) session.leave(reason);
  }

  /** All connections break, without a word. */
  cut(): void {
    for (const session of [...this.#connected]) session.cut();
  }

  /** Tells devices where it is from now on. */
  announce(addresses: readonly string[]): void {
    this.#serial += 1n;
    const list = addresses.map(lanEndpoint);
    for (const session of this.#sessions) session.say({ t: "endpoints", list, serial: this.#serial });
  }

  #of(id?: string): FakeSession[] {
    return [...this.#sessions].filter((session) => id === undefined || session.deviceId === id);
  }

  #tell(): void {
    const watchers = this.#watchers;
    this.#watchers = [];
    for (const watcher of watchers) watcher();
  }

  #connect(url: string, socket: HostSocket): boolean {
    const places = this.#endpoints.map((it) =>
      it.kind === "lan" ? `ws://${it.address}/api/pair/tunnel` : `wss://${it.name}/pair/relay/`,
    );
    if (!this.isReachable || !places.some((place) => url.startsWith(place))) return false;
    this.#connected.add(new FakeSession(socket, this.#asHost()));
    this.#tell();
    return true;
  }

  async #fetch(url: string, init: RequestInit): Promise<Response> {
    const { pathname, host, protocol } = new URL(url);
    const isHere = this.#endpoints.some((it) => (it.kind === "lan" ? it.address : it.name) === host);
    if (!this.isReachable || !isHere) throw new TypeError("nobody is there");
    if (protocol === "http:" && pathname === "/health") return Response.json(this.#health());
    if (protocol !== "https:" || pathname !== "/pair" || init.method !== "POST") return new Response(null, { status: 404 });
    const sid = toHex(this.#random(16));
    return this.relayAnswer?.() ?? Response.json({ sid, relay_url: `https://${host}`, expires_at: "" });
  }

  #health(): Health {
    const rng = this.#options.rng ?? "os-csprng";
    const pairing = { available: true, transport: "daemon-http", endpoint: "/pair", token_bits: 128, rng };
    return { status: "ok", version: "0.0.0", features: { pairing, relay: { available: false, connected: false } } };
  }

  #me(session: FakeSession): Me {
    const { id, name } = this.#pairings.find((it) => it.id === session.deviceId) ?? { id: "", name: "" };
    const apps = [...this.#apps.keys()].map((app) => ({ name: app }));
    return { device_id: id, device_name: name, scope: this.#scope, server_name: this.name, apps };
  }

  #asHost(): Sessions {
    return {
      respond: (hello) => this.#respond(hello),
      answer: (responder) => responder.answer(this.name, fresh("entropy", this.#random)),
      decide: (session, claim, proof) => this.#decide(session, claim, proof),
      paired: () => this.#tell(),
      opens: (session) => {
        const pairing = this.#pairings.find((it) => it.id === session.deviceId);
        if (pairing === undefined || pairing.over !== null) return pairing?.over ?? "revoked";
        this.#sessions.add(session);
        this.#tell();
        return null;
      },
      ended: (session) => {
        this.#sessions.delete(session);
        // Who has gone asks no more.
        const at = this.#waiting.findIndex((it) => it.session === session);
        if (at >= 0) this.#waiting.splice(at, 1)[0]?.settle(false);
        this.#connected.delete(session);
        this.#tell();
      },
      app: (session) => (request) => this.#answer(session, request),
      sockets: (socket) => this.#takes(socket),
      tamper: (message) => this.tamper(message),
    };
  }

  async #respond(hello: Hello): Promise<{ readonly responder: Responder; readonly deviceId: string | null } | string> {
    const ephemeral = fresh("entropy", this.#random);
    if (hello.mode === "pair") {
      const open = this.#offers.find((it) => same(it.id, hello.id));
      if (open === undefined) return "CPL-1201";
      if (open.state === "used") return "CPL-1203";
      const { psk } = offerKeys(open.offer);
      return { responder: await Responder.pair(hello, this.#key, psk, SUITE_1, ephemeral), deviceId: null };
    }
    const pairing = this.#pairings.find((it) => same(it.pskId, hello.id));
    if (pairing === undefined) return "CPL-1103";
    const psk = pairing.psk.copy();
    const responder = await Responder.reconnect(hello, this.#key, psk, SUITE_1, pairing.key, ephemeral);
    return { responder, deviceId: pairing.id };
  }

  async #decide(session: FakeSession, claim: Claim, proof: Proof): Promise<Control> {
    const code = proof.checkCode;
    const open = this.#offers.find((it) => same(it.id, session.offerId));
    if (open === undefined || open.state === "used") return { t: "rejected", code: "CPL-1203" };
    if (this.#options.asks === true && code !== null) {
      const isIn = await new Promise<boolean>((settle) => {
        this.#waiting.push({ session, code, settle, wrong: 0 });
        this.#tell();
      });
      if (!isIn) return { t: "rejected", code: "CPL-1208" };
    }
    open.state = "used";
    return this.#grant(session, claim);
  }

  #grant(session: FakeSession, claim: Claim): Control {
    const key = session.deviceKey;
    if (key === null) return { t: "rejected", code: "CPL-1208" };
    const id = uuid(this.#random(16));
    const [pskId, psk] = [this.#random(8), fresh("psk", this.#random)];
    this.#pairings.push({ id, name: claim.name, key, pskId, psk: psk.copy(), over: null });
    session.deviceId = id;
    return {
      t: "grant",
      grant: {
        deviceId: id,
        deviceToken: new SecretText(`dev_${toBase64Url(this.#random(24))}`),
        hostName: this.name,
        pskId,
        psk,
        roomSecret: fresh("room", this.#random),
        endpoints: this.#endpoints,
      },
    };
  }

  async #answer(session: FakeSession, request: Request): Promise<Response> {
    const { host, pathname } = new URL(request.url);
    if (host === "couplet.internal") {
      if (pathname === "/health") return Response.json(this.#health());
      if (pathname !== "/api/pair/me") return new Response(null, { status: 404 });
      if (request.method !== "DELETE") return Response.json(this.#me(session));
      const id = session.deviceId ?? "";
      queueMicrotask(() => this.revoke(id));
      return new Response(null, { status: 204 });
    }
    const name = chosen(request, [...this.#apps.keys()]);
    if (name === null) return refusal("CPL-1505");
    return outOfScope(request, false, this.#scope) ?? this.#apps.get(name)?.(request) ?? refusal("CPL-1505");
  }

  #takes(socket: FakeWebSocket): Response | void {
    const { webSocket } = this.#options;
    const name = chosen(socket.request, [...this.#apps.keys()]);
    if (name === null) return refusal("CPL-1505");
    const refused = outOfScope(socket.request, true, this.#scope);
    if (refused !== null) return refused;
    if (webSocket === undefined) return refusal("CPL-1503", "No WebSocket is taken.");
    socket.app = name;
    return webSocket(socket);
  }
}

function uuid(bytes: Uint8Array): string {
  const hex = toHex(bytes);
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20)].join("-");
}
