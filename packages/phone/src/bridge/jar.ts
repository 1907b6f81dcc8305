/** The cookies of one label: those that the app's scripts may not see never leave the client's page. */
import { type Cookie, CookieJar } from "tough-cookie";
import { COOKIE_MAX, COOKIES_MAX } from "../wire/limits.js";
import type { JarStorage } from "./index.js";

// A browser takes what stands on localhost as safe, and so `Secure` cookies (draft-ietf-httpbis-rfc6265bis, 5.8.3).
const URL_OF_APP = "https://localhost";
/** Milliseconds between a change and when it is saved; a page often brings several. */
const SAVE_AFTER = 200;
/** How many more than may be kept there may be for a while: to count them takes time. */
const SLACK = 20;

/** What jars of one label in several tabs tell each other: a cookie that one took, that it is to save, and that it has. */
type Said = { readonly text: string; readonly path: string; readonly http: boolean } | "save" | "saved";

/** The way to them, as a BroadcastChannel is one. */
export interface Others {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(said: Said): void;
}

/** Cookies, held in memory and kept in the client's store. */
export class Jar {
  readonly #storage: JarStorage;
  #jar = made();
  /** How many were set since it was looked how many there are. */
  #since = 0;
  /** What the store says when it was asked last. */
  #newest: Promise<string | null> | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #saving: Promise<void> = Promise.resolve();
  readonly #changed: () => void;
  readonly #others: Others | null;

  /** `changed` is called whenever a cookie came or went. `others` leads to the jars of the same label in other tabs. */
  constructor(storage: JarStorage, changed: () => void, others: Others | null = null) {
    this.#storage = storage;
    this.#changed = changed;
    this.#others = others;
    if (others !== null) others.onmessage = ({ data }) => void this.#hear(data);
  }

  /** Takes what the store has: another tab may have changed it. What cannot be read there counts as nothing. */
  async load(): Promise<void> {
    this.#others?.postMessage("save");
    await this.flush();
    await this.#read();
  }

  async #read(): Promise<void> {
    const answer = this.#storage.load().catch(() => null);
    this.#newest = answer;
    const text = await answer;
    // What was asked for later is newer, and may have changed since.
    if (answer !== this.#newest) return void (await this.#newest);
    this.#jar = (text === null ? null : read(text)) ?? made();
  }

  /** The header `Cookie` for a path; empty: none. `site`: which of them, by their `SameSite`, go with who asks. */
  header(path: string, site: "strict" | "lax" | "none" = "strict"): string {
    const all = this.#jar.getCookiesSync(URL_OF_APP + path, { http: true, sameSiteContext: site, sort: true });
    // One that does not say is `Lax`.
    return written(site === "none" ? all.filter(({ sameSite }) => sameSite === "none") : all);
  }

  /** What `document.cookie` is at a path. */
  view(path: string): string {
    return written(this.#jar.getCookiesSync(URL_OF_APP + path, { http: false, sameSiteContext: "strict", sort: true }));
  }

  /** Takes the `Set-Cookie` headers of an answer. */
  take(cookies: readonly string[], path: string): void {
    for (const cookie of cookies) this.#set(cookie, path, true);
  }

  /** Takes what a script writes to `document.cookie`. It neither makes nor changes what scripts may not see. */
  write(cookie: string, path: string): void {
    this.#set(cookie, path, false);
  }

  /** What another tab says, which is this same page's code: it must not write over what it does not know of. */
  async #hear(said: Said): Promise<void> {
    if (said === "save") {
      const isNew = this.#timer !== null;
      await this.flush();
      if (isNew) this.#others?.postMessage("saved");
    } else if (said === "saved") {
      if (this.#timer === null) await this.#read();
      this.#changed();
    } else if (this.#put(said.text, said.path, said.http)) this.#changed();
  }

  #set(text: string, path: string, http: boolean): void {
    if (!this.#put(text, path, http)) return;
    this.#others?.postMessage({ text, path, http });
    this.#timer ??= setTimeout(() => void this.flush(), SAVE_AFTER);
    this.#changed();
  }

  /** Whether it is one. */
  #put(text: string, path: string, http: boolean): boolean {
    if (text.length > COOKIE_MAX) return false;
    let set: Cookie | undefined;
    try {
      set = this.#jar.setCookieSync(text, URL_OF_APP + path, { http, ignoreError: true, sameSiteContext: "strict" });
    } catch {
      // Something that is no cookie, which a browser passes over.
    }
    if (set === undefined) return false;
    this.#since += 1;
    if (this.#since > SLACK) this.#bound();
    return true;
  }

  /** The oldest go when there are too many, as in browsers. */
  #bound(): void {
    this.#since = 0;
    const all = this.#jar.serializeSync()?.cookies ?? [];
    if (all.length <= COOKIES_MAX) return;
    const ages = all.map(({ lastAccessed }) => String(lastAccessed)).sort();
    const newest = ages[all.length - COOKIES_MAX] ?? "";
    const kept = all.filter(({ lastAccessed }) => String(lastAccessed) >= newest).slice(-COOKIES_MAX);
    this.#jar = read(JSON.stringify({ ...this.#jar.serializeSync(), cookies: kept })) ?? made();
  }

  /** Resolves once what changed is saved, or cannot be: cookies are then as good as this page is open. */
  async flush(): Promise<void> {
    if (this.#timer !== null) {
      clearTimeout(this.#timer);
      this.#timer = null;
      const text = JSON.stringify(this.#jar.serializeSync());
      this.#saving = this.#saving.then(() => this.#storage.save(text)).catch(() => {});
    }
    await this.#saving;
  }
}

function made(): CookieJar {
  // One host alone is asked, and it is none under which anybody can have a name.
  return new CookieJar(undefined, { rejectPublicSuffixes: false, prefixSecurity: "silent" });
}

function read(text: string): CookieJar | null {
  try {
    return CookieJar.deserializeSync(text);
  } catch {
    return null;
  }
}

function written(cookies: readonly Cookie[]): string {
  return cookies.map((cookie) => cookie.cookieString()).join("; ");
}
