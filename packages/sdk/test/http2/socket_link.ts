/** A TCP socket as a link. */
import type { Socket } from "node:net";
import type { ByteLink } from "../../src/link.js";

export function socketLink(socket: Socket): ByteLink {
  const iterator = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let over: { reason: unknown } | null = null;
  socket.on("error", () => undefined);
  const send = (bytes: Uint8Array): Promise<void> =>
    new Promise((resolve, reject) => {
      if (over) return reject(over.reason);
      if (socket.destroyed) return reject(new Error("the socket is closed"));
      const settled = (): void => {
        socket.off("drain", drained);
        socket.off("close", closed);
      };
      const drained = (): void => {
        settled();
        resolve();
      };
      const closed = (): void => {
        settled();
        reject(over ? over.reason : new Error("the socket is closed"));
      };
      if (socket.write(Buffer.from(bytes))) return resolve();
      socket.on("drain", drained);
      socket.on("close", closed);
    });
  return {
    send,
    receive: () =>
      new Promise((resolve, reject) => {
        if (over) return reject(over.reason);
        iterator.next().then((next) => {
          if (over) reject(over.reason);
          else resolve(next.done ? null : next.value);
        }, reject);
      }),
    close: (reason) => {
      if (over) return;
      over = { reason: reason ?? new Error("the link is closed") };
      socket.destroySoon();
    },
  };
}
