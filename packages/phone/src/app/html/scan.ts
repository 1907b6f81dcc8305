/** Where in an HTML document a script may stand first: behind its doctype, as in front of it the page is shown in quirks mode. */

/** What was found in the beginning of a document. */
export type Scan =
  /** The script goes here. */
  | { readonly at: number }
  /** More is needed to say. */
  | "more";

/**
 * Looks through the first characters, one for each byte: BOM, white space, comments and the doctype (HTML, 13.1).
 *
 * `isWhole`: no more comes.
 */
export function scan(text: string, isWhole: boolean): Scan {
  let at = text.startsWith("\xef\xbb\xbf") ? 3 : 0;
  if (!isWhole && text.length < 3) return "more";
  for (;;) {
    while (/[\t\n\f\r ]/.test(text.charAt(at))) at += 1;
    const rest = text.slice(at, at + 9).toLowerCase();
    const end = endOf(text, at, rest);
    if (end === null) {
      // Whether it is one of them may not be known yet.
      const isOpen = rest.length < 9 && ["<!--", "<!doctype", "<?"].some((start) => start.startsWith(rest));
      return isOpen && !isWhole ? "more" : { at };
    }
    if (end === -1) return isWhole ? { at } : "more";
    if (rest === "<!doctype") return { at: end };
    at = end;
  }
}

/** Where what begins at `at` ends; -1: not yet; null: it is neither a comment nor a doctype. */
function endOf(text: string, at: number, rest: string): number | null {
  const after = (end: string, from: number): number => {
    const found = text.indexOf(end, from);
    return found === -1 ? -1 : found + end.length;
  };
  if (rest.startsWith("<!--")) {
    // `<!-->` and `<!--->` are whole comments (HTML, 13.2.5.43).
    if (/^<!---?>/.test(text.slice(at, at + 6))) return after(">", at);
    const ends = [after("-->", at + 4), after("--!>", at + 4)].filter((end) => end !== -1);
    return ends.length === 0 ? -1 : Math.min(...ends);
  }
  if (rest === "<!doctype" || rest.startsWith("<?")) return after(">", at);
  return null;
}
