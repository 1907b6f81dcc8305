/** The first page: the hosts that this browser is paired with, and the ways to another. */
import { useState } from "preact/hooks";

import type { Client } from "./client.js";
import { Forget } from "./menu.js";
import { Icon, Note, Page, TroubleText } from "./parts.js";
import type { Listed, Shared } from "./shared.js";
import { texts } from "./texts.js";

export function Home({ client, shared, onClear }: { client: Client; shared: Shared; onClear: () => void }) {
  const { hosts, stored, server, notice, leavings, forgetting } = shared;
  const [asked, setAsked] = useState<Listed | null>(null);
  const isEmpty = hosts !== null && hosts.length === 0;
  return (
    <Page
      title={isEmpty && stored === null ? texts.home.empty : texts.home.title}
      name="home"
      again={forgetting}
      actions={
        <>
          <button type="button" class={isEmpty ? "main" : ""} onClick={() => client.go("scan")}>
            <Icon name="scan" />
            {texts.home.scan}
          </button>
          <button type="button" onClick={() => client.go("paste")}>
            {texts.home.paste}
          </button>
        </>
      }
    >
      {notice !== "" && (
        <Note tone="plain">
          <p role="status">{notice}</p>
        </Note>
      )}
      {leavings === "left" && (
        <Note tone="plain">
          <p role="status">{texts.home.leavings}</p>
        </Note>
      )}
      {server !== null && (
        <Note tone="bad">
          <p role="status">{texts.server[server].title}</p>
          <p>{texts.server[server].next}</p>
          <button type="button" onClick={() => void client.configure()}>
            {texts.server.retry}
          </button>
        </Note>
      )}
      {stored !== null && (
        <>
          {isEmpty ? <h2>{stored.title}</h2> : <p>{texts.home.unusable}</p>}
          <TroubleText trouble={stored} />
          <p>
            <button type="button" class="grave" onClick={onClear}>
              {texts.trouble.act.clear}
            </button>
          </p>
        </>
      )}
      {hosts === null && <p>{texts.home.loading}</p>}
      {hosts !== null && hosts.length > 0 && (
        <ul class="hosts">
          {hosts.map((host) => (
            <li key={host.id}>
              <button type="button" class="host-row" disabled={forgetting === host.id} onClick={() => void client.openHost(host.id)}>
                <Icon name="host" />
                <span class="host-words">
                  <span class="host-name">{host.name}</span>
                  <span class="dim small">
                    {forgetting === host.id ? (
                      texts.forget.leaving
                    ) : host.isUnfinished ? (
                      texts.home.unfinished
                    ) : (
                      <code class="key short">{host.fingerprint.slice(0, 9)}</code>
                    )}
                  </span>
                </span>
              </button>
              <button
                type="button"
                class="quiet host-forget"
                aria-haspopup="dialog"
                aria-label={texts.home.forget(host.name)}
                disabled={forgetting !== ""}
                onClick={() => setAsked(host)}
              >
                <Icon name="over" />
              </button>
            </li>
          ))}
        </ul>
      )}
      {isEmpty && stored === null && <p>{texts.home.lead}</p>}
      {asked !== null && <Forget client={client} host={asked} onClose={() => setAsked(null)} />}
    </Page>
  );
}
