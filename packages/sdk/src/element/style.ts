/**
 * How `<couplet-connect>` looks. It follows the page's `color-scheme`; an app sets `--couplet-accent` and the others on the
 * element, and reaches the parts by `::part(…)`.
 */
export const STYLE = `
:host {
  --accent: var(--couplet-accent, light-dark(#1d4ed8, #93b4ff));
  --on-accent: var(--couplet-on-accent, light-dark(#ffffff, #0b1220));
  --surface: var(--couplet-surface, light-dark(#ffffff, #14181f));
  --text: var(--couplet-text, light-dark(#1a1d23, #eceff4));
  --faint: var(--couplet-faint, light-dark(#525a66, #a8b1be));
  --line: var(--couplet-line, light-dark(#8a93a1, #707a89));
  --bad: var(--couplet-bad, light-dark(#b3261e, #ffb4ab));
  --good: var(--couplet-good, light-dark(#1b6e3c, #7bd99c));
  display: block;
  box-sizing: border-box;
  max-inline-size: 30rem;
  font: var(--couplet-font, 1rem/1.5 system-ui, sans-serif);
  color: var(--text);
}
:host([hidden]) { display: none; }
*, *::before { box-sizing: border-box; }
section {
  display: grid;
  gap: 0.75rem;
  padding: 1rem;
  background: var(--surface);
  border: 1px solid var(--line);
  border-radius: var(--couplet-radius, 0.75rem);
}
section > *, form > * { min-inline-size: 0; }
p, dl, dd { margin: 0; overflow-wrap: anywhere; }
.title { display: flex; gap: 0.5rem; align-items: center; font-weight: 600; }
.title:focus-visible { outline-offset: 0.25rem; }
.title::before { content: ""; flex: none; inline-size: 0.625rem; block-size: 0.625rem; border-radius: 50%; background: var(--faint); }
[data-look="good"] .title::before { background: var(--good); }
[data-look="bad"] .title::before { background: var(--bad); }
[data-look="busy"] .title::before { background: none; border: 2px solid var(--accent); border-block-start-color: transparent; }
.hint { color: var(--faint); }
.cause { white-space: pre-line; }
.code { font: 600 2.5rem/1.2 ui-monospace, monospace; letter-spacing: 0.05em; text-align: center; }
.number { font-size: 0.875rem; color: var(--faint); }
form { display: grid; gap: 0.5rem; }
label { font-weight: 600; }
input {
  inline-size: 100%;
  padding: 0.625rem;
  font: inherit;
  color: inherit;
  background: transparent;
  border: 1px solid var(--line);
  border-radius: 0.5rem;
}
.row { display: flex; flex-wrap: wrap; gap: 0.5rem; }
button {
  min-block-size: 2.75rem;
  padding: 0.375rem 1rem;
  font: inherit;
  color: var(--accent);
  background: transparent;
  border: 1px solid var(--accent);
  border-radius: 0.5rem;
  cursor: pointer;
}
button.main { color: var(--on-accent); background: var(--accent); }
button.grave { color: var(--bad); border-color: var(--bad); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
dl { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0.25rem 0.75rem; }
dt { color: var(--faint); }
.key { font-family: ui-monospace, monospace; }
video { inline-size: 100%; max-block-size: 60vh; border-radius: 0.5rem; background: #000; }
.unseen { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (prefers-reduced-motion: no-preference) {
  [data-look="busy"] .title::before { animation: turn 1s linear infinite; }
}
@media (forced-colors: active) {
  .title::before { forced-color-adjust: none; }
}
@keyframes turn { to { rotate: 360deg; } }
`;
