// Plays one act in Node.js: node node.js ACT STAGE FOLDER CA, where CA is the certificate of the relay's authority, which nobody else trusts.
import { readFile } from "node:fs/promises";

import * as couplet from "../../packages/sdk/dist/node.js";
import { play } from "./scenarios.js";

const [act, stage, folder, ca] = process.argv.slice(2);
const relayCa = await readFile(ca, "utf8");
await play(act, { couplet, stage, storage: new couplet.FileStore(`${folder}/couplet`), relayCa });
