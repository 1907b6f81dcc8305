// What a device does with the SDK, the same in Node.js and in a page. Each exported act is played by tests/tests/sdk.rs.

const PATIENCE = 30_000;

/** Plays an act and tells the stage how it went. */
export async function play(act, { couplet, stage: url, runtime, storage }) {
  const tell = async (word, body) => {
    const answer = await fetch(`${url}/ask/${word}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body ?? {}),
    });
    if (!answer.ok) throw new Error(`the stage does not answer ${word}: ${answer.status}`);
    return answer.json();
  };
  const stage = { couplet, runtime, storage, ask: tell };
  try {
    const wanted = acts[act];
    if (!wanted) throw new Error(`there is no act ${act}`);
    await tell("passed", await wanted(stage));
  } catch (error) {
    await tell("failed", `${error?.code ?? ""} ${error?.message ?? error}\n${error?.stack ?? ""}`);
  }
}

function check(holds, what) {
  if (!holds) throw new Error(`does not hold: ${what}`);
}

function same(got, wanted, what) {
  const [one, other] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (one !== other) throw new Error(`${what}: ${one}, not ${other}`);
}

/** What a promise is refused with. */
async function refusal(promise, what) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`is not refused: ${what}`);
}

/** Waits for a state of the host, or says which one it is in instead. */
function reaches(host, wanted) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${host.state.state} for ${PATIENCE} ms, not ${wanted}`)), PATIENCE);
    const look = (state) => {
      if (state.state !== wanted) return;
      clearTimeout(timer);
      stop();
      resolve(state);
    };
    const stop = host.on("state", look);
    look(host.state);
  });
}

/** The pattern that the app sends and knows: tests/src/pattern.rs. */
function pattern(offset, length) {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) bytes[at] = (offset + at) % 251;
  return bytes;
}

/** Pairs by a new link; the owner types the check code that is shown here. */
async function pairs(stage, name = "Phone", change = (link) => link) {
  const link = change(await stage.ask("link"));
  let approved;
  const host = await stage.couplet.pair(link, {
    name,
    storage: stage.storage,
    onState: (state) => {
      if (state.state === "approval") approved ??= stage.ask("approve", { name, code: state.checkCode });
    },
  });
  await approved;
  check(approved, "the owner is asked");
  return host;
}

export const acts = {
  async pair(stage) {
    const host = await pairs(stage);
    const answer = await host.fetch("/");
    same([answer.status, await answer.text()], [200, "hello\n"], "the app answers");
    const { devices } = await stage.ask("devices");
    same(devices.map((device) => device.device_name), ["Phone"], "the owner sees it");
    const { path } = host.state;
    await host.close();
    return { path };
  },
};
