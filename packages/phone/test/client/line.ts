/** The network between a phone and the relay: it can go dead, so that nobody hears of it. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A line that runs. */
export interface Line {
  /** What a browser is started with to go by it. */
  readonly args: readonly string[];
  /** How many connections there have been. */
  count(): number;
  /** The connections that there are carry nothing any more, and do not end; the relay takes them for gone. Later ones work. */
  die(): void;
  close(): Promise<void>;
}

/** Lays a line to the relay at this address. */
export async function startLine(relay: string): Promise<Line> {
  const { hostname, port } = new URL(relay);
  const pairs = new Set<readonly [near: Socket, far: Socket]>();
  let count = 0;
  const server = createServer((near) => {
    count += 1;
    const far = connect(Number(port), "127.0.0.1");
    const pair = [near, far] as const;
    pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]] as const) {
      from.on("data", (bytes) => void (pairs.has(pair) && to.write(bytes)));
      from.on("close", () => void (pairs.has(pair) && to.destroy()));
      from.on("error", () => {});
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port: mine } = server.address() as AddressInfo;
  const dead = new Set<Socket>();
  return {
    args: [`--host-resolver-rules=MAP ${hostname}:${port} 127.0.0.1:${mine}`],
    count: () => count,
    die() {
      for (const [near, far] of pairs) {
        dead.add(near);
        far.destroy();
      }
      pairs.clear();
    },
    async close() {
      for (const one of [...dead, ...[...pairs].flat()]) one.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
