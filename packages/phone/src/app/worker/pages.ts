/** Pages in place of an app's: what happened, and what to do next. */
import { escaped, shimTag, type ShimData } from "../html/index.js";
import { texts } from "../texts.js";

/** What such a page says. */
export interface Said {
  readonly title: string;
  readonly message?: string;
  readonly next: string;
  readonly code?: string;
}

/** A page. With `shim` it tells the client's page where it is, as an app's pages do. `again`: an address to try once more. */
export function page(status: number, said: Said, shim: ShimData | null, client: string | null, again?: string): Response {
  const { title, message, next, code } = said;
  const paragraph = (text: string | undefined, kind = ""): string =>
    text === undefined || text === "" ? "" : `<p${kind}>${escaped(/[.!?]$/.test(text) ? text : `${text}.`)}</p>`;
  const link = again === undefined ? "" : `<p><a href="${escaped(again)}">${escaped(texts.again)}</a></p>`;
  const name = code === undefined || code === "" ? "" : `<p class="code">${escaped(code)}</p>`;
  const html = `<!doctype html>
<html lang="${texts.lang}"><head><meta charset="utf-8">${shim === null ? "" : shimTag(shim, "")}
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>${escaped(title)}</title><link rel="stylesheet" href="/.couplet/page.css"></head>
<body><main><h1>${escaped(title)}</h1>${paragraph(message)}${paragraph(next)}${link}${name}</main></body></html>`;
  return new Response(html, {
    status,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-store",
      "content-security-policy":
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " +
        `frame-ancestors 'self'${client === null ? "" : ` ${client}`}`,
    },
  });
}
