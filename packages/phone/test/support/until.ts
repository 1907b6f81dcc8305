/** Waits for what no event tells. */

/** Resolves once it holds. Rejects when that takes longer: by itself, than anything here does. */
export async function until(holds: () => boolean | Promise<boolean>, milliseconds = 30_000): Promise<void> {
  const late = performance.now() + milliseconds;
  while (!(await holds())) {
    if (performance.now() > late) throw new Error(`it never held: ${String(holds)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
