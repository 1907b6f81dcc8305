/** Where a host can be reached (spec/protocol.md, 2). */
import { joined, utf8, view } from "./bytes.js";

/** The most endpoints that an offer, or a host, may name. */
export const ENDPOINTS_MAX = 8;

/** Through a relay: `name` or `name:port` in lower case; TLS always, at port 443 when none is named. */
export interface RelayEndpoint {
  readonly kind: "relay";
  readonly name: string;
}

/** On the same network, at the host's pairing listener. */
export interface LanEndpoint {
  readonly kind: "lan";
  /** As it stands in a URL: `192.168.1.42:7878`, `[fd00::42]:7878`. */
  readonly address: string;
}

/** Where a host can be reached. */
export type Endpoint = RelayEndpoint | LanEndpoint;

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const PORT = /^[1-9][0-9]{0,4}$/;

/** Checks the form of a relay's name and folds its case; null: it is none. */
export function relayName(text: string): string | null {
  if (text.length > 255) return null;
  const name = text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  const colon = name.indexOf(":");
  const host = colon < 0 ? name : name.slice(0, colon);
  const port = colon < 0 ? "443" : name.slice(colon + 1);
  const isPort = PORT.test(port) && Number(port) <= 0xffff;
  return host.length <= 253 && host.split(".").every((label) => LABEL.test(label)) && isPort ? name : null;
}

/** Whether a name is a place of that relay's: its name or one below it, at whatever port. */
export function isWithinRelay(named: string, relay: string): boolean {
  const host = (name: string): string => name.split(":")[0] ?? "";
  return host(named) === host(relay) || host(named).endsWith(`.${host(relay)}`);
}

/** An IPv6 address as RFC 5952 writes it. */
function ipv6Text(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, at) => view(bytes).getUint16(2 * at));
  let best = { at: 0, length: 1 };
  for (let at = 0; at < 8; at += 1) {
    let length = 0;
    while (groups[at + length] === 0) length += 1;
    if (length > best.length) best = { at, length };
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(":");
  if (best.length < 2) return text(groups);
  return `${text(groups.slice(0, best.at))}::${text(groups.slice(best.at + best.length))}`;
}

function ipv4Bytes(text: string): Uint8Array | null {
  const parts = text.split(".");
  const isNumber = (part: string): boolean => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256;
  return parts.length === 4 && parts.every(isNumber) ? Uint8Array.from(parts, Number) : null;
}

function ipv6Bytes(text: string): Uint8Array | null {
  const halves = text.split("::");
  const groups = (half: string | undefined): string[] => (half === undefined || half === "" ? [] : half.split(":"));
  const [first, last] = [groups(halves[0]), groups(halves[1])];
  const missing = 8 - first.length - last.length;
  const all = halves.length === 1 ? first : [...first, ...Array<string>(Math.max(missing, 0)).fill("0"), ...last];
  const isWhole = halves.length === 1 ? missing === 0 : halves.length === 2 && missing >= 1;
  if (!isWhole || !all.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return null;
  const bytes = new Uint8Array(16);
  all.forEach((group, at) => view(bytes).setUint16(2 * at, Number.parseInt(group, 16)));
  return bytes;
}

function isMapped(bytes: Uint8Array): boolean {
  return bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
}

function lanText(ip: Uint8Array, port: number): string {
  return ip.length === 4 ? `${ip.join(".")}:${port}` : `[${ipv6Text(ip)}]:${port}`;
}

/** Kind and body of an address; null: it is none. */
function lanBody(address: string): { kind: number; body: Uint8Array } | null {
  const colon = address.lastIndexOf(":");
  const [host, port] = [address.slice(0, colon), address.slice(colon + 1)];
  if (colon < 0 || !PORT.test(port) || Number(port) > 0xffff) return null;
  const ip = host.startsWith("[") && host.endsWith("]") ? ipv6Bytes(host.slice(1, -1)) : ipv4Bytes(host);
  if (ip === null) return null;
  const plain = ip.length === 16 && isMapped(ip) ? ip.slice(12) : ip;
  return {
    kind: plain.length === 4 ? 2 : 3,
    body: joined(plain, Uint8Array.of(Number(port) >> 8, Number(port) & 0xff)),
  };
}

/**
 * An address on the local network, in its one form.
 *
 * @throws {RangeError} It is no `IPv4:port` or `[IPv6]:port`.
 */
export function lanEndpoint(address: string): LanEndpoint {
  const lan = lanBody(address);
  if (lan === null) throw new RangeError("no address with a port");
  return { kind: "lan", address: lanText(lan.body.subarray(0, -2), view(lan.body).getUint16(lan.body.length - 2)) };
}

/**
 * `kind ‖ len ‖ body`.
 *
 * @throws {RangeError} It was put together by hand, and is none.
 */
export function endpointToBytes(endpoint: Endpoint): Uint8Array<ArrayBuffer> {
  const coded =
    endpoint.kind === "lan"
      ? lanBody(endpoint.address)
      : relayName(endpoint.name) === null
        ? null
        : { kind: 1, body: utf8(endpoint.name) };
  if (coded === null) throw new RangeError("no endpoint");
  return joined(Uint8Array.of(coded.kind, coded.body.length), coded.body);
}

/** Of an unknown kind: `skipped`. With a wrong body: `malformed`. */
export function decodeEndpoint(kind: number, body: Uint8Array): Endpoint | "skipped" | "malformed" {
  if (kind === 1) {
    const name = relayName(String.fromCharCode(...body));
    return name === null ? "malformed" : { kind: "relay", name };
  }
  if (kind !== 2 && kind !== 3) return "skipped";
  const ip = body.subarray(0, kind === 2 ? 4 : 16);
  if (body.length !== (kind === 2 ? 6 : 18)) return "malformed";
  const port = view(body).getUint16(ip.length);
  // One address has one form.
  return port === 0 || (kind === 3 && isMapped(ip)) ? "malformed" : { kind: "lan", address: lanText(ip, port) };
}

/** One endpoint, exactly. */
export function endpointFromBytes(bytes: Uint8Array): Endpoint | "skipped" | "malformed" {
  const [kind, length] = bytes;
  if (kind === undefined || length === undefined || bytes.length !== 2 + length) return "malformed";
  return decodeEndpoint(kind, bytes.subarray(2));
}

/** Whether both lead to the same place. */
export function sameEndpoint(one: Endpoint, other: Endpoint): boolean {
  if (one.kind === "relay") return other.kind === "relay" && one.name === other.name;
  return other.kind === "lan" && one.address === other.address;
}
