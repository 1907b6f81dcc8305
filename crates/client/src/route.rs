//! Noticing that this machine has another way to the network: a Wi-Fi that was left, a cable, a VPN.
//!
//! The system is asked which of its own addresses it would use towards others. That sends nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::time::sleep;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Addresses for documentation (RFC 5737, RFC 3849): the way there is the way to everywhere.
const EVERYWHERE: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9),
];

/// The way from this machine to some others, as it was.
pub(crate) struct Routes<L = fn(SocketAddr) -> Option<IpAddr>> {
    to: Vec<SocketAddr>,
    was: Vec<Option<IpAddr>>,
    /// A way that is gone and comes back is the same one.
    outlasts_gaps: bool,
    look: L,
}

impl Routes {
    /// The way that a session takes to this machine. Without any way it is waited for: when the old one is back, the
    /// session goes on.
    pub(crate) fn of_session(peer: SocketAddr) -> Self {
        Routes::of(vec![peer], true, source)
    }

    /// The ways to these machines, and to everywhere. One that comes back is worth a try.
    pub(crate) fn to_all(peers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Routes::of(peers.into_iter().chain(EVERYWHERE).collect(), false, source)
    }
}

impl<L: Fn(SocketAddr) -> Option<IpAddr>> Routes<L> {
    fn of(to: Vec<SocketAddr>, outlasts_gaps: bool, look: L) -> Self {
        let was = to.iter().map(|peer| look(*peer)).collect();
        Routes { to, was, outlasts_gaps, look }
    }

    /// Whether there is a way that was not there when it was looked at last.
    fn have_changed(&mut self) -> bool {
        let mut changed = false;
        for (peer, was) in self.to.iter().zip(&mut self.was) {
            let now = (self.look)(*peer);
            changed |= now.is_some() && now != *was;
            if now.is_some() || !self.outlasts_gaps {
                *was = now;
            }
        }
        changed
    }

    /// Waits until one of them is another than when it was looked at last, which may be a while ago.
    pub(crate) async fn change(&mut self) {
        while !self.have_changed() {
            sleep(LOOK).await;
        }
    }
}

/// The address that this machine speaks from to that one; None when there is no way.
fn source(peer: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(peer).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn towards_itself_a_machine_speaks_from_loopback() {
        assert_eq!(source("127.0.0.1:9".parse().unwrap()), Some(Ipv4Addr::LOCALHOST.into()));
        // Port 0 cannot be connected with everywhere, and this address nowhere.
        assert_eq!(source("255.255.255.255:9".parse().unwrap()), None);
    }

    /// Which of these ways, taken one after the other, are changes; and that each is noticed in time.
    async fn changes(outlasts_gaps: bool, ways: &[Option<u8>]) -> Vec<bool> {
        let address = |last: Option<u8>| last.map(|last| IpAddr::from([10, 0, 0, last]));
        let now = Mutex::new(address(Some(1)));
        let mut routes = Routes::of(EVERYWHERE.into(), outlasts_gaps, |_| *now.lock().unwrap());
        let mut changes = Vec::new();
        for way in ways {
            *now.lock().unwrap() = address(*way);
            changes.push(timeout(LOOK + LOOK / 2, routes.change()).await.is_ok());
        }
        changes
    }

    #[tokio::test(start_paused = true)]
    async fn another_way_is_a_change_and_none_is_not() {
        let ways = [Some(1), Some(2), Some(2), None, None, Some(2), None, Some(3), Some(3)];
        let session = [false, true, false, false, false, false, false, true, false];
        assert_eq!(changes(true, &ways).await, session, "a session outlasts a gap");
        let waiting = [false, true, false, false, false, true, false, true, false];
        assert_eq!(changes(false, &ways).await, waiting, "who waits tries when there is a way again");
    }
}
