//! What stands in the way of pairing and use, looked at on this machine: each part by itself, within a bounded time. Of other
//! machines only the enrolled relay, the configured apps and the DNS are asked anything.
//!
//! A running host looks at itself ([`Core::examine`]); where none runs, [`examine`] says what a start would meet. Nothing is
//! changed by looking.

mod addresses;
mod apps;
mod certificates;
mod clock;
mod database;
mod disk;
mod firewall;
mod folder;
mod http;
mod nftables;
mod phone;
mod ports;
mod programs;
mod relay;

use std::path::Path;
use std::time::{Duration, Instant};

use couplet_protocol::Code;
use couplet_protocol::api::{DoctorReport, Finding, FindingState, Part};
use futures_util::future::join_all;

use crate::clock::Clock;
use crate::config::Config;
use crate::pairing::Core;
use crate::start;

/// How long one part may take. A relay that does not answer takes the longest.
const PART: Duration = Duration::from_secs(12);

/// What is looked at: a host that runs, or the settings of one that does not.
#[derive(Clone, Copy)]
pub(crate) struct Patient<'a> {
    config: &'a Config,
    core: Option<&'a Core>,
}

impl<'a> Patient<'a> {
    fn folder(self) -> &'a Path {
        &self.config.state_dir
    }

    async fn look(self, part: Part) -> Vec<Finding> {
        let looked = async {
            match part {
                Part::Host => vec![self.host()],
                Part::Folder => folder::look(self),
                Part::Database => database::look(self).await,
                Part::Disk => disk::look(self),
                Part::Ports => ports::look(self).await,
                Part::Addresses => [addresses::look(self), phone::names(self).await].concat(),
                Part::Firewall => firewall::look(self).await,
                Part::Apps => apps::look(self).await,
                Part::Relay => relay::look(self).await,
                Part::Certificates => certificates::look(self),
                Part::Clock => clock::look(self).await,
            }
        };
        tokio::time::timeout(PART, looked).await.unwrap_or_else(|_| {
            let found = format!("It could not be looked at within {} s", PART.as_secs());
            vec![failed(part, found).then("Look again: couplet doctor.")]
        })
    }

    fn host(self) -> Finding {
        match self.core {
            Some(_) => ok(Part::Host, format!("Couplet {} runs and answers", env!("CARGO_PKG_VERSION"))),
            None if is_held(self.folder()) => failed(Part::Host, "A host holds the state folder and does not answer")
                .because("It hangs, or has just started or stopped.")
                .then("Look at its log, and start it anew.")
                .see(Code::HostNotRunning),
            None => skipped(Part::Host, "No host runs on the state folder: this is what a start would meet")
                .run("couplet serve")
                .see(Code::HostNotRunning),
        }
    }
}

/// Looks at one part where no host runs, or none that answers, with the settings that a start would have.
pub async fn examine(config: &Config, part: Part) -> Vec<Finding> {
    Patient { config, core: None }.look(part).await
}

/// A report of what [`examine`] found.
#[must_use]
pub fn report(findings: Vec<Finding>) -> DoctorReport {
    DoctorReport::new(Clock::start().now().to_rfc3339(), false, findings)
}

/// Whether a host holds the lock of the state folder.
#[must_use]
pub fn is_held(state_dir: &Path) -> bool {
    start::is_held(state_dir)
}

impl Core {
    /// Looks at one part, or at all of them side by side. That is done once at a time: who asks before it begins is told
    /// the same.
    pub(crate) async fn examine(&self, only: Option<Part>) -> DoctorReport {
        let patient = Patient { config: self.config(), core: Some(self) };
        if let Some(part) = only {
            return DoctorReport::new(self.now().to_rfc3339(), true, patient.look(part).await);
        }
        let asked = Instant::now();
        let mut last = self.examined().lock().await;
        if let Some((_, report)) = last.as_ref().filter(|(begun, _)| *begun >= asked) {
            return report.clone();
        }
        let begun = Instant::now();
        let findings = join_all(Part::ALL.map(|part| patient.look(part))).await;
        let report = DoctorReport::new(self.now().to_rfc3339(), true, findings.concat());
        *last = Some((begun, report.clone()));
        report
    }
}

/// The last examination of everything, and when it began.
pub(crate) type Examined = tokio::sync::Mutex<Option<(Instant, DoctorReport)>>;

fn ok(part: Part, found: impl Into<String>) -> Finding {
    Finding::new(part, FindingState::Ok, found)
}

fn warning(part: Part, found: impl Into<String>) -> Finding {
    Finding::new(part, FindingState::Warning, found)
}

fn failed(part: Part, found: impl Into<String>) -> Finding {
    Finding::new(part, FindingState::Failed, found)
}

fn skipped(part: Part, found: impl Into<String>) -> Finding {
    Finding::new(part, FindingState::Skipped, found)
}
