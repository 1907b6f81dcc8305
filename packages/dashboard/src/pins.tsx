// Devices that ask to pair by PIN: the host shows digits, the device's person types them; or the owner allows it, when
// the device shows the number that stands there.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { call, type PinRequest, type Problem } from "./api";
import { clock } from "./clock";
import { Countdown, Facts, ProblemNote, useFocusBack } from "./parts";
import { refreshPins, useShared, useTicks, words } from "./state";
import { texts } from "./texts";

/** How long the places of requests are kept once none waits any more. */
const KEPT = 3000;
/** How many places there are at most for requests that are over. */
const GONE_MOST = 32;

/** Where a request is shown. When it is over its place stays, so that no button moves to where another one was. */
type Place = { request: PinRequest; gone: boolean; height: number };

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
    const timer = setTimeout(() => keep([]), KEPT);
    return () => clearTimeout(timer);
  }, [over, shown.length]);

  if (shown.length === 0) return null;
  return (
    <section aria-labelledby="pins">
      <h2 id="pins">{texts.pins.title}</h2>
      {shown.map((place) => {
        const { id } = place.request;
        if (!place.gone) return <Pin key={id} place={place} />;
        return <Gone key={`${id} gone`} place={place} onDismiss={() => keep(shown.filter((other) => other !== place))} />;
      })}
    </section>
  );
}

/** Who waits stays where it is shown, who is new comes last. */
function settle(places: Place[], requests: PinRequest[]): Place[] {
  const waiting = new Map(requests.map((request) => [request.id, request]));
  const settled = places.map((place) => {
    const request = waiting.get(place.request.id);
    waiting.delete(place.request.id);
    return { request: request ?? place.request, gone: request === undefined, height: place.height };
  });
  const gone = settled.filter((place) => place.gone);
  const dropped = new Set(gone.slice(0, Math.max(0, gone.length - GONE_MOST)));
  const added = [...waiting.values()].map((request) => ({ request, gone: false, height: 0 }));
  return [...settled.filter((place) => !dropped.has(place)), ...added];
}

function Gone(props: { place: Place; onDismiss: () => void }) {
  const name = props.place.request.device_name;
  return (
    <div class="card gone" style={{ minHeight: `${props.place.height}px` }}>
      <p>{texts.pins.gone(name)}</p>
      <button type="button" class="quiet" aria-label={texts.pins.dismissOf(name)} onClick={props.onDismiss}>
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
  const busy = useRef(false);
  const card = useRef<HTMLDivElement>(null);
  useFocusBack(card);
  useTicks(500);
  useLayoutEffect(() => {
    props.place.height = card.current?.getBoundingClientRect().height ?? 0;
  });
  const name = request.device_name;
  const number = request.match_number;

  async function decide(answer: "accept" | "reject"): Promise<void> {
    if (busy.current) return;
    busy.current = true;
    setProblem(null);
    try {
      await call("POST", `/mobile/pairing/${request.id}/${answer}`);
    } catch (error) {
      setProblem(words(error));
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
    </div>
  );
}
