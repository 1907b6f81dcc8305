//! Sessions that are open: their slots, and one session from the confirm of its device to its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use couplet_client::sealed::{Link, SealedStream};
use couplet_protocol::api::EventKind;
use couplet_protocol::frame::CloseCode;
use couplet_protocol::session::SESSION_TIME;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Origin, PARTING, addresses};
use crate::events::News;
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
    taken: Vec<(u64, Uuid, CancellationToken)>,
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

    /// Takes a slot. When all are taken, the oldest session of the same device yields its own; None when it has none.
    fn take(&self, device: Uuid) -> Option<Slot> {
        let mut live = self.live();
        if live.taken.len() >= self.0.max {
            let oldest = live.taken.iter().position(|(_, of, _)| *of == device)?;
            let (_, _, replaced) = live.taken.remove(oldest);
            replaced.cancel();
        }
        live.last += 1;
        let (number, replaced) = (live.last, CancellationToken::new());
        live.taken.push((number, device, replaced.clone()));
        Some(Slot { sessions: self.clone(), number, replaced })
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.sessions.live().taken.retain(|(number, _, _)| *number != self.number);
    }
}

/// Serves a device that has proven who it is, until either end closes the session or something else ends it.
pub(super) async fn serve<S>(core: Core, stream: SealedStream<S>, link: Link, origin: Origin, device: Uuid)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let session = match core.auth().let_in(device, origin.path).await {
        Ok(Ok(session)) => session,
        Ok(Err(code)) => return stream.close(code).await,
        Err(failure) => {
            tracing::error!(target: "couplet::session", %failure, "a device could not be let in");
            return stream.close(CloseCode::Busy).await;
        }
    };
    let Some(slot) = core.tunnels().sessions.take(device) else {
        return stream.close(CloseCode::Busy).await;
    };
    tell(&core, EventKind::SessionOpened, &session, &origin);
    run(&core, super::serve::serve(&core, stream, device, origin.source), &link, &session, &slot).await;
    drop(slot);
    tell(&core, EventKind::SessionClosed, &session, &origin);
}

/// Serves until something ends the session, and tells the peer what. A peer that takes nothing is cut off: the
/// connection is gone when this returns.
async fn run(core: &Core, serving: impl Future<Output = ()>, link: &Link, session: &Session, slot: &Slot) {
    tokio::pin!(serving);
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
    core.events().tell(News::of_session(kind, core.auth().now(), &session.device, origin.path, origin.source));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_session_of_a_device_yields_to_its_newest() {
        let sessions = Sessions::new(2);
        let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
        let first = sessions.take(a).unwrap();
        let second = sessions.take(b).unwrap();
        assert!(sessions.take(c).is_none(), "a stranger gets none");
        let third = sessions.take(a).unwrap();
        assert!(first.replaced.is_cancelled() && !second.replaced.is_cancelled() && !third.replaced.is_cancelled());
        drop(first);
        assert!(sessions.take(c).is_none(), "a slot that was yielded is not free");
        drop(third);
        let fourth = sessions.take(c).unwrap();
        assert!(!fourth.replaced.is_cancelled() && !second.replaced.is_cancelled());
        drop((second, fourth));
        assert_eq!(sessions.live().taken.len(), 0);
    }
}
