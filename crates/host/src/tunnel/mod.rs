//! The host's end of sealed sessions (spec/protocol.md, 3 and 4), whatever carries them: a WebSocket
//! of the LAN, or one through a relay.
//!
//! ```text
//! socket ──M1──▶ waiting room ──M2──▶ unconfirmed ──confirm──▶ claims an offer ──▶ paired ─┐
//!                (256, 10 s)          (8, 10 s)    └─────────▶ comes back ─────────────────┴▶ a slot, HTTP
//! ```
//!
//! Nothing before the confirm proves that anybody is there, so it is bounded by rooms in which the newest takes the
//! place of the oldest: who floods them pushes out its own first. What comes after is bounded by slots, which only a
//! device that has proven who it is can take.

mod accept;
mod addresses;
mod apps;
mod attempts;
mod device_api;
mod pairing;
mod replays;
mod room;
mod serve;
mod sessions;
mod socket;
mod upgrade;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use couplet_protocol::api::NetworkPath;
use couplet_protocol::{Code, RelayName};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::problem::Failure;
use crate::slots::Slot;

pub(crate) use accept::run;
pub(crate) use apps::Apps;
pub(crate) use socket::DeviceSocket;

use attempts::Attempts;
use replays::Replays;
use room::Room;
use sessions::Sessions;

/// How many sockets may be open whose device has not sent its M1.
const WAITING: usize = 256;
/// How many handshakes may wait for their device's confirm: of devices that pair, and of those that come back
/// (spec/protocol.md, 3).
const UNCONFIRMED: usize = 8;
/// How long each of the device's two steps may take.
const STEP: Duration = Duration::from_secs(10);
/// How long a peer is given to take what ends the connection.
const PARTING: Duration = Duration::from_secs(1);

/// What all sessions of a host share.
#[derive(Debug)]
pub(crate) struct Tunnels {
    lan: Doorway,
    /// Apart, so that a relay, and whoever comes through it, pushes out nobody of the LAN.
    relay: Doorway,
    attempts: Attempts,
    replays: Replays,
    sessions: Sessions,
    apps: OnceLock<Arc<Apps>>,
    tasks: TaskTracker,
    cut: CancellationToken,
}

/// The rooms for those who have proven nothing yet.
#[derive(Debug)]
struct Doorway {
    waiting: Room,
    claiming: Room,
    returning: Room,
}

impl Doorway {
    fn new() -> Self {
        Doorway { waiting: Room::new(WAITING), claiming: Room::new(UNCONFIRMED), returning: Room::new(UNCONFIRMED) }
    }
}

/// Where a session comes from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) source: IpAddr,
    /// The relay that it came through, whose word the address is.
    pub(crate) via: Option<RelayName>,
    /// The connection's place at the listener, held as long as it lasts.
    pub(crate) _slot: Option<Arc<Slot>>,
}

impl Origin {
    pub(crate) fn path(&self) -> NetworkPath {
        if self.via.is_some() { NetworkPath::Relay } else { NetworkPath::Lan }
    }

    pub(crate) fn relay(&self) -> Option<&RelayName> {
        self.via.as_ref()
    }
}

impl Tunnels {
    /// So many sessions at once.
    pub(crate) fn new(max_sessions: u32) -> Self {
        Tunnels {
            lan: Doorway::new(),
            relay: Doorway::new(),
            attempts: Attempts::default(),
            replays: Replays::default(),
            sessions: Sessions::new(max_sessions as usize),
            apps: OnceLock::new(),
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
        }
    }

    /// Sets where sessions lead to; before any is served.
    pub(crate) fn lead_to(&self, apps: Apps) {
        let _ = self.apps.set(Arc::new(apps));
    }

    fn doorway(&self, origin: &Origin) -> &Doorway {
        match origin.path() {
            NetworkPath::Lan => &self.lan,
            NetworkPath::Relay => &self.relay,
        }
    }

    /// The path of a device's newest open session.
    pub(crate) fn path_of(&self, device: Uuid) -> Option<NetworkPath> {
        self.sessions.path_of(device)
    }

    /// What the apps are called, in their order.
    pub(crate) fn app_names(&self) -> Vec<String> {
        self.apps().names().map(str::to_owned).collect()
    }

    fn apps(&self) -> Arc<Apps> {
        self.apps.get().cloned().unwrap_or_default()
    }

    /// Cuts off every session when dropped.
    pub(crate) fn guard(&self) -> DropGuard {
        self.cut.clone().drop_guard()
    }

    /// Runs a session until it ends or the host is dropped.
    pub(crate) fn spawn(&self, session: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            cut.run_until_cancelled(session).await;
        });
    }

    /// Waits until every session has ended, once the host is stopping.
    pub(crate) async fn wait(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Why a connection is refused before there are keys. The peer is told the code in the clear, as a hint; nothing
/// proves to it that the host said so.
#[derive(Debug)]
enum Refusal {
    /// Told to the peer.
    Because(Code),
    /// The peer is gone.
    Gone,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        if failure.code().status() >= 500 {
            tracing::error!(target: "couplet::session", %failure, "a sealed session could not be opened");
        }
        Refusal::Because(failure.code())
    }
}
