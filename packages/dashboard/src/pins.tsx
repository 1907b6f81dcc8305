// Devices that ask to pair by PIN: the host shows six digits, the device's person types them, or the owner allows it.

import { useRef, useState } from "preact/hooks";

import { call, type PinRequest, type Problem } from "./api";
import { clock } from "./clock";
import { Countdown, Facts, ProblemNote, useFocusBack } from "./parts";
import { refreshPins, useShared, useTicks, words } from "./state";
import { texts } from "./texts";

/** Nothing on a host without this door, or when nobody asks. */
export function Pins() {
  const { pins } = useShared();
  if (pins === null || pins.length === 0) return null;
  return (
    <section aria-labelledby="pins">
      <h2 id="pins">{texts.pins.title}</h2>
      {pins.map((request) => (
        <Pin key={request.id} request={request} />
      ))}
    </section>
  );
}

function Pin(props: { request: PinRequest }) {
  const { request } = props;
  const [total] = useState(() => clock.until(request.expires_at));
  const [problem, setProblem] = useState<Problem | null>(null);
  const busy = useRef(false);
  const card = useRef<HTMLDivElement>(null);
  useFocusBack(card);
  useTicks(500);
  const name = request.device_name;

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
      <p>{texts.pins.type}</p>
      <p class="pin">{request.pin}</p>
      {problem && <ProblemNote problem={problem} />}
      <div class="actions">
        <button type="button" class="main" aria-label={texts.pins.allowOf(name)} onClick={() => void decide("accept")}>
          {texts.pins.allow}
        </button>
        <button type="button" aria-label={texts.pins.rejectOf(name)} onClick={() => void decide("reject")}>
          {texts.approval.reject}
        </button>
      </div>
      <Countdown left={clock.until(request.expires_at)} total={total} />
    </div>
  );
}
