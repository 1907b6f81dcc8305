//! Sessions: each has a sid, which is good once for each of its two ends, and a bridge once both have come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::relay::{Mode, PairCommand, SID_SECONDS};
use couplet_protocol::{RoomId, Sid};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bridge::{self, End};
use crate::host::HostId;
use crate::live::{Live, Table, event};
use crate::metrics::Metrics;
use crate::places::{Held, making_way};
use crate::quota::Quota;
use crate::record::Hash;

/// A session that is open or coming to be.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) host: HostId,
    pub(crate) room: RoomId,
    /// What let its device in.
    pub(crate) by: Hash,
    /// What tells the host of it, as long as the host has not come.
    pub(crate) command: Option<Bytes>,
    /// Ends it.
    pub(crate) cut: CancellationToken,
    opened: Instant,
    device_came: bool,
    host_came: bool,
    /// The end that came first waits behind this for the other.
    waits: Option<oneshot::Sender<End>>,
    bridged: bool,
    quotas: Vec<Arc<Quota>>,
}

impl Session {
    /// Whether both ends are there.
    pub(crate) fn is_bridged(&self) -> bool {
        self.bridged
    }
}

/// What a session is opened with.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) host: HostId,
    /// What let the device in.
    pub(crate) by: Hash,
    pub(crate) command: PairCommand,
    /// What the device's source is charged.
    pub(crate) source: Option<Arc<Quota>>,
}

/// Why no session is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// The host has no event stream.
    Offline,
    /// The host has as many as it may have, or another device is pairing with the offer.
    Busy,
    /// The device asks too often; when it may again.
    TooOften(Duration),
    /// The relay is about to stop.
    Draining,
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Device,
    /// Of this host only.
    Host(HostId),
}

impl Live {
    /// Opens a session and tells its host. It ends by itself unless both ends come in time.
    pub(crate) fn open(self: &Arc<Self>, opening: Opening) -> Result<(), NotOpened> {
        let Opening { host, by, command, source } = opening;
        let (sid, room, now) = (command.sid, command.room_id, Instant::now());
        // Each makes the host dial.
        self.asks.spend(by.to_bytes(), now).map_err(NotOpened::TooOften)?;
        let mut table = self.table();
        if table.draining {
            return Err(NotOpened::Draining);
        }
        table.online(host).ok_or(NotOpened::Offline)?;
        if command.mode == Mode::Pair {
            table.free_offer(host, room)?;
        }
        let held = table.held(host, now);
        if let Some(gone) = making_way(&held, by, self.limits.sessions).map_err(|_| NotOpened::Busy)? {
            table.end(gone);
        }
        let (presence, stream) = table.online(host).ok_or(NotOpened::Offline)?;
        presence.sessions.push(sid);
        let quotas = [presence.quota(), source].into_iter().flatten().collect();
        let told = event(Some(sid), "pair-cmd", &command);
        let cut = CancellationToken::new();
        let session = Session {
            host,
            room,
            by,
            command: Some(told.clone()),
            cut: cut.clone(),
            opened: now,
            device_came: false,
            host_came: false,
            waits: None,
            bridged: false,
            quotas,
        };
        table.sessions.insert(sid, session);
        stream.put(told);
        drop(table);
        self.tasks.spawn(Arc::clone(self).expire(sid, cut));
        Ok(())
    }

    /// Ends a session at the latest after this time: its host's certificate is good for no longer.
    pub(crate) fn end_after(self: &Arc<Self>, sid: Sid, time: Duration) {
        let Some(cut) = self.table().sessions.get(&sid).map(|session| session.cut.clone()) else { return };
        let live = Arc::clone(self);
        self.tasks.spawn(async move {
            if cut.run_until_cancelled(tokio::time::sleep(time)).await.is_some() {
                live.table().end(sid);
            }
        });
    }

    /// Ends the session after its time unless it is bridged by then.
    async fn expire(self: Arc<Self>, sid: Sid, cut: CancellationToken) {
        let slept = cut.run_until_cancelled(tokio::time::sleep(Duration::from_secs(SID_SECONDS))).await;
        if slept.is_none() {
            return;
        }
        let mut table = self.table();
        if table.sessions.get(&sid).is_some_and(|session| !session.bridged) {
            table.end(sid);
        }
    }

    /// Takes an end of a session, once. None when there is no such session, or the end is taken.
    pub(crate) fn take_end(self: &Arc<Self>, sid: Sid, side: Side) -> Option<TakenEnd> {
        let mut table = self.table();
        let session = table.sessions.get_mut(&sid)?;
        let came = match side {
            Side::Device => &mut session.device_came,
            Side::Host(host) if host == session.host => &mut session.host_came,
            Side::Host(_) => return None,
        };
        if std::mem::replace(came, true) {
            return None;
        }
        if side != Side::Device {
            session.command = None;
        }
        let cut = session.cut.clone();
        drop(table);
        Some(TakenEnd { live: Arc::clone(self), sid, side, cut, handed_over: false })
    }
}

impl Table {
    /// An offer takes one device at a time; who asked and did not come gives way.
    fn free_offer(&mut self, host: HostId, room: RoomId) -> Result<(), NotOpened> {
        let of_room = self.of_host(host, |session| session.room == room);
        if of_room.iter().any(|sid| self.sessions.get(sid).is_some_and(|session| session.device_came)) {
            return Err(NotOpened::Busy);
        }
        of_room.into_iter().for_each(|sid| self.end(sid));
        Ok(())
    }

    /// The sessions of a host, the oldest first.
    fn held(&self, host: HostId, now: Instant) -> Vec<Held> {
        let held = |sid: Sid| {
            let session = self.sessions.get(&sid)?;
            let age = now.saturating_duration_since(session.opened);
            Some(Held { sid, by: session.by, came: session.device_came, age })
        };
        self.of_host(host, |_| true).into_iter().filter_map(held).collect()
    }
}

/// A taken end of a session. The session ends when it is dropped.
#[derive(Debug)]
pub(crate) struct TakenEnd {
    live: Arc<Live>,
    sid: Sid,
    side: Side,
    /// Fires when the session is to end.
    cut: CancellationToken,
    handed_over: bool,
}

/// What comes of an end that has been upgraded.
enum Meeting {
    /// The other end is there and has taken this one along.
    HandedOver,
    /// The other end is still to come.
    First(oneshot::Receiver<End>),
    /// The session is over.
    Over,
}

impl TakenEnd {
    /// Brings the end together with the other one and carries the session to its end; whoever comes first does.
    pub(crate) async fn bring(mut self, end: End, metrics: &Metrics) {
        let (meeting, end) = self.meet(end);
        match (meeting, end) {
            (Meeting::First(other), Some(end)) => {
                if let Some((own, other)) = bridge::wait(end, other, &self.cut).await {
                    let (device, host) = if self.side == Side::Device { (own, other) } else { (other, own) };
                    self.carry(device, host, metrics).await;
                }
            }
            // The other one carries the session, and ends it.
            (Meeting::HandedOver, _) => self.handed_over = true,
            _ => {}
        }
    }

    fn meet(&self, end: End) -> (Meeting, Option<End>) {
        let mut table = self.live.table();
        let Some(session) = table.sessions.get_mut(&self.sid) else { return (Meeting::Over, None) };
        match session.waits.take() {
            None => {
                let (hand_over, other) = oneshot::channel();
                session.waits = Some(hand_over);
                (Meeting::First(other), Some(end))
            }
            Some(waits) => {
                session.bridged = true;
                match waits.send(end) {
                    Ok(()) => (Meeting::HandedOver, None),
                    Err(_) => (Meeting::Over, None),
                }
            }
        }
    }

    async fn carry(&self, device: End, host: End, metrics: &Metrics) {
        let quotas = {
            let table = self.live.table();
            table.sessions.get(&self.sid).map(|session| session.quotas.clone()).unwrap_or_default()
        };
        let sid = self.sid;
        tracing::info!(target: "couplet::relay", %sid, "session.bridged");
        metrics.bridges.increment(1.0);
        let bytes = metrics.bytes.clone();
        let carried = bridge::run(device, host, &quotas, &self.cut, |len| bytes.increment(len as u64)).await;
        metrics.bridges.decrement(1.0);
        tracing::info!(target: "couplet::relay", %sid, to_host = carried.to_host, to_device = carried.to_device,
            "session.ended");
    }
}

impl Drop for TakenEnd {
    fn drop(&mut self) {
        if !self.handed_over {
            self.live.table().end(self.sid);
        }
    }
}

#[cfg(test)]
mod tests;
