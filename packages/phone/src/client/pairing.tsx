/** The pages of a pairing, from the link to the paired host. */
import { useRef } from "preact/hooks";

import type { Ceremony } from "./ceremony.js";
import type { Client } from "./client.js";
import { Acts, Countdown, Facts, Fingerprint, Icon, Page, TroubleText } from "./parts.js";
import { spelled } from "./status.js";
import { texts } from "./texts.js";

type Step<S extends Ceremony["step"]> = Extract<Ceremony, { readonly step: S }>;

export function Pairing({ client, ceremony, onClear }: { client: Client; ceremony: Ceremony; onClear: () => void }) {
  switch (ceremony.step) {
    case "confirm":
      return <Confirm client={client} now={ceremony} />;
    case "connecting":
      return <Connecting client={client} now={ceremony} />;
    case "approval":
      return <Approval client={client} now={ceremony} />;
    case "finishing":
      return <Waiting title={texts.finishing.title} name="finishing" lead={texts.finishing.lead} />;
    case "paired":
      return <Paired now={ceremony} />;
    case "failed":
      return <Failed client={client} now={ceremony} onClear={onClear} />;
  }
}

function Confirm({ client, now }: { client: Client; now: Step<"confirm"> }) {
  const field = useRef<HTMLInputElement>(null);
  return (
    <Page
      title={texts.confirm.title}
      name="confirm"
      onBack={() => client.go("home")}
      actions={
        <button type="submit" form="confirm" class="main">
          {texts.confirm.go}
        </button>
      }
    >
      <p>{texts.confirm.lead}</p>
      <Facts
        facts={[
          [texts.fingerprint, <Fingerprint text={now.link.fingerprint} />],
          [texts.confirm.where, now.link.places.join(", ")],
        ]}
      />
      <form
        id="confirm"
        onSubmit={(event) => {
          event.preventDefault();
          void client.pair(field.current?.value ?? now.name);
        }}
      >
        <label for="name">{texts.confirm.name}</label>
        <input
          id="name"
          ref={field}
          defaultValue={now.name}
          maxLength={64}
          autocomplete="off"
          enterkeyhint="go"
          aria-describedby={now.refused === "" ? "name-hint" : "name-wrong"}
          aria-invalid={now.refused !== ""}
        />
        {now.refused === "" ? (
          <p id="name-hint" class="dim">
            {texts.confirm.nameHint}
          </p>
        ) : (
          <p id="name-wrong" class="wrong" role="alert">
            {now.refused}
          </p>
        )}
      </form>
      <Countdown label={texts.confirm.ends} until={now.link.expiresAt} over={texts.confirm.over} say={(text) => client.say(text)} />
    </Page>
  );
}

function Connecting({ client, now }: { client: Client; now: Step<"connecting"> }) {
  return (
    <Page
      title={texts.connecting.title}
      name="connecting"
      actions={
        <button type="button" onClick={() => client.go("home")}>
          {texts.cancel}
        </button>
      }
    >
      <p class="spinner">
        <Icon name="connecting" />
      </p>
      <p>{texts.connecting.lead}</p>
      <Facts
        facts={[
          [texts.fingerprint, <Fingerprint text={now.link.fingerprint} />],
          [texts.confirm.where, now.link.places.join(", ")],
          [texts.confirm.name, now.name],
        ]}
      />
    </Page>
  );
}

function Approval({ client, now }: { client: Client; now: Step<"approval"> }) {
  return (
    <Page
      title={texts.approval.title}
      name="approval"
      actions={
        <button type="button" onClick={() => client.go("home")}>
          {texts.cancel}
        </button>
      }
    >
      <p>{texts.approval.lead(now.hostName)}</p>
      <p class="check-code">
        <span aria-hidden="true">
          {now.checkCode.split(" ").map((group, at) => (
            <span key={at} class="group">
              {group}
            </span>
          ))}
        </span>
        <span class="unseen">{texts.approval.spoken(now.hostName, spelled(now.checkCode))}</span>
      </p>
      <Countdown label={texts.approval.left} until={now.until} over={texts.approval.over} say={(text) => client.say(text)} />
      <Facts
        facts={[
          [texts.host.bar, now.hostName],
          [texts.fingerprint, <Fingerprint text={now.link.fingerprint} />],
          [texts.confirm.name, now.name],
        ]}
      />
      <p class="dim">{texts.approval.keep}</p>
    </Page>
  );
}

/** A page on which nothing is to be done. */
export function Waiting({ title, name, lead }: { title: string; name: string; lead?: string }) {
  return (
    <Page title={title} name={name}>
      <p class="spinner">
        <Icon name="connecting" />
      </p>
      {lead !== undefined && <p>{lead}</p>}
    </Page>
  );
}

function Paired({ now }: { now: Step<"paired"> }) {
  return (
    <Page title={texts.paired.title(now.hostName)} name="paired">
      <p class="tick">
        <Icon name="good" />
      </p>
      <p>{texts.paired.lead}</p>
    </Page>
  );
}

function Failed({ client, now, onClear }: { client: Client; now: Step<"failed">; onClear: () => void }) {
  const { trouble, asked } = now;
  return (
    <Page
      title={trouble.title}
      name={`failed-${trouble.kind}`}
      actions={
        <Acts
          acts={trouble.acts}
          on={{
            scan: () => client.go("scan"),
            paste: () => client.go("paste"),
            hosts: () => client.go("home"),
            clear: onClear,
            ...(asked === null
              ? {}
              : {
                  retry: () => void client.pair(asked.name),
                  another: () => void client.pair(asked.name, true),
                  rename: () => client.rename(),
                }),
          }}
        />
      }
    >
      <TroubleText trouble={trouble} />
      {asked !== null && (trouble.kind === "wrongKey" || trouble.kind === "unreachable") && (
        <Facts facts={[[texts.fingerprint, <Fingerprint text={asked.link.fingerprint} />]]} />
      )}
    </Page>
  );
}
