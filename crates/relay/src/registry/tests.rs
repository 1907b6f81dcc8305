mod crashes;
mod crowds;
mod joining;
mod model;

use std::net::{IpAddr, Ipv4Addr};

use couplet_protocol::CredentialHash;
use futures_util::TryStreamExt;

use super::*;
use crate::clock::tests::Turned;
use crate::host::HostKey;
use crate::room::{Credential, Hint, Registration};
use crate::store::memory::Memory;

/// A relay's registry on a store and a clock of the test's.
pub(crate) struct Lab {
    pub(crate) turned: Turned,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<Registry>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(Memory::default()))
    }

    fn on(store: Arc<dyn Store>) -> Self {
        let turned = Turned::start();
        let registry = Arc::new(Registry::new(Arc::clone(&store), turned.clock(), Limits::default()));
        Lab { turned, store, registry }
    }

    /// What the registry is after the relay has been started again.
    fn restart(&mut self) {
        self.registry = self.another(Arc::clone(&self.store), Limits::default());
    }

    fn another(&self, store: Arc<dyn Store>, limits: Limits) -> Arc<Registry> {
        Arc::new(Registry::new(store, self.turned.clock(), limits))
    }

    /// What the store has.
    async fn rows(&self, bucket: Bucket) -> Vec<(String, Entry)> {
        self.store.list(bucket, None).try_collect().await.unwrap()
    }

    pub(crate) async fn host(&self, n: u8) -> HostId {
        let invitation = self.registry.invite(Duration::from_secs(60)).await.unwrap();
        self.registry.redeem(&invitation, HostKey::new([n; 32])).await.unwrap()
    }

    async fn join(&self, room: RoomId, credential: Credential) -> Result<Admitted, JoinError> {
        self.join_from(room, credential, 1).await
    }

    async fn join_from(&self, room: RoomId, credential: Credential, n: u32) -> Result<Admitted, JoinError> {
        let source = IpAddr::V4(Ipv4Addr::from_bits(n));
        self.registry.join(&Join { room, credential, source, account: None }).await
    }
}

pub(crate) fn room(n: u8) -> RoomId {
    RoomId::new([n; 16])
}

pub(crate) fn hash(n: u8) -> CredentialHash {
    CredentialHash::new([n; 32])
}

fn token(n: u8) -> Credential {
    Credential::Token(hash(n))
}

fn secret(n: u8) -> Credential {
    Credential::Secret(hash(n))
}

pub(crate) fn registration(secret: Option<u8>, token: Option<u8>) -> Registration {
    Registration {
        secret_hash: secret.map(hash),
        pairing_token_hash: token.map(hash),
        pairing_expires_at: None,
        public_key: Hint::parse("cm9vbSBrZXk").unwrap(),
        account: None,
    }
}

#[tokio::test]
async fn an_invitation_is_good_for_one_host_and_its_time() {
    let lab = Lab::new();
    let (one, other) = (HostKey::new([1; 32]), HostKey::new([2; 32]));
    let invitation = lab.registry.invite(Duration::from_secs(60)).await.unwrap();
    let id = lab.registry.redeem(&invitation, one).await.unwrap();
    assert_eq!(lab.registry.redeem(&invitation, one).await.unwrap(), id, "an answer that was lost is had again");
    assert!(matches!(lab.registry.redeem(&invitation, other).await, Err(RedeemError::Used)));
    assert_eq!(lab.registry.known_host(one).await.unwrap(), Some(id));
    assert_eq!(lab.registry.known_host(other).await.unwrap(), None);

    let late = lab.registry.invite(Duration::from_secs(60)).await.unwrap();
    lab.turned.pass(Duration::from_secs(60));
    assert!(matches!(lab.registry.redeem(&late, other).await, Err(RedeemError::Invalid)));
    let again = lab.registry.invite(Duration::from_secs(60)).await.unwrap();
    assert_eq!(lab.registry.redeem(&again, one).await.unwrap(), id, "a known key keeps its host");
}

#[tokio::test]
async fn a_revoked_host_has_no_rooms_and_does_not_come_back() {
    let lab = Lab::new();
    let (host, key) = (lab.host(1).await, HostKey::new([1; 32]));
    lab.registry.register_room(host, room(1), &registration(Some(1), None)).await.unwrap();
    let mut events = lab.registry.events();
    assert!(lab.registry.revoke_host(host).await.unwrap());
    assert_eq!(events.recv().await.unwrap(), Event::HostRevoked { host });
    assert_eq!(events.recv().await.unwrap(), Event::RoomRemoved { host, room: room(1) });
    assert!(!lab.registry.revoke_host(host).await.unwrap());
    assert!(lab.registry.is_revoked(host).await.unwrap());
    assert!(lab.registry.is_revoked(HostId::random()).await.unwrap(), "a host that is not known may not connect");
    assert_eq!(lab.registry.known_host(key).await.unwrap(), None);
    assert!(matches!(lab.join(room(1), secret(1)).await, Err(JoinError::Invalid)));
    let refused = lab.registry.register_room(host, room(2), &registration(Some(1), None)).await;
    assert!(matches!(refused, Err(RegisterError::NotEnrolled)));
    let invitation = lab.registry.invite(Duration::from_secs(60)).await.unwrap();
    assert!(matches!(lab.registry.redeem(&invitation, key).await, Err(RedeemError::Revoked)));
    let fresh = HostKey::new([9; 32]);
    assert_ne!(lab.registry.redeem(&invitation, fresh).await.unwrap(), host, "the invitation was not used up by it");
}

#[tokio::test]
async fn the_operator_sees_hosts_and_when_they_were_there() {
    let lab = Lab::new();
    let (host, start) = (lab.host(1).await, lab.turned.now());
    lab.registry.host_seen(host, start).await.unwrap();
    lab.turned.pass(Duration::from_secs(60));
    lab.registry.host_seen(host, lab.turned.now()).await.unwrap();
    let seen = |hosts: Vec<crate::Host>| hosts[0].seen_at.unwrap();
    assert_eq!(seen(lab.registry.hosts().await.unwrap()), start, "minutes are not written down");
    lab.turned.pass(Duration::from_secs(600));
    lab.registry.host_seen(host, lab.turned.now()).await.unwrap();
    assert_eq!(seen(lab.registry.hosts().await.unwrap()), lab.turned.now());
}

#[tokio::test]
async fn a_room_is_its_first_hosts_and_replaced_silently() {
    let lab = Lab::new();
    let (one, two) = (lab.host(1).await, lab.host(2).await);
    let register = async |host, wanted: Registration| lab.registry.register_room(host, room(1), &wanted).await;
    assert_eq!(register(one, registration(Some(1), None)).await.unwrap(), Registered::Created);
    assert_eq!(register(one, registration(Some(1), None)).await.unwrap(), Registered::Unchanged);
    assert!(matches!(register(two, registration(Some(2), None)).await, Err(RegisterError::NotYours)));
    assert!(matches!(lab.registry.remove_room(two, room(1)).await, Err(RegisterError::NotYours)));
    assert_eq!(register(one, registration(Some(3), None)).await.unwrap(), Registered::Updated);
    assert!(matches!(register(one, registration(None, None)).await, Err(RegisterError::NoCredential)));
    assert!(lab.join(room(1), secret(3)).await.is_ok());
    assert!(matches!(lab.join(room(1), secret(1)).await, Err(JoinError::Invalid)));
    assert!(lab.registry.remove_room(one, room(1)).await.unwrap());
    assert!(!lab.registry.remove_room(one, room(1)).await.unwrap());
    assert!(matches!(lab.join(room(1), secret(3)).await, Err(JoinError::Invalid)));
}

#[tokio::test]
async fn a_host_has_so_many_rooms_and_removed_ones_are_bounded_too() {
    let mut lab = Lab::new();
    lab.registry = lab.another(Arc::clone(&lab.store), Limits { rooms_per_host: 3 });
    let (one, two) = (lab.host(1).await, lab.host(2).await);
    let offer = registration(None, Some(1));
    for n in 0..3 {
        lab.registry.register_room(one, room(n), &offer).await.unwrap();
    }
    let full = |result| assert!(matches!(result, Err(RegisterError::TooManyRooms)));
    full(lab.registry.register_room(one, room(9), &offer).await);
    assert_eq!(lab.registry.register_room(one, room(2), &offer).await.unwrap(), Registered::Unchanged);
    lab.registry.register_room(two, room(9), &offer).await.unwrap();
    for n in 3..6 {
        lab.registry.remove_room(one, room(n - 3)).await.unwrap();
        lab.registry.register_room(one, room(n), &offer).await.unwrap();
    }
    lab.registry.remove_room(one, room(3)).await.unwrap();
    full(lab.registry.register_room(one, room(8), &offer).await);
    lab.turned.pass(Duration::from_secs(3600));
    lab.registry.sweep().await.unwrap();
    lab.registry.register_room(one, room(8), &offer).await.unwrap();
}

#[tokio::test]
async fn a_damaged_row_and_a_newer_one_are_answered_and_left_alone() {
    let lab = Lab::new();
    let host = lab.host(1).await;
    for row in [&b"\x01{broken"[..], b"", b"\x02{}", b"\x01{\"host\":7}"] {
        let (key, value) = (room(1).to_hex(), Bytes::copy_from_slice(row));
        lab.store.put(Bucket::Rooms, &key, value.clone(), Expected::Any).await.unwrap();
        let is_fault = |fault: &Fault| matches!(fault, Fault::Damaged | Fault::Newer);
        assert!(matches!(lab.join(room(1), token(1)).await, Err(JoinError::Fault(f)) if is_fault(&f)));
        let registered = lab.registry.register_room(host, room(1), &registration(Some(1), None)).await;
        assert!(matches!(registered, Err(RegisterError::Fault(f)) if is_fault(&f)));
        assert!(matches!(lab.registry.remove_room(host, room(1)).await, Err(RegisterError::Fault(f)) if is_fault(&f)));
        lab.turned.pass(Duration::from_secs(7200));
        lab.registry.sweep().await.unwrap();
        assert_eq!(lab.store.find(Bucket::Rooms, &key).await.unwrap().unwrap().value, value);
    }
    assert!(lab.registry.register_room(host, room(2), &registration(Some(1), None)).await.is_ok(), "others go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_hosts_at_once_one_gets_the_invitation() {
    let lab = Lab::new();
    let invitation = lab.registry.invite(Duration::from_secs(60)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    // Two relays on one store: nothing but the store stands between them.
    let relays = [Arc::clone(&lab.registry), lab.another(Arc::clone(&lab.store), Limits::default())];
    for n in 0..100 {
        let (relay, invitation) = (Arc::clone(&relays[n % 2]), invitation.clone());
        tasks.spawn(async move { relay.redeem(&invitation, HostKey::new([n as u8; 32])).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(RedeemError::Used))));
    assert_eq!(lab.registry.hosts().await.unwrap().len(), 1);
}
