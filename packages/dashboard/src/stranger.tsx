// For whoever the host does not know, or not any more: how the owner gets in.

import type { Problem } from "./api";
import { ProblemNote } from "./parts";
import { texts } from "./texts";

export function Stranger(props: { why: Problem | null }) {
  return (
    <main class="page narrow">
      <h1 tabIndex={-1}>{texts.stranger.title}</h1>
      {props.why && <ProblemNote problem={props.why} />}
      <p>{texts.stranger.lead}</p>
      <pre>
        <code>couplet dashboard</code>
      </pre>
      <p>{texts.stranger.next}</p>
    </main>
  );
}
