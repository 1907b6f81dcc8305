//! How long to leave a relay alone that said no. The addresses on the local network are tried all the while: no relay
//! can keep a device from its host there.

use std::time::Duration;

use couplet_protocol::offer::ENDPOINTS_MAX;
use couplet_protocol::{Code, RelayName};
use tokio::time::Instant;

use super::Account;
use super::account::AccountToken;
use super::climbs::Climbs;
use super::failure::RelayFailure;

/// The longest pause: how long a relay counts failures (spec/protocol.md, 6).
const MOST: Duration = Duration::from_secs(15 * 60);
/// The first pause after a refusal that only the host or its owner can change. It doubles each time: a device that was
/// revoked must not use up what the relay grants its network.
const REFUSED: Duration = Duration::from_secs(60);
/// The longest pause when all rooms are locked: the host may register another any time.
const LOCKED: Duration = Duration::from_secs(60);
/// The longest pause on the relay's word for what passes soon.
const SOON: Duration = Duration::from_secs(30);

/// What is remembered of relays that did not lead to the host: which are left alone until when, and what they said; at
/// most as many as a host has endpoints. And where else to look at the others.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    pauses: Vec<Pause>,
    climbs: Climbs,
}

#[derive(Debug)]
struct Pause {
    relay: RelayName,
    until: Instant,
    failure: RelayFailure,
    refusals: u32,
    /// What was shown of the owner.
    account: Option<AccountToken>,
}

impl Pauses {
    /// What this relay said, if it is still to be left alone. What it said of an account counts for that token alone.
    pub(crate) fn on(&self, relay: &RelayName, account: &Account) -> Option<&RelayFailure> {
        let pause = self.pauses.iter().find(|pause| pause.relay == *relay)?;
        let is_same = match (&pause.account, token(account, relay)) {
            (Some(then), Some(now)) => then.is(now),
            (then, now) => then.is_none() && now.is_none(),
        };
        let counts = is_same || !pause.failure.is_of_account();
        (counts && Instant::now() < pause.until).then_some(&pause.failure)
    }

    /// Where to look for the host at these relays.
    pub(crate) fn climbs(&self) -> &Climbs {
        &self.climbs
    }

    /// This relay did not lead to the host: for what it said, or although a room opened.
    pub(crate) fn failed(&mut self, relay: &RelayName, said: Option<&RelayFailure>, account: &Account) {
        let was_up = self.climbs.failed(relay, said);
        if let Some(failure) = said.filter(|_| !was_up) {
            self.pause(relay, failure, account);
        }
    }

    fn pause(&mut self, relay: &RelayName, failure: &RelayFailure, account: &Account) {
        let at = self.pauses.iter().position(|pause| pause.relay == *relay);
        let earlier = at.map(|at| self.pauses.remove(at));
        let refusals = earlier.map_or(0, |pause| pause.refusals);
        let (wait, refusals) = pause(failure, refusals);
        if self.pauses.len() >= ENDPOINTS_MAX {
            self.pauses.remove(0);
        }
        let account = token(account, relay).cloned();
        let until = Instant::now() + wait;
        self.pauses.push(Pause { relay: relay.clone(), until, failure: failure.clone(), refusals, account });
    }

    /// This device is somewhere else now, or has been with its host: what was said is no matter any more.
    pub(crate) fn clear(&mut self) {
        self.pauses.clear();
        self.climbs.clear();
    }
}

fn token<'a>(account: &'a Account, relay: &RelayName) -> Option<&'a AccountToken> {
    account.at(relay).ok().flatten()
}

/// How long to stay away, and how many refusals in a row there have been.
fn pause(failure: &RelayFailure, refusals: u32) -> (Duration, u32) {
    let told = failure.retry_after().unwrap_or_default();
    match failure.code() {
        Code::RoomRefused | Code::OfferOver | Code::AccountMismatch | Code::AccountInvalid | Code::AccountExpired => {
            (REFUSED.saturating_mul(1 << refusals.min(8)).min(MOST), refusals.saturating_add(1))
        }
        Code::TooManyFailures => (told.clamp(Duration::from_secs(1), MOST), refusals),
        Code::RoomLocked => (told.clamp(Duration::from_secs(1), LOCKED), refusals),
        // What the relay answers when it may be otherwise in a moment; for the rest the ordinary waits will do.
        _ => (told.min(SOON), refusals),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(code: Code, told: Option<u64>, refusals: u32) -> u64 {
        pause(&RelayFailure::answered(code, told.map(Duration::from_secs)), refusals).0.as_secs()
    }

    #[test]
    fn a_relays_word_counts_within_bounds() {
        for (code, told, wait) in [
            (Code::TooManyFailures, Some(120), 120),
            (Code::TooManyFailures, Some(u64::MAX), 900),
            (Code::TooManyFailures, None, 1),
            (Code::RoomLocked, Some(900), 60),
            (Code::AskedTooOften, Some(1), 1),
            (Code::HostOffline, Some(1), 1),
            (Code::HostOffline, Some(u64::MAX), 30),
            (Code::RelayUnreachable, None, 0),
        ] {
            assert_eq!(seconds(code, told, 0), wait, "{code}");
        }
        let waits: Vec<u64> = (0..6).map(|refusals| seconds(Code::RoomRefused, Some(1), refusals)).collect();
        assert_eq!(waits, [60, 120, 240, 480, 900, 900]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_is_left_alone_and_others_are_not() {
        let name = |text: &str| RelayName::parse(text).unwrap();
        let (mut pauses, refused) = (Pauses::default(), RelayFailure::answered(Code::RoomRefused, None));
        pauses.failed(&name("a"), Some(&refused), &Account::default());
        assert_eq!(
            (pauses.on(&name("a"), &Account::default()), pauses.on(&name("b"), &Account::default())),
            (Some(&refused), None)
        );
        tokio::time::advance(REFUSED).await;
        assert_eq!(pauses.on(&name("a"), &Account::default()), None);
        pauses.failed(&name("a"), Some(&refused), &Account::default());
        tokio::time::advance(REFUSED).await;
        assert!(pauses.on(&name("a"), &Account::default()).is_some(), "the second time it is longer");
        pauses.clear();
        assert_eq!(pauses.on(&name("a"), &Account::default()), None);
        for n in 0..100 {
            pauses.failed(&name(&format!("r{n}")), Some(&refused), &Account::default());
        }
        assert_eq!(pauses.pauses.len(), ENDPOINTS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_token_is_shown_at_once() {
        let (relay, mut pauses) = (RelayName::parse("a").unwrap(), Pauses::default());
        let shown = |text| Account::shown(&relay, text);
        let expired = RelayFailure::answered(Code::AccountExpired, None);
        pauses.failed(&relay, Some(&expired), &shown("old"));
        assert_eq!(pauses.on(&relay, &shown("old")), Some(&expired));
        assert_eq!((pauses.on(&relay, &shown("new")), pauses.on(&relay, &Account::default())), (None, None));
        let locked = RelayFailure::answered(Code::RoomLocked, Some(REFUSED));
        pauses.failed(&relay, Some(&locked), &shown("old"));
        assert_eq!(pauses.on(&relay, &shown("new")), Some(&locked), "it has nothing to do with the account");
    }
}
