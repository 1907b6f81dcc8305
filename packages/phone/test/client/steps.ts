/** Steps that several tests take. */
import { createServer } from "node:http";

import { listening } from "../support/listen.js";
import type { Phone } from "./phone.js";
import type { RealHost } from "./world.js";

/** An app that says its name, counts its visits, and leads elsewhere. */
export async function startApp(name: string, more = ""): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const body = `<!doctype html><title>${name}</title><h1>${name}</h1><p>${request.url}</p><a href="/next">Next</a> <a href="https://elsewhere.example/x">Elsewhere</a>${more}`;
    response.writeHead(200, { "content-type": "text/html", "set-cookie": "seen=1; HttpOnly" }).end(body);
  });
  const { port, close } = await listening(server);
  return { url: `http://127.0.0.1:${port}`, close };
}

/** The digits as the page shows them: `012 345`. */
export async function shownCode(phone: Phone, page = phone.page): Promise<string> {
  await phone.at("approval", page);
  return (await page.locator(".check-code .group").allInnerTexts()).join(" ");
}

/** Pairs by a link in the address; the owner approves. */
export async function paired(phone: Phone, host: RealHost, name: string, page = phone.page): Promise<void> {
  await phone.open(await host.link(), page);
  await confirmed(phone, host, name, page);
}

/** The same from the page on which the name is asked. */
export async function confirmed(phone: Phone, host: RealHost, name: string, page = phone.page): Promise<void> {
  await phone.at("confirm", page);
  await page.getByLabel("Name of this device").fill(name);
  await phone.press("Pair", page);
  await host.owner("approve", name, await shownCode(phone, page));
  await phone.state("Relay", page);
}

/** The app in front, once it shows this heading. */
export async function appShows(heading: string, phone: Phone, page = phone.page): Promise<void> {
  await page.frameLocator(".place:not([hidden]) iframe.app").getByRole("heading", { name: heading }).waitFor();
}
