//! A session through the relay: the host's end is dialled once, and then it is a WebSocket as on the LAN.

use std::net::{IpAddr, Ipv4Addr};

use couplet_client::sealed::accepted;
use couplet_protocol::RelayName;
use couplet_protocol::relay::{HOST_UPGRADE, PairCommand};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsConnector;

use super::dial::{connect, upgrade};
use super::enrolment::Enrolment;
use super::link::Remarks;
use crate::pairing::Core;
use crate::tunnel::{self, Origin};

/// Dials the host's end and runs the session. `place` is held as long as that takes.
pub(super) async fn run(
    core: Core,
    enrolment: Enrolment,
    tls: TlsConnector,
    command: PairCommand,
    (place, remarks): (OwnedSemaphorePermit, Remarks),
) {
    let sid = command.sid;
    let Some(at) = is_of(&command.relay_url, &enrolment.hosts) else {
        if remarks.may() {
            tracing::warn!(target: "couplet::relay", %sid, "the relay names another place than its own; not dialled");
        }
        return;
    };
    let dialled = async { upgrade(connect(&tls, &at).await?, &sid.path(), HOST_UPGRADE).await };
    let (stream, ahead) = match dialled.await {
        Ok(dialled) => dialled,
        Err(trouble) if remarks.may() => {
            return tracing::info!(target: "couplet::relay", %sid, %trouble, "a session came to nothing");
        }
        Err(_) => return,
    };
    // The relay's word, and only for limits and for people.
    let source = command.remote_ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let origin = Origin { source, via: Some(enrolment.relay), _slot: None };
    tunnel::run(core, accepted(stream, ahead).await, origin).await;
    drop(place);
}

/// The place that a URL names, when it is at the relay of this name and by https.
pub(super) fn is_of(url: &str, enrolled: &RelayName) -> Option<RelayName> {
    let named = RelayName::parse(url.strip_prefix("https://")?.trim_end_matches('/'))?;
    named.is_within(enrolled).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_relay_that_the_host_enrolled_with_is_dialled() {
        let own = RelayName::parse("relay.example:8443").unwrap();
        for url in [
            "https://relay.example:8443",
            "https://relay.example",
            "https://n1.relay.example:1",
            "https://RELAY.EXAMPLE/",
        ] {
            assert!(is_of(url, &own).is_some(), "{url}");
        }
        for url in [
            "http://relay.example:8443",
            "relay.example:8443",
            "https://example:8443",
            "https://evilrelay.example",
            "https://.relay.example",
            "https://relay.example.evil:8443",
            "https://127.0.0.1:8443",
            "https://user@relay.example",
            "https://relay.example/path",
            "",
        ] {
            assert!(is_of(url, &own).is_none(), "{url}");
        }
    }
}
