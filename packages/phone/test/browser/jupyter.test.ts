/** JupyterLab, as it is, shown by the real thing: a login with a token, XSRF cookies, WebSockets of kernels, absolute addresses. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { startJupyter } from "../apps/jupyter.js";
import { startStage } from "../support/browser.js";

it("JupyterLab opens, and its kernel computes", { timeout: 240_000 }, async (test) => {
  const jupyter = await startJupyter();
  test.after(() => jupyter.close());
  const stage = await startStage({ jupyter: jupyter.url });
  test.after(() => stage.close());
  const shown = await stage.open("jupyter", "/lab");
  await stage.page.waitForFunction((label) => {
    const state = window.couplet.state(label);
    return state?.phase === "open" && state.path.startsWith("/login");
  }, shown.label);
  const frame = shown.frame();
  await frame.fill("#password_input", jupyter.token);
  await frame.click("#login_submit");
  await frame.waitForSelector("#jp-main-dock-panel", { timeout: 90_000 });
  assert.match(await frame.evaluate(() => document.cookie), /_xsrf=/);
  // A kernel: it is started by a request with the XSRF token, and speaks over a WebSocket.
  const answer = await frame.evaluate(async () => {
    const token = /_xsrf=([^;]*)/.exec(document.cookie)?.[1] ?? "";
    const made = await fetch("/api/kernels", { method: "POST", headers: { "X-XSRFToken": token }, body: "{}" });
    const { id } = (await made.json()) as { id: string };
    const socket = new WebSocket(`/api/kernels/${id}/channels`);
    const header = { msg_id: "1", msg_type: "execute_request", username: "", session: "s", date: "", version: "5.3" };
    await new Promise((opened) => (socket.onopen = opened));
    return new Promise<string>((resolve) => {
      socket.onmessage = ({ data }) => {
        if (typeof data !== "string") return;
        const { msg_type, content } = JSON.parse(data) as { msg_type: string; content: { data?: { [type: string]: string } } };
        if (msg_type === "execute_result") resolve(content.data?.["text/plain"] ?? "");
      };
      const content = { code: "6 * 7", silent: false, store_history: false, user_expressions: {}, allow_stdin: false };
      socket.send(JSON.stringify({ header, parent_header: {}, metadata: {}, channel: "shell", content, buffers: [] }));
    });
  });
  assert.equal(answer, "42");
  const relayed = stage.served.asked.filter(({ host, path }) => host.startsWith(shown.label) && !path.startsWith("/.couplet/"));
  assert.deepEqual(relayed, [], "nothing of it went to who serves the pages");
});
