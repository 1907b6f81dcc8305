/** A problem (RFC 9457) in place of a page, of the host itself or of the app, as people are told it. */
import { texts } from "../texts.js";
import type { Answer } from "./link.js";
import type { Said } from "./pages.js";

/** How much of it is read, in bytes. */
const PROBLEM_MAX = 16 * 1024;

/** Whether an answer is one. */
export function isProblem(headers: Headers): boolean {
  return /^application\/problem\+json\s*(;|$)/i.test(headers.get("content-type") ?? "");
}

/** Reads it. null: it is none, and nothing was read. */
export async function problem({ head, body }: Answer, headers: Headers): Promise<Said | null> {
  const length = Number(headers.get("content-length") ?? Number.NaN);
  // The host says how long its own is.
  if (head.status < 400 || body === null || !isProblem(headers) || !(length <= PROBLEM_MAX)) return null;
  const text = await new Response(body).text();
  return said(text);
}

/** What its text says. */
export function said(text: string): Said {
  const fields = parsed(text);
  const field = (name: string): string => (typeof fields[name] === "string" ? fields[name] : "");
  const code = /^CPL-\d{4}$/.test(field("code")) ? field("code") : "";
  return { title: field("title") || texts.failed.title, next: field("detail") || texts.failed.next, code };
}

function parsed(text: string): { readonly [name: string]: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as { readonly [name: string]: unknown }) : {};
  } catch {
    return {};
  }
}
