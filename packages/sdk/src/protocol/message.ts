/**
 * What is said in CBOR: the payloads of the handshake's messages, and the CONTROL messages of a session
 * (spec/protocol.md, 3 and 4).
 */
import { CborMap, encodeMap, Malformed, type Field } from "./cbor.js";
import { ENDPOINTS_MAX, endpointFromBytes, endpointToBytes, type Endpoint } from "./endpoint.js";
import { Secret, SecretText } from "./secret.js";

export { Malformed } from "./cbor.js";

/** What a device says of itself when it claims an offer. Only its size is checked here: `checkedName` says more. */
export interface Claim {
  /** What its user calls it. */
  readonly name: string;
  readonly model: string | null;
  /** Its system: `iOS 19`, `Linux`. */
  readonly platform: string | null;
  /** `mobile`, `desktop`, `browser`; anything else counts as another kind. */
  readonly kind: string;
}

/** The payload of M1 when pairing. */
export interface ClaimPayload {
  readonly claim: Claim;
  /** H("couplet/1 commit" ‖ rP ‖ device public key). */
  readonly commit: Uint8Array;
}

/** The payload of M2. */
export interface AnswerPayload {
  readonly hostName: string;
  /** rH. */
  readonly nonce: Uint8Array;
}

/** What a paired device keeps. */
export interface Grant {
  /** The device's id, a UUID. */
  readonly deviceId: string;
  /** The bearer credential for plain HTTP: `dev_…`. */
  readonly deviceToken: SecretText;
  /** What the owner calls the host. */
  readonly hostName: string;
  /** Names the pairing when coming back: 8 bytes. */
  readonly pskId: Uint8Array;
  /** The pairing PSK. */
  readonly psk: Secret<"psk">;
  /** For the rooms at a relay, when the host may have one. */
  readonly roomSecret: Secret<"room"> | null;
  /** Where the host can be reached. */
  readonly endpoints: readonly Endpoint[];
}

/** Which of its rooms at a relay a device comes by (spec/protocol.md, 6): numbers below 2^32. */
export interface RoomNumbers {
  /** The one that it has written down, from which on it asks. */
  readonly kept: number;
  /** The one that opened, which it writes down when this session holds; the same where it came another way. */
  readonly opened: number;
}

/** A CONTROL message. */
export type Control =
  /** Device: the first frame. When pairing, with the nonce that it committed to. */
  | { readonly t: "confirm"; readonly reveal: Secret<"entropy"> | null; readonly rooms: RoomNumbers | null }
  /** Host: what the device keeps. */
  | { readonly t: "grant"; readonly grant: Grant }
  /** Device: the grant is stored. */
  | { readonly t: "ack" }
  /** Host: the device is paired. */
  | { readonly t: "paired" }
  /** Host: it is not; a stable code, such as `CPL-1208`. */
  | { readonly t: "rejected"; readonly code: string }
  /** Either: where it can be reached has changed. `serial` rises with each change; a lower one than known is old news. */
  | { readonly t: "endpoints"; readonly list: readonly Endpoint[]; readonly serial: bigint };

/** @throws {Malformed} A text is longer than any that a peer would take. */
export function encodeClaim({ claim, commit }: ClaimPayload): Uint8Array<ArrayBuffer> {
  return encodeMap({ ...claim, commit });
}

/** @throws {Malformed} */
export function decodeClaim(payload: Uint8Array): ClaimPayload {
  const map = CborMap.decode(payload);
  const claim = {
    name: map.text("name"),
    model: map.optionalText("model"),
    platform: map.optionalText("platform"),
    kind: map.text("kind"),
  };
  return { claim, commit: map.bytes("commit", 32) };
}

/** @throws {Malformed} The host's name is longer than any that a peer would take. */
export function encodeAnswer(answer: AnswerPayload): Uint8Array<ArrayBuffer> {
  return encodeMap({ host_name: answer.hostName, rH: answer.nonce });
}

/** @throws {Malformed} */
export function decodeAnswer(payload: Uint8Array): AnswerPayload {
  const map = CborMap.decode(payload);
  return { hostName: map.text("host_name"), nonce: map.bytes("rH", 32) };
}

/** The payload of M1 when coming back: an empty map. */
export function encodeReturn(): Uint8Array<ArrayBuffer> {
  return encodeMap({});
}

/** Holds the payload of M1 when coming back to its form; what it may say is ignored. @throws {Malformed} */
export function checkReturn(payload: Uint8Array): void {
  CborMap.decode(payload);
}

function controlFields(control: Control): Record<string, Field | null> {
  switch (control.t) {
    case "confirm": {
      const rooms = control.rooms;
      return {
        rP: control.reveal?.expose() ?? null,
        room: rooms === null ? null : BigInt(rooms.kept),
        opened: rooms === null || rooms.opened === rooms.kept ? null : BigInt(rooms.opened),
      };
    }
    case "grant":
      return grantFields(control.grant);
    case "rejected":
      return { code: control.code };
    case "endpoints":
      return { list: endpointsToBytes(control.list), serial: control.serial };
    case "ack":
    case "paired":
      return {};
  }
}

function grantFields(grant: Grant): Record<string, Field | null> {
  return {
    device_id: grant.deviceId,
    device_token: grant.deviceToken.expose(),
    host_name: grant.hostName,
    psk_id: grant.pskId,
    psk: grant.psk.expose(),
    room_secret: grant.roomSecret?.expose() ?? null,
    endpoints: endpointsToBytes(grant.endpoints),
  };
}

/**
 * The bytes of a CONTROL frame; the caller's to wipe.
 *
 * @throws {Malformed} A text is longer than any that a peer would take.
 */
export function encodeControl(control: Control): Uint8Array<ArrayBuffer> {
  return encodeMap({ t: control.t, ...controlFields(control) });
}

/**
 * Reads the bytes of a CONTROL frame. null: a message that this version does not know, to be ignored. Secrets are copied:
 * the bytes are the caller's to wipe.
 *
 * @throws {Malformed} It is not deterministic CBOR, or a field is missing or of a wrong type or size.
 */
export function decodeControl(message: Uint8Array): Control | null {
  const map = CborMap.decode(message);
  const t = map.text("t");
  switch (t) {
    case "confirm":
      return {
        t,
        reveal: map.has("rP") ? new Secret("entropy", map.bytes("rP", 32)) : null,
        rooms: decodeRooms(map),
      };
    case "grant":
      return { t, grant: decodeGrant(map) };
    case "ack":
    case "paired":
      return { t };
    case "rejected":
      return { t, code: map.text("code") };
    case "endpoints":
      return { t, list: decodeEndpoints(map, "list"), serial: map.number("serial") };
    default:
      return null;
  }
}

function decodeRooms(map: CborMap): RoomNumbers | null {
  const opened = map.optionalU32("opened");
  const kept = map.optionalU32("room");
  return kept === null ? null : { kept, opened: opened ?? kept };
}

function decodeGrant(map: CborMap): Grant {
  return {
    deviceId: map.text("device_id"),
    deviceToken: new SecretText(map.text("device_token")),
    hostName: map.text("host_name"),
    pskId: map.bytes("psk_id", 8),
    psk: new Secret("psk", map.bytes("psk", 32)),
    roomSecret: map.has("room_secret") ? new Secret("room", map.bytes("room_secret", 32)) : null,
    endpoints: decodeEndpoints(map, "endpoints"),
  };
}

function endpointsToBytes(endpoints: readonly Endpoint[]): Uint8Array[] {
  return endpoints.slice(0, ENDPOINTS_MAX).map(endpointToBytes);
}

/** Those of unknown kinds are left out. */
function decodeEndpoints(map: CborMap, key: string): Endpoint[] {
  return map.list(key, ENDPOINTS_MAX).flatMap((bytes) => {
    const endpoint = endpointFromBytes(bytes);
    if (endpoint === "malformed") throw new Malformed(key);
    return endpoint === "skipped" ? [] : [endpoint];
  });
}
