/** Which page is shown, and what stands over it. */
import { useEffect, useState } from "preact/hooks";

import type { Client } from "./client.js";
import { Home } from "./home.js";
import { HostPage, Opening } from "./host.js";
import { Pairing, Waiting } from "./pairing.js";
import { Paste } from "./paste.js";
import { Question } from "./parts.js";
import { Scan } from "./scan.js";
import { useCell, type Leaving, type Shared } from "./shared.js";
import { texts } from "./texts.js";

export function App({ client }: { client: Client }) {
  const shared = useCell(client.cell);
  const [isAsked, setAsked] = useState(false);
  const { route, open, said } = shared;
  const name = route.at === "host" && open !== null ? open.name : "";
  useEffect(() => {
    document.title = name === "" ? texts.title : `${name} – ${texts.title}`;
  }, [name]);
  return (
    <>
      <Shows client={client} shared={shared} onClear={() => setAsked(true)} />
      {open !== null && open.leaving !== null && <Leave client={client} leaving={open.leaving} />}
      {isAsked && <Clear client={client} onClose={() => setAsked(false)} />}
      <p class="unseen" role="status">
        {said}
      </p>
    </>
  );
}

function Shows({ client, shared, onClear }: { client: Client; shared: Shared; onClear: () => void }) {
  const { route, open, ceremony, hosts } = shared;
  if (shared.isClearing) return <Waiting title={texts.clear.going} name="clearing" />;
  switch (route.at) {
    case "scan":
      return <Scan client={client} />;
    case "paste":
      return <Paste client={client} />;
    case "pair":
      if (ceremony === null) break;
      return <Pairing client={client} ceremony={ceremony} onClear={onClear} />;
    case "host": {
      if (open === null) return <Opening name={hosts?.find((host) => host.id === route.id)?.name ?? texts.unnamed} />;
      // The moment of success stays until there is more to show.
      const isNew = ceremony?.step === "paired" && open.apps === null && open.trouble === null;
      if (isNew && open.state.state !== "offline" && !("error" in open.state)) return <Pairing client={client} ceremony={ceremony} onClear={onClear} />;
      return <HostPage client={client} shared={shared} open={open} />;
    }
  }
  return <Home client={client} shared={shared} onClear={onClear} />;
}

/** An app's address is an app's word: it is shown whole. */
function Leave({ client, leaving: { app, url } }: { client: Client; leaving: Leaving }) {
  return (
    <Question
      title={texts.leave.title(app)}
      keep={texts.leave.stay}
      onClose={() => client.session?.left(false)}
      go={
        <a class="button main" href={url} target="_blank" rel="noopener noreferrer" onClick={() => client.session?.left(true)}>
          {texts.leave.go}
        </a>
      }
    >
      <p>{texts.leave.lead}</p>
      {/* Longer ones are scrolled, by keys as well. */}
      <p class="address" tabIndex={0}>
        {url}
      </p>
    </Question>
  );
}

function Clear({ client, onClose }: { client: Client; onClose: () => void }) {
  const go = (): void => {
    onClose();
    void client.clear();
  };
  return (
    <Question
      title={texts.clear.title}
      keep={texts.cancel}
      onClose={onClose}
      go={
        <button type="button" class="grave" onClick={go}>
          {texts.clear.go}
        </button>
      }
    >
      <p>{texts.clear.lead}</p>
    </Question>
  );
}
