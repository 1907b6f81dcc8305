//! What `couplet doctor` and the dashboard say of a host's health.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Code;

/// Answer of `GET /api/doctor`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DoctorReport {
    /// When it was looked, by the host's clock.
    pub at: String,
    /// Whether nothing has failed. Warnings leave it true.
    pub ok: bool,
    /// Whether a host was running; if not, this is what a start would meet.
    pub running: bool,
    /// What was found, in the order of [`Part`].
    pub findings: Vec<Finding>,
}

impl DoctorReport {
    /// A report of these findings.
    #[must_use]
    pub fn new(at: String, running: bool, findings: Vec<Finding>) -> Self {
        let ok = findings.iter().all(|finding| finding.state != FindingState::Failed);
        DoctorReport { at, ok, running, findings }
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Whether a host runs and answers.
    Host,
    /// The state folder, and who can read the secrets in it.
    Folder,
    /// The database in it.
    Database,
    /// Room on its disk.
    Disk,
    /// Whether its ports are free, or its own and answering.
    Ports,
    /// The addresses that an offer names.
    Addresses,
    /// Firewalls of this machine.
    Firewall,
    /// The apps behind the gateway.
    Apps,
    /// The relay and the link to it.
    Relay,
    /// How long certificates last.
    Certificates,
    /// The clock.
    Clock,
}

impl Part {
    /// All parts, in the order in which they are looked at.
    pub const ALL: [Part; 11] = [
        Part::Host,
        Part::Folder,
        Part::Database,
        Part::Disk,
        Part::Ports,
        Part::Addresses,
        Part::Firewall,
        Part::Apps,
        Part::Relay,
        Part::Certificates,
        Part::Clock,
    ];

    /// As in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Part::Host => "host",
            Part::Folder => "folder",
            Part::Database => "database",
            Part::Disk => "disk",
            Part::Ports => "ports",
            Part::Addresses => "addresses",
            Part::Firewall => "firewall",
            Part::Apps => "apps",
            Part::Relay => "relay",
            Part::Certificates => "certificates",
            Part::Clock => "clock",
        }
    }
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FindingState {
    /// As it should be.
    Ok,
    /// It works, and may not for long, or not for everyone.
    Warning,
    /// Something does not work.
    Failed,
    /// There is nothing to look at, or it cannot be seen from here.
    Skipped,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// To which part it belongs.
    pub part: Part,
    /// How it stands.
    pub state: FindingState,
    /// What it is about: an address, an app's name, a file. Absent when the part has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What was found, in a sentence.
    pub found: String,
    /// Why it is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The command that mends it, or that shows more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The error page about it: `CPL-1401`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl Finding {
    /// A finding of which no more is said than this.
    #[must_use]
    pub fn new(part: Part, state: FindingState, found: impl Into<String>) -> Self {
        let found = found.into();
        Finding { part, state, subject: None, found, cause: None, next: None, command: None, code: None }
    }

    /// What it is about.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Why it is so.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What to do.
    #[must_use]
    pub fn then(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The command that mends it, or that shows more.
    #[must_use]
    pub fn run(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// The page about it.
    #[must_use]
    pub fn see(mut self, code: Code) -> Self {
        self.code = Some(code.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_as_in_json_and_none_is_left_out() {
        for part in Part::ALL {
            assert_eq!(serde_json::to_value(part).unwrap(), part.name());
            assert_eq!(Part::ALL.iter().filter(|other| **other == part).count(), 1);
        }
    }

    #[test]
    fn a_warning_is_no_failure() {
        let of = |state| DoctorReport::new(String::new(), true, vec![Finding::new(Part::Disk, state, "x")]).ok;
        assert!(of(FindingState::Ok) && of(FindingState::Warning) && of(FindingState::Skipped));
        assert!(!of(FindingState::Failed));
    }
}
