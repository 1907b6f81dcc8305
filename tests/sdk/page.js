// Plays one act in a page: /?act=ACT. Without one it is another window of an act, which plays there what it wants.
import * as couplet from "/couplet.js";
import { play } from "/scenarios.js";

const device = { couplet, storage: new couplet.IndexedDbStore() };

/** Opens another window. */
function open() {
  return new Promise((resolve, reject) => {
    const opened = window.open("/");
    if (opened === null) return reject(new Error("no window is opened"));
    globalThis.opened = (device) => resolve({ device, close: () => opened.close() });
  });
}

const act = new URL(location.href).searchParams.get("act");
if (act === null) window.opener.opened(device);
else await play(act, { ...device, stage: location.origin, open });
