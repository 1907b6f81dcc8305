//! What the owner decides: approve, reject, withdraw.

use couplet_protocol::Code;
use couplet_protocol::api::{AuditEntry, EventKind, PairingInfo, PairingState};
use rusqlite::Transaction;
use uuid::Uuid;

use super::Core;
use super::ceremony::Step;
use super::doors::refused;
use crate::clock::Timestamp;
use crate::events::News;
use crate::problem::Failure;
use crate::store::audit::{self, Actor, Record};
use crate::store::offers::{self, PairingRow};

impl Core {
    /// The open claims, oldest first.
    pub(crate) async fn pairings(&self) -> Result<Vec<PairingInfo>, Failure> {
        let now = self.now();
        let open = self.store.read(offers::open).await?;
        Ok(open
            .iter()
            .filter(|row| row.state != PairingState::Waiting && row.expires_at > now)
            .map(PairingRow::info)
            .collect())
    }

    /// The owner says yes: the device may collect its credential.
    pub(crate) async fn approve(&self, id: Uuid) -> Result<(), Failure> {
        let now = self.now();
        let work = move |tx: &Transaction<'_>| {
            let mut row = undecided(tx, id, now)?;
            row.step(Step::Grant)?;
            row.save(tx)?;
            decided(tx, &row, "pairing.approved", now)?;
            Ok(((), Vec::new()))
        };
        self.store.write(work, self.tell()).await.map(|((), _)| ())
    }

    /// The owner says no.
    pub(crate) async fn reject(&self, id: Uuid) -> Result<(), Failure> {
        let now = self.now();
        let work = move |tx: &Transaction<'_>| {
            let mut row = undecided(tx, id, now)?;
            row.step(Step::Reject)?;
            row.save(tx)?;
            decided(tx, &row, "pairing.rejected", now)?;
            Ok(((), vec![News::of_pairing(EventKind::PairingRejected, now, &row)]))
        };
        self.store.write(work, self.tell()).await.map(|((), _)| ())
    }

    /// The owner withdraws an offer that no device has claimed.
    pub(crate) async fn withdraw(&self, id: Uuid) -> Result<(), Failure> {
        let now = self.now();
        let work = move |tx: &Transaction<'_>| {
            let mut row = offers::by_id(tx, id)?.ok_or_else(no_such_pairing)?;
            if row.state != PairingState::Waiting {
                return Err(refused(Code::AlreadyDecided));
            }
            row.step(Step::Reject)?;
            row.save(tx)?;
            offers::remove_token(tx, id)?;
            decided(tx, &row, "offer.withdrawn", now)?;
            Ok(((), vec![News::of_pairing(EventKind::PairingRejected, now, &row)]))
        };
        self.store.write(work, self.tell()).await.map(|((), _)| ())
    }

    /// The audit log, newest first.
    pub(crate) async fn audit(&self, before: Option<i64>) -> Result<Vec<AuditEntry>, Failure> {
        self.store.read(move |tx| audit::list(tx, before)).await
    }
}

/// A claim that waits for the owner.
fn undecided(tx: &Transaction<'_>, id: Uuid, now: Timestamp) -> Result<PairingRow, Failure> {
    let row = offers::by_id(tx, id)?.filter(|row| row.state != PairingState::Waiting).ok_or_else(no_such_pairing)?;
    if row.state != PairingState::Approval {
        return Err(refused(Code::AlreadyDecided));
    }
    if now >= row.expires_at { Err(refused(Code::ClaimExpired)) } else { Ok(row) }
}

fn decided(tx: &Transaction<'_>, row: &PairingRow, action: &'static str, now: Timestamp) -> Result<(), Failure> {
    let record = Record {
        pairing_id: Some(row.id),
        network: row.network.as_deref(),
        detail: row.device_name.as_ref().map(couplet_protocol::DeviceName::as_str),
        ..Record::new(action, Actor::Owner)
    };
    record.write(tx, now)
}

fn no_such_pairing() -> Failure {
    Failure::new(Code::NoSuchPairing, "GET /api/pair/pairings lists those that wait; so does `couplet approve`.")
}
