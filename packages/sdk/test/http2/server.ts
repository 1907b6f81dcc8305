/** Node's own HTTP/2 server, behind a real socket. */
import { once } from "node:events";
import { createServer, type Http2Server, type ServerHttp2Stream, type IncomingHttpHeaders, type ServerOptions } from "node:http2";
import { type AddressInfo, connect } from "node:net";
import type { TestContext } from "node:test";
import { Connection, type Bounds, type Http2Body } from "../../src/http2/index.js";
import { socketLink } from "./socket_link.js";

export type Handler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

export interface Running {
  readonly server: Http2Server;
  readonly connection: Connection;
}

/** Serves with this, and connects. Both end with the test. */
export async function running(t: TestContext, handler: Handler, options: ServerOptions = {}, bounds: Partial<Bounds> = {}): Promise<Running> {
  const server = createServer(options);
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", () => undefined);
    handler(stream, headers);
  });
  server.on("sessionError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  // Small frames are not to wait for the acknowledgement of others.
  socket.setNoDelay(true);
  const connection = Connection.open(socketLink(socket), bounds);
  t.after(async () => {
    connection.close();
    await connection.closed;
    socket.destroy();
    server.close();
  });
  return { server, connection };
}

/** All of a body, as text. */
export async function text(body: Http2Body): Promise<string> {
  const pieces: Uint8Array[] = [];
  for (let piece = await body.receive(); piece; piece = await body.receive()) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}
