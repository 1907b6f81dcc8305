/** Pasting a link, where there is nothing to scan. */
import { useRef, useState } from "preact/hooks";

import type { Client } from "./client.js";
import { linkError } from "./link.js";
import { Page } from "./parts.js";
import { texts } from "./texts.js";
import { sentence } from "./trouble.js";

export function Paste({ client }: { client: Client }) {
  const field = useRef<HTMLTextAreaElement>(null);
  const [wrong, setWrong] = useState("");
  const canRead = typeof navigator.clipboard?.readText === "function";

  const refuse = (text: string): void => {
    setWrong(text);
    field.current?.focus();
  };
  const use = (text: string): void => {
    if (text.trim() === "") return refuse(texts.paste.missing);
    const error = linkError(text);
    if (error === null) client.propose(text);
    else refuse(`${sentence(error.message)} ${error.next}`);
  };
  const paste = async (): Promise<void> => {
    try {
      const text = await navigator.clipboard.readText();
      if (field.current !== null) field.current.value = text;
      use(text);
    } catch {
      refuse(texts.paste.noClipboard);
    }
  };

  return (
    <Page
      title={texts.paste.title}
      name="paste"
      onBack={() => client.go("home")}
      actions={
        <>
          <button type="submit" form="paste" class="main">
            {texts.paste.go}
          </button>
          {canRead && (
            <button type="button" onClick={() => void paste()}>
              {texts.paste.fromClipboard}
            </button>
          )}
        </>
      }
    >
      <p id="paste-lead">{texts.paste.lead}</p>
      <form
        id="paste"
        onSubmit={(event) => {
          event.preventDefault();
          use(field.current?.value ?? "");
        }}
      >
        <label for="link">{texts.paste.label}</label>
        <textarea
          id="link"
          ref={field}
          rows={3}
          autocomplete="off"
          autocapitalize="off"
          autocorrect="off"
          spellcheck={false}
          enterkeyhint="go"
          aria-describedby={wrong === "" ? "paste-hint" : "paste-wrong"}
          aria-invalid={wrong !== ""}
          onKeyDown={(event) => {
            if (event.key !== "Enter") return;
            event.preventDefault();
            use(event.currentTarget.value);
          }}
        />
        {wrong === "" ? (
          <p id="paste-hint" class="dim">
            {texts.paste.hint}
          </p>
        ) : (
          <p id="paste-wrong" class="wrong" role="alert">
            {wrong}
          </p>
        )}
      </form>
    </Page>
  );
}
