/** Waits for what no event tells. */

/** Resolves once it holds. Whoever waits has the test's own limit. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20));
}
