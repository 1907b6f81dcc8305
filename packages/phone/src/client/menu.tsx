/** The menu of the open host: how it is reached, what this device may do there, and what can be done. */
import { useState } from "preact/hooks";

import type { Client } from "./client.js";
import { Facts, Fingerprint, Question, Sheet } from "./parts.js";
import type { Listed, Open } from "./shared.js";
import { statusOf } from "./status.js";
import { texts } from "./texts.js";

export function HostMenu({ client, open, onClose }: { client: Client; open: Open; onClose: () => void }) {
  const [isAsked, setAsked] = useState(false);
  if (isAsked) return <Forget client={client} host={open} onClose={onClose} />;
  const status = statusOf(open.state);
  const front = open.shown.find((one) => one.app === open.app);
  const canGoBack = front?.state.phase === "open" && front.state.canGoBack;
  const then = (work: () => void) => () => {
    onClose();
    work();
  };
  return (
    <Sheet title={open.name} onClose={onClose}>
      <Facts
        facts={[
          [texts.host.path, status.path],
          [texts.host.deviceName, open.me?.device_name],
          [texts.host.limits, limits(open)],
          [texts.host.ends, ends(open)],
          [texts.fingerprint, <Fingerprint text={open.id.toUpperCase()} />],
        ]}
      />
      <div class="sheet-actions">
        {front?.state.phase === "open" && (
          <>
            <button type="button" onClick={then(() => client.session?.reload())}>
              {texts.host.reload}
            </button>
            <button type="button" disabled={!canGoBack} onClick={then(() => client.session?.back())}>
              {texts.host.back}
            </button>
          </>
        )}
        <button type="button" onClick={then(() => client.go("home"))}>
          {texts.host.hosts}
        </button>
        <button type="button" class="grave" onClick={() => setAsked(true)}>
          {texts.host.forget}
        </button>
        <button type="button" class="quiet" onClick={onClose}>
          {texts.close}
        </button>
      </div>
    </Sheet>
  );
}

/** Asks before a host is forgotten. */
export function Forget({ client, host: { id, name }, onClose }: { client: Client; host: Pick<Listed, "id" | "name">; onClose: () => void }) {
  const go = (): void => {
    onClose();
    void client.forget(id);
  };
  return (
    <Question
      title={texts.forget.title(name)}
      keep={texts.forget.keep}
      onClose={onClose}
      go={
        <button type="button" class="grave" onClick={go}>
          {texts.forget.go}
        </button>
      }
    >
      <p>{texts.forget.lead(name)}</p>
    </Question>
  );
}

function limits({ me }: Open): string {
  const said: string[] = [];
  if (me?.scope?.read_only === true) said.push(texts.host.readOnly);
  const paths = me?.scope?.paths;
  const named = Array.isArray(paths) ? paths.filter((path): path is string => typeof path === "string") : [];
  if (named.length > 0) said.push(texts.host.paths(named));
  return said.join(", ");
}

function ends({ me }: Open): string {
  const at = typeof me?.expires_at === "string" ? new Date(me.expires_at) : null;
  return at === null || Number.isNaN(at.getTime()) ? "" : at.toLocaleString();
}
