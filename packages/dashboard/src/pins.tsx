// Devices that ask to pair by PIN: the host shows digits, the device's person types them; or the owner allows it, when
// the device shows the number that stands there.

import { type RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { call, type PinRequest, Problem } from "./api";
import { clock } from "./clock";
import { Confirm, Countdown, Facts, focusTitle, ProblemNote } from "./parts";
import { announce, refreshPins, useShared, useTicks, words } from "./state";
import { texts } from "./texts";

/** How long the places of requests are kept once none waits any more. */
const KEPT = 3000;
/** How many places there are. Who asks when all are taken is counted, until the owner clears those of requests that are over. */
const PLACES = 64;
/** How many names a question has. */
const NAMED = 5;

/**
 * Where a request is shown. When it is over its place stays, so that no button moves to where another one was. `held`: it
 * had the focus when it ended.
 */
type Place = { request: PinRequest; gone: boolean; height: number; held: boolean };

/** Nothing on a host without this door, or when nobody asks. */
export function Pins() {
  const { pins } = useShared();
  const places = useRef<Place[]>([]);
  const [, redraw] = useState(0);
  places.current = settle(places.current, pins ?? []);
  const shown = places.current;
  const over = shown.length > 0 && shown.every((place) => place.gone);

  function keep(kept: Place[]): void {
    places.current = kept;
    redraw((n) => n + 1);
  }

  useEffect(() => {
    if (!over) return;
    // Not while somebody goes through them by keys.
    const timer = setInterval(() => {
      if (!document.querySelector("#pins")?.closest("section")?.querySelector(":focus-visible")) keep([]);
    }, KEPT);
    return () => clearInterval(timer);
  }, [over, shown.length]);

  return shown.length === 0 ? null : <Places places={shown} waiting={pins ?? []} keep={keep} />;
}

/** Who waits stays where it is shown, who is new comes last. */
function settle(places: Place[], requests: PinRequest[]): Place[] {
  const waiting = new Map(requests.map((request) => [request.id, request]));
  for (const place of places) {
    const request = waiting.get(place.request.id);
    waiting.delete(place.request.id);
    place.gone = request === undefined;
    place.request = request ?? place.request;
  }
  const added = [...waiting.values()].slice(0, Math.max(0, PLACES - places.length));
  return [...places, ...added.map((request) => ({ request, gone: false, height: 0, held: false }))];
}

function Places(props: { places: Place[]; waiting: PinRequest[]; keep: (places: Place[]) => void }) {
  const { places, waiting } = props;
  const [rejecting, setRejecting] = useState<PinRequest[] | null>(null);
  const section = useRef<HTMLElement>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  useTitleFocus(section);
  // Which of the places that are over gets the focus once the one before has made way.
  const next = useRef<number | null>(null);
  useLayoutEffect(() => {
    if (next.current === null) return;
    const left = section.current?.querySelectorAll<HTMLElement>(".gone button") ?? [];
    (left[Math.min(next.current, left.length - 1)] ?? heading.current)?.focus();
    next.current = null;
  });
  const gone = places.filter((place) => place.gone);
  const more = waiting.length - (places.length - gone.length);

  function dismiss(place: Place): void {
    next.current = gone.indexOf(place);
    props.keep(places.filter((other) => other !== place));
  }

  function clear(): void {
    next.current = 0;
    announce(texts.pins.cleared(gone.length));
    props.keep(places.filter((place) => !place.gone));
  }

  return (
    <section ref={section} aria-labelledby="pins">
      <div class="pins-head">
        <h2 ref={heading} id="pins" tabIndex={-1}>
          {texts.pins.title}
        </h2>
        {/* Its room is there before its buttons are: they move nothing below. */}
        <div class="actions">
          {waiting.length > 1 && (
            <button type="button" aria-label={texts.pins.rejectAllOf(waiting.length)} onClick={() => setRejecting(waiting)}>
              {texts.pins.rejectAll}
            </button>
          )}
          {gone.length > 0 && (
            <button type="button" aria-label={texts.pins.clearOf(gone.length)} onClick={clear}>
              {texts.pins.clear}
            </button>
          )}
        </div>
      </div>
      {places.map((place) => {
        const { id } = place.request;
        if (!place.gone) return <Pin key={id} place={place} />;
        return <Gone key={`${id} gone`} place={place} onDismiss={() => dismiss(place)} />;
      })}
      {more > 0 && <p>{texts.pins.more(more)}</p>}
      {rejecting && <RejectAll requests={rejecting} onClose={() => setRejecting(null)} />}
    </section>
  );
}

/** Gives the focus to what the section is in when it goes with it. */
function useTitleFocus(section: RefObject<HTMLElement | null>): void {
  useLayoutEffect(() => {
    const dialog = section.current?.closest("dialog") ?? null;
    return () => {
      if (section.current?.contains(document.activeElement)) queueMicrotask(() => focusTitle(dialog));
    };
  }, []);
}

/** Turns away those that wait when it is asked, and nobody who comes later. */
function RejectAll(props: { requests: PinRequest[]; onClose: () => void }) {
  const { requests } = props;
  async function reject(): Promise<void> {
    try {
      for (const { id } of requests) await rejected(id);
    } finally {
      await refreshPins();
    }
  }
  const names = requests.slice(0, NAMED).map((request) => request.device_name);
  return (
    <Confirm
      title={texts.pins.rejectAllTitle(requests.length)}
      detail={texts.pins.rejectAllDetail(names, requests.length - names.length)}
      action={texts.pins.rejectAll}
      act={reject}
      onClose={props.onClose}
    />
  );
}

/** Turns a device away. One that is over meanwhile is no failure. */
async function rejected(id: string): Promise<void> {
  try {
    await call("POST", `/mobile/pairing/${id}/reject`);
  } catch (error) {
    if (!(error instanceof Problem && [404, 409, 410].includes(error.status))) throw error;
  }
}

function Gone(props: { place: Place; onDismiss: () => void }) {
  const { place } = props;
  const name = place.request.device_name;
  const button = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => {
    if (place.held) button.current?.focus();
  }, []);
  return (
    <div class="card gone" style={{ minHeight: `${place.height}px` }}>
      <p>{texts.pins.gone(name)}</p>
      <button ref={button} type="button" class="quiet" aria-label={texts.pins.dismissOf(name)} onClick={props.onDismiss}>
        <span aria-hidden="true">✕</span>
      </button>
    </div>
  );
}

/** As people read it: `123 456`, or `1234 5678`. */
function halves(digits: string): string {
  const half = digits.length / 2;
  return `${digits.slice(0, half)} ${digits.slice(half)}`;
}

function Pin(props: { place: Place }) {
  const { request } = props.place;
  const [total] = useState(() => clock.until(request.expires_at));
  const [problem, setProblem] = useState<Problem | null>(null);
  const [alike, setAlike] = useState(false);
  const busy = useRef(false);
  const card = useRef<HTMLDivElement>(null);
  useTicks(500);
  useLayoutEffect(() => {
    props.place.height = card.current?.getBoundingClientRect().height ?? 0;
  });
  useLayoutEffect(
    () => () => {
      props.place.held = card.current?.contains(document.activeElement) ?? false;
    },
    [],
  );
  const name = request.device_name;
  const number = request.match_number;

  /** `digits`: what the device shows, as the owner has typed it. */
  async function decide(answer: "accept" | "reject", digits?: string): Promise<void> {
    if (busy.current) return;
    busy.current = true;
    setProblem(null);
    try {
      if (digits === undefined) await call("POST", `/mobile/pairing/${request.id}/${answer}`);
      else await call("POST", `/api/pair/pairings/${request.id}/approve`, { match_number: digits });
    } catch (error) {
      const said = words(error);
      setProblem(said);
      if (said.code === "CPL-1231") setAlike(true);
    }
    await refreshPins();
    busy.current = false;
  }

  const facts: [string, string | null | undefined][] = [
    [texts.device.model, request.device_model],
    [texts.device.platform, request.platform],
    [texts.device.network, request.network],
  ];
  return (
    <div ref={card} class="card wanted">
      <h3>{texts.pins.asks(name)}</h3>
      <Facts rows={facts.filter((row): row is [string, string] => !!row[1])} />
      {!request.sealed && <p class="note warn">{texts.pins.plain}</p>}
      <p>{texts.pins.type}</p>
      <p class="pin">{halves(request.pin)}</p>
      <p>{texts.pins.or(number)}</p>
      <div class="actions">
        <button type="button" aria-label={texts.pins.allowOf(number, name)} onClick={() => void decide("accept")}>
          {texts.pins.allow(number)}
        </button>
        <button type="button" aria-label={texts.pins.rejectOf(name)} onClick={() => void decide("reject")}>
          {texts.approval.reject}
        </button>
      </div>
      <Countdown left={clock.until(request.expires_at)} total={total} />
      {problem && <ProblemNote problem={problem} />}
      {alike && <ByNumber name={name} onSubmit={(digits) => void decide("accept", digits)} />}
    </div>
  );
}

/** Another one has the same name: which is meant is said by the digits that the device shows, not by those that stand here. */
function ByNumber(props: { name: string; onSubmit: (digits: string) => void }) {
  const [typed, setTyped] = useState("");
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const digits = typed.replace(/\D/g, "");
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (digits.length !== 3) return;
        setTyped("");
        props.onSubmit(digits);
      }}
    >
      <label>
        {texts.pins.number(props.name)}
        <input
          ref={field}
          class="code"
          inputMode="numeric"
          autocomplete="off"
          maxLength={3}
          value={typed}
          onInput={(event) => setTyped(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="main" aria-label={texts.pins.letInOf(props.name)} disabled={digits.length !== 3}>
        {texts.pins.letIn}
      </button>
    </form>
  );
}
