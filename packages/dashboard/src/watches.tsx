// Paired watches: those that may come in, and those that may not any more.

import { useState } from "preact/hooks";

import { call, type Watch } from "./api";
import { Confirm, Seen } from "./devices";
import { Ago, Day } from "./parts";
import { refreshWatches, useShared } from "./state";
import { texts } from "./texts";

/** Nothing on a host without this door. */
export function Watches() {
  const { watches } = useShared();
  const [open, setOpen] = useState<Watch | null>(null);
  if (watches === null) return null;
  const active = watches.filter((watch) => !watch.revoked_at);
  const revoked = watches.filter((watch) => watch.revoked_at);
  const revoke = async (watch: Watch) => {
    await call("POST", `/watch/devices/${watch.device_id}/revoke`);
    await refreshWatches();
  };
  return (
    <section aria-labelledby="watches">
      <h2 id="watches">{texts.watches.title}</h2>
      <h3>{texts.watches.active}</h3>
      {active.length === 0 && <p class="dim">{texts.watches.none}</p>}
      <ul class="cards">
        {active.map((watch) => (
          <li key={watch.device_id} class="card">
            <h4>{watch.device_name}</h4>
            <p class="times">
              {texts.devices.paired} <Day at={watch.paired_at} /> <span aria-hidden="true">•</span> <Seen at={watch.last_seen} />
            </p>
            <div class="actions">
              <button
                type="button"
                class="danger"
                aria-label={texts.devices.revokeOf(watch.device_name)}
                onClick={() => setOpen(watch)}
              >
                {texts.devices.revoke}
              </button>
            </div>
          </li>
        ))}
      </ul>
      <h3>{texts.watches.revoked}</h3>
      {revoked.length === 0 && <p class="dim">{texts.watches.noneRevoked}</p>}
      <ul class="cards">
        {revoked.map((watch) => (
          <li key={watch.device_id} class="card">
            <h4>{watch.device_name}</h4>
            <p class="dim">
              {texts.devices.revokedAt} {watch.revoked_at && <Ago at={watch.revoked_at} />}
            </p>
          </li>
        ))}
      </ul>
      {open && <Confirm title={texts.revoke.title(open.device_name)} act={() => revoke(open)} onClose={() => setOpen(null)} />}
    </section>
  );
}
