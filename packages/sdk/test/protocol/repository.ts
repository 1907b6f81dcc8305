/** Where the repository is that these tests are compiled in. */
import { readFileSync } from "node:fs";

const ROOT = new URL("../../../../../", import.meta.url);

export const VECTORS = new URL("spec/vectors/", ROOT);

export function read(path: string): string {
  return readFileSync(new URL(path, ROOT), "utf8");
}
