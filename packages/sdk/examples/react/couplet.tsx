/** A hook for React: the host, and how things stand with it. */
import { pair, restore, type Host, type PairOptions, type PairState, type RestoreOptions, type State } from "couplet";
import { useCallback, useEffect, useState } from "react";

export interface Couplet {
  /** The host, once there is one. */
  readonly host: Host | null;
  /** How things stand with it. */
  readonly state: State | null;
  /** How far a pairing is: show the check code of `approval`. */
  readonly pairing: PairState | null;
  readonly error: unknown;
  readonly isRestored: boolean;
  pair(link: string, name: string): Promise<void>;
  forget(): Promise<void>;
}

/** Comes back to the first paired host, or pairs with one. `options` stays the same object. */
export function useCouplet(options: RestoreOptions): Couplet {
  const [host, setHost] = useState<Host | null>(null);
  const [state, setState] = useState<State | null>(null);
  const [pairing, setPairing] = useState<PairState | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [isRestored, setRestored] = useState(false);

  useEffect(() => {
    let isGone = false;
    const restored = restore(options).then(async ([first, ...others]) => {
      await Promise.all(others.map((other) => other.close()));
      if (isGone) return void (await first?.close());
      setHost(first ?? null);
    });
    restored.catch(setError).finally(() => {
      if (!isGone) setRestored(true);
    });
    return () => void (isGone = true);
  }, [options]);

  // Whatever host there is: told of, and closed with the component.
  useEffect(() => {
    if (host === null) return setState(null);
    const off = host.on("state", setState);
    return () => {
      off();
      void host.close();
    };
  }, [host]);

  const pairWith = useCallback(
    async (link: string, name: string) => {
      setError(null);
      try {
        const wanted: PairOptions = { ...options, name, onState: setPairing };
        setHost(await pair(link, wanted));
      } catch (cause) {
        setError(cause);
      } finally {
        setPairing(null);
      }
    },
    [options],
  );

  const forget = useCallback(async () => {
    // The host first: one that is let go is closed, and no longer told.
    await host?.forget().catch(setError);
    setHost(null);
  }, [host]);

  return { host, state, pairing, error, isRestored, pair: pairWith, forget };
}
