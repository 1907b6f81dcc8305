//! `couplet doctor`: a running host looks at itself; where none answers, this program looks at what a start would meet.

use std::io::{self, IsTerminal, Write};

use couplet_host::doctor;
use couplet_protocol::Code;
use couplet_protocol::api::{DoctorReport, Finding, FindingState, Part};

use super::Global;
use crate::args::Doctor;
use crate::client::Client;
use crate::config::{self, Environment};
use crate::failure::{Exit, Failure};
use crate::output::{self, plain};

/// Looks at one part after the other, and shows each as it comes.
pub(super) async fn run(global: &Global, args: &Doctor) -> anyhow::Result<()> {
    let loaded = config::load(global, &args.settings, &Environment::of_process()?)?;
    let host = match Client::open(&loaded.config.state_dir).await {
        Ok(client) => Some(client),
        // The folder is one of the things to be looked at.
        Err(failure) if failure.is(Code::HostNotRunning) || failure.is(Code::StateFolderUnusable) => None,
        Err(failure) => return Err(failure.into()),
    };
    let json = args.json.json;
    let (mut findings, mut at) = (Vec::new(), None);
    for part in Part::ALL.into_iter().filter(|part| args.only.is_empty() || args.only.contains(part)) {
        let progress = Progress::begin(part, !json);
        let found = match &host {
            Some(host) => {
                let report: DoctorReport =
                    host.get(&format!("/api/doctor?only={}", part.name())).await.map_err(older)?;
                at.get_or_insert(report.at);
                report.findings
            }
            None => doctor::examine(&loaded.config, part).await,
        };
        drop(progress);
        if !json {
            found.iter().try_for_each(|finding| output::line(&said(finding, coloured())))?;
        }
        findings.extend(found);
    }
    let report = match at {
        Some(at) => DoctorReport::new(at, true, findings),
        None => doctor::report(findings),
    };
    match json {
        true => output::json(&report)?,
        false => output::line(&format!("\n{}", sum(&report.findings)))?,
    }
    if report.ok { Ok(()) } else { Err(Failure::said(Exit::Failure).into()) }
}

/// A host that does not know the question was started by another version.
fn older(failure: Failure) -> Failure {
    if !failure.is(Code::NoSuchRoute) {
        return failure;
    }
    let next = "It is of an older version than this program: restart it, then look again.";
    Failure::new(Exit::Failure, "The running host cannot look at itself", next)
}

/// What is being looked at, on a terminal, until it is known.
struct Progress(bool);

impl Progress {
    fn begin(part: Part, wanted: bool) -> Self {
        let shown = wanted && output::is_seen();
        if shown {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "…     {} …", part.name());
            let _ = stderr.flush();
        }
        Progress(shown)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.0 {
            let mut stderr = io::stderr().lock();
            // Back to the beginning of the line, and the line away.
            let _ = write!(stderr, "\r\x1b[K");
            let _ = stderr.flush();
        }
    }
}

fn coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The word that says how it stands. A colour only repeats it.
fn word(state: FindingState, coloured: bool) -> String {
    let (word, colour) = match state {
        FindingState::Ok => ("ok  ", "32"),
        FindingState::Warning => ("warn", "33"),
        FindingState::Failed => ("FAIL", "1;31"),
        FindingState::Skipped => ("skip", "2"),
    };
    if coloured { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() }
}

/// A finding as people read it. What apps and relays say passes through it, so nothing of it steers the terminal.
fn said(finding: &Finding, coloured: bool) -> String {
    let mut text = format!("{}  {:<13} {}", word(finding.state, coloured), finding.part.name(), plain(&finding.found));
    let code = finding.code.as_deref().map(plain);
    if matches!(finding.state, FindingState::Failed | FindingState::Warning) {
        let mut more = |label: &str, what: Option<String>| {
            if let Some(what) = what {
                text += &format!("\n      {label:<6} {}", what.replace('\n', "\n             "));
            }
        };
        let lines = |text: &String| text.lines().map(plain).collect::<Vec<_>>().join("\n");
        more("Cause", finding.cause.as_ref().map(lines));
        more("Next", finding.next.as_ref().map(lines));
        more("Run", finding.command.as_deref().map(plain));
        more("More", code.map(|code| format!("couplet explain {code}")));
    }
    text
}

fn sum(findings: &[Finding]) -> String {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (failed, warned) = (count(FindingState::Failed), count(FindingState::Warning));
    let warnings = match warned {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        more => format!(", {more} warnings"),
    };
    match failed {
        0 => format!("Nothing stands in the way{warnings}."),
        failed => format!("{failed} of {} failed{warnings}.", findings.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_why_what_to_do_and_where_to_read_on() {
        let finding = Finding::new(Part::Ports, FindingState::Failed, "127.0.0.1:7878 is taken")
            .because("Another program\u{1b}[2J listens there.")
            .then("Stop it.\nOr take another port.")
            .run("ss -ltnp")
            .see(Code::PortInUse);
        assert_eq!(
            said(&finding, false),
            "FAIL  ports         127.0.0.1:7878 is taken\n      \
             Cause  Another program[2J listens there.\n      \
             Next   Stop it.\n             Or take another port.\n      \
             Run    ss -ltnp\n      \
             More   couplet explain CPL-1401"
        );
        assert!(said(&finding, true).starts_with("\u{1b}[1;31mFAIL\u{1b}[0m  ports"));
    }

    #[test]
    fn the_sum_counts_what_is_wrong() {
        let of = |states: &[FindingState]| {
            sum(&states.iter().map(|state| Finding::new(Part::Disk, *state, "x")).collect::<Vec<_>>())
        };
        use FindingState::{Failed, Ok, Skipped, Warning};
        assert_eq!(of(&[Ok, Skipped]), "Nothing stands in the way.");
        assert_eq!(of(&[Ok, Warning]), "Nothing stands in the way, 1 warning.");
        assert_eq!(of(&[Failed, Failed, Warning, Warning, Ok]), "2 of 5 failed, 2 warnings.");
    }
}
