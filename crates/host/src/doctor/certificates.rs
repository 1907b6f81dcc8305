//! How long the certificates last by which this host and its relay know each other, and that of the pages for phones.

use std::time::Duration;

use couplet_protocol::Code;
use couplet_protocol::api::{Finding, Part};

use super::{Patient, failed, ok, phone, relay, skipped, warning};
use crate::clock::{Clock, Timestamp};
use crate::pairing::Core;
use crate::relay::Enrolment;

const PART: Part = Part::Certificates;
/// How long before its end an authority's certificate is spoken of: others have to act.
const AUTHORITY: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn look(patient: Patient<'_>) -> Vec<Finding> {
    let now = patient.core.map_or_else(|| Clock::start().now(), Core::now);
    let mut found = of_relay(patient, now);
    found.extend(phone::certificate(patient, now));
    found
}

fn of_relay(patient: Patient<'_>, now: Timestamp) -> Vec<Finding> {
    match relay::enrolment(patient) {
        // What is wrong with it stands with the relay.
        Ok(None) | Err(_) => vec![skipped(PART, "This host has no certificate of a relay: it is enrolled with none")],
        Ok(Some(enrolment)) => {
            let mut found = vec![own(&enrolment, now, patient.core.is_some())];
            found.extend(enrolment.authorities().into_iter().filter_map(|(what, end)| authority(&what, end, now)));
            found
        }
    }
}

fn own(enrolment: &Enrolment, now: Timestamp, running: bool) -> Finding {
    let relay = &enrolment.relay;
    let (end, renew_at) = enrolment.lasts();
    let day = &end.to_rfc3339()[..10];
    let finding = if now >= end {
        failed(PART, format!("This host's certificate for {relay} ended on {day}")).see(Code::HostCertificateOver)
    } else if now >= renew_at {
        warning(PART, format!("This host's certificate for {relay} ends on {day} and is not renewed yet"))
            .see(Code::HostCertificateOver)
    } else {
        return ok(PART, format!("This host's certificate for {relay} lasts until {day}, and is renewed before"));
    };
    let (next, command) = match running {
        true => (
            "It is renewed once the relay answers: see what stands in the way.",
            format!("couplet relay check {relay}"),
        ),
        false => {
            ("Start the host: it renews the certificate with its key, also after its end.", "couplet serve".to_owned())
        }
    };
    let finding =
        finding.because("A host renews it after two thirds of its time, while it runs and reaches the relay.");
    finding.then(next).run(command)
}

fn authority(what: &str, end: Timestamp, now: Timestamp) -> Option<Finding> {
    let day = &end.to_rfc3339()[..10];
    let next = "Ask the relay's operator for a new token, and enrol anew.";
    let finding = if now >= end {
        failed(PART, format!("{what} ended on {day}")).because("What it vouches for is trusted no more.")
    } else if now >= end.before(AUTHORITY) {
        warning(PART, format!("{what} ends on {day}")).because("What it vouches for is trusted no more from then on.")
    } else {
        return None;
    };
    Some(finding.then(next).run("couplet enroll TOKEN").see(Code::RelayUntrusted))
}

#[cfg(test)]
mod tests {
    use couplet_protocol::api::FindingState;

    use super::*;

    #[test]
    fn an_authority_is_spoken_of_a_month_before_its_end() {
        let (end, day) = (Timestamp::from_millis(1_800_000_000_000), Duration::from_secs(86_400));
        let of = |now| authority("The CA", end, now).map(|finding| finding.state);
        assert_eq!(of(end.before(31 * day)), None);
        assert_eq!(of(end.before(29 * day)), Some(FindingState::Warning));
        assert_eq!(of(end), Some(FindingState::Failed));
    }
}
