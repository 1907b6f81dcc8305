/** What the pages are made of: icons, dialogs, facts, countdowns, and the panel that says what went wrong. */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";

import { texts } from "./texts.js";
import type { Act, Trouble } from "./trouble.js";

const ICONS = {
  back: "M15 5l-7 7 7 7",
  menu: "M5 12h.01M12 12h.01M19 12h.01",
  relay: "M4 12h5M15 12h5M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6",
  connecting: "M12 4a8 8 0 1 0 8 8",
  offline: "M5 5l14 14M8 8a11 11 0 0 0-4 2.500M12 8a11 11 0 0 1 8 3M10.500 15a3 3 0 0 1 3 .8M12 20h.01",
  elsewhere: "M8 8h12v12H8zM4 16V4h12",
  over: "M6 6l12 12M18 6L6 18",
  good: "M5 13l4.500 4.500L19 7",
  bad: "M12 7v6M12 17h.01M12 3l9.500 17h-19z",
  scan: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M8 12h8",
  host: "M4 5h16v10H4zM9 20h6M12 15v5",
} as const;

/** A drawing that says nothing that the words beside it do not. */
export function Icon({ name }: { name: keyof typeof ICONS }) {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={ICONS[name]} />
    </svg>
  );
}

/** A page: what there is to read, and below it, in the thumb's reach, what there is to press. */
export function Page({ title, name, again, children, actions, onBack }: {
  title: string;
  /** Which page or step it is: another one takes the focus to its title. */
  name: string;
  /** So does a change of this one: what had the focus is gone. */
  again?: string;
  children: ComponentChildren;
  actions?: ComponentChildren;
  onBack?: (() => void) | undefined;
}) {
  return (
    <div class="page">
      {onBack !== undefined && (
        <header class="top">
          <button type="button" class="quiet" onClick={onBack}>
            <Icon name="back" />
            {texts.back}
          </button>
        </header>
      )}
      <main class="content">
        <Title name={name} again={again}>
          {title}
        </Title>
        {children}
      </main>
      {actions !== undefined && <div class="actions">{actions}</div>}
    </div>
  );
}

/** A page's title. When the page changes, it is where reading begins. */
export function Title({ name, again, look, children }: {
  name: string;
  again?: string | undefined;
  /** A class. */
  look?: string;
  children: ComponentChildren;
}) {
  const title = useRef<HTMLHeadingElement>(null);
  useLayoutEffect(() => {
    title.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [name, again]);
  return (
    <h1 ref={title} class={look} tabIndex={-1} data-step={name}>
      {children}
    </h1>
  );
}

/** A dialog over the page. It keeps the focus in, closes by Escape, and gives the focus back where it came from. */
export function Sheet({ title, children, onClose }: { title: string; children: ComponentChildren; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const shown = dialog.current;
    if (shown === null || shown.open) return;
    const before = document.activeElement;
    shown.showModal();
    return () => {
      shown.close();
      // A dialog that leaves the page gives the focus to nobody.
      if (before instanceof HTMLElement && document.activeElement === document.body) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class="sheet"
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        // Beside it.
        if (event.target === dialog.current) onClose();
      }}
    >
      <div class="sheet-body">
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

/** A question: what is done when it is answered by `go`, a button or a link; and what leaves all as it is. */
export function Question({ title, children, go, keep, onClose }: {
  title: string;
  children: ComponentChildren;
  go: ComponentChildren;
  keep: string;
  onClose: () => void;
}) {
  return (
    <Sheet title={title} onClose={onClose}>
      {children}
      <div class="sheet-actions">
        {go}
        <button type="button" onClick={onClose}>
          {keep}
        </button>
      </div>
    </Sheet>
  );
}

/** Names and what they stand for; those without a value are left out. */
export function Facts({ facts }: { facts: readonly (readonly [string, ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {facts
        .filter(([, value]) => value !== null && value !== undefined && value !== "")
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** A key's fingerprint, in groups that a person compares. */
export function Fingerprint({ text }: { text: string }) {
  return <code class="key">{text}</code>;
}

/** How often a countdown is told to those who hear the page, in seconds before its end. */
const TOLD = [60, 30, 10];

/** Seconds until a moment (milliseconds since 1970), and words for when it is over. */
export function Countdown({ label, until, over, say }: { label: string; until: number; over: string; say: (text: string) => void }) {
  const [left, setLeft] = useState(() => secondsUntil(until));
  useEffect(() => {
    const look = (): void => {
      const now = secondsUntil(until);
      setLeft((before) => {
        if (TOLD.some((moment) => before > moment && now <= moment && now > 0)) say(texts.left(now));
        return now;
      });
    };
    look();
    const timer = setInterval(look, 500);
    return () => clearInterval(timer);
  }, [until]);
  if (left <= 0) return <p class="dim countdown">{over}</p>;
  return (
    <p class="dim countdown">
      {label} <span role="timer">{texts.clock(left)}</span>
    </p>
  );
}

function secondsUntil(moment: number): number {
  return Math.max(0, Math.ceil((moment - Date.now()) / 1000));
}

/** Something to know, with a mark beside its colour. */
export function Note({ tone, children }: { tone: "good" | "bad" | "plain"; children: ComponentChildren }) {
  return (
    <div class={`note ${tone}`}>
      {tone !== "plain" && <Icon name={tone} />}
      <div class="note-text">{children}</div>
    </div>
  );
}

/** What went wrong: what happened and what to do next. Its title is the page's. */
export function TroubleText({ trouble }: { trouble: Trouble }) {
  return (
    <>
      <Note tone="bad">
        {trouble.message !== "" && <p>{trouble.message}</p>}
        <p>
          <strong>{trouble.next}</strong>
        </p>
      </Note>
      {trouble.details.length > 0 && <Details lines={trouble.details} isOpen={trouble.kind === "otherKey"} />}
      {trouble.code !== "" && <p class="dim small">{texts.code(trouble.code)}</p>}
    </>
  );
}

/** What was tried; `isOpen`: what is to be compared. */
function Details({ lines, isOpen }: { lines: readonly string[]; isOpen: boolean }) {
  const list = (
    <ul class="details">
      {lines.map((line, at) => (
        <li key={at}>{isOpen ? <code class="key">{line}</code> : line}</li>
      ))}
    </ul>
  );
  if (isOpen) return list;
  return (
    <details>
      <summary>{texts.trouble.details}</summary>
      {list}
    </details>
  );
}

/** The buttons of a trouble, those that somebody takes on. The first is the one to press. */
export function Acts({ acts, on }: { acts: readonly Act[]; on: Partial<Record<Act, () => void>> }) {
  return (
    <>
      {acts
        .filter((act) => on[act] !== undefined)
        .map((act, at) => (
          <button key={act} type="button" class={at === 0 ? "main" : ""} onClick={() => on[act]?.()}>
            {texts.trouble.act[act]}
          </button>
        ))}
    </>
  );
}
