// The host's server-sent events over fetch: unlike EventSource it can send the page's key, and tells a session that
// has ended from a host that is not there.

import { call, type HostEvent, Problem } from "./api";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
/** The host says something every 15 s. */
const SILENCE = 40_000;

export type Listener = {
  /** The stream is there, for the first time or again: whatever is shown may be old. */
  opened(): void;
  told(event: HostEvent): void;
  /** The host does not answer; it is tried again. */
  lost(): void;
  /** The session has ended; it is not tried again. */
  refused(problem: Problem): void;
};

/** Follows the events until `signal` fires. */
export async function follow(listener: Listener, signal: AbortSignal): Promise<void> {
  let wait = FIRST_WAIT;
  let last = "";
  while (!signal.aborted) {
    const stream = new AbortController();
    const stop = () => stream.abort();
    signal.addEventListener("abort", stop);
    let silence = setTimeout(stop, SILENCE);
    try {
      const headers: Record<string, string> = last === "" ? {} : { "Last-Event-ID": last };
      const answer = await call("GET", "/api/pair/events", undefined, { headers, signal: stream.signal });
      listener.opened();
      wait = FIRST_WAIT;
      for await (const block of blocks(answer)) {
        clearTimeout(silence);
        silence = setTimeout(stop, SILENCE);
        last = field(block, "id") ?? last;
        const event = parse(block);
        if (event !== null) listener.told(event);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status === 401) return listener.refused(error);
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
      stream.abort();
    }
    if (signal.aborted) return;
    listener.lost();
    await pause(wait, signal);
    wait = Math.min(2 * wait, LONGEST_WAIT);
  }
}

/** The blocks of an event stream: the text between empty lines. */
async function* blocks(answer: Response): AsyncGenerator<string> {
  if (answer.body === null) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (text + value).split("\n\n");
    text = parts.pop() ?? "";
    yield* parts;
    // A comment alone keeps the stream awake.
    if (parts.length === 0) yield "";
  }
}

/** The event of a block. None stands at the beginning of a stream, where its place alone is told. */
function parse(block: string): HostEvent | null {
  const data = field(block, "data");
  if (data === null) return null;
  try {
    return JSON.parse(data) as HostEvent;
  } catch {
    return null;
  }
}

/** The field of a block. The host writes each in one line. */
function field(block: string, name: string): string | null {
  const line = block.split("\n").find((line) => line.startsWith(`${name}:`));
  return line === undefined ? null : line.slice(name.length + 1).trimStart();
}

/** Waits, but no longer than until the browser has a network again. */
function pause(time: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, time);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      removeEventListener("online", done);
      resolve();
    }
    signal.addEventListener("abort", done);
    addEventListener("online", done);
  });
}
