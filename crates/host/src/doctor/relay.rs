//! The relay: whether this host is enrolled with one, whether the link is there, and if not which step fails.

use couplet_client::RelayFailure;
use couplet_client::relay::TlsUnusable;
use couplet_protocol::api::{Finding, Part, RelayState};
use couplet_protocol::{Code, RelayName};
use http::{Method, StatusCode};

use super::{Patient, failed, ok, skipped, warning};
use crate::config::RelayUse;
use crate::pairing::Core;
use crate::relay::{Enrolment, dial};
use crate::start::StartError;

const PART: Part = Part::Relay;

pub(super) async fn look(patient: Patient<'_>) -> Vec<Finding> {
    match enrolment(patient) {
        Err(error) => {
            let next = "Restore it from a backup, or enrol anew with a token of the relay's operator.";
            let finding = failed(PART, "The enrolment with the relay cannot be used").because(error.detail());
            vec![finding.then(next).run("couplet enroll TOKEN").see(error.code())]
        }
        Ok(None) => vec![none(patient)],
        Ok(Some(enrolment)) => {
            let (devices, hosts) = tokio::join!(devices(&enrolment), hosts(&enrolment));
            let name = &enrolment.relay;
            let mut found = vec![match devices {
                Ok(_) => ok(PART, format!("{name} answers devices, and its certificate is trusted")),
                Err(failure) => broken(name, &failure, "Devices that are elsewhere cannot use the relay"),
            }];
            found.push(match hosts {
                Ok(()) => ok(PART, format!("{name} knows this host")),
                Err(failure) => broken(name, &failure, "The relay's listener for hosts cannot be used"),
            });
            found.extend(patient.core.map(|core| link(core, name)));
            found.into_iter().map(|finding| finding.about(name.to_string())).collect()
        }
    }
}

/// What the host uses, or would use.
pub(super) fn enrolment(patient: Patient<'_>) -> Result<Option<Enrolment>, StartError> {
    match patient.config.relay {
        RelayUse::Off => Ok(None),
        RelayUse::Auto | RelayUse::Required => Enrolment::load(patient.folder()),
    }
}

/// Whether devices can come by a relay.
pub(super) fn is_enrolled(patient: Patient<'_>) -> bool {
    enrolment(patient).is_ok_and(|enrolment| enrolment.is_some())
}

/// The relay's name, and by how many seconds its clock is ahead; nothing where there is none, or it tells no time.
pub(super) async fn clock(patient: Patient<'_>) -> Option<(String, i64)> {
    let enrolment = enrolment(patient).ok()??;
    match devices(&enrolment).await {
        Ok(ahead) => ahead.map(|ahead| (enrolment.relay.to_string(), ahead)),
        Err(_) => None,
    }
}

fn none(patient: Patient<'_>) -> Finding {
    match patient.config.relay {
        RelayUse::Off => skipped(PART, "The relay is left out, as the settings want it"),
        RelayUse::Required => failed(PART, "This host is to start with a relay only, and is enrolled with none")
            .because("The setting `relay` is \"required\".")
            .then("Enrol it with a token of the relay's operator.")
            .run("couplet enroll TOKEN")
            .see(Code::NotEnrolled),
        RelayUse::Auto => {
            skipped(PART, "This host is enrolled with no relay: devices reach it on its own networks only")
                .run("couplet enroll TOKEN")
        }
    }
}

fn broken(name: &RelayName, failure: &RelayFailure, found: &str) -> Finding {
    let command = match failure.code() {
        Code::ClockDiffers => "sudo timedatectl set-ntp true".to_owned(),
        Code::HostRevoked | Code::EnrollmentInvalid => "couplet enroll TOKEN".to_owned(),
        _ => format!("couplet relay check {name}"),
    };
    failed(PART, found).because(format!("{failure}.")).then(failure.next_step(name)).run(command).see(failure.code())
}

/// How the link of a running host stands.
fn link(core: &Core, name: &RelayName) -> Finding {
    let Some(status) = core.relay().status().filter(|status| status.name == name.as_str()) else {
        let finding = warning(PART, format!("This host was enrolled with {name} since it started"));
        return finding.then("Restart it: it uses the relay from then on.").run("couplet serve");
    };
    let code = status.code.as_deref().and_then(Code::parse).unwrap_or(Code::RelayUnreachable);
    match status.state {
        RelayState::Connected => ok(PART, format!("The link to {name} is there")),
        RelayState::Linking => {
            warning(PART, format!("The link to {name} is being made")).then("Look again in a moment.")
        }
        RelayState::Lost => failed(PART, format!("The link to {name} is not there"))
            .because(format!("{}; the host's log has each try.", code.title()))
            .then("Once the relay answers, the host is linked again within half a minute.")
            .run(format!("couplet relay check {name}"))
            .see(code),
        RelayState::Refused => failed(PART, format!("{name} refuses this host, and is not asked again"))
            .because(format!("{}.", code.title()))
            .then("Ask the relay's operator for an enrolment token, enrol anew, and restart the host.")
            .run("couplet enroll TOKEN")
            .see(code),
    }
}

fn unusable(error: TlsUnusable) -> RelayFailure {
    RelayFailure::new(Code::RelayUntrusted, error.0)
}

/// Asks the devices' listener, as a device would. By how many seconds its clock is ahead.
async fn devices(enrolment: &Enrolment) -> Result<Option<i64>, RelayFailure> {
    let tls = enrolment.devices_tls().map_err(unusable)?;
    let mut http = dial::connect(&tls, &enrolment.relay).await?;
    let answer = dial::ask(&mut http, Method::GET, "/check", None::<&()>).await?;
    match answer.code() {
        Some(Code::UpgradeRequired) => Ok(answer.ahead()),
        _ => Err(RelayFailure::broken("it knows nothing of a check")),
    }
}

/// Asks the hosts' listener, which answers only whom its CA vouches for.
async fn hosts(enrolment: &Enrolment) -> Result<(), RelayFailure> {
    let tls = enrolment.hosts_tls().map_err(unusable)?;
    let mut http = dial::connect(&tls, &enrolment.hosts).await?;
    let answer = dial::ask(&mut http, Method::GET, "/check", None::<&()>).await?;
    match (answer.status, answer.code()) {
        // There is no such path for hosts: that it says so shows that this one is let in.
        (StatusCode::NOT_FOUND, Some(Code::NoSuchRoute)) => Ok(()),
        (_, Some(code)) => Err(RelayFailure::new(code, code.title())),
        _ => Err(RelayFailure::broken("it knows nothing of this path")),
    }
}
