//! What the host does by itself: offers and claims run out, devices' ends come, old rows go, `last_seen` is
//! written in batches.

use std::time::Duration;

use couplet_protocol::api::{EventKind, PairingState};
use rusqlite::Transaction;

use super::Core;
use super::ceremony::Step;
use crate::clock::Timestamp;
use crate::events::News;
use crate::problem::Failure;
use crate::store::audit::{Actor, Record};
use crate::store::{devices, offers};

/// How often ends are looked for: an end is kept to within this.
const TICK: Duration = Duration::from_millis(500);
/// How many ticks pass between writes of `last_seen`.
const FLUSH: u64 = 20;
/// How long old rows stay at most beyond their time.
const CLEAN: Duration = Duration::from_secs(3600);

impl Core {
    /// Before anything is served: what ended while the host was down has ended. An offer that was made later than
    /// now was made under another clock, and nothing says how old it is: it has ended too.
    pub(super) async fn start_up(&self) -> Result<(), Failure> {
        self.expire(true).await?;
        self.clean_up().await
    }

    /// Runs until its task is stopped. What ends in memory does not wait for the disk.
    pub(super) async fn keep_up(self) {
        let ends = async {
            let mut tick = tokio::time::interval(TICK);
            loop {
                tick.tick().await;
                self.auth.end_expired();
            }
        };
        tokio::select! {
            () = ends => {}
            () = self.keep_store() => {}
        }
    }

    async fn keep_store(&self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut cleaned, mut failing) = (self.now(), false);
        for n in 1_u64.. {
            tick.tick().await;
            let mut done = self.expire(false).await;
            if n % FLUSH == 0 {
                done = done.and(self.flush().await);
                self.rates.anyone.forget_idle();
            }
            if self.now() >= cleaned.after(CLEAN) {
                cleaned = self.now();
                done = done.and(self.clean_up().await);
            }
            // A fault is told once, and once more when it is over.
            match done {
                Err(failure) if !failing => {
                    tracing::warn!(target: "couplet::pairing", %failure, "upkeep failed; it is tried again");
                    failing = true;
                }
                Ok(()) if failing => {
                    tracing::info!(target: "couplet::pairing", "upkeep works again");
                    failing = false;
                }
                _ => {}
            }
        }
    }

    /// Ends what has run out of time.
    async fn expire(&self, starting: bool) -> Result<(), Failure> {
        let now = self.now();
        let over = move |row: &offers::PairingRow| row.expires_at <= now || (starting && row.created_at > now);
        let due = move |tx: &Transaction<'_>| Ok(offers::open(tx)?.iter().any(over) || devices::any_ending(tx, now)?);
        if !self.store.read(due).await? {
            return Ok(());
        }
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            devices::end(tx, now)?;
            for mut row in offers::open(tx)?.into_iter().filter(over) {
                if row.state == PairingState::Granted {
                    devices::remove_unused(tx, row.id)?;
                }
                row.step(Step::Expire)?;
                row.expires_at = row.expires_at.min(now);
                row.save(tx)?;
                expired(tx, &row, now)?;
                news.push(News::of_pairing(EventKind::OfferExpired, now, &row));
            }
            Ok(((), news))
        };
        self.store.write(work, self.tell()).await.map(|((), _)| ())
    }

    /// Writes down when devices were last seen. When that fails they are only a little less precise.
    pub(super) async fn flush(&self) -> Result<(), Failure> {
        let seen = self.auth.take_seen();
        if seen.is_empty() {
            return Ok(());
        }
        self.store.write(move |tx| devices::seen(tx, &seen), |()| ()).await
    }

    async fn clean_up(&self) -> Result<(), Failure> {
        let now = self.now();
        let gone = self.store.write(move |tx| offers::clean_up(tx, now), |_| ()).await?;
        tracing::debug!(target: "couplet::pairing", gone, "cleaned up");
        Ok(())
    }
}

fn expired(tx: &Transaction<'_>, row: &offers::PairingRow, now: Timestamp) -> Result<(), Failure> {
    let record = Record { pairing_id: Some(row.id), ..Record::new("offer.expired", Actor::Host) };
    record.write(tx, now)
}
