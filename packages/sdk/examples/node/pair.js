// node pair.js LINK pairs with the host that made the link; later, node pair.js comes back to it. Either asks its app for "/".
import { homedir } from "node:os";
import { join } from "node:path";

import { CoupletError, FileStore, pair, restore } from "couplet/node";

const [link] = process.argv.slice(2);
const storage = new FileStore(process.env.COUPLET_EXAMPLE ?? join(homedir(), ".couplet-example"));

/** Shown while the owner is asked. */
function onState(state) {
  if (state.state === "approval") console.log(`Type this code at ${state.hostName}: ${state.checkCode}`);
}

try {
  const host = link === undefined ? (await restore({ storage }))[0] : await pair(link, { name: "Example script", storage, onState });
  if (host === undefined) throw new Error("not paired yet: node pair.js LINK");
  const answer = await host.fetch("/");
  console.log(`${host.name} (${host.state.state}) answers ${answer.status}`);
  console.log(await answer.text());
  await host.close();
} catch (error) {
  console.error(error instanceof CoupletError ? `${error.code} ${error.message}\n${error.next}` : error.message);
  process.exitCode = 1;
}
