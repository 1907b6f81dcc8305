// "Connect mobile": a code to scan, and what becomes of it.

import { useEffect, useRef, useState } from "preact/hooks";

import { Approval, Waiting } from "./approval";
import { call, type HostEvent, json, type Offer, Problem, type QrCode, type WatchOffer } from "./api";
import { clock } from "./clock";
import { DeviceList } from "./devices";
import { Countdown, Dialog, ProblemNote } from "./parts";
import { Pins } from "./pins";
import { announce, useEvents, useShared, useTicks, words } from "./state";
import { texts } from "./texts";

/** How often a code that nobody scanned is made anew before the page waits for somebody. */
const REFRESHES = 5;
/** How long the good news stands before the dialog closes by itself. */
const CLOSES = 4000;
/** A code whose address means whoever uses it. */
const LOCAL = /^[a-z]+:\/\/(127\.|localhost|\[::1\])/i;
/** When a screen reader is told how many seconds are left. */
const TOLD = [60, 30, 10];
/** The last of these that have passed: ticks of a busy page, or of one in the background, leave seconds out. */
const lastTold = (left: number): number | undefined => TOLD.filter((at) => left <= at).at(-1);

/**
 * Whom the code is for: an offer has two credentials, the sealed session's link and the one-time token for plain HTTP; a
 * watch begins with a nonce, which is an offer of its own.
 */
type Form = "link" | "lan" | "watch";

type Face = { text: string; end: string; code: QrCode };
type Shown = { faces: Partial<Record<Form, Face>>; opened: number };

/** Opens an offer for this form. */
async function opens(form: Form): Promise<{ id: string; texts: [Form, string, string][] }> {
  if (form === "watch") {
    const info = await json<WatchOffer>("GET", "/watch/pairing-info");
    return { id: info.offer_id, texts: [["watch", info.qr_url, info.expires_at]] };
  }
  const offer = await json<Offer>("POST", "/api/pair/generate", {});
  const link: [Form, string, string] = ["link", offer.link, offer.link_expires_at];
  return { id: offer.offer_id, texts: [link, ["lan", offer.qr_url, offer.expires_at]] };
}

/** Where the ceremony stands. */
type Stage =
  | { at: "opening" }
  | { at: "waiting"; again: boolean }
  | { at: "claimed"; name: string; approved: boolean }
  | { at: "paired"; name: string }
  | { at: "paused" }
  | { at: "over"; why: Problem };

export function Connect(props: { onClose: () => void }) {
  const [form, setForm] = useState<Form>("link");
  const [shown, setShown] = useState<Shown | null>(null);
  const [stage, setStage] = useState<Stage>({ at: "opening" });
  const [refused, setRefused] = useState<Problem | null>(null);
  const open = useRef<string | null>(null);
  const refreshes = useRef(0);
  // The number of the newest call that opens an offer, and where the ceremony stands right now.
  const turn = useRef(0);
  const now = useRef<Stage>(stage);
  const { pairings, watches, rejoined, status } = useShared();
  useTicks(250, stage.at === "waiting");

  function go(next: Stage): void {
    now.current = next;
    setStage(next);
  }

  /** Opens an offer in the place of the one that is open, unless that is claimed meanwhile. */
  async function regenerate(wanted: Form = form): Promise<void> {
    turn.current += 1;
    const mine = turn.current;
    const isMine = () => mine === turn.current && now.current.at !== "claimed" && now.current.at !== "paired";
    setRefused(null);
    if (now.current.at !== "waiting") go({ at: "opening" });
    try {
      const offer = await opens(wanted);
      const faces: Shown["faces"] = {};
      for (const [of, text, end] of offer.texts) {
        if (isMine()) faces[of] = { text, end, code: await json<QrCode>("POST", "/api/qr", { text }) };
      }
      // Nobody is to see it any more.
      if (!isMine()) return withdraw(offer.id);
      withdraw(open.current);
      open.current = offer.id;
      setForm(wanted);
      setShown({ faces, opened: clock.now() });
      go({ at: "waiting", again: false });
      announce(texts.connect.shown(clock.until(faces[wanted]?.end ?? "")));
    } catch (error) {
      if (!isMine()) return;
      const problem = words(error);
      // Asked too often: the code that is open stays.
      if (now.current.at === "waiting" && left > 0 && problem.status === 429) setRefused(problem);
      else go({ at: "over", why: problem });
    }
  }

  function byHand(wanted: Form = form): void {
    refreshes.current = 0;
    void regenerate(wanted);
  }

  /** The other credential of the same offer, or another offer. */
  function choose(wanted: Form): void {
    const other = shown?.faces[wanted];
    if (other !== undefined && clock.until(other.end) > 0) setForm(wanted);
    else byHand(wanted);
  }

  useEffect(() => {
    void regenerate();
    const leave = () => {
      // What is under way is nobody's.
      turn.current += 1;
      withdraw(open.current);
    };
    addEventListener("pagehide", leave);
    return () => {
      removeEventListener("pagehide", leave);
      leave();
    };
  }, []);

  useEvents((event) => {
    if (event.pairing_id !== undefined && event.pairing_id === open.current) go(after(event, now.current));
  });

  // After a break, in which events may have been missed.
  useEffect(() => {
    const held = pairings.find((pairing) => pairing.id === open.current);
    if (now.current.at === "waiting" && held !== undefined) {
      go({ at: "claimed", name: held.device_name ?? texts.aDevice, approved: held.state === "granted" });
    } else if (now.current.at === "claimed" && held === undefined) {
      go({ at: "over", why: new Problem(0, "", texts.missed.title, texts.missed.detail) });
    }
  }, [rejoined]);

  const face = shown?.faces[form];
  const left = face === undefined ? 0 : clock.until(face.end);
  const told = useRef<{ end: string | undefined; at: number | undefined } | null>(null);
  useEffect(() => {
    if (stage.at !== "waiting") return;
    const [before, now] = [told.current, { end: face?.end, at: lastTold(left) }];
    told.current = now;
    // What it begins with is told with the code.
    if (left > 0 && before?.end === now.end && before?.at !== now.at) announce(texts.connect.left(left));
  }, [face?.end, lastTold(left), stage.at]);
  useEffect(() => {
    if (stage.at !== "waiting") return;
    if (left > 0) return;
    if (refreshes.current === REFRESHES) {
      withdraw(open.current);
      open.current = null;
      go({ at: "paused" });
      announce(texts.connect.paused);
    } else {
      refreshes.current += 1;
      void regenerate();
    }
  }, [left === 0, stage.at]);

  useEffect(() => {
    // What is over need not be withdrawn.
    if (stage.at !== "opening" && stage.at !== "waiting" && stage.at !== "claimed") open.current = null;
    if (stage.at !== "paired") return;
    const timer = setTimeout(props.onClose, CLOSES);
    return () => clearTimeout(timer);
  }, [stage.at]);

  const asked = pairings.find((pairing) => pairing.id === open.current && pairing.state === "approval");
  // A sealed link leads through the relay as well; on its own network nobody comes by an address that is the device's own.
  const reachesNobody = LOCAL.test(shown?.faces.lan?.text ?? shown?.faces.watch?.text ?? "") && !(form === "link" && status?.relay);
  return (
    <Dialog title={texts.connect.title} onClose={props.onClose}>
      <Pins />
      <Waiting except={open.current} />
      {stage.at === "opening" && <p class="stage">{texts.connect.opening}</p>}
      {stage.at === "waiting" && face !== undefined && (
        <div class="offer">
          <Code code={face.code} />
          <div class="offer-side">
            <p>{stage.again ? texts.connect.released : texts.connect.scan[form]}</p>
            {reachesNobody && (
              <div class="note warn">
                <strong>{texts.connect.local.title}</strong>
                <p>{texts.connect.local.detail}</p>
                <p class="dim">{texts.explain("CPL-1407")}</p>
              </div>
            )}
            <Countdown left={left} total={(Date.parse(face.end) - (shown?.opened ?? 0)) / 1000} />
            <Copy text={face.text} />
            {refused && <ProblemNote problem={refused} />}
            <button type="button" onClick={() => byHand()}>
              {texts.connect.regenerate}
            </button>
            <Forms form={form} watch={watches !== null} onChange={choose} />
          </div>
        </div>
      )}
      {stage.at === "claimed" && (asked ? <Approval pairing={asked} focus /> : <Waits name={stage.name} approved={stage.approved} />)}
      {stage.at === "paired" && <p class="stage good">{texts.connect.paired(stage.name)}</p>}
      {(stage.at === "paused" || stage.at === "over") && (
        <div class="stage">
          {stage.at === "over" ? <ProblemNote problem={stage.why} /> : <p>{texts.connect.paused}</p>}
          <button type="button" class="main" onClick={() => byHand()}>
            {texts.connect.anew}
          </button>
        </div>
      )}
      <section class="dialog-devices" aria-label={texts.devices.title}>
        <h3>{texts.devices.title}</h3>
        <DeviceList brief />
      </section>
    </Dialog>
  );
}

/** Where the ceremony stands after an event of its offer. */
function after(event: HostEvent, now: Stage): Stage {
  switch (event.event) {
    case "offer.claimed":
    case "approval.wanted":
    case "pairing.approved":
      return { at: "claimed", name: event.device_name ?? texts.aDevice, approved: event.event === "pairing.approved" };
    case "offer.released":
      return { at: "waiting", again: true };
    case "device.paired":
      return { at: "paired", name: event.device_name ?? texts.aDevice };
    case "pairing.rejected":
      return { at: "over", why: ended(event) };
    case "offer.expired":
      // While it waits, the countdown decides what comes next, unless it ended before its time.
      return now.at === "claimed" || event.code ? { at: "over", why: ended(event) } : now;
    default:
      return now;
  }
}

/** Why a ceremony has come to nothing. */
function ended(event: HostEvent): Problem {
  const cause = texts.ended(event.event, event.code, event.device_name);
  return new Problem(0, event.code ?? "", cause.title, cause.detail);
}

/** Ends an offer that nobody will see any more; one that is claimed or over stays as it is. */
function withdraw(offer: string | null): void {
  if (offer !== null) call("DELETE", `/api/pair/offers/${offer}`, undefined, { keepalive: true }).catch(() => undefined);
}

function Waits(props: { name: string; approved: boolean }) {
  return (
    <p class="stage" role="status">
      {texts.connect[props.approved ? "approved" : "claimed"](props.name)}
    </p>
  );
}

/** Dark on white whatever the colours of the page, with a quiet zone of four modules. */
function Code(props: { code: QrCode }) {
  const side = props.code.size + 8;
  return (
    <svg class="qr" viewBox={`-4 -4 ${side} ${side}`} role="img" aria-label={texts.connect.code} shape-rendering="crispEdges">
      <rect x="-4" y="-4" width={side} height={side} fill="#fff" />
      <path d={props.code.path} fill="#000" />
    </svg>
  );
}

function Forms(props: { form: Form; watch: boolean; onChange: (form: Form) => void }) {
  const forms: Form[] = props.watch ? ["link", "lan", "watch"] : ["link", "lan"];
  return (
    <fieldset>
      <legend>{texts.connect.forms}</legend>
      {forms.map((form) => (
        <label key={form} class="choice">
          <input type="radio" name="form" checked={props.form === form} onChange={() => props.onChange(form)} />
          <span>{texts.connect.form[form]}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** The link, and a button that copies it: also over plain HTTP, where the browser keeps its clipboard to itself. */
function Copy(props: { text: string }) {
  const field = useRef<HTMLInputElement>(null);
  async function copy(): Promise<void> {
    field.current?.select();
    const done = navigator.clipboard
      ? await navigator.clipboard.writeText(props.text).then(
          () => true,
          () => false,
        )
      : document.execCommand("copy");
    announce(done ? texts.connect.copied : texts.connect.notCopied);
    setSaid(done ? texts.connect.copied : texts.connect.notCopied);
  }
  const [said, setSaid] = useState("");
  useEffect(() => setSaid(""), [props.text]);
  return (
    <div class="copy">
      <label>
        {texts.connect.link}
        <input ref={field} readOnly value={props.text} onFocus={(event) => event.currentTarget.select()} />
      </label>
      <button type="button" onClick={() => void copy()}>
        {texts.connect.copy}
      </button>
      {said && <span class="dim">{said}</span>}
    </div>
  );
}
