/** Scanning a code: asks for the camera, says why not, and what else is seen. */
import { useEffect, useRef, useState } from "preact/hooks";

import { cameraTrouble, scanLink, type CameraTrouble } from "./camera.js";
import type { Client } from "./client.js";
import { Icon, Note, Page } from "./parts.js";
import { texts } from "./texts.js";

type Camera = "asking" | "looking" | "paused" | CameraTrouble;

function isTrouble(camera: Camera): camera is CameraTrouble {
  return camera !== "asking" && camera !== "looking" && camera !== "paused";
}

export function Scan({ client }: { client: Client }) {
  const video = useRef<HTMLVideoElement>(null);
  const [camera, setCamera] = useState<Camera>("asking");
  const [other, setOther] = useState("");
  const [round, setRound] = useState(0);

  useEffect(() => {
    const picture = video.current;
    if (picture === null) return;
    if (document.visibilityState === "hidden") return setCamera("paused");
    const over = new AbortController();
    setCamera("asking");
    scanLink(picture, over.signal, (code) => {
      if (code !== "link") setOther(texts.scan[code]);
    }).then(
      (link) => {
        client.say(texts.scan.found);
        client.propose(link);
      },
      (error: unknown) => {
        if (!over.signal.aborted) setCamera(cameraTrouble(error, isSecureContext));
      },
    );
    return () => over.abort(new Error("left"));
  }, [round]);

  // A page that is not seen needs no camera, and phones take it away.
  useEffect(() => {
    const turned = (): void => setRound((before) => before + 1);
    document.addEventListener("visibilitychange", turned);
    return () => document.removeEventListener("visibilitychange", turned);
  }, []);

  const trouble = isTrouble(camera) ? texts.scan[camera] : null;
  const canRetry = camera === "refused" || camera === "busy" || camera === "none";
  return (
    <Page
      title={texts.scan.title}
      name="scan"
      onBack={() => client.go("home")}
      actions={
        <>
          {canRetry && (
            <button type="button" class="main" onClick={() => setRound(round + 1)}>
              {texts.scan.retry}
            </button>
          )}
          <button type="button" class={camera === "insecure" ? "main" : ""} onClick={() => client.go("paste")}>
            {texts.home.paste}
          </button>
        </>
      }
    >
      {/* The video stays: the camera's picture goes into this very element. */}
      <div class={trouble === null ? "viewer" : "viewer none"}>
        <video ref={video} muted playsInline aria-label={texts.scan.view} onPlaying={() => setCamera("looking")} />
        {camera !== "looking" && trouble === null && (
          <p class="viewer-word">
            <Icon name="scan" />
          </p>
        )}
      </div>
      {trouble !== null && (
        <Note tone="bad">
          <p>{trouble.title}</p>
          <p>
            <strong>{trouble.next}</strong>
          </p>
        </Note>
      )}
      {trouble === null && <p role="status">{other !== "" ? other : camera === "looking" ? texts.scan.looking : camera === "paused" ? texts.scan.paused : texts.scan.asking}</p>}
      {trouble === null && <p class="dim">{texts.scan.privacy}</p>}
    </Page>
  );
}
