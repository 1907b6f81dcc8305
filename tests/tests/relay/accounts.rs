//! Accounts at a relay, against a real identity provider: oidc-provider.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use couplet_protocol::{CredentialHash, RoomId};
use couplet_relay::account::{AccountError, Https};
use couplet_relay::registry::{Join, JoinError, Limits};
use couplet_relay::room::{Credential, Hint, Registration};
use couplet_relay::store::embedded::Embedded;
use couplet_relay::{Accounts, Clock, HostKey, Registry};
use e2e::Provider;
use jiff::{SignedDuration, Timestamp};

const WAIT: Duration = Duration::from_secs(30);

fn believing(provider: &Provider, audience: &str, clock: &Turned) -> Accounts {
    let issuers = [provider.issuer().to_owned()];
    Accounts::new(&issuers, audience, Arc::new(Https::new(None).unwrap()), clock.clock()).unwrap()
}

/// The real clock, set forward or back by some seconds.
#[derive(Clone, Default)]
struct Turned(Arc<AtomicI64>);

impl Turned {
    fn by(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let by = Arc::clone(&self.0);
        Clock::new(move || Timestamp::now() + SignedDuration::from_secs(by.load(Ordering::SeqCst)))
    }
}

#[tokio::test]
async fn a_token_of_a_real_provider_says_who_someone_is_for_its_audience_and_time() {
    let (provider, clock) = (Provider::start().await, Turned::default());
    let accounts = believing(&provider, "couplet", &clock);
    let token = provider.token("ann").await;
    let ann = accounts.verify(&token).await.unwrap();
    assert_eq!((ann.issuer.as_str(), ann.subject.as_str()), (provider.issuer(), "ann"));
    assert_eq!(ann.email.as_deref(), Some("ann@example.org"));
    assert!(!ann.is(&accounts.verify(&provider.token("bob").await).await.unwrap()));

    let other = believing(&provider, "another relay", &clock);
    assert_eq!(other.verify(&token).await, Err(AccountError::Invalid));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other_letter = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{signed}.{other_letter}{}", &signature[1..]);
    assert_eq!(accounts.verify(&forged).await, Err(AccountError::Invalid));

    // It is good for ten minutes, and the clocks may differ by one.
    for (seconds, good) in [(630, true), (700, false), (-50, true), (-100, false)] {
        clock.by(seconds);
        assert_eq!(accounts.verify(&token).await.is_ok(), good, "{seconds} seconds on");
    }
}

#[tokio::test]
async fn a_provider_changes_its_key_and_may_be_away() {
    let (provider, clock) = (Provider::start().await, Turned::default());
    let accounts = believing(&provider, "couplet", &clock);
    let old = provider.token("ann").await;
    accounts.verify(&old).await.unwrap();
    let mut provider = provider.restart().await;
    let new = provider.token("ann").await;
    assert_eq!(accounts.verify(&new).await, Err(AccountError::Invalid), "the provider was asked just now");
    clock.by(61);
    accounts.verify(&new).await.unwrap();
    assert_eq!(accounts.verify(&old).await, Err(AccountError::Invalid));

    provider.kill().await;
    accounts.verify(&new).await.unwrap();
    let fresh = believing(&provider, "couplet", &clock);
    assert_eq!(fresh.verify(&new).await, Err(AccountError::Unavailable));
}

#[tokio::test]
async fn a_room_of_an_account_is_joined_by_the_same_account() {
    let (provider, clock) = (Provider::start().await, Turned::default());
    let accounts = believing(&provider, "couplet", &clock);
    let (ann, bob) = (provider.token("ann").await, provider.token("bob").await);
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&dir.path().join("relay.redb")).unwrap());
    let registry = Arc::new(Registry::new(store, clock.clock(), Limits::default()));

    let invitation = registry.invite(WAIT).await.unwrap();
    let host = registry.redeem(&invitation, HostKey::new([1; 32])).await.unwrap();
    let (room, token) = (RoomId::new([1; 16]), CredentialHash::new([2; 32]));
    let wanted = Registration {
        secret_hash: None,
        pairing_token_hash: Some(token.clone()),
        pairing_expires_at: None,
        public_key: Hint::parse("a2V5").unwrap(),
        account: Some(accounts.verify(&ann).await.unwrap()),
    };
    registry.register_room(host, room, &wanted).await.unwrap();
    let join = async |jwt: &str| {
        let account = Some(accounts.verify(jwt).await.unwrap());
        let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
        registry.join(&Join { room, credential: Credential::Token(token.clone()), source, account }).await
    };
    let Err(JoinError::AccountMismatch { host_email, device_email }) = join(&bob).await else { panic!("bob is in") };
    assert_eq!(host_email.as_deref(), Some("ann@example.org"));
    assert_eq!(device_email.as_deref(), Some("bob@example.org"));
    assert_eq!(join(&ann).await.unwrap().host, host);
}
