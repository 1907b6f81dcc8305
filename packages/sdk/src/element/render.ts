/** The parts of `<couplet-connect>` as they are shown: each view becomes one list of elements. */
import type { State } from "../client/state.js";
import type { View } from "./connector.js";
import type { Texts, Trouble } from "./texts.js";

/** What the page does besides: two things that a connection does not know of. */
export type Shown = View | { readonly view: "scanning" } | { readonly view: "forgetting"; readonly hostName: string };

/** What a person can do. */
export interface Actions {
  pair(link: string): void;
  scan(): void;
  cancel(): void;
  retry(): void;
  /** Opens the connection anew that is over. */
  reopen(): void;
  forget(): void;
  /** Asks whether it is meant. */
  ask(): void;
  /** Back to what was shown before. */
  back(): void;
}

/** One view: how it looks, what a screen reader is told, and its elements; the first of them is the title. */
export interface Rendered {
  readonly look: "plain" | "busy" | "good" | "bad";
  readonly said: string;
  readonly body: readonly HTMLElement[];
  /** The camera's picture, while one is shown. */
  readonly video?: HTMLVideoElement;
}

type Attributes = Readonly<Record<string, string>>;

function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const title = (text: string): HTMLElement => element("p", { class: "title", part: "title", tabindex: "-1" }, text);
const hint = (text: string): HTMLElement => element("p", { class: "hint" }, text);
const row = (...children: HTMLElement[]): HTMLElement => element("div", { class: "row" }, ...children);

function button(text: string, kind: "" | "main" | "grave", press: () => void): HTMLElement {
  const made = element("button", { type: "button", class: kind, part: "button" }, text);
  made.addEventListener("click", press);
  return made;
}

/** How a view is shown. `canScan`: there is a camera and something that reads codes. */
export function render(shown: Shown, texts: Texts, actions: Actions, canScan: boolean): Rendered {
  switch (shown.view) {
    case "restoring":
    case "connecting":
    case "finishing":
    case "leaving":
      return busy(shown.view, texts, actions);
    case "unpaired": {
      const untold = shown.untold === undefined ? [] : [hint(texts.untold(shown.untold))];
      const said = [texts.unpaired, ...untold.map((it) => it.textContent)].join(". ");
      return { look: "plain", said, body: [title(texts.unpaired), ...untold, hint(texts.unpairedHint), ...entry(texts, actions, canScan)] };
    }
    case "scanning":
      return scanning(texts, actions);
    case "approval":
      return approval(shown.hostName, shown.checkCode, texts, actions);
    case "failed": {
      const trouble = texts.error(shown.error);
      const said = `${texts.failed}. ${trouble.message} ${trouble.next}`;
      return { look: "bad", said, body: [title(texts.failed), ...tell(trouble), ...entry(texts, actions, canScan)] };
    }
    case "forgetting": {
      const buttons = row(button(texts.forgetSure, "grave", actions.forget), button(texts.keep, "", actions.back));
      return { look: "plain", said: "", body: [title(texts.forget), hint(texts.forgetHint(shown.hostName)), buttons] };
    }
    case "host":
      return ofHost(shown.host, shown.state, texts, actions);
  }
}

function busy(view: "restoring" | "connecting" | "finishing" | "leaving", texts: Texts, actions: Actions): Rendered {
  const text = texts[view];
  const cancel = view === "restoring" || view === "leaving" ? [] : [row(button(texts.cancel, "", actions.cancel))];
  return { look: "busy", said: view === "restoring" ? "" : text, body: [title(text), ...cancel] };
}

/** Where a link is pasted. */
function entry(texts: Texts, actions: Actions, canScan: boolean): HTMLElement[] {
  const field = element("input", {
    id: "link",
    part: "input",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    "aria-describedby": "missing",
  });
  const missing = element("p", { id: "missing", class: "hint", role: "alert" });
  const submit = element("button", { type: "submit", class: "main", part: "button" }, texts.pair);
  const buttons = row(submit, ...(canScan ? [button(texts.scan, "", actions.scan)] : []));
  const form = element("form", { novalidate: "" }, element("label", { for: "link" }, texts.link), field, missing, buttons);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const link = field.value.trim();
    // It is a secret: it does not stay in the page.
    field.value = "";
    if (link !== "") return actions.pair(link);
    missing.textContent = texts.linkMissing;
    field.focus();
  });
  return [form];
}

function scanning(texts: Texts, actions: Actions): Rendered {
  const video = element("video", { playsinline: "", "aria-label": texts.scanning });
  video.muted = true;
  const body = [title(texts.scanning), hint(texts.scanningHint), video, row(button(texts.stop, "", actions.back))];
  return { look: "plain", said: texts.scanning, body, video };
}

function approval(hostName: string, checkCode: string, texts: Texts, actions: Actions): Rendered {
  const code = element("p", { class: "code", part: "code" }, checkCode);
  const said = texts.approvalSpoken(hostName, [...checkCode.replaceAll(" ", "")]);
  const cancel = row(button(texts.cancel, "", actions.cancel));
  return { look: "busy", said, body: [title(texts.approval(hostName)), hint(texts.approvalHint), code, cancel] };
}

function tell({ message, next, code }: Trouble): HTMLElement[] {
  const number = code === "" ? [] : [element("p", { class: "number", part: "number" }, code)];
  return [element("p", { class: "cause" }, message), element("p", {}, next), ...number];
}

interface Named {
  readonly name: string;
  readonly fingerprint: string;
}

function ofHost(host: Named, state: State, texts: Texts, actions: Actions): Rendered {
  const forget = button(texts.forget, "", actions.ask);
  switch (state.state) {
    case "connecting": {
      const text = texts.reconnecting(host.name);
      return { look: "busy", said: text, body: [title(text), facts(host, null, texts), row(forget)] };
    }
    case "direct":
    case "relay": {
      const text = texts.online(host.name);
      const path = state.state === "direct" ? texts.direct : texts.relay(state.relay);
      return { look: "good", said: `${text}, ${path}`, body: [title(text), facts(host, path, texts), row(forget)] };
    }
    case "offline": {
      const [text, trouble] = [texts.offline(host.name), texts.cause(state)];
      const buttons = row(button(texts.retry, "main", actions.retry), forget);
      return { look: "bad", said: `${text}. ${trouble.message} ${trouble.next}`, body: [title(text), ...tell(trouble), buttons] };
    }
    default: {
      const text = texts[state.state === "forgotten" ? "gone" : state.state](host.name);
      const trouble = texts.error(state.error);
      // What is still good for a session is not given up by who only wants to go on.
      const isStored = state.state === "closed" || state.state === "expired";
      const buttons = isStored ? [button(texts.reopen, "main", actions.reopen), forget] : [button(texts.again, "main", actions.forget)];
      return { look: "bad", said: `${text}. ${trouble.next}`, body: [title(text), ...tell(trouble), row(...buttons)] };
    }
  }
}

function facts(host: Named, path: string | null, texts: Texts): HTMLElement {
  const pairs: [string, string, string][] = [[texts.host, host.name, "name"]];
  if (path !== null) pairs.push([texts.path, path, "path"]);
  pairs.push([texts.fingerprint, host.fingerprint, "key"]);
  const parts = pairs.flatMap(([term, value, kind]) => [element("dt", {}, term), element("dd", { class: kind, part: kind }, value)]);
  return element("dl", {}, ...parts);
}
