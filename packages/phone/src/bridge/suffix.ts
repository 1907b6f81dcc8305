/**
 * Stands for the list of public suffixes (`tldts`) in the build: the jar is asked for `localhost` alone, under which there is
 * none, and the list is larger than all the rest.
 */
export function getDomain(hostname: string): string {
  return hostname;
}
