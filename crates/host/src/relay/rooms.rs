//! Rooms: what should be at the relay, against what may be there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use couplet_client::relay::{AccountToken, Answer, RelayFailure, SKEW};
use couplet_protocol::relay::RoomBody;
use couplet_protocol::{Code, RoomId};
use data_encoding::BASE64URL_NOPAD;
use http::Method;
use tokio_rustls::TlsConnector;

use super::account::{self, Account};
use super::dial::{Http, ask, connect, refusal};
use super::enrolment::Enrolment;
use crate::clock::Timestamp;
use crate::pairing::Core;
use crate::problem::Failure;
use crate::store::rooms::{self, Owner, Wanted};

/// How many rooms a host asks for at most: as many as a relay's operator can allow.
const ROOMS_MAX: usize = 10_000;
/// How long it is believed that a relay takes no more. What it remembers of removed rooms takes places for a while.
const FULL: Duration = Duration::from_secs(600);
/// How long the rooms are left alone at most.
const EVERY: Duration = Duration::from_secs(60);

/// By how many seconds a relay's clock may be another one's and be believed: a certificate of a week would not bear more.
const AHEAD_MAX: i64 = 7 * 86_400;

/// What a room was registered with, besides what never changes.
pub(super) type Until = Option<Timestamp>;

/// What is to be done, and in this order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    remove: Vec<RoomId>,
    /// Where these stand among the wanted.
    register: Vec<usize>,
    /// How many find no place.
    left_out: usize,
}

/// `confirmed`: what the relay has said since the link is up that it has. `known`: what it may have besides.
fn plan(wanted: &[Wanted], confirmed: &BTreeMap<RoomId, Until>, known: &BTreeSet<RoomId>, most: usize) -> Plan {
    let kept = &wanted[..wanted.len().min(most)];
    let names: BTreeSet<RoomId> = kept.iter().map(|wanted| wanted.room).collect();
    let is_stale = |room: &&RoomId| !names.contains(*room);
    let is_new = |(_, wanted): &(usize, &Wanted)| confirmed.get(&wanted.room) != Some(&until(wanted));
    Plan {
        remove: known
            .iter()
            .chain(confirmed.keys())
            .filter(is_stale)
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        register: kept.iter().enumerate().filter(is_new).map(|(at, _)| at).collect(),
        left_out: wanted.len() - kept.len(),
    }
}

fn until(wanted: &Wanted) -> Until {
    match wanted.of {
        Owner::Offer { until } => Some(until),
        Owner::Device { .. } => None,
    }
}

/// The rooms of one link.
pub(super) struct Rooms {
    core: Core,
    enrolment: Enrolment,
    tls: TlsConnector,
    confirmed: BTreeMap<RoomId, Until>,
    /// How many of the wanted ones the relay takes, if not all, and when it said so.
    full: Option<(usize, Instant)>,
    account: Account,
    /// By how many seconds the relay's clock is ahead of this one, when that matters: it ends an offer's room by its own.
    ahead: i64,
    /// That some find no place was said.
    warned: bool,
}

/// What came of registering a room.
enum Put {
    There,
    /// The relay takes no more.
    Full,
    /// It does not take the owner's account.
    Refused,
}

impl Rooms {
    pub(super) fn new(core: Core, enrolment: Enrolment, tls: TlsConnector) -> Self {
        let account = Account::of(&core);
        Rooms { core, enrolment, tls, confirmed: BTreeMap::new(), full: None, account, ahead: 0, warned: false }
    }

    /// Sets right what is at the relay. Returns when an offer's room ends next.
    pub(super) async fn settle(&mut self) -> Result<Until, RelayFailure> {
        let asked = self.core.relay().asked();
        let now = self.core.now();
        let (coming, host_id) = (self.core.relay().coming_now(), self.enrolment.host_id.clone());
        let read = move |tx: &rusqlite::Transaction<'_>| {
            Ok((rooms::wanted(tx, &coming, now)?, rooms::registered(tx, &host_id)?))
        };
        let (wanted, known) = self.core.store().read(read).await.map_err(of_store)?;
        let known: BTreeSet<RoomId> = known.into_keys().collect();
        self.full = self.full.filter(|(_, said)| said.elapsed() < FULL);
        let todo = plan(&wanted, &self.confirmed, &known, self.most());
        self.core.relay().own(wanted.iter().filter_map(|wanted| match wanted.of {
            Owner::Device { id, number } => Some((wanted.room, (id, number))),
            Owner::Offer { .. } => None,
        }));
        self.say_left_out(todo.left_out);
        let mut register = todo.register;
        let is_needed = !register.is_empty() || self.account.wants_a_look();
        let account = if is_needed { self.account.read().await } else { Ok(None) };
        if account.is_err() {
            register.clear();
        }
        if !todo.remove.is_empty() || !register.is_empty() {
            let mut http = connect(&self.tls, &self.enrolment.hosts).await?;
            self.remove(&mut http, todo.remove).await?;
            self.register(&mut http, (&wanted, &register), known, account.unwrap_or_default()).await?;
        }
        self.core.relay().settled(asked);
        Ok(wanted.iter().filter_map(until).min())
    }

    async fn remove(&mut self, http: &mut Http, gone: Vec<RoomId>) -> Result<(), RelayFailure> {
        for room in &gone {
            let answer = ask(http, Method::DELETE, &path(*room), None::<&()>).await?;
            match (answer.status.is_success(), answer.code()) {
                (true, _) | (false, Some(Code::RoomNotYours)) => drop(self.confirmed.remove(room)),
                _ => return Err(refusal(&answer)),
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.core.store().write(move |tx| rooms::removed(tx, &gone), |()| ()).await.map_err(of_store)
    }

    /// Tells the owner what the relay makes of the account.
    pub(super) fn tell(&mut self) {
        self.account.tell(&self.core, &self.enrolment.relay);
    }

    /// How long nothing is looked at, at most.
    pub(super) fn patience(&self) -> Duration {
        if self.account.is_waited_for() { account::LOOK } else { EVERY }
    }

    fn most(&self) -> usize {
        self.full.map_or(ROOMS_MAX, |(most, _)| most)
    }

    /// Registers those of the wanted ones that are `new`. Where the relay takes no more, those that matter least make
    /// place: `known` may be there, as well as what is confirmed.
    async fn register(
        &mut self,
        http: &mut Http,
        (wanted, new): (&[Wanted], &[usize]),
        mut known: BTreeSet<RoomId>,
        account: Option<AccountToken>,
    ) -> Result<(), RelayFailure> {
        if new.is_empty() {
            return Ok(());
        }
        // Before the relay has them, so that whatever happens they are removed one day.
        let keys: Vec<_> = new.iter().map(|at| (wanted[*at].room, random_key())).collect();
        let host_id = self.enrolment.host_id.clone();
        let work = move |tx: &rusqlite::Transaction<'_>| rooms::register(tx, &host_id, &keys);
        let keys = self.core.store().write(work, |_| ()).await.map_err(of_store)?;
        for at in new.iter().copied() {
            let key = keys.get(&wanted[at].room).map_or("", String::as_str);
            while at < self.most() {
                match self.put(http, &wanted[at], key, account.as_ref()).await? {
                    Put::There => break,
                    Put::Full => self.make_place(http, wanted, at, &mut known).await?,
                    // What the relay has stays as it is, and the others wait.
                    Put::Refused => return Ok(()),
                }
            }
        }
        self.say_left_out(wanted.len().saturating_sub(self.most()));
        Ok(())
    }

    /// Has a room go that matters less than the one at this place, so that the relay may take that.
    async fn make_place(
        &mut self,
        http: &mut Http,
        wanted: &[Wanted],
        at: usize,
        known: &mut BTreeSet<RoomId>,
    ) -> Result<(), RelayFailure> {
        let may_be_there =
            |(_, other): &(usize, &Wanted)| self.confirmed.contains_key(&other.room) || known.contains(&other.room);
        let least = wanted.iter().enumerate().skip(at + 1).rev().find(may_be_there);
        let (most, gone) = least.map_or((at, None), |(behind, other)| (behind, Some(other.room)));
        self.full = Some((most, Instant::now()));
        if let Some(room) = gone {
            known.remove(&room);
            self.remove(http, vec![room]).await?;
        }
        Ok(())
    }

    /// Registers one.
    async fn put(
        &mut self,
        http: &mut Http,
        wanted: &Wanted,
        key: &str,
        account: Option<&AccountToken>,
    ) -> Result<Put, RelayFailure> {
        let (room, until) = (wanted.room, until(wanted));
        let mut answer = self.ask_for(http, wanted, key, account).await?;
        if self.learn_clock(&answer) && until.is_some() {
            answer = self.ask_for(http, wanted, key, account).await?;
        }
        match (answer.status.is_success(), answer.code()) {
            (true, _) => self.account.taken(),
            (false, Some(Code::TooManyRooms)) => return Ok(Put::Full),
            (false, Some(Code::RoomNotYours)) => {
                tracing::warn!(target: "couplet::relay", %room,
                    "another host has this room. If this host was enrolled before and has lost relay.json since, ask the \
                     relay's operator to end its old access: couplet relay hosts revoke ID");
                // Somebody could have got there first who knows it from another relay.
                if let Owner::Device { id, number } = wanted.of {
                    let locked = self.core.store().write(move |tx| rooms::locked(tx, id, number), |_| ()).await;
                    if locked.map_err(of_store)? {
                        self.core.relay().touch();
                    }
                }
            }
            (false, code) if Account::is_about(code) => {
                self.account.refused(refusal(&answer), account.cloned());
                return Ok(Put::Refused);
            }
            _ => return Err(refusal(&answer)),
        }
        self.confirmed.insert(room, until);
        Ok(Put::There)
    }

    async fn ask_for(
        &self,
        http: &mut Http,
        wanted: &Wanted,
        key: &str,
        account: Option<&AccountToken>,
    ) -> Result<Answer, RelayFailure> {
        let (hash, until) = (wanted.hash.expose_hex(), until(wanted));
        let is_offer = until.is_some();
        let by_its_clock = |end: Timestamp| Timestamp::from_millis(end.millis().saturating_add(self.ahead * 1000));
        let body = RoomBody {
            secret_hash: (!is_offer).then_some(hash.as_str()),
            pairing_token_hash: is_offer.then_some(hash.as_str()),
            pairing_expires_at: until.map(|end| by_its_clock(end).to_rfc3339()),
            public_key: key,
            account: account.map(AccountToken::expose),
        };
        ask(http, Method::PUT, &path(wanted.room), Some(&body)).await
    }

    /// Whether the relay's clock is another than was thought. What is less than a minute is no matter.
    fn learn_clock(&mut self, answer: &Answer) -> bool {
        let ahead = answer.ahead().filter(|ahead| (-AHEAD_MAX..=AHEAD_MAX).contains(ahead)).unwrap_or(self.ahead);
        let is_news = ahead.abs_diff(self.ahead) > SKEW.unsigned_abs();
        if is_news {
            self.ahead = ahead;
        }
        is_news
    }

    fn say_left_out(&mut self, left_out: usize) {
        if left_out > 0 && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(target: "couplet::relay", left_out,
                "the relay takes no more rooms: the devices that were here longest ago cannot come through it. Revoke \
                 devices that are not used, or ask the relay's operator for more rooms");
        }
    }
}

fn path(room: RoomId) -> String {
    format!("/host/rooms/{}", room.to_hex())
}

/// What the relay is told in place of a key: it is none, so that nothing can be read from it.
fn random_key() -> String {
    BASE64URL_NOPAD.encode(&crate::random::bytes::<24>())
}

fn of_store(failure: Failure) -> RelayFailure {
    RelayFailure::new(failure.code(), failure.cause().to_string())
}

#[cfg(test)]
mod tests {
    use couplet_protocol::CredentialHash;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn room(n: u8) -> RoomId {
        RoomId::new([n; 16])
    }

    fn wanted(n: u8, until: Option<i64>) -> Wanted {
        let of = match until {
            Some(seconds) => Owner::Offer { until: Timestamp::from_millis(seconds * 1000) },
            None => Owner::Device { id: Uuid::from_u128(n.into()), number: 0 },
        };
        Wanted { room: room(n), hash: CredentialHash::new([n; 32]), of }
    }

    #[test]
    fn what_is_there_stays_and_an_offer_that_lasts_longer_is_told_anew() {
        let confirmed = [(room(1), None), (room(2), Some(Timestamp::from_millis(5000)))].into();
        let known = [room(1), room(2), room(3)].into();
        let now = [wanted(1, None), wanted(2, Some(9)), wanted(4, None)];
        let expected = Plan { remove: vec![room(3)], register: vec![1, 2], left_out: 0 };
        assert_eq!(plan(&now, &confirmed, &known, 8), expected);
        let expected = Plan { remove: vec![room(2), room(3)], register: vec![], left_out: 2 };
        assert_eq!(plan(&now, &confirmed, &known, 1), expected, "those that matter most find a place");
    }

    proptest! {
        /// Whatever was there, after the plan there is what is wanted and nothing else; and then nothing is left to do.
        #[test]
        fn a_plan_leads_to_what_is_wanted(
            now in prop::collection::btree_map(0_u8..12, prop::option::of(0_i64..3), 0..12),
            known in prop::collection::btree_set(0_u8..12, 0..12),
            confirmed in prop::collection::btree_map(0_u8..12, prop::option::of(0_i64..3), 0..12),
            most in 0_usize..12,
        ) {
            let now: Vec<Wanted> = now.into_iter().map(|(n, until)| wanted(n, until)).collect();
            let confirmed: BTreeMap<RoomId, Until> =
                confirmed.into_iter().map(|(n, until)| (room(n), until.map(|s| Timestamp::from_millis(s * 1000)))).collect();
            let mut there = confirmed.clone();
            let known: BTreeSet<RoomId> = known.into_iter().map(room).collect();
            let todo = plan(&now, &there, &known, most);
            prop_assert_eq!(todo.left_out, now.len().saturating_sub(most));
            let mut at_relay: BTreeSet<RoomId> = known.iter().chain(confirmed.keys()).copied().collect();
            for gone in &todo.remove {
                at_relay.remove(gone);
                there.remove(gone);
            }
            for at in &todo.register {
                at_relay.insert(now[*at].room);
                there.insert(now[*at].room, until(&now[*at]));
            }
            let kept: BTreeSet<RoomId> = now.iter().take(most).map(|wanted| wanted.room).collect();
            prop_assert_eq!(&at_relay, &kept);
            prop_assert_eq!(plan(&now, &there, &kept, most), Plan { left_out: todo.left_out, ..Plan::default() });
        }
    }
}
