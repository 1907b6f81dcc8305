// Pieces that several pages use.

import type { ComponentChildren, RefObject } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";

import { Problem } from "./api";
import { clock } from "./clock";
import { useShared, useTicks, words } from "./state";
import { locale, texts } from "./texts";

/** A modal dialog of the browser's own: it keeps the focus, and Escape closes it. */
export function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const focused = useRef<Element | null>(null);
  const title = useId();
  // Before it is taken out: only then it gives the focus back.
  useLayoutEffect(() => {
    const shown = dialog.current;
    const before = document.activeElement;
    const around = before?.closest("dialog") ?? null;
    shown?.showModal();
    return () => {
      shown?.close();
      // What was pressed may be gone with what it was about.
      if (!(before instanceof HTMLElement && before.isConnected)) queueMicrotask(() => focusTitle(around));
    };
  }, []);
  useEffect(() => {
    // What was pressed has made place for something else: the focus stays in the dialog.
    if (focused.current?.isConnected === false) dialog.current?.querySelector("h2")?.focus();
  });
  return (
    <dialog
      ref={dialog}
      aria-labelledby={title}
      onClose={props.onClose}
      onFocusIn={(event) => (focused.current = event.target as Element)}
    >
      <div class="dialog-head">
        <h2 id={title} tabIndex={-1}>
          {props.title}
        </h2>
        <button type="button" class="quiet" aria-label={texts.close} onClick={() => dialog.current?.close()}>
          <span aria-hidden="true">✕</span>
        </button>
      </div>
      {props.children}
      <Spoken />
    </dialog>
  );
}

/** Asks before what cannot be undone. */
export function Confirm(props: {
  title: string;
  detail: string;
  action: string;
  act: () => Promise<void>;
  onClose: () => void;
}) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const busy = useRef(false);
  async function act(): Promise<void> {
    if (busy.current) return;
    busy.current = true;
    try {
      await props.act();
      props.onClose();
    } catch (error) {
      setProblem(words(error));
      busy.current = false;
    }
  }
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <p>{props.detail}</p>
      {problem && <ProblemNote problem={problem} />}
      <div class="actions">
        <button type="button" class="danger" onClick={() => void act()}>
          {props.action}
        </button>
        <button type="button" onClick={props.onClose}>
          {texts.cancel}
        </button>
      </div>
    </Dialog>
  );
}

/** What a screen reader is told. Each dialog has its own: while it is open, nothing outside is heard. */
export function Spoken() {
  const { announcement } = useShared();
  return (
    <div class="unseen" role="status">
      {announcement}
    </div>
  );
}

/** Puts the focus where the page begins. */
export function focusPage(): void {
  focusTitle(null);
}

/** Puts the focus where the dialog begins, or the page. */
export function focusTitle(dialog: HTMLElement | null): void {
  (dialog ?? document).querySelector<HTMLElement>(dialog ? "h2" : "main h1")?.focus();
}

/** Gives the focus to the page when what holds it goes; in a dialog, that one cares for it. */
export function useFocusBack(of: RefObject<HTMLElement | null>): void {
  useLayoutEffect(
    () => () => {
      const held = of.current?.contains(document.activeElement) && !of.current.closest("dialog");
      if (held) queueMicrotask(focusPage);
    },
    [],
  );
}

/** What went wrong, what to do, and the code under which it is explained. */
export function ProblemNote(props: { problem: Problem }) {
  const { title, detail, code } = props.problem;
  return (
    <div class="note bad" role="alert">
      <strong>{title}</strong>
      {detail && (
        <p>
          <Marked text={detail} />
        </p>
      )}
      {code && <p class="dim">{texts.explain(code)}</p>}
    </div>
  );
}

/** A text of the host's, with what stands between backticks as code. */
export function Marked(props: { text: string }) {
  return <>{props.text.split("`").map((part, at) => (at % 2 === 1 ? <code key={at}>{part}</code> : part))}</>;
}

/** A moment as a distance from now: "5m ago". */
export function Ago(props: { at: string }) {
  useTicks(10_000);
  const seconds = Math.max(0, (clock.now() - Date.parse(props.at)) / 1000);
  return (
    <time dateTime={props.at} title={fullDate(props.at)}>
      {texts.ago(seconds)}
    </time>
  );
}

/** A day. */
export function Day(props: { at: string }) {
  const text = new Date(props.at).toLocaleDateString(locale, { dateStyle: "medium" });
  return (
    <time dateTime={props.at} title={fullDate(props.at)}>
      {text}
    </time>
  );
}

export function fullDate(at: string): string {
  return new Date(at).toLocaleString(locale, { dateStyle: "medium", timeStyle: "medium" });
}

/** Rows of names and values. */
export function Facts(props: { rows: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {props.rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

const RADIUS = 20;
const AROUND = 2 * Math.PI * RADIUS;

/** Seconds that are left: a ring that empties, and the same in digits. */
export function Countdown(props: { left: number; total: number }) {
  const part = props.total > 0 ? Math.min(1, props.left / props.total) : 0;
  return (
    <p class="countdown">
      <svg viewBox="0 0 48 48" aria-hidden="true" class={props.left <= 10 ? "ring late" : "ring"}>
        <circle class="track" cx="24" cy="24" r={RADIUS} />
        <circle class="left" cx="24" cy="24" r={RADIUS} stroke-dasharray={AROUND} stroke-dashoffset={AROUND * (1 - part)} />
      </svg>
      <span role="timer">
        {texts.expiresIn} <strong>{texts.minutes(props.left)}</strong>
      </span>
    </p>
  );
}
