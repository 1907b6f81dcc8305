//! The clock: whether something keeps it in step, and how far it is from the relay's.

use std::path::Path;

use couplet_client::relay::{SKEW, skew};
use couplet_protocol::Code;
use couplet_protocol::api::{Finding, Part};

use super::programs::{self, Ran};
use super::{Patient, failed, ok, relay, skipped, warning};
use crate::clock::Clock;

const PART: Part = Part::Clock;
const SET: &str = "sudo timedatectl set-ntp true";

pub(super) async fn look(patient: Patient<'_>) -> Vec<Finding> {
    let (kept, apart) = tokio::join!(kept(), apart(patient));
    let mut found = vec![kept];
    found.extend(apart);
    found.extend(set_back(patient));
    found
}

/// Whether the clock follows others'.
async fn kept() -> Finding {
    let said = programs::run("timedatectl", &["show", "--property=NTPSynchronized", "--value"]).await;
    let is_marked = Path::new("/run/systemd/timesync/synchronized").exists();
    match said {
        Ran::Said(said) if said.trim() == "yes" => ok(PART, "The clock is kept in step over the network"),
        _ if is_marked => ok(PART, "The clock is kept in step over the network"),
        Ran::Said(said) if said.trim() == "no" => warning(PART, "Nothing keeps the clock in step")
            .because("No time server has been reached, or none is asked.")
            .then("Turn it on: by a clock that is off, codes and certificates are too old or not valid yet.")
            .run(SET),
        _ => skipped(PART, "Nothing here says whether the clock is kept in step").run("date -u"),
    }
}

/// How far the clock is from that of the relay, where there is one.
async fn apart(patient: Patient<'_>) -> Option<Finding> {
    let (name, ahead) = relay::clock(patient).await?;
    let Some(said) = skew(ahead) else {
        let found = format!("The clock is {} s from that of {name}, and may be {SKEW} s", ahead.abs());
        return Some(ok(PART, found).about(name));
    };
    let mut said = said;
    if let Some(first) = said.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let finding = failed(PART, said).because("One of the two is not set by a time server.");
    let next = "Set the one that is wrong. If it is not this one, tell the relay's operator.";
    Some(finding.about(name).then(next).run(SET).see(Code::ClockDiffers))
}

/// A host goes on by its own clock when the machine's is set back; what it writes down is then later than now.
fn set_back(patient: Patient<'_>) -> Option<Finding> {
    let (own, machine) = (patient.core?.now(), Clock::start().now());
    let by = own.millis().saturating_sub(machine.millis()) / 1000;
    if by <= SKEW {
        return None;
    }
    let finding = warning(PART, format!("The machine's clock was set back by {by} s since the host started"));
    let cause = "The host goes on by its own clock, so that no code comes back to life; watches see two times.";
    Some(finding.because(cause).then("Restart the host once the machine's clock is right.").run("couplet serve"))
}
