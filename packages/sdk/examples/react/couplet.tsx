/** A hook for React: the host, and how things stand with it. */
import { pair, restore, type Host, type PairState, type RestoreOptions, type State } from "couplet";
import { useCallback, useEffect, useRef, useState } from "react";

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

  // A pairing goes on until it is done, another one begins, or the component goes: a host that came of it then would stay open.
  const pairingWork = useRef<AbortController | null>(null);
  useEffect(() => () => pairingWork.current?.abort(new Error("the component is gone")), [options]);

  const pairWith = useCallback(
    async (link: string, name: string) => {
      pairingWork.current?.abort(new Error("another pairing began"));
      const work = new AbortController();
      pairingWork.current = work;
      const { signal } = work;
      const onState = (it: PairState): void => {
        if (!signal.aborted) setPairing(it);
      };
      setError(null);
      try {
        const paired = await pair(link, { ...options, name, onState, signal });
        if (signal.aborted) await paired.close();
        else setHost(paired);
      } catch (cause) {
        if (!signal.aborted) setError(cause);
      } finally {
        if (!signal.aborted) setPairing(null);
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
