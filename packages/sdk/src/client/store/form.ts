/**
 * How credentials are written down: one object, which is JSON but for a key that WebCrypto holds. The form is that of
 * `couplet connect`: its files are read here, and ours there.
 */
import { lanEndpoint, relayName, ENDPOINTS_MAX, type Endpoint } from "../../protocol/endpoint.js";
import { CoupletError } from "../../protocol/error.js";
import { fromBase64Url, toBase64Url } from "../../protocol/digits.js";
import { shownName } from "../../protocol/name.js";
import { PublicKey, StaticSecret, WebKey, type StaticKey } from "../../protocol/identity.js";
import { Secret, SecretText } from "../../protocol/secret.js";
import { hostId, type Credentials } from "../credentials.js";

/** The form that is written. */
export const VERSION = 1;

/** A key that WebCrypto holds: what stores of structured clones, as IndexedDB is, keep as it is. */
export interface HeldKey {
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
}

/** Credentials as they are stored. Bytes are base64url. It holds secrets. */
export interface StoredCredentials {
  readonly version: number;
  readonly host_name: string;
  readonly host_key: string;
  readonly suites: number;
  /** A text, unless the store says that it takes keys that WebCrypto holds. */
  readonly device_key: string | HeldKey;
  readonly device_id: string;
  readonly device_token: string;
  readonly psk_id: string;
  readonly psk: string;
  readonly room_secret?: string;
  readonly room_number?: number;
  /** PEM. */
  readonly relay_ca?: string;
  /** `lan ADDRESS:PORT`, `relay NAME`; other kinds are a newer version's, and left out. */
  readonly endpoints: readonly string[];
  readonly endpoints_serial?: number;
  /** Seconds since 1970; absent: granted, and not finished. */
  readonly paired_at?: number;
}

/** Which host stored credentials are of. @throws {CoupletError} `CPL-1607` */
export function storedHost(stored: StoredCredentials): string {
  return hostId(new PublicKey(bytes(stored.host_key, 32)));
}

/**
 * What is stored under a host's name, if it is that host's: what was moved there leads to another host. A later version's is
 * for that version to understand.
 *
 * @throws {CoupletError} `CPL-1607`
 */
export function ofHost(stored: StoredCredentials, host: string): StoredCredentials {
  if (typeof stored !== "object" || stored === null) throw damaged();
  if (stored.version > VERSION || storedHost(stored) === host) return stored;
  throw new CoupletError("CPL-1607", `what is stored as the host ${host} belongs to another one`);
}

/** Writes them. */
export function writeForm(credentials: Credentials): StoredCredentials {
  const { keys, roomSecret, relayCa, pairedAt } = credentials;
  return {
    version: VERSION,
    host_name: credentials.hostName,
    host_key: toBase64Url(keys.hostKey.toBytes()),
    suites: keys.suites,
    device_key: writeKey(credentials.deviceKey),
    device_id: credentials.deviceId,
    device_token: credentials.deviceToken.expose(),
    psk_id: toBase64Url(keys.pskId),
    psk: toBase64Url(keys.psk.expose()),
    ...(roomSecret === null ? {} : { room_secret: toBase64Url(roomSecret.expose()) }),
    room_number: credentials.roomNumber,
    ...(relayCa === null ? {} : { relay_ca: relayCa }),
    endpoints: credentials.endpoints.map((it) => (it.kind === "lan" ? `lan ${it.address}` : `relay ${it.name}`)),
    endpoints_serial: Number(credentials.endpointsSerial),
    ...(pairedAt === null ? {} : { paired_at: pairedAt }),
  };
}

/**
 * Reads them.
 *
 * @throws {CoupletError} `CPL-1607`: damaged, or written by a newer version.
 */
export async function readForm(stored: StoredCredentials): Promise<Credentials> {
  if (typeof stored !== "object" || stored === null || !(stored.version >= 1)) throw damaged();
  if (stored.version > VERSION) throw newerForm();
  try {
    return {
      hostName: text(stored.host_name),
      keys: {
        pskId: bytes(stored.psk_id, 8),
        psk: new Secret("psk", bytes(stored.psk, 32)),
        hostKey: new PublicKey(bytes(stored.host_key, 32)),
        suites: number(stored.suites, 255),
      },
      deviceKey: await readKey(stored.device_key),
      deviceId: text(stored.device_id),
      deviceToken: new SecretText(text(stored.device_token)),
      roomSecret: stored.room_secret === undefined ? null : new Secret("room", bytes(stored.room_secret, 32)),
      roomNumber: number(stored.room_number ?? 0, 0xffff_ffff),
      relayCa: stored.relay_ca === undefined ? null : text(stored.relay_ca),
      endpoints: stored.endpoints.slice(0, ENDPOINTS_MAX).flatMap(place),
      endpointsSerial: BigInt(serial(stored.endpoints_serial ?? 0)),
      pairedAt: stored.paired_at === undefined ? null : number(stored.paired_at, Number.MAX_SAFE_INTEGER),
    };
  } catch {
    throw damaged(typeof stored.host_name === "string" ? stored.host_name : "");
  }
}

/** They are no damage, but a later version's. */
export function newerForm(): CoupletError {
  return new CoupletError("CPL-1607", "the stored credentials were written by a newer version", { next: "Update this app." });
}

function writeKey(key: StaticKey): string | HeldKey {
  if (key instanceof StaticSecret) return toBase64Url(key.expose());
  if (key instanceof WebKey) return key.pair;
  throw new CoupletError("CPL-1607", "a device key of this kind cannot be stored");
}

async function readKey(key: string | HeldKey): Promise<StaticKey> {
  return typeof key === "string" ? new StaticSecret(new Secret("key", bytes(key, 32))) : WebKey.of(key);
}

function place(written: string): Endpoint[] {
  const blank = text(written).indexOf(" ");
  const [kind, where] = [written.slice(0, blank), written.slice(blank + 1)];
  if (kind === "lan") return [lanEndpoint(where)];
  if (kind !== "relay") return [];
  const name = relayName(where);
  if (name === null) throw damaged();
  return [{ kind, name }];
}

function bytes(written: unknown, length: number): Uint8Array<ArrayBuffer> {
  const read = typeof written === "string" ? fromBase64Url(written) : null;
  if (read === null || read.length !== length) throw damaged();
  return read;
}

function text(value: unknown): string {
  if (typeof value !== "string" || value.length > 64 * 1024) throw damaged();
  return value;
}

/** One beyond what is counted here exactly, as `couplet connect` may have written it, is above all that can come. */
function serial(value: unknown): number {
  const isBeyond = Number.isInteger(value) && (value as number) > Number.MAX_SAFE_INTEGER;
  return isBeyond ? Number.MAX_SAFE_INTEGER : number(value, Number.MAX_SAFE_INTEGER);
}

function number(value: unknown, most: number): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0 || value > most) throw damaged();
  return value;
}

function damaged(host = ""): CoupletError {
  const of = shownName(host);
  return new CoupletError("CPL-1607", `the stored credentials${of === "" ? "" : ` of ${of}`} are damaged`);
}
