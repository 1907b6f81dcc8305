//! What is known of the devices, and what the owner or a device itself changes about them.

use couplet_protocol::api::{DeviceInfo, EventKind};
use couplet_protocol::frame::CloseCode;
use couplet_protocol::message::RoomNumbers;
use couplet_protocol::{Code, Scope};
use rusqlite::Transaction;
use uuid::Uuid;

use super::Core;
use crate::clock::Timestamp;
use crate::events::News;
use crate::failpoint;
use crate::problem::Failure;
use crate::store::audit::{Actor, Record};
use crate::store::devices::{self, Change, DeviceRow};
use crate::store::rooms;

impl Core {
    /// All devices, newest first.
    pub(crate) async fn devices(&self, active_only: bool) -> Result<Vec<DeviceInfo>, Failure> {
        // The list is worth more than the last seconds of `last_seen`.
        let _ = self.flush().await;
        let rows = self.store.read(move |tx| devices::list(tx, active_only)).await?;
        Ok(rows.iter().map(|row| self.info(row)).collect())
    }

    fn info(&self, row: &DeviceRow) -> DeviceInfo {
        DeviceInfo { session: self.tunnels.path_of(row.device.device_id), ..row.info() }
    }

    /// A device has proven who it is, and says which rooms it needs. What a relay says of that counts for nothing: host
    /// and device could be made to look for each other in different ones.
    pub(crate) async fn came_by(&self, device: Uuid, numbers: RoomNumbers) {
        let moved = match self.store.read(move |tx| rooms::moves(tx, device, numbers)).await {
            Ok(false) => return,
            Ok(true) => self.store.write(move |tx| rooms::moved(tx, device, numbers), |()| ()).await,
            Err(failure) => Err(failure),
        };
        match moved {
            Ok(()) => self.relay.touch(),
            Err(failure) => tracing::warn!(target: "couplet::relay", %failure, "a device's rooms stay as they were"),
        }
    }

    /// Revokes a device: its token is dead and all that it has open ends, before this returns.
    pub(crate) async fn revoke(&self, id: Uuid, by: Actor) -> Result<(), Failure> {
        // Its session goes, and with it the last seconds of `last_seen`.
        let _ = self.flush().await;
        let now = self.now();
        let work = move |tx: &Transaction<'_>| {
            if !devices::revoke(tx, id, now)? {
                return Err(no_such_device());
            }
            failpoint::reach("revoke.marked");
            let row = devices::by_id(tx, id)?.ok_or_else(no_such_device)?;
            let record = Record {
                device_id: Some(id),
                pairing_id: row.pairing_id,
                detail: Some(row.device.device_name.as_str()),
                ..Record::new("device.revoked", by)
            };
            record.write(tx, now)?;
            failpoint::reach("revoke.before_commit");
            Ok(((), vec![News::of_device(EventKind::DeviceRevoked, now, &row.device)]))
        };
        let (auth, tell) = (self.auth.clone(), self.tell());
        let after = move |result: &((), Vec<News>)| {
            failpoint::reach("revoke.committed");
            auth.forget(id, CloseCode::Revoked);
            tell(result);
        };
        self.store.write(work, after).await.map(|((), _)| ())
    }

    /// Renames, restricts or limits a device. A new scope or end holds at once: what the device has open under the
    /// old one ends.
    pub(crate) async fn update(&self, id: Uuid, change: Change) -> Result<DeviceInfo, Failure> {
        let now = self.now();
        let restricts = change.scope.is_some() || change.expires_at.is_some();
        let work = move |tx: &Transaction<'_>| {
            let row = devices::update(tx, id, &change)?.ok_or_else(no_such_device)?;
            let detail = describe(&change);
            let record =
                Record { device_id: Some(id), detail: Some(&detail), ..Record::new("device.updated", Actor::Owner) };
            record.write(tx, now)?;
            let news = vec![News::of_device(EventKind::DeviceUpdated, now, &row.device)];
            Ok((row, news))
        };
        let (auth, tell) = (self.auth.clone(), self.tell());
        let after = move |result: &(DeviceRow, Vec<News>)| {
            if restricts {
                auth.forget(id, CloseCode::Changed);
            } else {
                auth.rename(&result.0);
            }
            tell(result);
        };
        self.store.write(work, after).await.map(|(row, _)| self.info(&row))
    }
}

fn describe(change: &Change) -> String {
    let parts = [
        change.name.as_ref().map(|name| format!("name {name}")),
        change.scope.as_ref().map(limits),
        change
            .expires_at
            .map(|end| end.map_or("no end".to_owned(), |end| format!("until {}", Timestamp::to_rfc3339(end)))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// A scope in words: `read-only, /files, /music`.
fn limits(scope: &Scope) -> String {
    if scope.is_unlimited() {
        return "no limits".to_owned();
    }
    let read_only = scope.read_only.then_some("read-only");
    read_only.into_iter().chain(scope.paths.iter().map(String::as_str)).collect::<Vec<_>>().join(", ")
}

fn no_such_device() -> Failure {
    Failure::new(Code::NoSuchDevice, "`couplet devices` lists the devices and their ids; a revoked one stays revoked.")
}
