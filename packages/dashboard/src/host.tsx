// The host itself: its version, its relay, who is signed in, what stands in its way.

import type { RelayStatus } from "./api";
import { Doctor } from "./doctor";
import { Ago, Facts, fullDate, Marked } from "./parts";
import { Sessions } from "./sessions";
import { useShared } from "./state";
import { texts } from "./texts";

export function HostPage() {
  const { status } = useShared();
  if (status === null) return <p class="dim">{texts.loading}</p>;
  return (
    <>
      <Facts
        rows={[
          [texts.host.name, status.server_name],
          [texts.host.version, status.version],
          [texts.host.session, status.session_expires_at ? texts.host.until(fullDate(status.session_expires_at)) : texts.host.token],
        ]}
      />
      <Sessions />
      <section aria-labelledby="relay">
        <h2 id="relay">{texts.relay.title}</h2>
        {status.relay ? <Relay relay={status.relay} /> : <p><Marked text={texts.relay.none} /></p>}
      </section>
      <Doctor />
    </>
  );
}

function Relay(props: { relay: RelayStatus }) {
  const { relay } = props;
  const bad = relay.state === "lost" || relay.state === "refused";
  return (
    <div class={bad ? "note bad" : relay.state === "connected" ? "note good" : "note"}>
      <p>
        <strong>{relay.name}</strong>: {texts.relay[relay.state]}
      </p>
      {relay.since && (
        <p class="dim">
          {texts.relay.since} <Ago at={relay.since} />
        </p>
      )}
      {relay.code && <p class="dim">{texts.explain(relay.code)}</p>}
    </div>
  );
}
