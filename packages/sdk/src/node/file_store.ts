/** Credentials in files: one a host, readable by their owner alone. `couplet connect` reads them, and is read here. */
import { constants } from "node:fs";
import { mkdir, open, lstat, readdir, rename, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";

import { hostOf, listed, loaded, saving, type CredentialStore, type StoredCredentials, type Unusable } from "../client/store.js";
import { newerForm, ofHost, storedHost, VERSION } from "../client/store/form.js";
import { CoupletError } from "../protocol/error.js";
import { toHex } from "../protocol/digits.js";

/** The longest file that is read, in bytes, and the most files that are looked at. */
const FILE_MAX = 64 * 1024;
const FILES_MAX = 4096;
/** The end of the name of finished credentials, and of unfinished ones. */
const FINISHED = ".json";
const PENDING = ".pending.json";
/** What is nobody's but the owner's. */
const OTHERS = 0o077;

/**
 * One file a host, 0600, in a folder of 0700. Files are written whole or not at all. A folder or file that others can reach,
 * or that another user owns, is refused.
 */
export class FileStore implements CredentialStore {
  readonly folder: string;

  /** A store in this folder, which is made when the first credentials are kept. */
  constructor(folder: string) {
    this.folder = folder;
  }

  async list(unusable?: Unusable): Promise<readonly StoredCredentials[]> {
    if (!(await this.#exists())) return [];
    // Hidden ones are drafts.
    const names = (await readdir(this.folder)).filter((name) => !name.startsWith(".") && name.endsWith(FINISHED));
    const read: PromiseSettledResult<StoredCredentials | null>[] = [];
    // One after the other: a folder of thousands opens one file at a time.
    for (const name of names.slice(0, FILES_MAX)) read.push(...(await Promise.allSettled([this.#readOf(hostOf(name.slice(0, -FINISHED.length)), name)])));
    return listed(read, unusable);
  }

  async load(host: string): Promise<readonly StoredCredentials[]> {
    if (!(await this.#exists())) return [];
    return loaded(await Promise.allSettled([PENDING, FINISHED].map((end) => this.#readOf(host, this.#name(host, end)))));
  }

  async save(credentials: StoredCredentials, news = false): Promise<void> {
    if (!(await this.#exists())) {
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      await this.#exists();
    }
    const host = storedHost(credentials);
    const there = await Promise.all([PENDING, FINISHED].map((end) => this.#pskId(host, end)));
    const { isKept, ends } = saving(credentials, news, there);
    if (!isKept) return;
    const path = this.#path(host, credentials.paired_at === undefined ? PENDING : FINISHED);
    await this.#mayReplace(path);
    const draft = join(this.folder, `.${host}.${toHex(crypto.getRandomValues(new Uint8Array(8)))}`);
    try {
      await writeWhole(draft, `${JSON.stringify(credentials, null, 2)}\n`);
      await rename(draft, path);
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
    await this.#sync();
    if (ends) await rm(this.#path(host, PENDING), { force: true });
  }

  async drop(credentials: StoredCredentials): Promise<boolean> {
    const host = storedHost(credentials);
    if (!(await this.#exists()) || (await this.#pskId(host, PENDING)) !== credentials.psk_id) return false;
    await rm(this.#path(host, PENDING), { force: true });
    await this.#sync();
    return true;
  }

  async remove(host: string): Promise<boolean> {
    if (!(await this.#exists())) return false;
    const paths = [PENDING, FINISHED].map((end) => this.#path(host, end));
    const present = await Promise.all(paths.map((path) => lstat(path).then(() => true, () => false)));
    // Both, whatever becomes of the first.
    const removed = await Promise.allSettled(paths.map((path) => rm(path, { force: true })));
    for (const one of removed) if (one.status === "rejected") throw one.reason;
    await this.#sync();
    return present.includes(true);
  }

  #path(host: string, end: string): string {
    return join(this.folder, this.#name(host, end));
  }

  #name(host: string, end: string): string {
    // A fingerprint and nothing else: no name leads out of the folder.
    if (!/^[a-z2-7-]{19}$/.test(host)) throw new CoupletError("CPL-1608");
    return host + end;
  }

  /** Whether there is a folder, and a safe one. */
  async #exists(): Promise<boolean> {
    try {
      const found = await lstat(this.folder);
      if (!found.isDirectory()) throw exposed(this.folder, "is no folder");
      check(this.folder, found);
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  /** Of what can be read. */
  async #pskId(host: string, end: string): Promise<string | null> {
    return (await this.#readOf(host, this.#name(host, end)).catch(() => null))?.psk_id ?? null;
  }

  async #readOf(host: string, name: string): Promise<StoredCredentials | null> {
    const read = await this.#read(join(this.folder, name));
    return read === null ? null : ofHost(read, host);
  }

  async #read(path: string): Promise<StoredCredentials | null> {
    let file: FileHandle;
    try {
      // The file itself, not what a link points to; opened once, so that it cannot be exchanged after the check.
      file = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0));
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
    try {
      const found = await file.stat();
      if (!found.isFile()) throw exposed(path, "is no file");
      check(path, found);
      if (found.size > FILE_MAX) throw new Damaged(path);
      const text = await file.readFile("utf8");
      try {
        return JSON.parse(text) as StoredCredentials;
      } catch {
        throw new Damaged(path);
      }
    } finally {
      await file.close();
    }
  }

  /** What is there must not be lost: only what this version understands is replaced. */
  async #mayReplace(path: string): Promise<void> {
    const found = await this.#read(path).catch((error: unknown) => {
      if (error instanceof Damaged) return null;
      throw error;
    });
    if (found !== null && found.version > VERSION) throw newerForm();
  }

  async #sync(): Promise<void> {
    if (process.platform === "win32") return;
    const folder = await open(this.folder, constants.O_RDONLY);
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}

async function writeWhole(draft: string, text: string): Promise<void> {
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

function isMissing(error: unknown): boolean {
  return (error as { code?: unknown }).code === "ENOENT";
}

/** Windows has no such modes: there, a user's own folders are nobody else's. */
function check(path: string, found: { readonly uid: number; readonly mode: number }): void {
  if (process.geteuid === undefined) return;
  if (found.uid !== process.geteuid()) throw exposed(path, "belongs to another user");
  if ((found.mode & OTHERS) !== 0) throw exposed(path, "is open to other users");
}

function exposed(path: string, what: string): CoupletError {
  return new CoupletError("CPL-1607", `${path} ${what}`, { next: `See who could read it, then: chmod go= ${path}` });
}

/** What is in a file is nothing that any version writes. */
class Damaged extends CoupletError {
  constructor(path: string) {
    super("CPL-1607", `${path} is damaged`, { next: `Remove ${path} and pair anew.` });
  }
}
