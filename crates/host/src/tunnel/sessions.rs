//! Sessions that are open: their slots, and one session from the confirm of its device to its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use couplet_client::sealed::{Link, SealedStream};
use couplet_protocol::api::{EventKind, NetworkPath};
use couplet_protocol::frame::CloseCode;
use couplet_protocol::session::SESSION_TIME;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Origin, PARTING, addresses};
use crate::events::News;
use crate::gateway::Peer;
use crate::pairing::Core;
use crate::session::Session;

/// How long a device that may not go on is given. With the time until an end is noticed, nothing of it is left after a
/// second.
const CUT: Duration = Duration::from_millis(400);

/// The slots. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Sessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    live: Mutex<Live>,
}

#[derive(Debug, Default)]
struct Live {
    last: u64,
    /// Oldest first.
    taken: Vec<Taken>,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    device: Uuid,
    path: NetworkPath,
    replaced: CancellationToken,
}

/// One slot; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    sessions: Sessions,
    number: u64,
    /// A newer session of the same device has it now.
    replaced: CancellationToken,
}

impl Sessions {
    pub(super) fn new(max: usize) -> Self {
        Sessions(Arc::new(Inner { max, live: Mutex::default() }))
    }

    /// Takes a slot. When all are taken, the oldest session yields its own of the device that has the most, so that one
    /// device does not keep out the others; or else of the same device. None when there is none that has to.
    fn take(&self, device: Uuid, path: NetworkPath) -> Option<Slot> {
        let mut live = self.live();
        if live.taken.len() >= self.0.max {
            let count = |device: Uuid| live.taken.iter().filter(|taken| taken.device == device).count();
            let greedy = live.taken.iter().map(|taken| taken.device).max_by_key(|of| count(*of));
            let yields = greedy.filter(|greedy| count(*greedy) >= count(device) + 2).unwrap_or(device);
            let oldest = live.taken.iter().position(|taken| taken.device == yields)?;
            live.taken.remove(oldest).replaced.cancel();
        }
        live.last += 1;
        let (number, replaced) = (live.last, CancellationToken::new());
        live.taken.push(Taken { number, device, path, replaced: replaced.clone() });
        Some(Slot { sessions: self.clone(), number, replaced })
    }

    /// The path of the device's newest session.
    pub(super) fn path_of(&self, device: Uuid) -> Option<NetworkPath> {
        self.live().taken.iter().rev().find(|taken| taken.device == device).map(|taken| taken.path)
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.sessions.live().taken.retain(|taken| taken.number != self.number);
    }
}

/// Serves a device that has proven who it is, until either end closes the session or something else ends it.
pub(super) async fn serve<S>(core: Core, stream: SealedStream<S>, link: Link, origin: Origin, device: Uuid)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let session = match core.auth().let_in(device, origin.path()).await {
        Ok(Ok(session)) => session,
        Ok(Err(code)) => return stream.close(code).await,
        Err(failure) => {
            tracing::error!(target: "couplet::session", %failure, "a device could not be let in");
            return stream.close(CloseCode::Leaving).await;
        }
    };
    let Some(slot) = core.tunnels().sessions.take(device, origin.path()) else {
        return stream.close(CloseCode::Busy).await;
    };
    tell(&core, EventKind::SessionOpened, &session, &origin);
    let peer = match origin.path() {
        NetworkPath::Lan => Peer::new(origin.source, false),
        NetworkPath::Relay => Peer::relayed(origin.source),
    };
    let serving = Box::pin(super::serve::serve(&core, stream, device, peer));
    run(&core, serving, &link, &session, &slot).await;
    drop(slot);
    tell(&core, EventKind::SessionClosed, &session, &origin);
}

/// Serves until something ends the session, and tells the peer what. A peer that takes nothing is cut off: the
/// connection is gone when this returns.
async fn run(core: &Core, mut serving: impl Future<Output = ()> + Unpin, link: &Link, session: &Session, slot: &Slot) {
    let code = tokio::select! {
        () = &mut serving => return,
        never = addresses::tell(core, link) => match never {},
        () = session.ended().cancelled() => session.why().unwrap_or(CloseCode::Changed),
        () = core.stopping().cancelled() => CloseCode::Leaving,
        () = slot.replaced.cancelled() => CloseCode::Replaced,
        () = sleep(SESSION_TIME) => CloseCode::TooOld,
    };
    link.close(code);
    // Whoever polls the stream sends the CLOSE.
    let parting = async {
        tokio::select! {
            () = &mut serving => {}
            _ = link.ended() => {}
        }
    };
    let _ = timeout(patience(code), parting).await;
}

/// How long the peer is given to take the CLOSE. One that it misses is told again when the device comes back.
fn patience(code: CloseCode) -> Duration {
    match code {
        CloseCode::Revoked | CloseCode::Expired | CloseCode::Changed => CUT,
        _ => PARTING,
    }
}

fn tell(core: &Core, kind: EventKind, session: &Session, origin: &Origin) {
    core.events().tell(News::of_session(kind, core.auth().now(), &session.device, origin));
}

#[cfg(test)]
mod tests {
    use couplet_client::sealed::{Ending, Side, config};
    use couplet_protocol::handshake::{Hello, Initiator, PairingKeys, Responder};
    use couplet_protocol::offer::SUITE_1;
    use couplet_protocol::secret::{Entropy, Psk};
    use couplet_protocol::{DeviceName, Scope, StaticSecret};
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio::time::Instant;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::pairing::Pairing;
    use crate::session::Device;

    type End = (SealedStream<DuplexStream>, Link);

    /// Both ends of an open session: the host's and the device's.
    async fn ends() -> (End, End) {
        let entropy = |n| Entropy::new([n; 32]);
        let (host, device) = (StaticSecret::new([1; 32]).unwrap(), StaticSecret::new([2; 32]).unwrap());
        let keys = PairingKeys { psk_id: [8; 8], psk: Psk::new([7; 32]), host_key: host.public(), suites: SUITE_1 };
        let (initiator, m1) = Initiator::reconnect(&keys, &device, entropy(3)).unwrap();
        let hello = Hello::parse(&m1).unwrap();
        let responder = Responder::reconnect(&hello, &host, &keys.psk, SUITE_1, &device.public(), entropy(4)).unwrap();
        let (unconfirmed, m2) = responder.answer("Home", &entropy(5)).unwrap();
        let (theirs, mut first) = initiator.finish(&m2).unwrap().begin().unwrap();
        let ours = unconfirmed.confirm(&mut first).unwrap().session;
        let (a, b) = duplex(64 * 1024);
        let host = WebSocketStream::from_raw_socket(a, Role::Server, Some(config(Side::Host))).await;
        let device = WebSocketStream::from_raw_socket(b, Role::Client, Some(config(Side::Device))).await;
        let (ours, our_link, _) = SealedStream::new(host, ours, Side::Host);
        let (theirs, their_link, _) = SealedStream::new(device, theirs, Side::Device);
        ((ours, our_link), (theirs, their_link))
    }

    #[tokio::test]
    async fn a_session_ends_after_twelve_hours_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let config = crate::Config::new(folder.path().join("state"), "Home");
        // The upkeep goes with the handle; twelve hours of it would take a while.
        let core = Pairing::open(config).await.unwrap().core().clone();
        let device = Device {
            device_id: Uuid::from_u128(1),
            device_name: DeviceName::parse("iPad").unwrap(),
            device_model: None,
        };
        let session = Session::new(device, Scope::default(), None);
        let slot = Sessions::new(1).take(session.device.device_id, NetworkPath::Lan).unwrap();
        tokio::time::pause();
        let ((mut ours, link), (mut theirs, their_link)) = ends().await;
        let began = Instant::now();
        let serving = Box::pin(async move { drop(ours.read_u8().await) });
        tokio::join!(run(&core, serving, &link, &session, &slot), theirs.read_u8()).1.unwrap_err();
        assert_eq!(their_link.ended().await, Ending::Closed(CloseCode::TooOld));
        let lasted = began.elapsed();
        assert!((SESSION_TIME..SESSION_TIME + Duration::from_secs(60)).contains(&lasted), "{lasted:?}");
    }

    #[test]
    fn the_oldest_session_of_a_device_yields_to_its_newest() {
        let sessions = Sessions::new(2);
        let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
        let first = sessions.take(a, NetworkPath::Lan).unwrap();
        let second = sessions.take(b, NetworkPath::Lan).unwrap();
        assert!(sessions.take(c, NetworkPath::Lan).is_none(), "a stranger gets none");
        let third = sessions.take(a, NetworkPath::Lan).unwrap();
        assert!(first.replaced.is_cancelled() && !second.replaced.is_cancelled() && !third.replaced.is_cancelled());
        drop(first);
        assert!(sessions.take(c, NetworkPath::Lan).is_none(), "a slot that was yielded is not free");
        drop(third);
        let fourth = sessions.take(c, NetworkPath::Lan).unwrap();
        assert!(!fourth.replaced.is_cancelled() && !second.replaced.is_cancelled());
        drop((second, fourth));
        assert_eq!(sessions.live().taken.len(), 0);
    }

    #[test]
    fn one_device_does_not_keep_out_the_others() {
        let sessions = Sessions::new(4);
        let [greedy, other, third, fourth] = [1, 2, 3, 4].map(Uuid::from_u128);
        let all: Vec<Slot> = (0..4).map(|_| sessions.take(greedy, NetworkPath::Lan).unwrap()).collect();
        let gone = |at: usize| all[at].replaced.is_cancelled();
        let _other = sessions.take(other, NetworkPath::Lan).unwrap();
        assert!(gone(0) && !gone(1), "the oldest of the four");
        let _third = sessions.take(third, NetworkPath::Lan).unwrap();
        assert!(gone(1) && !gone(2));
        let _fourth = sessions.take(fourth, NetworkPath::Lan).unwrap();
        assert!(gone(2) && !gone(3), "two against none");
        assert!(sessions.take(Uuid::from_u128(5), NetworkPath::Lan).is_none(), "everybody has one");
        assert!(sessions.take(greedy, NetworkPath::Lan).is_some() && gone(3), "its own");
    }
}
