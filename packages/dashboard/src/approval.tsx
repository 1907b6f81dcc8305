// A device that waits for its owner's word.

import { useEffect, useRef, useState } from "preact/hooks";

import { call, type Pairing, type Problem } from "./api";
import { clock } from "./clock";
import { Countdown, Facts, ProblemNote, useFocusBack } from "./parts";
import { useShared, useTicks, words } from "./state";
import { texts } from "./texts";

/**
 * Who it is, and the two answers; a device in a sealed session is let in by the code that it shows. `focus`: it takes the
 * place of what the owner was looking at.
 */
export function Approval(props: { pairing: Pairing; focus?: boolean }) {
  const { pairing } = props;
  const [code, setCode] = useState("");
  // Not by disabling the buttons: what is disabled loses the focus.
  const busy = useRef(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [total] = useState(() => clock.until(pairing.expires_at));
  const form = useRef<HTMLFormElement>(null);
  useFocusBack(form);
  const focus = () => form.current?.querySelector<HTMLElement>("input, button")?.focus();
  useEffect(() => {
    if (props.focus) focus();
  }, []);
  // Once it can be pressed again.
  useEffect(() => {
    if (problem !== null) focus();
  }, [problem]);
  useTicks(500);
  const name = pairing.device_name ?? texts.aDevice;

  async function decide(answer: "approve" | "reject"): Promise<void> {
    if (busy.current) return;
    busy.current = true;
    setProblem(null);
    try {
      const body = answer === "approve" && pairing.check_code ? { check_code: code.replace(/\D/g, "") } : undefined;
      await call("POST", `/api/pair/pairings/${pairing.id}/${answer}`, body);
    } catch (error) {
      setProblem(words(error));
      setCode("");
      busy.current = false;
    }
  }

  const digits = code.replace(/\D/g, "");
  return (
    <form
      ref={form}
      class="card wanted"
      aria-label={texts.approval.title(name)}
      onSubmit={(event) => {
        event.preventDefault();
        if (!pairing.check_code || digits.length === 6) void decide("approve");
      }}
    >
      <h3>{texts.approval.title(name)}</h3>
      <Facts rows={whence(pairing)} />
      {pairing.check_code ? (
        <label>
          {texts.approval.code}
          <input
            class="code"
            inputMode="numeric"
            autocomplete="off"
            maxLength={7}
            value={code}
            onInput={(event) => setCode(event.currentTarget.value)}
          />
          <span class="dim">{texts.approval.codeHint}</span>
        </label>
      ) : (
        <p>{texts.approval.noCode}</p>
      )}
      {problem && <ProblemNote problem={problem} />}
      <div class="actions">
        <button type="submit" class="main" disabled={pairing.check_code && digits.length !== 6}>
          {texts.approval.approve}
        </button>
        <button type="button" onClick={() => void decide("reject")}>
          {texts.approval.reject}
        </button>
      </div>
      <Countdown left={clock.until(pairing.expires_at)} total={total} />
    </form>
  );
}

/** The claims that wait for the owner, by whatever door they came, `except` the one that is shown elsewhere. */
export function Waiting(props: { except?: string | null }) {
  const { pairings } = useShared();
  const asked = pairings.filter((pairing) => pairing.state === "approval" && pairing.id !== props.except);
  if (asked.length === 0) return null;
  return (
    <section aria-labelledby="waiting">
      <h2 id="waiting">{texts.approval.waiting(asked.length)}</h2>
      {asked.map((pairing) => (
        <Approval key={pairing.id} pairing={pairing} />
      ))}
    </section>
  );
}

function whence(pairing: Pairing): [string, string][] {
  const rows: [string, string | null | undefined][] = [
    [texts.device.name, pairing.device_name],
    [texts.device.model, pairing.device_model],
    [texts.device.platform, pairing.platform],
    [texts.device.network, pairing.network],
    [texts.device.cameBy, pairing.relay ? texts.throughRelay(pairing.relay) : texts.path.lan],
  ];
  return rows.filter((row): row is [string, string] => !!row[1]);
}
