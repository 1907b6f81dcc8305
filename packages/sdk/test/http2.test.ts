import assert from "node:assert/strict";
import { test } from "node:test";
import { running, text } from "./http2/server.js";

const GET = { method: "GET", authority: "host", path: "/" } as const;

test("a GET is answered by Node's server", async (t) => {
  const { connection } = await running(t, (stream, headers) => {
    stream.respond({ ":status": 200, "content-type": "text/plain" });
    stream.end(`${String(headers[":method"])} ${String(headers[":path"])} ${String(headers["x-a"])}`);
  });
  const response = await connection.request({ ...GET, path: "/a?b", headers: [["X-A", "1"]] });
  assert.equal(response.status, 200);
  assert.deepEqual(response.headers.find(([name]) => name === "content-type"), ["content-type", "text/plain"]);
  assert.equal(await text(response.body), "GET /a?b 1");
  assert.deepEqual(await response.trailers, []);
  connection.close();
  assert.equal(await connection.closed, undefined);
});
