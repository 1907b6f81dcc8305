// The audit log: what happened, and who did it.

import { fullDate } from "./parts";
import { readOlder, useShared } from "./state";
import { texts } from "./texts";

export function Activity() {
  const { audit, devices, more } = useShared();
  if (audit === null) return <p class="dim">{texts.loading}</p>;
  if (audit.length === 0) return <p class="dim">{texts.activity.none}</p>;
  const name = (id: string | null | undefined) => devices?.find((device) => device.device_id === id)?.device_name;
  return (
    <>
      <ol class="log">
        {audit.map((entry) => (
          <li key={entry.id}>
            <time dateTime={entry.at}>{fullDate(entry.at)}</time>
            <span class="what">
              <strong>{texts.action(entry.action)}</strong> {texts.actor(entry.actor)}
            </span>
            <span class="dim">
              {[entry.detail ?? name(entry.device_id), entry.network].filter((part) => part).join(" · ")}
            </span>
          </li>
        ))}
      </ol>
      {more && (
        <button type="button" onClick={() => void readOlder()}>
          {texts.activity.older}
        </button>
      )}
    </>
  );
}
