// Who is paired: names, what each may do, and the end of it.

import { useState } from "preact/hooks";

import { call, type Device, type Problem } from "./api";
import { Ago, Confirm, Day, Dialog, Facts, fullDate, ProblemNote } from "./parts";
import { refreshDevices, useShared, words } from "./state";
import { texts } from "./texts";

type Open = { device: Device; what: "change" | "revoke" } | null;

/** The devices; `brief` without those that are revoked. */
export function DeviceList(props: { brief?: boolean }) {
  const { devices: all, watches } = useShared();
  if (all === null) return <p class="dim">{texts.loading}</p>;
  // Watches have their own section, where the host has them at all.
  const devices = watches === null || props.brief ? all : all.filter((device) => device.kind !== "watch");
  const active = devices.filter((device) => device.revoked_at === null);
  const revoked = devices.filter((device) => device.revoked_at !== null);
  return (
    <>
      {active.length === 0 && <p class="dim">{texts.devices.none}</p>}
      <Active devices={active} heading={props.brief ? "h4" : "h3"} />
      {!props.brief && revoked.length > 0 && (
        <details>
          <summary>{texts.devices.revoked(revoked.length)}</summary>
          <Revoked devices={revoked} heading="h3" />
        </details>
      )}
    </>
  );
}

type Cards = { devices: Device[]; heading: "h3" | "h4" };

/** Devices that may come in, each with what the owner can do about it. */
export function Active(props: Cards) {
  const [open, setOpen] = useState<Open>(null);
  const close = () => setOpen(null);
  return (
    <>
      <ul class="cards">
        {props.devices.map((device) => (
          <Card key={device.device_id} device={device} heading={props.heading} onOpen={(what) => setOpen({ device, what })} />
        ))}
      </ul>
      {open?.what === "change" && <Change device={open.device} onClose={close} />}
      {open?.what === "revoke" && <Revoke device={open.device} onClose={close} />}
    </>
  );
}

/** Devices that may not come in any more. */
export function Revoked(props: Cards) {
  const Heading = props.heading;
  return (
    <ul class="cards">
      {props.devices.map((device) => (
        <li key={device.device_id} class="card">
          <Heading>{device.device_name}</Heading>
          <p class="dim">
            {texts.devices.revokedAt} {device.revoked_at && <Ago at={device.revoked_at} />}
          </p>
        </li>
      ))}
    </ul>
  );
}

function Card(props: { device: Device; heading: "h3" | "h4"; onOpen: (what: "change" | "revoke") => void }) {
  const { device, heading: Heading } = props;
  return (
    <li class="card">
      <Heading>{device.device_name}</Heading>
      <p class="dim">
        {[device.device_model, device.platform, texts.kind(device.kind)].filter((part) => part).join(" · ")}
      </p>
      <p class="times">
        {texts.devices.paired} <Day at={device.paired_at} /> <span aria-hidden="true">•</span> <Seen at={device.last_seen} />
      </p>
      <Facts rows={facts(device)} />
      <div class="actions">
        <button type="button" aria-label={texts.devices.changeOf(device.device_name)} onClick={() => props.onOpen("change")}>
          {texts.devices.change}
        </button>
        <button
          type="button"
          class="danger"
          aria-label={texts.devices.revokeOf(device.device_name)}
          onClick={() => props.onOpen("revoke")}
        >
          {texts.devices.revoke}
        </button>
      </div>
    </li>
  );
}

/** When it last called. */
function Seen(props: { at: string | null | undefined }) {
  if (!props.at) return <>{texts.devices.never}</>;
  return (
    <>
      {texts.devices.seen} <Ago at={props.at} />
    </>
  );
}

function facts(device: Device): [string, string][] {
  const rows: [string, string][] = [];
  if (device.session) rows.push([texts.device.session, texts.path[device.session]]);
  else if (device.path) rows.push([texts.device.path, texts.path[device.path]]);
  rows.push([texts.device.scope, texts.scope(device.scope)]);
  if (device.expires_at) rows.push([texts.device.ends, fullDate(device.expires_at)]);
  return rows;
}

/** Another name, a narrower scope, an end. */
function Change(props: { device: Device; onClose: () => void }) {
  const { device } = props;
  const [name, setName] = useState(device.device_name);
  const [readOnly, setReadOnly] = useState(device.scope.read_only ?? false);
  const [paths, setPaths] = useState(device.scope.paths?.join("\n") ?? "");
  const [end, setEnd] = useState(device.expires_at ? local(device.expires_at) : "");
  const [problem, setProblem] = useState<Problem | null>(null);

  async function save(): Promise<void> {
    const lines = paths.split("\n").map((line) => line.trim());
    // What did not change is not sent: a scope that is set anew ends what the device has open.
    const changed: Record<string, unknown> = {};
    const scope = { read_only: readOnly, paths: lines.filter((line) => line !== "") };
    if (name !== device.device_name) changed.device_name = name;
    if (JSON.stringify(scope) !== JSON.stringify(device.scope)) changed.scope = scope;
    if (end !== (device.expires_at ? local(device.expires_at) : "")) {
      changed.expires_at = end === "" ? null : new Date(end).toISOString();
    }
    try {
      if (Object.keys(changed).length > 0) await call("PATCH", `/api/pair/devices/${device.device_id}`, changed);
      await refreshDevices(device.kind);
      props.onClose();
    } catch (error) {
      setProblem(words(error));
    }
  }

  return (
    <Dialog title={texts.change.title(device.device_name)} onClose={props.onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        <label>
          {texts.device.name}
          <input value={name} required maxLength={64} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <label class="choice">
          <input type="checkbox" checked={readOnly} onChange={(event) => setReadOnly(event.currentTarget.checked)} />
          <span>{texts.change.readOnly}</span>
        </label>
        <label>
          {texts.change.paths}
          <textarea rows={3} spellcheck={false} value={paths} onInput={(event) => setPaths(event.currentTarget.value)} />
          <span class="dim">{texts.change.pathsHint}</span>
        </label>
        <label>
          {texts.change.end}
          <input type="datetime-local" value={end} onInput={(event) => setEnd(event.currentTarget.value)} />
          <span class="dim">{texts.change.endHint}</span>
        </label>
        {problem && <ProblemNote problem={problem} />}
        <div class="actions">
          <button type="submit" class="main">
            {texts.change.save}
          </button>
          <button type="button" onClick={props.onClose}>
            {texts.cancel}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** A moment as a `datetime-local` field has it: this browser's time, without seconds. */
function local(at: string): string {
  const date = new Date(at);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function Revoke(props: { device: Device; onClose: () => void }) {
  const { device } = props;
  const revoke = async () => {
    await call("DELETE", `/api/pair/devices/${device.device_id}`);
    await refreshDevices(device.kind);
  };
  return (
    <Confirm
      title={texts.revoke.title(device.device_name)}
      detail={texts.revoke.detail}
      action={texts.revoke.confirm}
      act={revoke}
      onClose={props.onClose}
    />
  );
}
