//! The host's end of a relay (spec/protocol.md, 6): one link by which the relay tells that a device is there, the rooms
//! that are kept registered, and a connection for each session.
//!
//! ```text
//! relay.json ──▶ link ──▶ events: pair-cmd ──▶ sessions ──▶ tunnel (as on the LAN)
//!                  └────▶ rooms: what should be there × what may be ──▶ PUT, DELETE
//! ```
//!
//! The relay is not trusted with anything but to be there: what it says of a device's address counts for limits and
//! display only, sessions are sealed, and what it says at length is cut short.

mod account;
pub(crate) mod dial;
mod enroll;
mod enrolment;
mod events;
mod link;
mod rooms;
mod sessions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use couplet_protocol::api::{EventKind, RelayState, RelayStatus};
use couplet_protocol::secret::RoomSecret;
use couplet_protocol::{Code, RelayName, RoomId};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

pub use enroll::{Enrolled, enroll};
pub(crate) use enrolment::{Enrolment, FILE, TURN};
pub(crate) use link::run;

use crate::clock::Timestamp;
use crate::store::rooms::Coming;

/// How long who needs the rooms to be right waits for it. Without the relay everything goes on, and the rooms are set
/// right when it is back.
const SETTLE: Duration = Duration::from_secs(2);

/// What the host knows of its relay. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    enrolment: Option<Enrolment>,
    /// Set once the link is kept: from then on devices are told of the relay.
    name: OnceLock<RelayName>,
    /// Somebody wants the rooms to be looked at.
    work: Notify,
    rooms: watch::Sender<Settled>,
    owners: Mutex<HashMap<RoomId, (Uuid, u32)>>,
    coming: Mutex<Vec<Coming>>,
    /// What the owner was told last of the link, and when it became so.
    told: Mutex<Option<Told>>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    state: RelayState,
    since: Timestamp,
    code: Option<Code>,
}

/// How far the rooms are.
#[derive(Clone, Copy, Debug, Default)]
struct Settled {
    /// How often somebody asked for it.
    asked: u64,
    /// Which of these are done.
    done: u64,
    /// Whether the link is up.
    up: bool,
}

impl Default for Inner {
    fn default() -> Self {
        Inner {
            enrolment: None,
            name: OnceLock::new(),
            work: Notify::new(),
            rooms: watch::Sender::new(Settled::default()),
            owners: Mutex::default(),
            coming: Mutex::default(),
            told: Mutex::default(),
        }
    }
}

/// A device is being given what it keeps: as long as this lives its offer's room stays, and its own are there.
#[derive(Debug)]
pub(crate) struct HandingOver {
    relay: Relay,
    device: Uuid,
}

impl Relay {
    pub(crate) fn new(enrolment: Option<Enrolment>) -> Self {
        Relay(Arc::new(Inner { enrolment, ..Inner::default() }))
    }

    /// Says that the link will be kept from now on; false when the host is enrolled with no relay.
    pub(crate) fn begin(&self) -> bool {
        self.0.enrolment.as_ref().is_some_and(|enrolment| self.0.name.set(enrolment.relay.clone()).is_ok())
    }

    /// The relay by which devices reach this host, once there is one.
    pub(crate) fn name(&self) -> Option<&RelayName> {
        self.0.name.get()
    }

    /// How the link stands, for the owner; none on a host without a relay.
    pub(crate) fn status(&self) -> Option<RelayStatus> {
        let name = self.name()?.to_string();
        let told = *self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, since) = (told.map_or(RelayState::Linking, |told| told.state), told.map(|told| told.since));
        let code = told.and_then(|told| told.code).map(|code| code.to_string());
        Some(RelayStatus { name, state, since: since.map(Timestamp::to_rfc3339), code })
    }

    /// The link stands so from now on, or still does.
    fn note(&self, kind: EventKind, code: Option<Code>, now: Timestamp) {
        let state = match kind {
            EventKind::RelayConnected => RelayState::Connected,
            EventKind::RelayRefused => RelayState::Refused,
            _ => RelayState::Lost,
        };
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let since = told.filter(|told| told.state == state).map_or(now, |told| told.since);
        *told = Some(Told { state, since, code });
    }

    /// Waits until the rooms at the relay are those that should be there, for a while, if the link is up.
    pub(crate) async fn settle(&self) {
        let mut asked = 0;
        self.0.rooms.send_modify(|rooms| {
            rooms.asked += 1;
            asked = rooms.asked;
        });
        self.0.work.notify_one();
        let mut rooms = self.0.rooms.subscribe();
        let settled = rooms.wait_for(|rooms| !rooms.up || rooms.done >= asked);
        let settled = tokio::time::timeout(SETTLE, settled).await.is_ok();
        if !settled {
            tracing::warn!(target: "couplet::relay", "the relay is slow; its rooms are set right later");
        }
    }

    /// Asks for the rooms to be looked at, and waits for nothing.
    pub(crate) fn touch(&self) {
        self.0.work.notify_one();
    }

    /// The pairing's device is about to be given what it keeps. Waits until its rooms are at the relay, as
    /// [`Self::settle`] does: once it is granted, nothing shall stand between it and its grant.
    pub(crate) async fn hand_over(&self, pairing: Uuid, device: Uuid, secret: RoomSecret) -> HandingOver {
        self.coming().push(Coming { pairing, device, secret });
        let handing_over = HandingOver { relay: self.clone(), device };
        self.settle().await;
        handing_over
    }

    /// How often the rooms have been asked to be right so far.
    fn asked(&self) -> u64 {
        self.0.rooms.borrow().asked
    }

    /// The rooms are as they should be for those who had asked by then.
    fn settled(&self, asked: u64) {
        self.0.rooms.send_modify(|rooms| rooms.done = rooms.done.max(asked));
    }

    /// Whether the link is up: if not, nobody waits for it.
    fn set_up(&self, up: bool) {
        self.0.rooms.send_modify(|rooms| rooms.up = up);
    }

    /// Whether the link is up.
    pub(crate) fn is_up(&self) -> bool {
        self.0.rooms.borrow().up
    }

    fn coming_now(&self) -> Vec<Coming> {
        self.coming().clone()
    }

    fn own(&self, owners: impl Iterator<Item = (RoomId, (Uuid, u32))>) {
        *self.owners() = owners.collect();
    }

    /// Which device this room is for, and which of its rooms it is.
    fn owner(&self, room: RoomId) -> Option<(Uuid, u32)> {
        self.owners().get(&room).copied()
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<RoomId, (Uuid, u32)>> {
        self.0.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn coming(&self) -> MutexGuard<'_, Vec<Coming>> {
        self.0.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HandingOver {
    fn drop(&mut self) {
        self.relay.coming().retain(|coming| coming.device != self.device);
        self.relay.touch();
    }
}
