/** Links with `download`: browsers ask no worker for what they lead to, so that it would come from the relay, which has nothing. */
import { ownPath } from "../../wire/own.js";
import { DOWNLOAD } from "../html/index.js";

/** Milliseconds after which a frame that loaded something to save is taken away: it has long begun. */
const KEPT = 60_000;

/** Saves what is at an address, if that is the app's own. Whether it is. */
export function save(address: string, name: string): boolean {
  const url = URL.canParse(address, document.baseURI) ? new URL(address, document.baseURI) : null;
  const path = url !== null && /^https?:$/.test(url.protocol) ? ownPath(url, location.origin) : null;
  if (path === null) return false;
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.referrerPolicy = "same-origin";
  frame.src = `${DOWNLOAD}#${new URLSearchParams({ path: path.replace(/#.*$/, ""), name }).toString()}`;
  document.documentElement.append(frame);
  setTimeout(() => frame.remove(), KEPT);
  return true;
}

/** Takes clicks on such links, where no Navigation API tells of them. */
export function installDownloads(): void {
  const isSaved = (link: unknown): boolean =>
    link instanceof HTMLAnchorElement && link.hasAttribute("download") && link.href !== "" && save(link.href, link.download);
  window.addEventListener("click", (event) => {
    if (event.defaultPrevented) return;
    const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement);
    if (isSaved(link)) event.preventDefault();
  });
  // A link that stands nowhere in the page is clicked, too, and no listener of the page hears of it.
  const { click } = HTMLElement.prototype;
  HTMLElement.prototype.click = function (this: HTMLElement): void {
    if (this.isConnected || !isSaved(this)) click.call(this);
  };
}
