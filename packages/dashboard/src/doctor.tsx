// What stands in the way of pairing and use: what `couplet doctor` finds, with what mends it.

import { useState } from "preact/hooks";

import { type DoctorReport, type Finding, json, type Problem } from "./api";
import { fullDate, Marked, ProblemNote } from "./parts";
import { announce, words } from "./state";
import { texts } from "./texts";

export function Doctor() {
  const [report, setReport] = useState<DoctorReport | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [looking, setLooking] = useState(false);

  async function look(): Promise<void> {
    if (looking) return;
    setLooking(true);
    setProblem(null);
    announce(texts.doctor.looking);
    try {
      const found = await json<DoctorReport>("GET", "/api/doctor");
      setReport(found);
      announce(texts.doctor.found(count(found, "failed"), count(found, "warning")));
    } catch (error) {
      setProblem(words(error));
    }
    setLooking(false);
  }

  return (
    <section aria-labelledby="doctor">
      <h2 id="doctor">{texts.doctor.title}</h2>
      <p class="dim">
        <Marked text={texts.doctor.lead} />
      </p>
      <button type="button" onClick={() => void look()}>
        {looking ? texts.doctor.looking : report ? texts.doctor.again : texts.doctor.look}
      </button>
      {problem && <ProblemNote problem={problem} />}
      {report && <Report report={report} />}
    </section>
  );
}

function count(report: DoctorReport, state: Finding["state"]): number {
  return report.findings.filter((finding) => finding.state === state).length;
}

function Report(props: { report: DoctorReport }) {
  const { findings, at } = props.report;
  const wrong = findings.filter(({ state }) => state === "failed" || state === "warning");
  const rest = findings.filter(({ state }) => state === "ok" || state === "skipped");
  return (
    <div class="findings">
      <p>
        <strong>{texts.doctor.found(count(props.report, "failed"), count(props.report, "warning"))}</strong>{" "}
        <span class="dim">{fullDate(at)}</span>
      </p>
      {wrong.map((finding, at) => (
        <Wrong key={at} finding={finding} />
      ))}
      <ul class="checked">
        {rest.map((finding, at) => (
          <li key={at}>
            <span class={finding.state === "ok" ? "good" : "dim"}>{texts.doctor.state[finding.state]}</span>
            <span>
              <strong>{about(finding)}</strong> <Marked text={finding.found} />
            </span>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Its cause, and the command that mends it. */
function Wrong(props: { finding: Finding }) {
  const { finding } = props;
  return (
    <div class={finding.state === "failed" ? "note bad" : "note warn"}>
      <p>
        <strong>
          {texts.doctor.state[finding.state]}: {about(finding)}
        </strong>{" "}
        <Marked text={finding.found} />
      </p>
      {finding.cause && (
        <p>
          <Marked text={finding.cause} />
        </p>
      )}
      {finding.next && (
        <p>
          <Marked text={finding.next} />
        </p>
      )}
      {finding.command && (
        <pre>
          <code>{finding.command}</code>
        </pre>
      )}
      {finding.code && <p class="dim">{texts.explain(finding.code)}</p>}
    </div>
  );
}

function about(finding: Finding): string {
  const part = texts.doctor.part(finding.part);
  return finding.subject ? `${part}, ${finding.subject}:` : `${part}:`;
}
