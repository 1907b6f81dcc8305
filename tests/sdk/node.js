// Plays one act in Node.js: node node.js ACT STAGE FOLDER
import { FileStore } from "../../packages/sdk/dist/node.js";
import * as couplet from "../../packages/sdk/dist/index.js";
import { play } from "./scenarios.js";

const [act, stage, folder] = process.argv.slice(2);
await play(act, { couplet, stage, storage: new FileStore(`${folder}/couplet`) });
