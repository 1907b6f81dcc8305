/** Tells the client's page where the app is, and asks it before the app leads elsewhere. */
import type { FromFrame, ToFrame } from "../../wire/frames.js";
import { isView, ownPath } from "../../wire/own.js";
import { installDownloads, save } from "./downloads.js";

/** What of the Navigation API is used, where there is one. */
interface NavigateEvent extends Event {
  readonly destination: { readonly url: string; readonly sameDocument: boolean };
  readonly downloadRequest: string | null;
  readonly formData: FormData | null;
}
interface Navigation extends EventTarget {
  readonly canGoBack: boolean;
  back(): unknown;
}

/** Milliseconds in which several changes are told as one. */
const GATHER = 100;

/** `client`: the origin of the page that shows the app. `leave`: where this page leads, if it is one that says so. */
export function installFrame(client: string, to: string | null): void {
  const { parent, top } = window;
  // Frames within the app's pages are its own affair, and so are its windows.
  const isMain = parent === top && parent !== window && client !== "";
  const { navigation } = window as unknown as { readonly navigation?: Navigation };
  const say = (message: FromFrame): void => parent.postMessage(message, client);
  const goes = (url: URL): boolean => isMain && /^https?:$/.test(url.protocol) && ownPath(url, location.origin) === null;

  const leave = to !== null && /^https?:/.test(to) ? to : null;
  if (leave !== null && !isMain) return location.replace(leave);
  if (leave !== null) say({ couplet: "leave", url: leave });
  localize();
  document.addEventListener("DOMContentLoaded", tellReferrer);
  if (navigation === undefined) installDownloads();
  navigation?.addEventListener("navigate", (event) => {
    const { destination, downloadRequest, cancelable } = event as NavigateEvent;
    if (downloadRequest !== null && cancelable && save(destination.url, downloadRequest)) event.preventDefault();
  });
  if (!isMain) return;

  if (navigation === undefined) {
    // The app's own scripts come first: they may do something else with a click.
    window.addEventListener("click", (event) => {
      const link = linkOf(event);
      const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
      if (link === null || event.defaultPrevented || !isPlain || !["", "_self", "_top", "_parent"].includes(link.target)) return;
      const url = new URL(link.href);
      if (!goes(url)) return;
      event.preventDefault();
      say({ couplet: "leave", url: url.href });
    });
  } else {
    navigation.addEventListener("navigate", (event) => {
      const { destination, downloadRequest, formData, cancelable } = event as NavigateEvent;
      if (destination.sameDocument || downloadRequest !== null || !cancelable) return;
      const url = new URL(destination.url);
      if (goes(url)) {
        event.preventDefault();
        say({ couplet: "leave", url: url.href });
      } else if (isView(url) && url.origin !== location.origin && formData === null) {
        event.preventDefault();
        location.assign(location.origin + url.pathname + url.search + url.hash);
      }
    });
  }

  window.addEventListener("message", ({ source, origin, data }: MessageEvent<ToFrame | null>) => {
    if (source !== parent || origin !== client) return;
    if (data?.couplet === "reload") return location.reload();
    if (data?.couplet !== "back") return;
    if (navigation === undefined) history.back();
    else if (navigation.canGoBack) navigation.back();
  });
  report(say, navigation);
}

/** Addresses of the app as it sees itself are here. */
function localize(): void {
  document.addEventListener(
    "click",
    (event) => {
      const link = linkOf(event);
      if (link === null) return;
      const url = new URL(link.href);
      // Of its own address that begins with `//` the path alone would lead elsewhere.
      if (isView(url) && url.origin !== location.origin) link.href = location.origin + url.pathname + url.search + url.hash;
      if (new URL(link.href).origin === location.origin) told(link);
    },
    true,
  );
  document.addEventListener(
    "submit",
    ({ target }) => {
      if (!(target instanceof HTMLFormElement)) return;
      const action = target.getAttribute("action");
      if (action === null || !URL.canParse(action, document.baseURI)) return;
      const url = new URL(action, document.baseURI);
      if (isView(url) && url.origin !== location.origin) target.setAttribute("action", location.origin + url.pathname + url.search);
    },
    true,
  );
}

/** The app's own links say that they are the app's: what comes from nowhere may be a stranger's, and gets no login. */
function told(link: HTMLAnchorElement): void {
  if (link.referrerPolicy === "no-referrer") link.referrerPolicy = "same-origin";
  if (!link.relList.contains("noreferrer")) return;
  link.relList.remove("noreferrer");
  // Where it leads may lead on elsewhere.
  link.referrerPolicy = "same-origin";
  // It meant that as well.
  link.relList.add("noopener");
}

/** So do its pages; nobody else learns of it. The header is changed on the way here. */
function tellReferrer(): void {
  const all = document.querySelectorAll<HTMLMetaElement>('meta[name="referrer" i]');
  const last = all[all.length - 1];
  if (last !== undefined && /^\s*(no-referrer|never)\s*$/i.test(last.content)) last.content = "same-origin";
}

function linkOf(event: MouseEvent): HTMLAnchorElement | null {
  const found = event.composedPath().find((node) => node instanceof HTMLAnchorElement && node.href !== "");
  return found instanceof HTMLAnchorElement && URL.canParse(found.href) ? found : null;
}

/** Says path and title, now and whenever they change. */
function report(say: (message: FromFrame) => void, navigation: Navigation | undefined): void {
  let [told, timer] = ["", 0];
  const tell = (): void => {
    timer = 0;
    const path = location.pathname + location.search + location.hash;
    const { title } = document;
    const canGoBack = navigation?.canGoBack ?? history.length > 1;
    const now = JSON.stringify([path, title, canGoBack]);
    if (now === told) return;
    told = now;
    say({ couplet: "page", path, title, canGoBack });
  };
  const soon = (): void => {
    if (timer === 0) timer = setTimeout(tell, GATHER);
  };
  tell();
  for (const type of ["DOMContentLoaded", "load", "hashchange", "popstate"]) window.addEventListener(type, soon);
  navigation?.addEventListener("currententrychange", soon);
  // Titles come and change with scripts.
  document.addEventListener("DOMContentLoaded", () => {
    new MutationObserver(soon).observe(document.head, { childList: true, characterData: true, subtree: true });
  });
}
