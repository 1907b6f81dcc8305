/**
 * What pages are made of, kept as a browser keeps it (RFC 9111): behind a worker there is no cache of the browser's. It lies in
 * the app's own origin, in the app's hands like all else there, and goes with it.
 */
import CachePolicy from "http-cache-semantics";
import type { Header } from "../../wire/messages.js";

const NAME = ".couplet";
/** What is worth it. What scripts ask for by themselves is as likely to be news, and media come in parts. */
const KINDS = ["font", "image", "script", "style", "worker"];
/** How long a body may be, in bytes, and how many are kept. */
const LENGTH_MAX = 8 << 20;
const ENTRIES_MAX = 1000;
/** Where the policy of what is kept stands, in its own headers. */
const POLICY = "couplet-policy";

type Bytes = ReadableStream<Uint8Array<ArrayBuffer>>;

/** What there is for a request. */
export interface Kept {
  readonly policy: CachePolicy;
  readonly response: Response;
  /** Whether it is as good as a new answer. */
  readonly isFresh: boolean;
  /** What asks the app whether it still is; for the request that is sent. */
  readonly conditions: readonly Header[];
}

/** Whether an answer to this may come from here. */
function isKind(request: Request): boolean {
  return request.method === "GET" && KINDS.includes(request.destination) && !request.headers.has("range");
}

/** What is kept for this request; null: nothing. */
export async function kept(request: Request, path: string): Promise<Kept | null> {
  if (!isKind(request) || request.cache === "reload" || request.cache === "no-store") return null;
  try {
    const cache = await caches.open(NAME);
    const response = await cache.match(path);
    if (response === undefined) return null;
    const policy = CachePolicy.fromObject(JSON.parse(response.headers.get(POLICY) ?? "") as CachePolicy.CachePolicyObject);
    const asked = told(request, path);
    const isFresh = request.cache !== "no-cache" && policy.satisfiesWithoutRevalidation(asked);
    const conditions = Object.entries(policy.revalidationHeaders(asked)).filter(([name]) => name.startsWith("if-"));
    return { policy, response, isFresh, conditions: conditions.map(([name, value]) => [name, String(value)]) };
  } catch {
    // What cannot be read, or stands there otherwise, is none of ours.
    return null;
  }
}

/** What is kept, as a page gets it. */
export function given({ policy, response }: Kept): Response {
  const headers = new Headers(response.headers);
  headers.delete(POLICY);
  headers.set("age", String(Math.round(policy.age())));
  return new Response(response.body, { status: response.status, headers });
}

/** The app says that it is as it was (304, with these headers): what is kept, as a page gets it. Null: it is another one. */
export function renewed(request: Request, path: string, old: Kept, headers: Headers, event: ExtendableEvent): Response | null {
  const answer = { status: 304, headers: Object.fromEntries(headers) };
  const { policy, modified } = old.policy.revalidatedPolicy(told(request, path), answer);
  if (modified) return null;
  const anew = { ...old, policy };
  const response = given(anew);
  put(path, policy, response.clone(), event);
  return response;
}

/** Keeps an answer, where it may be kept, and gives it on. */
export function keep(request: Request, path: string, response: Response, event: ExtendableEvent): Response {
  const { headers, status } = response;
  // What depends on who is signed in is told apart by nobody here, as cookies are added elsewhere.
  const varies = /(?:^|,)\s*(?:\*|cookie|authorization)\s*(?:,|$)/i.test(headers.get("vary") ?? "");
  const isEndless = /^\s*multipart\//i.test(headers.get("content-type") ?? "");
  const isLong = Number(headers.get("content-length") ?? 0) > LENGTH_MAX;
  if (!isKind(request) || status !== 200 || response.body === null || varies || isEndless || isLong) return response;
  const policy = new CachePolicy(told(request, path), { status, headers: Object.fromEntries(headers) }, { shared: false });
  const isWorth = policy.timeToLive() > 0 || headers.has("etag") || headers.has("last-modified");
  if (request.cache === "no-store" || !policy.storable() || !isWorth) return response;
  put(path, policy, response.clone(), event);
  return response;
}

function put(path: string, policy: CachePolicy, response: Response, event: ExtendableEvent): void {
  const headers = new Headers(response.headers);
  headers.set(POLICY, JSON.stringify(policy.toObject()));
  const body = (response.body as Bytes | null)?.pipeThrough(bounded()) ?? null;
  const work = async (): Promise<void> => {
    const cache = await caches.open(NAME);
    await cache.put(path, new Response(body, { status: response.status, headers }));
    const keys = await cache.keys();
    // The oldest come first.
    for (const key of keys.slice(0, Math.max(keys.length - ENTRIES_MAX, 0))) await cache.delete(key);
  };
  // Without room, or where the page wants no more of it, it is not kept.
  event.waitUntil(work().catch(() => {}));
}

/** Breaks off what is longer than may be kept. */
function bounded(): TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
  let length = 0;
  return new TransformStream({
    transform(bytes, controller) {
      length += bytes.length;
      if (length > LENGTH_MAX) controller.error(new Error("too long to be kept"));
      else controller.enqueue(bytes);
    },
  });
}

function told(request: Request, path: string): CachePolicy.HttpRequest {
  return { method: request.method, url: path, headers: Object.fromEntries(request.headers) };
}
