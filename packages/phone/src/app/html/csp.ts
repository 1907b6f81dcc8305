/** An app's Content-Security-Policy, as it must be here: the shim runs, and the client may show the page. */

/** What is let in, and who may show the page. */
export interface Admission {
  /** The shim's full address. */
  readonly shim: string;
  /** Where frames load what is to be saved. */
  readonly download: string;
  /** Not used for anything else; without quotes. */
  readonly nonce: string;
  /** Origins that may show the page, besides its own. */
  readonly ancestor: string;
}

type Directives = Map<string, string[]>;

/**
 * The header's value, changed. Each policy lets the shim run, by its address or, where addresses do not count, by its nonce;
 * everything else is as strict as it was.
 */
export function admitted(header: string, admission: Admission): string {
  const policies = header.split(",").map(parsed).filter(({ size }) => size > 0);
  for (const policy of policies) {
    admitScript(policy, admission);
    admit(policy, ["frame-src", "child-src", "default-src"], "frame-src", admission.download);
    unreport(policy);
    if (policy.has("frame-ancestors")) policy.set("frame-ancestors", ["'self'", admission.ancestor]);
  }
  return policies.filter(({ size }) => size > 0).map(written).join(", ");
}

/** The header's value of what is no page, as a script of a Worker, which has a policy of its own. */
export function unreported(header: string): string {
  const policies = header.split(",").map(parsed);
  for (const policy of policies) unreport(policy);
  return policies.filter(({ size }) => size > 0).map(written).join(", ");
}

/** Reports go round the worker, straight to the relay, and tell it what stands in the page. */
function unreport(policy: Directives): void {
  policy.delete("report-uri");
  policy.delete("report-to");
}

/**
 * What is said besides of whatever is shown: who may show it; and of pages, that nothing is loaded as a plugin, as no worker is
 * asked then (HTML, 4.8.6), and the request would go to the relay.
 */
export function own({ ancestor }: Admission, isPage: boolean): string {
  return `frame-ancestors 'self' ${ancestor}${isPage ? "; object-src 'none'" : ""}`;
}

function parsed(policy: string): Directives {
  const directives: Directives = new Map();
  for (const directive of policy.split(";")) {
    const [name, ...values] = directive.trim().split(/[\t\n\f\r ]+/);
    const key = name?.toLowerCase() ?? "";
    // Of two with the same name the first counts (CSP3, 2.2.1).
    if (key !== "" && !directives.has(key)) directives.set(key, values);
  }
  return directives;
}

function written(directives: Directives): string {
  return [...directives].map(([name, values]) => [name, ...values].join(" ")).join("; ");
}

function admitScript(policy: Directives, { shim, nonce }: Admission): void {
  const chain = ["script-src-elem", "script-src", "default-src"];
  const used = chain.find((name) => policy.has(name));
  const isByNonce = used !== undefined && (policy.get(used) ?? []).some((value) => value.toLowerCase() === "'strict-dynamic'");
  // A nonce would switch 'unsafe-inline' off, and an address does not count beside 'strict-dynamic', which has done so already.
  admit(policy, chain, "script-src-elem", isByNonce ? `'nonce-${nonce}'` : shim);
}

/** Adds a source to the list that counts; to a copy of it under `name`, where it counts for more than this. */
function admit(policy: Directives, chain: readonly string[], name: string, source: string): void {
  const used = chain.find((its) => policy.has(its));
  if (used === undefined) return;
  const sources = (policy.get(used) ?? []).filter((value) => value.toLowerCase() !== "'none'");
  policy.set(name, [...sources, source]);
}
