/** Names that a person gave: checked once at the edge, safe to show afterwards (spec/protocol.md, 3). */
import { CoupletError } from "./error.js";

/** The most Unicode characters that a name, model or platform may have, after trimming. */
export const NAME_MAX = 64;

/** Unicode's White_Space. */
const WHITE = /[\t-\r \u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]/;

/**
 * Control characters, and the formatting characters that reorder, hide or split text: with them a name could pose as
 * another one in a list or overwrite a terminal line. Halves of surrogate pairs are no characters at all.
 */
const FORBIDDEN =
  /[\0-\x1F\x7F-\x9F\uD800-\uDFFF\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180E\u200B\u200E\u200F\u2028-\u202E\u2800\u3164\uFFA0\uFE00-\uFE0E\u2060-\u206F\uFEFF\uFFF9-\uFFFB\u{E0001}-\u{E01EF}]/u;

/** Engines that lack these classes must still read the module, so it is made where it is needed. */
function isLetter(character: string): boolean {
  return new RegExp("\\p{Alphabetic}", "u").test(character);
}

/** Without white space at its ends, as Unicode has it: `String.trim` knows other characters. */
export function trimmed(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && WHITE.test(text.charAt(start))) start += 1;
  while (end > start && WHITE.test(text.charAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

/**
 * What a host calls itself, fit to be shown: without the characters that a name may not have, and no longer than one. A host
 * may call itself what it likes, so it is not refused for it.
 */
export function shownName(text: string): string {
  const all = trimmed(text.replace(new RegExp(FORBIDDEN.source, "gu"), ""));
  return [...all].slice(0, NAME_MAX).join("");
}

/**
 * Whether a person takes both for the same one: they differ in nothing but how their characters are written (NFKC, UAX #15),
 * large and small letters, spaces and marks between letters.
 */
export function areAlike(one: string, other: string): boolean {
  return reduced(one) === reduced(other);
}

function reduced(name: string): string {
  // What is small letters only after composing, and the other way round.
  const folded = name.normalize("NFKC").toLowerCase().normalize("NFKC");
  const letters = folded.replace(new RegExp("[^\\p{Alphabetic}\\p{N}]", "gu"), "");
  // A name of pictures alone is compared by those, however they are joined or to be drawn.
  return letters === "" ? folded.replace(new RegExp("[\\uFE00-\\uFE0F\\u200B-\\u200D ]", "gu"), "") : letters;
}

function refused(character: string): CoupletError {
  const number = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
  return new CoupletError("CPL-1205", `it contains the control character U+${number}: leave it out`);
}

/**
 * Trims and checks a device's name, model or platform.
 *
 * @throws {CoupletError} `CPL-1205`, and which rule the text breaks.
 */
export function checkedName(text: string): string {
  const name = trimmed(text);
  const forbidden = FORBIDDEN.exec(name);
  if (forbidden !== null) throw refused(forbidden[0]);
  const characters = [...name];
  // Joiners belong between other characters, and emoji's variation selector behind what is no letter: elsewhere they
  // make names that look empty, or like another one.
  characters.forEach((character, at) => {
    const before = characters[at - 1];
    const misplaced =
      character === "\u200D" || character === "\u200C"
        ? before === undefined
        : character === "\uFE0F" && (before === undefined || isLetter(before));
    if (misplaced) throw refused(character);
  });
  if (characters.length === 0) {
    throw new CoupletError("CPL-1205", `it is empty: give the device a name of 1 to ${NAME_MAX} characters`);
  }
  if (characters.length > NAME_MAX) {
    throw new CoupletError("CPL-1205", `it is longer than ${NAME_MAX} characters: shorten it`);
  }
  return name;
}
