/** Pairs, shows the check code, and then what the app behind the host answers. */
import { CoupletError, isOnline, type Host, type RestoreOptions } from "couplet";
import { useEffect, useState, type FormEvent } from "react";

import { useCouplet } from "./couplet.js";

const DEFAULTS: RestoreOptions = {};

export function App({ options = DEFAULTS }: { readonly options?: RestoreOptions }) {
  const { host, state, pairing, error, isRestored, pair, forget } = useCouplet(options);
  if (!isRestored) return <p>Looking for a paired host …</p>;
  if (pairing?.state === "approval") {
    return (
      <p role="status">
        Type this code at {pairing.hostName}: <strong>{pairing.checkCode}</strong>
      </p>
    );
  }
  if (pairing !== null) return <p role="status">Pairing …</p>;
  if (host === null) return <Pair onLink={(link) => void pair(link, "React example")} error={error} />;
  return (
    <main>
      <h1>{host.name}</h1>
      <p role="status">{state?.state}</p>
      {state !== null && isOnline(state) && <Answer host={host} />}
      <button onClick={() => void forget()}>Forget this device</button>
    </main>
  );
}

function Pair({ onLink, error }: { readonly onLink: (link: string) => void; readonly error: unknown }) {
  const send = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    onLink(String(new FormData(event.currentTarget).get("link")));
  };
  return (
    <form onSubmit={send}>
      <label>
        Link of your host <input name="link" required autoComplete="off" />
      </label>
      <button>Pair</button>
      {error instanceof CoupletError && (
        <p role="alert">
          {error.message} {error.next} ({error.code})
        </p>
      )}
    </form>
  );
}

function Answer({ host }: { readonly host: Host }) {
  const [text, setText] = useState("");
  useEffect(() => {
    const gone = new AbortController();
    host
      .fetch("/", { signal: gone.signal })
      .then((answer) => answer.text())
      .then(setText, (cause: unknown) => {
        if (!gone.signal.aborted) setText(String(cause));
      });
    return () => gone.abort();
  }, [host]);
  return <pre>{text}</pre>;
}
