// The owner's dashboard.

import { render } from "preact";

import { App } from "./app";
import "./dashboard.css";
import "./forms.css";
import { begin } from "./state";

/** The token of a one-time link stands behind `#`, where no server sees it; it leaves the address bar at once. */
function token(): string | null {
  const given = /^#login=([A-Za-z0-9_-]+)$/.exec(location.hash)?.[1];
  if (given === undefined) return null;
  history.replaceState(null, "", "/");
  return given;
}

const root = document.getElementById("app");
if (root !== null) {
  render(<App />, root);
  void begin(token());
  // A link that is opened in a page that is here already.
  addEventListener("hashchange", () => {
    const given = token();
    if (given !== null) void begin(given);
  });
}
