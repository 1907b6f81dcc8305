/** What a device keeps of a host that it is paired with. */
import { ENDPOINTS_MAX, sameEndpoint, type Endpoint } from "../protocol/endpoint.js";
import type { PairingKeys } from "../protocol/handshake.js";
import { StaticSecret, type PublicKey, type StaticKey } from "../protocol/identity.js";
import type { Grant } from "../protocol/message.js";
import type { Offer } from "../protocol/offer.js";
import type { Secret, SecretText } from "../protocol/secret.js";

/** The credentials of one pairing. */
export interface Credentials {
  /** What the host calls itself. */
  hostName: string;
  /** What a session is opened with: the host's key, pinned when pairing, and the pairing's PSK. */
  readonly keys: PairingKeys;
  /** This device's key for this host. */
  readonly deviceKey: StaticKey;
  /** The device's id at the host. */
  readonly deviceId: string;
  /** The bearer credential for plain HTTP. */
  readonly deviceToken: SecretText;
  /** For the rooms at a relay. */
  readonly roomSecret: Secret<"room"> | null;
  /** Which of them opened last. */
  roomNumber: number;
  /** Whose certificate counts for the relay besides those that the system trusts, in PEM. Node.js only. */
  readonly relayCa: string | null;
  /** Where the host is, at most {@link ENDPOINTS_MAX}. */
  endpoints: readonly Endpoint[];
  /** Rises with each change of the endpoints. */
  endpointsSerial: bigint;
  /** When the pairing was finished, in seconds since 1970. null: the host granted it and has not been heard of since. */
  pairedAt: number | null;
}

/** Names a host among those that a device knows: its key's fingerprint in lower case. */
export function hostId(key: PublicKey): string {
  return key.fingerprint().toLowerCase();
}

/** What the host has granted, before it is known that both sides have it. */
export function grantedCredentials(offer: Offer, deviceKey: StaticKey, grant: Grant, relayCa: string | null): Credentials {
  // A host that names none can still be found where it was.
  const endpoints = grant.endpoints.length > 0 ? grant.endpoints : offer.endpoints;
  return {
    hostName: grant.hostName,
    keys: { pskId: grant.pskId, psk: grant.psk, hostKey: offer.hostKey, suites: offer.suites },
    deviceKey,
    deviceId: grant.deviceId,
    deviceToken: grant.deviceToken,
    roomSecret: grant.roomSecret,
    roomNumber: 0,
    relayCa,
    endpoints: endpoints.slice(0, ENDPOINTS_MAX),
    endpointsSerial: 0n,
    pairedAt: null,
  };
}

/** Overwrites their secrets, as far as this program has them. */
export function wipeCredentials(credentials: Credentials): void {
  credentials.keys.psk.wipe();
  credentials.roomSecret?.wipe();
  if (credentials.deviceKey instanceof StaticSecret) credentials.deviceKey.wipe();
}

/** The highest number of news that is taken: no host counts that far, and what is stored is exact up to here. */
const SERIAL_MAX = BigInt(Number.MAX_SAFE_INTEGER);

/** Takes the host's word on where it is. False when it is no news (spec/protocol.md, 4), or where it was. */
export function learnEndpoints(credentials: Credentials, list: readonly Endpoint[], serial: bigint): boolean {
  if (serial <= credentials.endpointsSerial || serial > SERIAL_MAX || list.length === 0) return false;
  const { endpoints } = credentials;
  credentials.endpoints = list;
  credentials.endpointsSerial = serial;
  return list.length !== endpoints.length || !list.every((it, at) => sameEndpoint(it, endpoints[at] ?? it));
}
