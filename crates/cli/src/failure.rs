//! What goes wrong on a command line: one line that says what happened, one that says what to do, one exit code.

use std::fmt;

use couplet_protocol::Code;
use couplet_protocol::error::Problem;

use crate::output::plain;

/// The exit codes. Scripts rely on them: a number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Anything that has no number of its own.
    Failure = 1,
    /// The command line cannot be understood, or asks for what needs a terminal.
    Usage = 2,
    /// Time ran out: the code or the claim expired.
    Expired = 3,
    /// Someone said no: the owner to a device, or you to a question.
    Refused = 4,
    /// No host, or no relay, is running on the state folder.
    NotRunning = 5,
}

/// Why a command ends without success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What happened.
    pub(crate) title: String,
    /// What to do next.
    pub(crate) detail: String,
    /// `CPL-…`, where there is a page to read.
    pub(crate) code: Option<String>,
    /// What the process ends with.
    pub(crate) exit: Exit,
    /// When the host said to come back, in seconds.
    pub(crate) retry_after: Option<u64>,
}

impl Failure {
    /// A failure without a page.
    pub(crate) fn new(exit: Exit, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Failure { title: title.into(), detail: detail.into(), code: None, exit, retry_after: None }
    }

    /// A failure about which everything is said.
    pub(crate) fn said(exit: Exit) -> Self {
        Failure::new(exit, "", "")
    }

    /// A failure with a page.
    pub(crate) fn of(code: Code, detail: impl Into<String>) -> Self {
        let exit = exit_of(Some(code));
        Failure {
            title: code.title().to_owned(),
            detail: detail.into(),
            code: Some(code.to_string()),
            exit,
            retry_after: None,
        }
    }

    /// What the host answered.
    pub(crate) fn of_problem(problem: Problem, retry_after: Option<u64>) -> Self {
        let exit = exit_of(Code::parse(&problem.code));
        let detail = match problem.request_id {
            Some(id) => format!("{} The host's log has the cause under request id {id}.", problem.detail),
            None => problem.detail,
        };
        // Another program's text: it must not draw on this terminal.
        let code = Some(plain(&problem.code));
        Failure { title: plain(&problem.title), detail: plain(&detail), code, exit, retry_after }
    }

    /// Whether it is this one of the known errors.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.code.as_deref().and_then(Code::parse) == Some(code)
    }
}

fn exit_of(code: Option<Code>) -> Exit {
    match code {
        Some(Code::HostNotRunning | Code::RelayNotRunning) => Exit::NotRunning,
        Some(Code::PairingRejected | Code::PinRejected | Code::PinTurnedAway) => Exit::Refused,
        Some(Code::ClaimExpired | Code::PinExpired) => Exit::Expired,
        _ => Exit::Failure,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} ({code})", self.title)?,
            None => f.write_str(&self.title)?,
        }
        if !self.detail.is_empty() {
            write!(f, "\n  {}", self.detail.replace('\n', "\n  "))?;
        }
        match &self.code {
            Some(code) => write!(f, "\n  More: couplet explain {code}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_happened_what_to_do_and_where_to_read_on() {
        let failure = Failure::of(Code::HostNotRunning, "Start it: couplet serve.");
        assert_eq!(
            failure.to_string(),
            "No host is running on this state folder (CPL-1404)\n  Start it: couplet serve.\n  More: couplet explain CPL-1404"
        );
        assert_eq!(failure.exit, Exit::NotRunning);
        assert_eq!(Failure::new(Exit::Usage, "No", "").to_string(), "No");
    }

    #[test]
    fn an_answer_of_the_host_keeps_its_code_and_request_id() {
        let mut problem = Problem::new(Code::Internal, "Try again.");
        problem.request_id = Some("abc".into());
        let failure = Failure::of_problem(problem, Some(7));
        assert!(failure.is(Code::Internal) && !failure.is(Code::RateLimited));
        assert!(failure.to_string().contains("under request id abc."), "{failure}");
        assert_eq!((failure.exit, failure.retry_after), (Exit::Failure, Some(7)));
    }
}
