/** The host that is open: the slim bar, below it its apps, and what stands in their way. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { isFinal } from "../sdk.js";
import type { Client } from "./client.js";
import { HostMenu } from "./menu.js";
import { Acts, Icon, Note, Page, Title, TroubleText } from "./parts.js";
import type { Open, Shared, Shown } from "./shared.js";
import type { Leavings } from "./sweeper.js";
import { saidOf, statusOf } from "./status.js";
import { texts } from "./texts.js";

export function HostPage({ client, shared, open }: { client: Client; shared: Shared; open: Open }) {
  const [menu, setMenu] = useState(false);
  const said = saidOf(open.state, open.name);
  useEffect(() => {
    if (said !== "") client.say(said);
  }, [said]);
  const isOver = isFinal(open.state) && !open.isForgetting;
  return (
    <>
      {isOver && <Over client={client} open={open} leavings={shared.leavings} />}
      <div class="host" hidden={isOver}>
        <Bar client={client} open={open} onMenu={() => setMenu(true)} />
        <main class="stage">
          <Banner client={client} open={open} />
          <Stage client={client} shared={shared} open={open} />
        </main>
        {menu && !isOver && <HostMenu client={client} open={open} onClose={() => setMenu(false)} />}
      </div>
    </>
  );
}

function Bar({ client, open, onMenu }: { client: Client; open: Open; onMenu: () => void }) {
  const status = statusOf(open.state);
  const apps = open.apps ?? [];
  const front = open.shown.find((one) => one.app === open.app)?.state;
  return (
    <header class="bar">
      <div class="bar-words">
        <Title name="host" look="bar-name">
          {open.name}
        </Title>
        {front?.phase === "open" && <p class="bar-path">{front.path}</p>}
      </div>
      {apps.length > 1 && (
        <select
          class="bar-app"
          aria-label={texts.host.app}
          value={open.app ?? ""}
          onChange={(event) => void client.session?.select(event.currentTarget.value)}
        >
          {apps.map((app) => (
            <option key={app} value={app ?? ""}>
              {app}
            </option>
          ))}
        </select>
      )}
      <p class={`bar-state ${status.look}`}>
        <Icon name={status.look} />
        <span>{status.word}</span>
      </p>
      <button type="button" class="bar-menu quiet" aria-haspopup="dialog" aria-label={texts.host.menuOf(open.name)} onClick={onMenu}>
        <Icon name="menu" />
      </button>
    </header>
  );
}

/** Why there is no session. The app below stays as it is: the session comes back. */
function Banner({ client, open }: { client: Client; open: Open }) {
  if (open.state.state !== "offline") return null;
  const status = statusOf(open.state);
  const isElsewhere = status.look === "elsewhere";
  return (
    <div class="banner">
      <Icon name={status.look} />
      <div class="banner-text">
        <p>
          <strong>{isElsewhere ? texts.host.elsewhere(open.name) : texts.host.away(open.name)}</strong>{" "}
          {isElsewhere ? texts.host.elsewhereNext : `${status.path} ${status.next} ${texts.host.awayNext}`}
        </p>
        {status.details.length > 0 && (
          <details>
            <summary>{texts.host.awayDetails}</summary>
            <ul class="details">
              {status.details.map((line, at) => (
                <li key={at}>{line}</li>
              ))}
            </ul>
          </details>
        )}
      </div>
      <button type="button" onClick={() => client.session?.retry()}>
        {isElsewhere ? texts.host.takeOver : texts.host.retry}
      </button>
    </div>
  );
}

function Stage({ client, shared, open }: { client: Client; shared: Shared; open: Open }) {
  if (open.isForgetting) return <Quiet word={texts.forget.leaving} />;
  if (open.trouble !== null) {
    return (
      <div class="panel">
        <h2>{open.trouble.title}</h2>
        <TroubleText trouble={open.trouble} />
        <div class="panel-actions">
          <Acts acts={["retry", "hosts"]} on={{ retry: () => client.session?.retry(), hosts: () => client.go("home") }} />
        </div>
      </div>
    );
  }
  if (open.apps?.length === 0) return <Panel title={texts.host.noApps} next={texts.host.noAppsNext} />;
  if (shared.config === null && shared.server !== null) {
    const server = texts.server[shared.server];
    return (
      <Panel title={server.title} next={server.next}>
        <button type="button" class="main" onClick={() => void client.configure()}>
          {texts.server.retry}
        </button>
      </Panel>
    );
  }
  if (shared.config !== null && shared.config.apps === null) return <NoFrames host={open.name} />;
  if (open.shown.length === 0) return open.state.state === "offline" ? null : <Quiet word={texts.host.asking} />;
  return (
    <>
      {open.shown.map((shown) => (
        <Place key={shown.label} client={client} shown={shown} isFront={shown.app === open.app} />
      ))}
    </>
  );
}

/** Where an app's frames are. Those of apps behind it stay, and are not shown. */
function Place({ client, shown, isFront }: { client: Client; shown: Shown; isFront: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const { state } = shown;
  const isFailed = state.phase === "failed";
  useEffect(() => {
    const { session } = client;
    if (place.current !== null) session?.attach(shown, place.current);
    return () => session?.detach(shown.label);
  }, [shown.label]);
  return (
    <div class="place" hidden={!isFront}>
      {state.phase === "opening" && <Quiet word={texts.host.opening} />}
      {isFailed && (
        <div class="panel">
          <h2>{texts.host.failed}</h2>
          <Note tone="bad">
            <p>{state.message}</p>
            <p>
              <strong>{state.next}</strong>
            </p>
          </Note>
          <div class="panel-actions">
            <Acts acts={["retry", "hosts"]} on={{ retry: () => void client.session?.reopen(shown), hosts: () => client.go("home") }} />
          </div>
        </div>
      )}
      <div class="frames" ref={place} hidden={isFailed} />
    </div>
  );
}

function Quiet({ word }: { word: string }) {
  return (
    <div class="quiet-word">
      <Icon name="connecting" />
      <p>{word}</p>
    </div>
  );
}

function Panel({ title, next, children }: { title: string; next: string; children?: ComponentChildren }) {
  return (
    <div class="panel">
      <h2>{title}</h2>
      <p>{next}</p>
      {children !== undefined && <div class="panel-actions">{children}</div>}
    </div>
  );
}

function NoFrames({ host }: { host: string }) {
  const { title, next, ways, operator } = texts.host.noFrames;
  return (
    <div class="panel">
      <h2>{title}</h2>
      <p>{next(host)}</p>
      <ul class="ways">
        {ways.map((way) => (
          <li key={way}>{way}</li>
        ))}
      </ul>
      <p class="dim">{operator}</p>
    </div>
  );
}

function Over({ client, open, leavings }: { client: Client; open: Open; leavings: Leavings }) {
  const { state } = open.state;
  if (state !== "revoked" && state !== "expired" && state !== "forgotten" && state !== "closed") return null;
  return (
    <Page
      title={texts.over[state](open.name)}
      name={`over-${state}`}
      actions={
        <>
          <button type="button" class="main" onClick={() => (state === "closed" ? void client.reopen() : client.go("scan"))}>
            {state === "closed" ? texts.over.reopen : texts.over.again}
          </button>
          <button type="button" onClick={() => client.go("home")}>
            {texts.over.hosts}
          </button>
        </>
      }
    >
      <Note tone="bad">
        {state !== "closed" && <p role="status">{texts.over.lead[open.isGone ? leavings : "going"]}</p>}
        <p>
          <strong>{texts.over.next[state]}</strong>
        </p>
      </Note>
    </Page>
  );
}

/** The host's name while it is being opened. */
export function Opening({ name }: { name: string }) {
  return (
    <div class="host">
      <header class="bar">
        <div class="bar-words">
          <Title name="opening" look="bar-name">
            {name}
          </Title>
        </div>
      </header>
      <main class="stage">
        <Quiet word={texts.state.path.connecting} />
      </main>
    </div>
  );
}

