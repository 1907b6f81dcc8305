// Plays one act in a page: /?act=ACT
import * as couplet from "/couplet.js";
import { play } from "/scenarios.js";

const act = new URL(location.href).searchParams.get("act");
await play(act, { couplet, stage: location.origin, storage: new couplet.IndexedDbStore() });
