// The browsers that are signed in to the dashboard, and the end of each.

import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";

import type { OwnerSession } from "./api";
import { clock } from "./clock";
import { Ago, Facts, useFocusBack } from "./parts";
import { notify, signOut, signOutEverywhere, signOutOther, signOutOthers, useShared, useTicks, words } from "./state";
import { texts } from "./texts";

export function Sessions() {
  const { sessions } = useShared();
  // No event tells of one that has run out of time.
  useTicks(10_000);
  const open = sessions?.filter((session) => session.current || clock.until(session.expires_at) > 0);
  return (
    <section aria-labelledby="sessions">
      <h2 id="sessions">{texts.sessions.title}</h2>
      <p class="dim">{texts.sessions.lead}</p>
      {open === undefined && <p class="dim">{texts.loading}</p>}
      <ul class="cards">
        {open?.map((session) => (
          <Session key={session.id} session={session} />
        ))}
      </ul>
      <p class="dim">{texts.sessions.everywhereHint}</p>
      <div class="actions">
        {open?.some((session) => !session.current) && (
          <button type="button" onClick={() => void attempt(signOutOthers, texts.notice.othersLoggedOut)}>
            {texts.sessions.others}
          </button>
        )}
        <button type="button" onClick={() => void attempt(signOutEverywhere)}>
          {texts.sessions.everywhere}
        </button>
      </div>
    </section>
  );
}

function Session(props: { session: OwnerSession }) {
  const { session } = props;
  const card = useRef<HTMLLIElement>(null);
  useFocusBack(card);
  const name = session.browser ?? texts.sessions.unknown;
  const end = session.current ? () => attempt(signOut) : () => attempt(() => signOutOther(session.id), texts.notice.loggedOut(name));
  const rows: [string, ComponentChildren][] = [
    [texts.sessions.network, session.network],
    [texts.sessions.since, <Ago at={session.created_at} />],
  ];
  if (!session.current) {
    rows.push([texts.sessions.used, <Ago at={session.last_used} />]);
  }
  const label = session.current ? texts.sessions.signOutHere : texts.sessions.signOutOf(name, session.network);
  return (
    <li ref={card} class="card">
      <h3>
        {name} {session.current && <span class="tag">{texts.sessions.current}</span>}
      </h3>
      <Facts rows={rows} />
      <div class="actions">
        <button type="button" aria-label={label} onClick={() => void end()}>
          {texts.sessions.signOut}
        </button>
      </div>
    </li>
  );
}

/** Does it, and says that it is done, or why not. */
async function attempt(work: () => Promise<void>, done?: string): Promise<void> {
  try {
    await work();
    if (done) notify(true, done);
  } catch (error) {
    notify(false, words(error).title);
  }
}
