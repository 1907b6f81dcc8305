//! How long to leave a relay alone that said no. The addresses on the local network are tried all the while: no relay
//! can keep a device from its host there.

use std::time::Duration;

use couplet_protocol::offer::ENDPOINTS_MAX;
use couplet_protocol::{Code, RelayName};
use tokio::time::Instant;

use super::Account;
use super::account::AccountToken;
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

/// Which relays are left alone until when, and what they said. At most as many as a host has endpoints.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Vec<Pause>);

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
        let pause = self.0.iter().find(|pause| pause.relay == *relay)?;
        let is_same = match (&pause.account, token(account)) {
            (Some(then), Some(now)) => then.is(now),
            (then, now) => then.is_none() && now.is_none(),
        };
        let counts = is_same || !pause.failure.is_of_account();
        (counts && Instant::now() < pause.until).then_some(&pause.failure)
    }

    /// This relay did not lead to the host.
    pub(crate) fn failed(&mut self, relay: &RelayName, failure: &RelayFailure, account: &Account) {
        let at = self.0.iter().position(|pause| pause.relay == *relay);
        let earlier = at.map(|at| self.0.remove(at));
        let refusals = earlier.map_or(0, |pause| pause.refusals);
        let (wait, refusals) = pause(failure, refusals);
        if self.0.len() >= ENDPOINTS_MAX {
            self.0.remove(0);
        }
        let account = token(account).cloned();
        let until = Instant::now() + wait;
        self.0.push(Pause { relay: relay.clone(), until, failure: failure.clone(), refusals, account });
    }

    /// This device is somewhere else now, or has been with its host: what was said is no matter any more.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

fn token(account: &Account) -> Option<&AccountToken> {
    account.as_ref().and_then(|account| account.as_ref().ok())
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
        pauses.failed(&name("a"), &refused, &None);
        assert_eq!((pauses.on(&name("a"), &None), pauses.on(&name("b"), &None)), (Some(&refused), None));
        tokio::time::advance(REFUSED).await;
        assert_eq!(pauses.on(&name("a"), &None), None);
        pauses.failed(&name("a"), &refused, &None);
        tokio::time::advance(REFUSED).await;
        assert!(pauses.on(&name("a"), &None).is_some(), "the second time it is longer");
        pauses.clear();
        assert_eq!(pauses.on(&name("a"), &None), None);
        for n in 0..100 {
            pauses.failed(&name(&format!("r{n}")), &refused, &None);
        }
        assert_eq!(pauses.0.len(), ENDPOINTS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_token_is_shown_at_once() {
        let (relay, mut pauses) = (RelayName::parse("a").unwrap(), Pauses::default());
        let shown = |text| Some(Ok(AccountToken::parse(text).unwrap()));
        let expired = RelayFailure::answered(Code::AccountExpired, None);
        pauses.failed(&relay, &expired, &shown("old"));
        assert_eq!(pauses.on(&relay, &shown("old")), Some(&expired));
        assert_eq!((pauses.on(&relay, &shown("new")), pauses.on(&relay, &None)), (None, None));
        let locked = RelayFailure::answered(Code::RoomLocked, Some(REFUSED));
        pauses.failed(&relay, &locked, &shown("old"));
        assert_eq!(pauses.on(&relay, &shown("new")), Some(&locked), "it has nothing to do with the account");
    }
}
