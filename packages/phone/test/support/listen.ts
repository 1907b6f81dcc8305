/** Starts a server on a free port of the loopback, and ends it with everything that is open. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

/** Resolves once it listens; on this port, if one is given. */
export async function listening(server: Server, wanted = 0): Promise<{ readonly port: number; close(): Promise<void> }> {
  await new Promise<void>((resolve) => server.listen(wanted, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
