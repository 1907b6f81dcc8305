//! What the owner decides: approve, reject, withdraw.

use couplet_protocol::Code;
use couplet_protocol::api::{AuditEntry, EventKind, PairingInfo, PairingState};
use rusqlite::Transaction;
use uuid::Uuid;

use super::Core;
use super::alike::alike;
use super::ceremony::Step;
use super::claims::Verdict;
use super::steps::refused;
use crate::clock::Timestamp;
use crate::events::News;
use crate::problem::Failure;
use crate::store::audit::{self, Actor, Which};
use crate::store::offers::{self, PairingRow};

impl Core {
    /// The open claims, oldest first. Those by PIN are listed apart, with their PINs.
    pub(crate) async fn pairings(&self) -> Result<Vec<PairingInfo>, Failure> {
        let now = self.now();
        let open = self.store.read(offers::open).await?;
        Ok(open
            .iter()
            .filter(|row| row.state != PairingState::Waiting && row.expires_at > now && !row.waits_by_pin())
            .map(PairingRow::info)
            .collect())
    }

    /// The owner says yes. A device that polls may collect its credential; one that waits in its session is sent it,
    /// if the check code is the one that it shows.
    pub(crate) async fn approve(&self, id: Uuid, check_code: Option<&str>) -> Result<(), Failure> {
        let now = self.now();
        let asked = self.store.read(move |tx| undecided(tx, id, now)).await?;
        match asked.wants_check_code() {
            true => self.approve_sealed(asked, check_code).await?,
            false => self.approve_claim(id, now).await?,
        }
        self.pin_tries.owner_let_in();
        Ok(())
    }

    async fn approve_claim(&self, id: Uuid, now: Timestamp) -> Result<(), Failure> {
        let work = move |tx: &Transaction<'_>| {
            let mut row = undecided(tx, id, now)?;
            if row.waits_by_pin() {
                check_name(tx, &row, now)?;
            }
            row.step(Step::Grant)?;
            row.save(tx)?;
            row.record("pairing.approved", Actor::Owner).write(tx, now)?;
            Ok(((), vec![News::of_pairing(EventKind::PairingApproved, now, &row)]))
        };
        self.store.write(work, self.tell()).await.map(|((), _)| ())
    }

    /// The owner says no.
    pub(crate) async fn reject(&self, id: Uuid) -> Result<(), Failure> {
        self.decide_no(id, Code::PairingRejected).await
    }

    /// The owner's no; with [`Code::CheckCodesSpent`], it was not said outright.
    pub(super) async fn decide_no(&self, id: Uuid, why: Code) -> Result<(), Failure> {
        let now = self.now();
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            undecided(tx, id, now)?.reject(tx, why, now, &mut news)?;
            Ok(((), news))
        };
        let (claims, pins, tell) = (self.claims.clone(), self.pins.clone(), self.tell());
        let after = move |result: &((), Vec<News>)| {
            claims.conclude(id, Verdict::Refused(Code::PairingRejected));
            pins.turn_away(id, now);
            tell(result);
        };
        self.store.write(work, after).await.map(|((), _)| ())
    }

    /// Entries of the audit log, newest first.
    pub(crate) async fn audit(&self, which: Which) -> Result<Vec<AuditEntry>, Failure> {
        self.store.read(move |tx| audit::list(tx, &which)).await
    }
}

/// A claim that waits for the owner.
pub(super) fn undecided(tx: &Transaction<'_>, id: Uuid, now: Timestamp) -> Result<PairingRow, Failure> {
    let row = offers::by_id(tx, id)?.filter(|row| row.state != PairingState::Waiting).ok_or_else(no_such_pairing)?;
    if row.state != PairingState::Approval {
        return Err(refused(Code::AlreadyDecided));
    }
    if now >= row.expires_at { Err(refused(Code::ClaimExpired)) } else { Ok(row) }
}

/// Nothing but its name says who asks by PIN: where another one that waits has the same, a yes might be for that.
fn check_name(tx: &Transaction<'_>, row: &PairingRow, now: Timestamp) -> Result<(), Failure> {
    let waits = |other: &PairingRow| other.state == PairingState::Approval && other.expires_at > now;
    let is_alike = |other: &PairingRow| match (&other.device_name, &row.device_name) {
        (Some(other), Some(name)) => alike(other, name),
        _ => false,
    };
    let open = offers::open(tx)?;
    let mut others = open.iter().filter(|other| other.id != row.id && waits(other));
    if others.any(is_alike) { Err(refused(Code::PinNamesAlike)) } else { Ok(()) }
}

pub(super) fn no_such_pairing() -> Failure {
    Failure::new(Code::NoSuchPairing, "GET /api/pair/pairings lists those that wait; so does `couplet approve`.")
}
