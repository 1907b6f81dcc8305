//! Many changes at once, most of them of those who wish nobody well.

use std::time::Instant;

use couplet_protocol::secret::EnrollmentSecret;
use futures_util::FutureExt;

use super::*;
use crate::store::{Answer, Rows};

/// A store whose disk takes its time.
#[derive(Default)]
struct Slow(Memory);

const DISK: Duration = Duration::from_millis(5);

impl Store for Slow {
    fn find<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>> {
        self.0.find(bucket, key)
    }

    fn put<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes, expected: Expected) -> Answer<'a, u64> {
        Box::pin(async move {
            tokio::time::sleep(DISK).await;
            self.0.put(bucket, key, value, expected).await
        })
    }

    fn remove<'a>(&'a self, bucket: Bucket, key: &'a str, expected: Expected) -> Answer<'a, ()> {
        self.0.remove(bucket, key, expected)
    }

    fn list<'a>(&'a self, bucket: Bucket, under: Option<&'a str>) -> Rows<'a> {
        self.0.list(bucket, under)
    }
}

#[tokio::test]
async fn changes_that_nobody_waits_for_hold_up_neither_others_nor_a_revocation() {
    let lab = Lab::on(Arc::new(Slow::default()));
    let (hostile, other) = (lab.host(1).await, lab.host(2).await);
    for n in 0..2_000_u32 {
        let wanted = registration(Some((n % 250) as u8), None);
        // Its connection goes as soon as it has asked.
        let _ = lab.registry.register_room(hostile, room((n % 200) as u8), &wanted).now_or_never();
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    lab.registry.register_room(other, room(201), &registration(Some(1), None)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(lab.registry.revoke_host(hostile).await.unwrap());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    lab.registry.settled().await;
    assert!(lab.registry.owned(hostile).await.unwrap().is_empty(), "nothing came after it");
}

#[tokio::test]
async fn a_revocation_counts_before_its_turn_has_come_and_made_up_invitations_take_none() {
    let lab = Lab::new();
    let host = lab.host(1).await;
    lab.registry.register_room(host, room(1), &registration(Some(1), None)).await.unwrap();
    let mut events = lab.registry.events();
    let turn = lab.registry.turn().await.unwrap();
    let made_up = lab.registry.redeem(&EnrollmentSecret::new([7; 16]), HostKey::new([7; 32])).now_or_never();
    assert!(matches!(made_up, Some(Err(RedeemError::Invalid))));
    let registry = Arc::clone(&lab.registry);
    let revoking = tokio::spawn(async move { registry.revoke_host(host).await });
    assert_eq!(events.recv().await.unwrap(), Event::HostRevoked { host });
    assert!(lab.registry.is_revoked(host).await.unwrap());
    drop(turn);
    assert!(revoking.await.unwrap().unwrap());
    assert_eq!(events.recv().await.unwrap(), Event::RoomRemoved { host, room: room(1) });
}

#[tokio::test]
async fn a_host_that_changes_its_rooms_without_end_is_slowed_down() {
    let lab = Lab::new();
    let (hostile, other) = (lab.host(1).await, lab.host(2).await);
    let mut done = 0;
    let retry_after = loop {
        let wanted = registration(Some((done % 250) as u8), None);
        match lab.registry.register_room(hostile, room(1), &wanted).await {
            Ok(_) => done += 1,
            Err(RegisterError::TooOften { retry_after }) => break retry_after,
            Err(error) => panic!("{error}"),
        }
    };
    assert!((1024..2048).contains(&done) && retry_after <= Duration::from_millis(200), "{done}, {retry_after:?}");
    lab.registry.register_room(other, room(2), &registration(Some(1), None)).await.unwrap();
    // What it has already costs nothing, and it can be told so as often as it asks.
    let same = registration(Some(((done - 1) % 250) as u8), None);
    for _ in 0..3_000 {
        assert_eq!(lab.registry.register_room(hostile, room(1), &same).await.unwrap(), Registered::Unchanged);
    }
}
