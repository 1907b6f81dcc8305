// Paired watches: those that may come in, and those that may not any more.

import { Active, Revoked } from "./devices";
import { useShared } from "./state";
import { texts } from "./texts";

/** Nothing on a host without this door. */
export function Watches() {
  const { watches } = useShared();
  if (watches === null) return null;
  const active = watches.filter((watch) => watch.revoked_at === null);
  const revoked = watches.filter((watch) => watch.revoked_at !== null);
  return (
    <section aria-labelledby="watches">
      <h2 id="watches">{texts.watches.title}</h2>
      <section class="part" aria-labelledby="watches-active">
        <h3 id="watches-active">{texts.watches.active}</h3>
        {active.length === 0 && <p class="dim">{texts.watches.none}</p>}
        <Active devices={active} heading="h4" />
      </section>
      <section class="part" aria-labelledby="watches-revoked">
        <h3 id="watches-revoked">{texts.watches.revoked}</h3>
        {revoked.length === 0 && <p class="dim">{texts.watches.noneRevoked}</p>}
        <Revoked devices={revoked} heading="h4" />
      </section>
    </section>
  );
}
