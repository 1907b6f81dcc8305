/**
 * What pages are made of, kept as a browser keeps it (RFC 9111): behind a worker there is no cache of the browser's. It lies in
 * the app's own origin, in the app's hands like all else there, and goes with it.
 */
import CachePolicy from "http-cache-semantics";
import type { Header } from "../../wire/messages.js";

const NAME = ".couplet";
/** What is worth it. What scripts ask for by themselves is as likely to be news, and media come in parts. */
const KINDS = ["font", "image", "script", "style", "worker"];
/** How long a body may be, in bytes, how long all of them together, and how many are kept. */
const LENGTH_MAX = 4 << 20;
const SUM_MAX = 64 << 20;
const ENTRIES_MAX = 500;
/** Where the policy of what is kept stands, and how long its body is: in its own headers. */
const POLICY = "couplet-policy";
const LENGTH = "couplet-length";

type Bytes = ReadableStream<Uint8Array<ArrayBuffer>>;

/** Rises whenever something is thrown away: what was asked for before that is not kept after it. */
let epoch = 0;
let isPruning = false;

/** What there is for a request. */
export interface Kept {
  readonly policy: CachePolicy;
  readonly response: Response;
  /** Whether it is as good as a new answer. */
  readonly isFresh: boolean;
  /** What asks the app whether it still is; for the request that is sent. */
  readonly conditions: readonly Header[];
}

/** A request, and when it began. */
export interface Asked {
  readonly request: Request;
  readonly path: string;
  readonly epoch: number;
}

/** A request that begins now. */
export function begun(request: Request, path: string): Asked {
  return { request, path, epoch };
}

/** Whether an answer to this may come from here. */
function isKind(request: Request): boolean {
  return request.method === "GET" && KINDS.includes(request.destination) && !request.headers.has("range");
}

/** What is kept for this request; null: nothing. */
export async function kept({ request, path }: Asked): Promise<Kept | null> {
  if (!isKind(request) || request.cache === "reload" || request.cache === "no-store") return null;
  try {
    const cache = await caches.open(NAME);
    const response = await cache.match(path);
    if (response === undefined) return null;
    const policy = CachePolicy.fromObject(JSON.parse(response.headers.get(POLICY) ?? "") as CachePolicy.CachePolicyObject);
    const isFresh = request.cache !== "no-cache" && policy.satisfiesWithoutRevalidation(told(request, path));
    const conditions = Object.entries(policy.revalidationHeaders(told(request, path))).filter(([name]) => name.startsWith("if-"));
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
  headers.delete(LENGTH);
  headers.set("age", String(Math.round(policy.age())));
  return new Response(response.body, { status: response.status, headers });
}

/** The app says that it is as it was (304, with these headers): what is kept, as a page gets it. Null: it is another one. */
export function renewed(its: Asked, old: Kept, headers: Headers): Response | null {
  const answer = { status: 304, headers: Object.fromEntries(headers) };
  const { policy, modified } = old.policy.revalidatedPolicy(told(its.request, its.path), answer);
  if (modified) return null;
  const response = given({ ...old, policy });
  // What is to be asked for each time need not be written anew.
  return policy.timeToLive() > 0 ? keeping(its, policy, response) : response;
}

/** Keeps an answer as it is read, where it may be kept, and gives it on. */
export function keep(its: Asked, response: Response): Response {
  const { request, path } = its;
  const { headers, status } = response;
  // What depends on who is signed in is told apart by nobody here, as cookies are added elsewhere.
  const varies = /(?:^|,)\s*(?:\*|cookie|authorization)\s*(?:,|$)/i.test(headers.get("vary") ?? "");
  const isEndless = /^\s*multipart\//i.test(headers.get("content-type") ?? "");
  const isLong = Number(headers.get("content-length") ?? 0) > LENGTH_MAX;
  if (!isKind(request) || status !== 200 || response.body === null || varies || isEndless || isLong) return response;
  const policy = new CachePolicy(told(request, path), { status, headers: Object.fromEntries(headers) }, { shared: false });
  const isWorth = policy.timeToLive() > 0 || headers.has("etag") || headers.has("last-modified");
  return request.cache === "no-store" || !policy.storable() || !isWorth ? response : keeping(its, policy, response);
}

/** Throws away what is kept of a path, after what may have changed it (RFC 9111, 4.4); of all paths, where the app says so. */
export async function drop(path: string | null): Promise<void> {
  epoch += 1;
  const dropped = path === null ? caches.delete(NAME) : caches.open(NAME).then((cache) => cache.delete(path));
  await dropped.catch(() => false);
}

/**
 * The answer, which is kept once all of it was read. Nothing is read for the sake of being kept: a page that lets go of it ends
 * the request.
 */
function keeping(its: Asked, policy: CachePolicy, response: Response): Response {
  const { status, headers, body } = response;
  if (body === null) return response;
  const reader = (body as Bytes).getReader();
  let parts: Uint8Array<ArrayBuffer>[] | null = [];
  let length = 0;
  const passing = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) {
        controller.close();
        if (parts !== null) void put(its, policy, new Response(new Blob(parts), { status, headers }), length).catch(() => {});
        return;
      }
      length += value.length;
      if (length > LENGTH_MAX) parts = null;
      parts?.push(value.slice());
      controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return new Response(passing, { status, headers });
}

/** Without room it is not kept. */
async function put(its: Asked, policy: CachePolicy, response: Response, length: number): Promise<void> {
  response.headers.set(POLICY, JSON.stringify(policy.toObject()));
  response.headers.set(LENGTH, String(length));
  const cache = await caches.open(NAME);
  if (its.epoch !== epoch) return;
  await cache.put(its.path, response);
  if (its.epoch !== epoch) await cache.delete(its.path);
  if (isPruning) return;
  isPruning = true;
  await prune(cache).finally(() => (isPruning = false));
}

/** The oldest come first, and go first. */
async function prune(cache: Cache): Promise<void> {
  const keys = await cache.keys();
  let [sum, count] = [0, 0];
  for (const key of [...keys].reverse()) {
    sum += Number((await cache.match(key))?.headers.get(LENGTH) ?? LENGTH_MAX);
    count += 1;
    if (sum > SUM_MAX || count > ENTRIES_MAX) await cache.delete(key);
  }
}

function told(request: Request, path: string): CachePolicy.HttpRequest {
  return { method: request.method, url: path, headers: Object.fromEntries(request.headers) };
}
