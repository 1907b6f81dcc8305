/**
 * The label of each (pairing, app): the name of the origin that the app runs at. Random, so that nobody who does not hold
 * the pairing can name it; kept beside the credentials, and thrown away with them.
 */

/** Which pairing: a host's, with the device that it made of this browser. A new pairing with the same host is another one. */
export interface Pairing {
  readonly host: string;
  readonly device: string;
}

/** What is kept of one host. */
export interface Row extends Pairing {
  /** By the app's name; `""` is the one without a name. */
  readonly labels: Readonly<Record<string, string>>;
}

/** What asking for a label comes to. */
export interface Labelled {
  readonly row: Row;
  readonly label: string;
  /** Labels of an earlier pairing with the same host: to be thrown away. */
  readonly dropped: readonly string[];
}

/** The row with a label for this app in it. */
export function labelled(kept: Row | undefined, pairing: Pairing, app: string | null, make: () => string): Labelled {
  const isSame = kept !== undefined && kept.device === pairing.device;
  const labels = isSame ? kept.labels : {};
  const dropped = kept === undefined || isSame ? [] : Object.values(kept.labels);
  const name = app ?? "";
  const label = (Object.hasOwn(labels, name) ? labels[name] : undefined) ?? make();
  return { row: { host: pairing.host, device: pairing.device, labels: { ...labels, [name]: label } }, label, dropped };
}
