/** One device's connection to a {@link FakeHost}: the handshake, the pairing, and then HTTP. */
import { DATA_MAX, type CloseReason } from "../protocol/frame.js";
import { HandshakeError } from "../protocol/handshake.js";
import { decodeControl, encodeControl, type Claim, type Control } from "../protocol/message.js";
import { Hello, refusalCode, Responder, type Proof } from "../protocol/responder.js";
import type { Session } from "../protocol/session.js";
import { FakeServer, type App, type SocketApp } from "./server.js";
import type { HostSocket } from "./socket.js";

/** What a session asks its host for. */
export interface Sessions {
  /** Opens M1; the code that refuses it, when it does. */
  respond(hello: Hello): Promise<{ readonly responder: Responder; readonly deviceId: string | null } | string>;
  /** Answers it. */
  answer(responder: Responder): ReturnType<Responder["answer"]>;
  /** A device claims an offer: resolves with the grant, or with what refuses it. */
  decide(session: FakeSession, claim: Claim, proof: Proof): Promise<Control>;
  /** The device has the grant. */
  paired(session: FakeSession): void;
  /** A session with a paired device opens: null, or why it may not. */
  opens(session: FakeSession): CloseReason | null;
  ended(session: FakeSession): void;
  /** What answers the requests of this device. */
  app(session: FakeSession): App;
  /** What answers its WebSockets. */
  readonly sockets: SocketApp;
  /** Frames on their way to the device, as tests would have them. */
  readonly tamper: (frame: Uint8Array) => readonly Uint8Array[];
}

/** One connection. */
export class FakeSession {
  /** Which device it is, once that is known. */
  deviceId: string | null = null;
  /** Which offer it claims: the id in its M1. */
  offerId: Uint8Array = new Uint8Array(0);
  deviceKey: Responder["deviceKey"] | null = null;
  #proof: Proof | null = null;
  readonly #socket: HostSocket;
  readonly #host: Sessions;
  #session: Session | null = null;
  #server: FakeServer | null = null;
  #heard: ((message: Uint8Array) => void | Promise<void>) | null = null;
  #work: Promise<void> = Promise.resolve();
  #isOver = false;

  constructor(socket: HostSocket, host: Sessions) {
    this.#socket = socket;
    this.#host = host;
    this.#heard = (m1) => this.#greet(m1);
    socket.onMessage = (message) => {
      // In order, and one after the other.
      this.#work = this.#work.then(() => this.#heard?.(message)).catch(() => this.cut());
    };
    socket.onClose = () => this.#end();
  }

  /** What the session showed of the device, when it paired. */
  get proof(): Proof | null {
    return this.#proof;
  }

  /** Seals a message to the device. */
  say(control: Control): void {
    this.#seal("control", encodeControl(control));
  }

  /** Sends the device bytes that no session seals. */
  raw(message: Uint8Array): void {
    this.#socket.send(message);
  }

  /** Sends the device a frame that means nothing. */
  pad(): void {
    if (this.#session !== null) this.#send(this.#session.sealer.sealPad(100));
  }

  /** Sends the device bytes of HTTP/2, whatever they are. */
  data(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += DATA_MAX) this.#seal("data", bytes.subarray(at, at + DATA_MAX));
  }

  /** Closes the session, and says why. */
  leave(reason: CloseReason): void {
    if (this.#isOver) return;
    if (this.#session !== null) this.#send(this.#session.sealer.sealClose(reason));
    this.#end();
    this.#socket.close(1000);
  }

  /** Refuses before there are keys. */
  refuse(code: string): void {
    this.#end();
    this.#socket.close(4000, code);
  }

  /** The connection breaks. */
  cut(): void {
    this.#end();
    this.#socket.close();
  }

  async #greet(m1: Uint8Array): Promise<void> {
    try {
      const hello = Hello.parse(m1);
      this.offerId = hello.id;
      const responded = await this.#host.respond(hello);
      if (typeof responded === "string") return this.refuse(responded);
      const { responder, deviceId } = responded;
      this.deviceKey = responder.deviceKey;
      const { unconfirmed, m2 } = await this.#host.answer(responder);
      this.#heard = (frame) => this.#confirmed(unconfirmed.confirm(frame), responder.claim, deviceId);
      this.#send(m2);
    } catch (error) {
      this.refuse(error instanceof HandshakeError ? refusalCode(error) : "CPL-1701");
    }
  }

  #confirmed(proof: Proof, claim: Claim | null, deviceId: string | null): void {
    this.#session = proof.session;
    this.#proof = proof;
    if (claim === null) {
      this.deviceId = deviceId;
      return this.#serve();
    }
    this.#heard = (frame) => this.#acknowledged(frame);
    // Nobody waits for it: the device may go away meanwhile.
    void this.#host.decide(this, claim, proof).then((control) => {
      if (this.#isOver) return;
      this.say(control);
      if (control.t === "rejected") this.leave("rejected");
    });
  }

  #acknowledged(frame: Uint8Array): void {
    const opened = this.#session?.opener.open(frame);
    if (opened?.kind === "close") return this.cut();
    if (opened?.kind !== "control" || decodeControl(opened.data)?.t !== "ack") return this.cut();
    this.#host.paired(this);
    this.say({ t: "paired" });
    this.#serve();
  }

  #serve(): void {
    const why = this.#host.opens(this);
    if (why !== null) return this.leave(why);
    this.#server = new FakeServer((bytes) => this.data(bytes), this.#host.app(this), this.#host.sockets);
    this.#heard = (frame) => {
      const opened = this.#session?.opener.open(frame);
      if (opened?.kind === "data") this.#server?.receive(opened.data);
      if (opened?.kind === "close") this.cut();
    };
  }

  #seal(kind: "data" | "control", bytes: Uint8Array): void {
    if (this.#isOver || this.#session === null) return;
    this.#send(this.#session.sealer.seal(kind, bytes));
  }

  #send(message: Uint8Array): void {
    for (const frame of this.#host.tamper(message)) this.#socket.send(frame);
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#heard = null;
    this.#server?.close();
    this.#host.ended(this);
  }
}

