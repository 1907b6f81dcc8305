/** In what encoding a document is, as far as it matters to what is put into it. */

/** The `charset` of a `Content-Type`, in lower case; null: it names none. */
export function charsetOf(contentType: string): string | null {
  const found = /;\s*charset\s*=\s*(?:"([^"]*)"|([^\s;]+))/i.exec(contentType);
  return (found?.[1] ?? found?.[2])?.trim().toLowerCase() ?? null;
}

/** Whether bytes of ASCII are not ASCII there. */
export function isWide(charset: string | null): boolean {
  return charset !== null && /^(?:utf-?16|utf-?32|ucs-?2|unicode|csunicode|iso-10646-ucs-2)/.test(charset);
}

/** Whether the document begins with the mark of UTF-16, which counts more than what is said of it. */
export function isWideMarked(text: string): boolean {
  return text.startsWith("\xfe\xff") || text.startsWith("\xff\xfe");
}

/** How far browsers look for a `<meta charset>`, in bytes (HTML, 13.2.3.2). */
export const PRESCAN = 1024;

/** What a `<meta>` in the first bytes says; null: nothing. What is put before it would push it out of what browsers look at. */
export function metaCharset(text: string): string | null {
  const looked = text.slice(0, PRESCAN).replace(/<!--[\s\S]*?(?:-->|$)/g, "");
  for (const [tag] of looked.matchAll(/<meta[\s/][^>]*>/gi)) {
    const found = /charset\s*=\s*["']?\s*([^\s"'/>;]+)/i.exec(tag)?.[1]?.toLowerCase();
    // Said in bytes of ASCII, so it cannot be UTF-16 (HTML, 13.2.3.2).
    if (found !== undefined && /^[\w:.+-]{1,40}$/.test(found)) return isWide(found) ? "utf-8" : found;
  }
  return null;
}
