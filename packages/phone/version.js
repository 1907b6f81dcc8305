// Says which messages a build speaks: the hash of the folder that they are all in.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** `root`: this package. */
export function wireVersion(root) {
  const folder = join(root, "src/wire");
  const hash = createHash("sha256");
  for (const name of readdirSync(folder).sort()) hash.update(`${name}\0`).update(readFileSync(join(folder, name)));
  return hash.digest("hex").slice(0, 16);
}
