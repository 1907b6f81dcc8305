// The frame around the pages, and which of them is shown.

import { useEffect, useState } from "preact/hooks";

import { Waiting } from "./approval";
import { Activity } from "./activity";
import { Connect } from "./connect";
import { DeviceList } from "./devices";
import { HostPage } from "./host";
import { focusPage, Marked, Spoken } from "./parts";
import { dismiss, notify, signOut, useShared, words } from "./state";
import { Pins } from "./pins";
import { Stranger } from "./stranger";
import { texts } from "./texts";
import { Watches } from "./watches";

const PAGES = ["devices", "activity", "host"] as const;
type Page = (typeof PAGES)[number];

function page(): Page {
  return PAGES.find((name) => location.hash === `#${name}`) ?? "devices";
}

export function App() {
  const { owner } = useShared();
  return (
    <>
      {owner.is === "owner" && <Dashboard />}
      {owner.is === "stranger" && <Stranger why={owner.why} />}
      {(owner.is === "unknown" || owner.is === "signing-in") && (
        <main class="page">
          <p>{texts.loading}</p>
        </main>
      )}
      <Spoken />
    </>
  );
}

function Dashboard() {
  const { status, live } = useShared();
  const [shown, setShown] = useState<Page>(page);
  const [connecting, setConnecting] = useState(false);

  useEffect(() => {
    const change = () => {
      setShown(page());
      focusPage();
    };
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);
  useEffect(() => {
    document.title = status ? `${texts.pages[shown]} – ${status.server_name}` : "Couplet";
  }, [shown, status?.server_name]);

  return (
    <>
      <header>
        <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), focusPage())}>
          {texts.skip}
        </a>
        <div class="bar">
          <p class="brand">
            <span class="name">Couplet</span> <span>{status?.server_name}</span>
          </p>
          <button type="button" class="main" onClick={() => setConnecting(true)}>
            {texts.connect.button}
          </button>
          <nav aria-label={texts.nav}>
            {PAGES.map((name) => (
              <a key={name} href={`#${name}`} aria-current={name === shown ? "page" : undefined}>
                {texts.pages[name]}
              </a>
            ))}
          </nav>
          <button type="button" class="quiet" onClick={() => void signOut().catch((error) => notify(false, words(error).title))}>
            {texts.signOut}
          </button>
        </div>
      </header>
      {live === false && (
        <p class="note bad wide" role="alert">
          <strong>{texts.offline.title}</strong> <Marked text={texts.offline.detail} />
        </p>
      )}
      <main id="main" class="page">
        <h1 tabIndex={-1}>{texts.pages[shown]}</h1>
        {/* What comes and goes by itself stands below what is pressed. */}
        {!connecting && <Pins />}
        {!connecting && <Waiting />}
        <Notices />
        {shown === "devices" && (
          <>
            <section aria-labelledby="devices-title">
              <h2 id="devices-title">{texts.devices.title}</h2>
              <p class="dim">{texts.devices.lead}</p>
              <DeviceList />
            </section>
            <Watches />
          </>
        )}
        {shown === "activity" && <Activity />}
        {shown === "host" && <HostPage />}
      </main>
      {connecting && <Connect onClose={() => setConnecting(false)} />}
    </>
  );
}

function Notices() {
  const { notices } = useShared();
  return (
    <div class="notices">
      {notices.map((notice) => (
        <p key={notice.id} class={notice.good ? "note good" : "note bad"}>
          {notice.text}
          <button type="button" class="quiet" aria-label={texts.dismiss} onClick={() => dismiss(notice.id)}>
            <span aria-hidden="true">✕</span>
          </button>
        </p>
      ))}
    </div>
  );
}
