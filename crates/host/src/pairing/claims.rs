//! Claims that wait for the owner in a sealed session: what only the memory holds of them, their check code and the
//! way to the session.
//!
//! Entries are put in and taken out on the database's thread, right behind the commits that they belong to. So a
//! transaction that finds an entry here finds the row in the state that goes with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use couplet_protocol::api::DeviceKind;
use couplet_protocol::message::Grant;
use couplet_protocol::{CheckCode, Code, PublicKey};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::relay::HandingOver;

/// How many wrong check codes turn the device away.
const WRONG_MAX: u8 = 3;

/// What a device that claims an offer through a sealed session is known by, besides what it says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) kind: DeviceKind,
    pub(crate) key: PublicKey,
}

/// A device that was granted its credential, and the message that hands it over.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) device_id: Uuid,
    pub(crate) message: Grant,
    /// Until the device has it.
    pub(crate) handing_over: HandingOver,
}

/// What became of a claim.
#[derive(Debug)]
pub(crate) enum Verdict {
    Granted(Box<Granted>),
    Refused(Code),
}

/// One claim of one session; another device's claim of the same offer has another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(super) pairing: Uuid,
    number: u64,
}

/// What came of a check code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    Right(Ticket),
    /// So many tries are left.
    Wrong(u8),
    /// None is left.
    Spent,
}

/// The claims. Clones share them. At most one for each offer that is open, so the offers bound it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    last: AtomicU64,
    live: Mutex<HashMap<Uuid, Live>>,
}

#[derive(Debug)]
struct Live {
    number: u64,
    code: CheckCode,
    wrong: u8,
    identity: Identity,
    verdict: oneshot::Sender<Verdict>,
}

impl Claims {
    /// A number for the next claim of this offer.
    pub(super) fn ticket(&self, pairing: Uuid) -> Ticket {
        Ticket { pairing, number: self.0.last.fetch_add(1, Ordering::Relaxed) }
    }

    /// Holds a claim whose row is now in `approval`.
    pub(super) fn hold(&self, ticket: Ticket, code: CheckCode, identity: Identity, verdict: oneshot::Sender<Verdict>) {
        self.live().insert(ticket.pairing, Live { number: ticket.number, code, wrong: 0, identity, verdict });
    }

    /// Whether this very claim still waits.
    pub(super) fn holds(&self, ticket: Ticket) -> Option<Identity> {
        let live = self.live();
        live.get(&ticket.pairing).filter(|claim| claim.number == ticket.number).map(|claim| claim.identity)
    }

    /// Compares what the owner typed. None: no session waits.
    pub(super) fn check(&self, pairing: Uuid, typed: &CheckCode) -> Option<Checked> {
        let mut live = self.live();
        let claim = live.get_mut(&pairing).filter(|claim| !claim.verdict.is_closed())?;
        if claim.wrong >= WRONG_MAX {
            return Some(Checked::Spent);
        }
        if claim.code == *typed {
            return Some(Checked::Right(Ticket { pairing, number: claim.number }));
        }
        claim.wrong += 1;
        Some(match WRONG_MAX - claim.wrong {
            0 => Checked::Spent,
            left => Checked::Wrong(left),
        })
    }

    /// Tells the session what became of its claim, if it still waits.
    pub(super) fn conclude(&self, pairing: Uuid, verdict: Verdict) {
        let claim = self.live().remove(&pairing);
        // A session that is gone learns nothing; what was granted to it ends by itself.
        let _ = claim.map(|claim| claim.verdict.send(verdict));
    }

    /// The session is gone.
    pub(super) fn remove(&self, ticket: Ticket) {
        let mut live = self.live();
        if live.get(&ticket.pairing).is_some_and(|claim| claim.number == ticket.number) {
            live.remove(&ticket.pairing);
        }
    }

    /// Claims whose session went away without a word.
    pub(super) fn orphans(&self) -> Vec<Ticket> {
        let live = self.live();
        let gone = live.iter().filter(|(_, claim)| claim.verdict.is_closed());
        gone.map(|(pairing, claim)| Ticket { pairing: *pairing, number: claim.number }).collect()
    }

    fn live(&self) -> MutexGuard<'_, HashMap<Uuid, Live>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> CheckCode {
        CheckCode::parse(text).unwrap()
    }

    fn held(claims: &Claims) -> (Ticket, oneshot::Receiver<Verdict>) {
        let (sender, receiver) = oneshot::channel();
        let ticket = claims.ticket(Uuid::from_u128(1));
        let identity = Identity { kind: DeviceKind::Mobile, key: PublicKey::new([1; 32]) };
        claims.hold(ticket, code("123456"), identity, sender);
        (ticket, receiver)
    }

    #[test]
    fn three_wrong_codes_and_the_right_one_helps_no_more() {
        let claims = Claims::default();
        let (ticket, _receiver) = held(&claims);
        let check = |text| claims.check(ticket.pairing, &code(text));
        assert_eq!(check("000000"), Some(Checked::Wrong(2)));
        assert_eq!(check("123456"), Some(Checked::Right(ticket)), "a right one costs nothing");
        assert_eq!(check("000000"), Some(Checked::Wrong(1)));
        assert_eq!(check("000000"), Some(Checked::Spent));
        assert_eq!(check("123456"), Some(Checked::Spent));
    }

    #[test]
    fn a_claim_is_not_taken_for_a_later_one_of_the_same_offer() {
        let claims = Claims::default();
        let (first, receiver) = held(&claims);
        assert!(claims.orphans().is_empty());
        drop(receiver);
        assert_eq!(claims.orphans(), [first]);
        assert_eq!(claims.check(first.pairing, &code("123456")), None);
        let (second, mut receiver) = held(&claims);
        claims.remove(first);
        assert!(claims.holds(first).is_none() && claims.holds(second).is_some());
        claims.conclude(second.pairing, Verdict::Refused(Code::PairingRejected));
        assert!(matches!(receiver.try_recv(), Ok(Verdict::Refused(Code::PairingRejected))));
        assert!(claims.holds(second).is_none());
    }
}
