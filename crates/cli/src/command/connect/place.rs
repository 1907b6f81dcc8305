//! Where programs of this machine find an app: an address of its own for each host and app.
//!
//! A browser sends a page's cookies to every port of its address, and lets a service worker answer for whatever is at
//! the worker's address and port later. At one address for all, what is behind one host could act on the pages of
//! another. The rest of 127.0.0.0/8 is this machine's as well, at least on Linux.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use couplet_client::{Credentials, HostId};
use couplet_protocol::Code;
use couplet_protocol::credential::Digest;
use http::HeaderValue;
use tokio::net::TcpListener;

use crate::failure::Failure;
use crate::output;

/// The ports that are tried at an app's own address; more than one when it is forwarded to more than once.
const PORTS: Range<u16> = 7890..7900;
/// Where an app's ports are on a system that has 127.0.0.1 alone: above those that browsers refuse, below those that
/// systems hand out.
const SHARED_PORTS: Range<u16> = 10_240..32_768;

/// Where a forwarder listens.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) listener: TcpListener,
    /// Whether `localhost` is a name of it, too: the user wants it there, and knows who else is.
    pub(super) is_localhost: bool,
}

/// Listens at the address that the user named.
pub(super) async fn named(at: SocketAddr) -> Result<Place, Failure> {
    let bound = TcpListener::bind(at).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            Failure::of(Code::PortInUse, format!("{at} is taken: name another port with --listen."))
        }
        _ => unusable(at, &error),
    });
    let is_localhost = at.ip() == Ipv4Addr::LOCALHOST || at.ip() == std::net::Ipv6Addr::LOCALHOST;
    bound.map(|listener| Place { listener, is_localhost })
}

/// Listens at this app's own address; without a name it is the host's first app.
pub(super) async fn own(host: &Credentials, app: Option<&HeaderValue>) -> Result<Place, Failure> {
    Own::of(host, app).listen().await
}

/// An app's own address, which stays the same while the pairing lasts.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    address: Ipv4Addr,
    /// For 127.0.0.1, where there is nothing else.
    shared_ports: Vec<u16>,
}

impl Own {
    /// The device's key was made at random for this host alone, before the host knew it: so no host can choose its own
    /// key such that it gets the address of another.
    fn of(host: &Credentials, app: Option<&HeaderValue>) -> Self {
        let device = HostId::of(&host.device_key.public());
        let app = app.map_or("", |app| app.to_str().unwrap_or_default());
        let digest = Digest::of(&format!("couplet connect: {} {device} {app}", host.id()));
        let [second, third, last, ports @ ..] = digest.as_bytes();
        let shared = |bytes: &[u8]| {
            let number = bytes.iter().fold(0_u16, |number, byte| number << 8 | u16::from(*byte));
            SHARED_PORTS.start + number % (SHARED_PORTS.end - SHARED_PORTS.start)
        };
        Own {
            // 127.64.0.0/10, without what could be taken for the address of a network or for broadcast.
            address: Ipv4Addr::new(127, 64 | second & 63, *third, 1 + last % 254),
            shared_ports: ports.chunks_exact(2).map(shared).collect(),
        }
    }

    async fn listen(&self) -> Result<Place, Failure> {
        for port in PORTS.chain([0]) {
            let at = SocketAddr::from((self.address, port));
            match TcpListener::bind(at).await {
                Ok(listener) => return Ok(Place { listener, is_localhost: false }),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable => return self.listen_shared().await,
                Err(error) => return Err(unusable(at, &error)),
            }
        }
        Err(Failure::of(Code::PortInUse, format!("{} has no free port: name an address with --listen.", self.address)))
    }

    async fn listen_shared(&self) -> Result<Place, Failure> {
        for port in &self.shared_ports {
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            match TcpListener::bind(at).await {
                Ok(listener) => {
                    output::message(
                        "warning: this system has one loopback address, so a browser shows the cookies of each app to \
                         all that is at 127.0.0.1. Use a browser profile for each host.",
                    );
                    return Ok(Place { listener, is_localhost: false });
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(unusable(at, &error)),
            }
        }
        Err(Failure::of(Code::PortInUse, "Name a free one: --listen 127.0.0.1:8080."))
    }
}

fn unusable(at: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::of(
        Code::AddressUnusable,
        format!("{at}: {error}.\nName an address that can be used: --listen 127.0.0.1:8080."),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use couplet_client::{Keys, Token};
    use couplet_protocol::StaticSecret;
    use couplet_protocol::handshake::PairingKeys;
    use couplet_protocol::offer::SUITE_1;
    use couplet_protocol::secret::Psk;

    use super::*;

    fn paired(host: u8, device: u8) -> Credentials {
        let key = |byte| StaticSecret::new([byte; 32]).unwrap();
        let keys =
            PairingKeys { psk_id: [8; 8], psk: Psk::new([7; 32]), host_key: key(host).public(), suites: SUITE_1 };
        Credentials {
            host_name: "nas".into(),
            keys: Keys(keys),
            device_key: key(device),
            device_id: String::new(),
            device_token: Token::new(String::new().into()),
            room_secret: None,
            room_number: 0,
            relay_ca: None,
            endpoints: vec![],
            endpoints_serial: 0,
            paired_at: None,
        }
    }

    #[test]
    fn each_pairing_and_app_has_an_address_of_its_own() {
        let app = |name| Some(HeaderValue::from_static(name));
        let mut addresses = HashSet::new();
        for host in 1..=8 {
            for device in 11..=18 {
                for app in [None, app("wiki"), app("lab")] {
                    let own = Own::of(&paired(host, device), app.as_ref());
                    let [first, second, _, last] = own.address.octets();
                    assert!(first == 127 && (64..128).contains(&second) && last != 0 && last != 255, "{own:?}");
                    assert!(own.shared_ports.iter().all(|port| SHARED_PORTS.contains(port)), "{own:?}");
                    assert_eq!(own, Own::of(&paired(host, device), app.as_ref()));
                    addresses.insert((own.address, own.shared_ports));
                }
            }
        }
        assert_eq!(addresses.len(), 8 * 8 * 3);
        // Bookmarks hold these.
        assert_eq!(Own::of(&paired(1, 2), None).address.to_string(), "127.109.68.253");
    }

    #[tokio::test]
    async fn it_moves_to_the_next_port_and_not_to_another_address() {
        let own = Own::of(&paired(1, 2), Some(&HeaderValue::from_static("next")));
        let (first, second) = (own.listen().await.unwrap(), own.listen().await.unwrap());
        let at = [&first, &second].map(|place| place.listener.local_addr().unwrap());
        assert!(at[0] != at[1] && at.iter().all(|at| at.ip() == own.address) && !first.is_localhost, "{at:?}");
    }

    #[tokio::test]
    async fn where_there_is_one_address_each_app_has_its_ports() {
        // An address for documentation, which no machine has.
        let address = Ipv4Addr::new(192, 0, 2, 1);
        let own = Own { address, ..Own::of(&paired(1, 2), Some(&HeaderValue::from_static("shared"))) };
        let (first, second) = (own.listen().await.unwrap(), own.listen().await.unwrap());
        let at = [&first, &second].map(|place| place.listener.local_addr().unwrap());
        assert!(at.iter().all(|at| at.ip() == Ipv4Addr::LOCALHOST && own.shared_ports.contains(&at.port())), "{at:?}");
        assert!(at[0] != at[1] && !first.is_localhost);
    }

    #[tokio::test]
    async fn the_address_that_was_named_is_taken_or_none() {
        let first = named("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert!(first.is_localhost);
        let failure = named(first.listener.local_addr().unwrap()).await.unwrap_err();
        assert!(failure.is(Code::PortInUse) && failure.detail.contains("--listen"), "{failure}");
        let failure = named("192.0.2.1:0".parse().unwrap()).await.unwrap_err();
        assert!(failure.is(Code::AddressUnusable) && failure.detail.contains("--listen"), "{failure}");
        assert!(!named("127.0.0.2:0".parse().unwrap()).await.unwrap().is_localhost);
    }
}
