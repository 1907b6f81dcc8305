/** The server of the tests answers as a relay does. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { request as http } from "node:http";
import { request as https } from "node:https";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { World } from "../client/world.js";
import { serve } from "./serve.js";

const LABEL = "abcdefghijklmnopqrstuvwxyz";
const DIST = join(process.cwd(), "dist");

interface Answer {
  readonly status: number;
  readonly headers: { readonly [name: string]: unknown };
}

/** Asks a server of this machine under another name, and takes its own addresses out of what it says. */
function ask(client: string, apps: string, path: string, label: string, given: { readonly [name: string]: string }): Promise<Answer> {
  const { protocol, port } = new URL(client);
  const name = label === "" ? "localhost" : new URL(apps.replace("*", label)).hostname;
  const init = { host: "127.0.0.1", port, path, servername: name, rejectUnauthorized: false, headers: { ...given, host: `${name}:${port}` } };
  return new Promise((resolve, reject) => {
    const asked = (protocol === "https:" ? https : http)(init, (answer) => {
      answer.resume();
      answer.on("end", () => {
        // Of a build the bytes may be other than those in the relay's binary.
        const { date: _, connection: __, "keep-alive": ___, "transfer-encoding": ____, "content-length": _____, ...headers } = answer.headers;
        const text = JSON.stringify({ ...headers, etag: headers.etag?.length }).replaceAll(apps, "APPS").replaceAll(client, "CLIENT");
        resolve({ status: answer.statusCode ?? 0, headers: JSON.parse(text) as Answer["headers"] });
      });
    });
    asked.on("error", reject).end();
  });
}

it("each path has the relay's status and headers", { timeout: 60_000 }, async (test: TestContext) => {
  const served = await serve(DIST, "");
  test.after(() => served.close());
  const world = await World.start();
  test.after(() => world.close());
  const { port } = new URL(world.url);
  const files = (folder: string): string[] => readdirSync(join(DIST, folder));
  const ours = ["keeper", "config.json", "keeper.html", "stray.html", "phone.js", "x", "", ...files("app")].map((name) => `/.couplet/${name}`);
  const asked: readonly (readonly [label: string, path: string])[] = [
    ...["/p", "/P", "/p/", "/p/config.json", "/p/keeper.js", "/p/x", ...files("client").map((name) => `/p/${name}`)].map((path) => ["", path] as const),
    ...["/", "/index.html", "/p", "/worker.js", "/a/b?c", ...ours].map((path) => [LABEL, path] as const),
  ];
  for (const [label, path] of asked) {
    const [one, other] = await Promise.all([
      ask(served.client, served.apps, path, label, {}),
      ask(world.url, `https://*.apps.localhost:${port}`, path, label, {}),
    ]);
    assert.deepEqual(one, other, `${label} ${path}`);
  }
  for (const label of ["x", "apps"]) {
    const both = await Promise.all([ask(served.client, served.apps, "/", label, {}), ask(world.url, `https://*.apps.localhost:${port}`, "/", label, {})]);
    assert.deepEqual(both.map(({ status }) => status), [421, 421], label);
  }
});
