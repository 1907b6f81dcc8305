//! The addresses that an offer names: whether a device can reach any of them.

use std::net::{IpAddr, SocketAddr};

use couplet_protocol::api::{Finding, Part};
use couplet_protocol::{Code, Endpoint};

use super::{Patient, failed, ok, warning};
use crate::listen::Place;
use crate::net;

const PART: Part = Part::Addresses;

pub(super) fn look(patient: Patient<'_>) -> Vec<Finding> {
    let offered = offered(patient);
    let far: Vec<&SocketAddr> = offered.iter().filter(|address| !address.ip().is_loopback()).collect();
    let Some(first) = far.first() else { return vec![local(patient, &offered)] };
    let list: Vec<String> = far.iter().map(ToString::to_string).collect();
    let mut found = vec![ok(PART, format!("An offer names {}", list.join(", "))).about(first.to_string())];
    found.extend(doubt(first.ip()).map(|finding| finding.about(first.to_string())));
    found
}

/// The addresses of an offer, the likeliest first.
fn offered(patient: Patient<'_>) -> Vec<SocketAddr> {
    match patient.core {
        Some(core) => {
            let lan = |endpoint| match endpoint {
                Endpoint::Lan(address) => Some(address),
                Endpoint::Relay(_) => None,
            };
            core.endpoints().into_iter().filter_map(lan).collect()
        }
        None => net::reachable(&Place::of_pairing(patient.config).addresses()),
    }
}

/// No other machine can reach them.
fn local(patient: Patient<'_>, offered: &[SocketAddr]) -> Finding {
    let at = offered.first().map_or_else(|| "no address".to_owned(), ToString::to_string);
    let found = format!("An offer names {at}, which only this machine can reach: no phone can");
    let (cause, next, command) = match patient.config.listen.is_empty() {
        true => (
            "No network that is up gives this machine a private address.",
            "Join a network: a running host takes its addresses within seconds.",
            "ip -brief address",
        ),
        false => (
            "The setting `listen` names loopback addresses alone.",
            "Take the setting out, so that every private address is served; or name one of this machine's.",
            "couplet config show --origin",
        ),
    };
    let by_relay = match patient.core {
        Some(core) => core.relay().name().is_some(),
        None => super::relay::is_enrolled(patient),
    };
    // Where devices come another way, it may be meant so.
    let finding = match (by_relay, patient.config.trusted_proxies.is_empty()) {
        (true, _) => warning(PART, format!("{found}. Devices come through the relay")),
        (false, false) => warning(PART, format!("{found}. Devices come through a proxy of `trusted_proxies`")),
        (false, true) => failed(PART, found),
    };
    finding.because(cause).then(next).run(command).see(Code::AddressesLocal)
}

/// What speaks against the address that devices try first.
fn doubt(ip: IpAddr) -> Option<Finding> {
    if net::is_of_bridge(ip) {
        let finding = warning(PART, format!("{ip} belongs to a bridge for containers or virtual machines"));
        let finding = finding.because("No other private address is up: a phone is on none of these networks.");
        return Some(finding.then("Join a network.").run("ip -brief address").see(Code::AddressesLocal));
    }
    if matches!(ip, IpAddr::V4(v4) if v4.is_link_local()) {
        let finding = warning(PART, format!("{ip} is an address that this machine gave itself"));
        let finding = finding.because("The network gave it none (no DHCP): only machines in the same plight reach it.");
        return Some(
            finding
                .then("Ask for one, or see whether the cable or the Wi-Fi is the right one.")
                .run("ip -brief address"),
        );
    }
    if !net::is_private(ip) {
        let finding = warning(PART, format!("{ip} is no private address"));
        let finding =
            finding.because("Pairing is answered to private addresses and to those of `trusted_networks` only.");
        return Some(
            finding
                .then("Name your devices' network in `trusted_networks`, if it is one that you trust.")
                .see(Code::PeerNotPrivate),
        );
    }
    None
}
