//! What the host does by itself: offers and claims run out, devices' ends come, old rows go, `last_seen` is
//! written in batches.

use std::time::Duration;

use couplet_protocol::Code;
use couplet_protocol::api::{Door, PairingState};
use rusqlite::Transaction;
use uuid::Uuid;

use super::Core;
use super::claims::Verdict;
use super::sealed::free;
use crate::events::News;
use crate::problem::Failure;
use crate::store::devices;
use crate::store::offers::{self, PairingRow};
use crate::store::watches;

/// How often ends are looked for: an end is kept to within this.
const TICK: Duration = Duration::from_millis(500);
/// How often the ends of what is in use are looked for. A session that ends then has a while to say so, and all of it
/// is over within a second.
const TICK_IN_MEMORY: Duration = Duration::from_millis(250);
/// How many ticks pass between writes of `last_seen`.
const FLUSH: u64 = 20;
/// How long old rows stay at most beyond their time.
const CLEAN: Duration = Duration::from_secs(3600);

impl Core {
    /// Before anything is served: what ended while the host was down has ended. An offer that was made later than
    /// now was made under another clock, and nothing says how old it is: it has ended too.
    pub(super) async fn start_up(&self) -> Result<(), Failure> {
        self.auth.ask_for_challenge(self.store.read(watches::latest).await?);
        self.pick_up().await?;
        self.expire(true).await?;
        self.clean_up().await
    }

    /// Sealed sessions, and PINs, ended with the process before. Who had claimed an offer in one must do so again; who was
    /// granted a credential may have it or not, and gets its whole time anew to come back with it.
    async fn pick_up(&self) -> Result<(), Failure> {
        let now = self.now();
        let until = now.after(Duration::from_secs(self.config.limits.unused_seconds));
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            for mut row in offers::open(tx)? {
                if row.waits_in_session() {
                    free(tx, &mut row, now, &mut news)?;
                } else if row.waits_by_pin() {
                    row.expire(tx, Some("the host was started anew"), now, &mut news)?;
                } else if may_have_arrived(&row) {
                    row.expires_at = until;
                    row.save(tx)?;
                    devices::renew_unused(tx, row.id, until)?;
                }
            }
            Ok(((), news))
        };
        self.store.write(work, self.tell()).await.map(|((), _)| ())
    }

    /// Runs until its task is stopped. What ends in memory does not wait for the disk.
    pub(super) async fn keep_up(self) {
        let ends = async {
            let mut tick = tokio::time::interval(TICK_IN_MEMORY);
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
            let mut done = self.expire(false).await.and(self.release_orphans().await);
            if n % FLUSH == 0 {
                done = done.and(self.flush().await);
                self.rates.anyone.forget_idle();
                self.rates.relayed.forget_idle();
                self.auth.forget_nonces();
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
    pub(super) async fn expire(&self, starting: bool) -> Result<(), Failure> {
        let now = self.now();
        let over = move |row: &PairingRow| {
            row.expires_at <= now || (starting && row.created_at > now && !may_have_arrived(row))
        };
        let due = move |tx: &Transaction<'_>| Ok(offers::open(tx)?.iter().any(over) || devices::any_ending(tx, now)?);
        if !self.store.read(due).await? {
            return Ok(());
        }
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            devices::end(tx, now)?;
            let mut ended = Vec::new();
            for mut row in offers::open(tx)?.into_iter().filter(over) {
                row.expire(tx, None, now, &mut news)?;
                ended.push(row.id);
            }
            Ok((ended, news))
        };
        let (claims, pins, tell) = (self.claims.clone(), self.pins.clone(), self.tell());
        let after = move |result: &(Vec<Uuid>, Vec<News>)| {
            for id in &result.0 {
                claims.conclude(*id, Verdict::Refused(Code::ClaimExpired));
                pins.forget(*id, now);
            }
            tell(result);
        };
        self.store.write(work, after).await.map(drop)
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
        let work = move |tx: &Transaction<'_>| Ok(offers::clean_up(tx, now)? + watches::clean_up(tx)?);
        let gone = self.store.write(work, |_| ()).await?;
        tracing::debug!(target: "couplet::pairing", gone, "cleaned up");
        Ok(())
    }
}

/// Whether the credential was granted in a sealed session, and its device may have stored it.
fn may_have_arrived(row: &PairingRow) -> bool {
    row.door == Door::Offer && row.state == PairingState::Granted
}
