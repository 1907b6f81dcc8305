use std::net::Ipv6Addr;

use jiff::Timestamp;

use super::*;
use crate::account::Identity;
use crate::clock::after;
use crate::lockout::{SOURCE_FAILURES, WINDOW};
use crate::room::Mode;

const HOUR: Duration = Duration::from_secs(3600);

async fn with_room(wanted: Registration) -> (Lab, HostId) {
    let lab = Lab::new();
    let host = lab.host(1).await;
    lab.registry.register_room(host, room(1), &wanted).await.unwrap();
    (lab, host)
}

#[tokio::test]
async fn each_credential_opens_its_way_and_no_other() {
    let (lab, host) = with_room(registration(Some(1), Some(2))).await;
    let admitted = lab.join(room(1), secret(1)).await.unwrap();
    assert_eq!((admitted.host, admitted.mode), (host, Mode::Reconnect));
    assert_eq!(lab.join(room(1), token(2)).await.unwrap().mode, Mode::Pair);
    assert_eq!(lab.join(room(1), Credential::Both(hash(2), hash(9))).await.unwrap().mode, Mode::Pair);
    for (n, wrong) in
        [secret(2), token(1), Credential::Nothing, Credential::Both(hash(9), hash(1))].into_iter().enumerate()
    {
        let lab = with_room(registration(Some(1), Some(2))).await.0;
        assert!(matches!(lab.join(room(1), wrong).await, Err(JoinError::Invalid)), "{n}");
    }
    let lab = with_room(registration(Some(1), None)).await.0;
    assert_eq!(lab.join(room(1), Credential::Both(hash(9), hash(1))).await.unwrap().mode, Mode::Reconnect);
}

#[tokio::test]
async fn a_token_is_used_by_the_use_and_by_removing_its_room() {
    let (lab, host) = with_room(registration(None, Some(2))).await;
    for _ in 0..5 {
        assert!(lab.join(room(1), token(2)).await.is_ok(), "joining alone uses nothing up");
    }
    let admitted = lab.join(room(1), token(2)).await.unwrap();
    lab.registry.use_token(&admitted).await.unwrap();
    assert!(matches!(lab.registry.use_token(&admitted).await, Err(JoinError::TokenUsed)));
    assert!(matches!(lab.join(room(1), token(2)).await, Err(JoinError::TokenUsed)));
    // The same token registered again is no new one; another is.
    lab.registry.register_room(host, room(1), &registration(Some(1), Some(2))).await.unwrap();
    assert!(matches!(lab.join(room(1), token(2)).await, Err(JoinError::TokenUsed)));
    lab.registry.register_room(host, room(1), &registration(Some(1), Some(3))).await.unwrap();
    assert!(lab.join(room(1), token(3)).await.is_ok());

    lab.registry.remove_room(host, room(1)).await.unwrap();
    lab.turned.pass(HOUR - Duration::from_secs(1));
    lab.registry.sweep().await.unwrap();
    assert!(matches!(lab.join(room(1), token(3)).await, Err(JoinError::TokenUsed)));
    assert!(matches!(lab.join(room(1), secret(1)).await, Err(JoinError::Invalid)));
    let other = lab.host(2).await;
    let taken = lab.registry.register_room(other, room(1), &registration(None, Some(3))).await;
    assert!(matches!(taken, Err(RegisterError::NotYours)));
    lab.registry.register_room(host, room(1), &registration(None, Some(3))).await.unwrap();
    assert!(matches!(lab.join(room(1), token(3)).await, Err(JoinError::TokenUsed)), "nor by removing it in between");
    lab.turned.pass(Duration::from_secs(1));
    assert!(matches!(lab.join(room(1), token(3)).await, Err(JoinError::Invalid)), "after the hour it is unknown");
}

#[tokio::test]
async fn rotating_the_secret_keeps_the_used_token_known_and_withdraws_an_unused_one() {
    let (lab, host) = with_room(registration(Some(1), Some(2))).await;
    let admitted = lab.join(room(1), token(2)).await.unwrap();
    lab.registry.use_token(&admitted).await.unwrap();
    lab.registry.register_room(host, room(1), &registration(Some(7), None)).await.unwrap();
    assert!(lab.join(room(1), secret(7)).await.is_ok());
    assert!(matches!(lab.join(room(1), token(2)).await, Err(JoinError::TokenUsed)));

    let (lab, host) = with_room(registration(Some(1), Some(2))).await;
    lab.registry.register_room(host, room(1), &registration(Some(7), None)).await.unwrap();
    assert!(matches!(lab.join(room(1), token(2)).await, Err(JoinError::Invalid)));
}

#[tokio::test]
async fn who_was_let_in_before_the_room_changed_is_not_let_in_after() {
    let (lab, host) = with_room(registration(Some(1), Some(2))).await;
    let admits = async |admitted: &Admitted| lab.registry.still_admits(admitted).await.unwrap();
    let (paired, back) = (lab.join(room(1), token(2)).await.unwrap(), lab.join(room(1), secret(1)).await.unwrap());
    assert!(admits(&paired).await && admits(&back).await);
    lab.registry.register_room(host, room(1), &registration(Some(3), Some(2))).await.unwrap();
    assert!(admits(&paired).await && !admits(&back).await, "its secret was changed");
    let back = lab.join(room(1), secret(3)).await.unwrap();
    lab.registry.use_token(&paired).await.unwrap();
    assert!(!admits(&paired).await && admits(&back).await, "its token was used");
    lab.registry.remove_room(host, room(1)).await.unwrap();
    assert!(!admits(&paired).await && !admits(&back).await);
    // The id may come to be another host's.
    lab.turned.pass(2 * HOUR);
    let other = lab.host(2).await;
    lab.registry.register_room(other, room(1), &registration(Some(3), Some(2))).await.unwrap();
    assert!(!admits(&paired).await && !admits(&back).await);
}

#[tokio::test]
async fn an_offer_that_has_expired_says_so_for_an_hour_and_is_swept() {
    let mut offer = registration(None, Some(2));
    let lab = Lab::new();
    offer.pairing_expires_at = Some(after(lab.turned.now(), Duration::from_secs(300)));
    let host = lab.host(1).await;
    lab.registry.register_room(host, room(1), &offer).await.unwrap();
    lab.turned.pass(Duration::from_secs(299));
    assert!(lab.join(room(1), token(2)).await.is_ok());
    lab.turned.pass(Duration::from_secs(1));
    assert!(matches!(lab.join(room(1), token(2)).await, Err(JoinError::TokenUsed)));
    lab.turned.pass(HOUR);
    assert!(matches!(lab.join(room(1), token(2)).await, Err(JoinError::Invalid)));
    lab.registry.sweep().await.unwrap();
    for bucket in [Bucket::Rooms, Bucket::Owned, Bucket::Invitations] {
        assert_eq!(lab.rows(bucket).await.len(), 0, "{bucket:?}");
    }
}

#[tokio::test]
async fn three_wrong_joins_lock_a_room_for_everyone_and_nothing_tells_whether_there_is_one() {
    let (lab, host) = with_room(registration(Some(1), Some(2))).await;
    let mut events = lab.registry.events();
    let mut answers = [Vec::new(), Vec::new()];
    for n in 0..5 {
        for (which, answers) in answers.iter_mut().enumerate() {
            let at = [room(1), room(77)][which];
            answers.push(format!("{:?}", lab.join_from(at, [secret(9), token(9)][n % 2].clone(), n as u32).await));
        }
    }
    assert_eq!(answers[0], answers[1]);
    let locked = |answer: &String| answer.contains("Locked");
    assert_eq!(answers[0].iter().map(locked).collect::<Vec<_>>(), [false, false, true, true, true]);
    assert_eq!(events.try_recv().unwrap(), Event::RoomLocked { host, room: room(1) });
    assert!(events.try_recv().is_err(), "told once");
    for right in [secret(1), token(2)] {
        let Err(JoinError::Locked { retry_after }) = lab.join(room(1), right).await else { panic!("not locked") };
        assert_eq!(retry_after, WINDOW);
    }
    // Who goes on does not prolong it.
    lab.turned.pass(WINDOW - Duration::from_secs(1));
    assert!(matches!(lab.join_from(room(1), secret(9), 50).await, Err(JoinError::Locked { .. })));
    lab.turned.pass(Duration::from_secs(1));
    assert!(lab.join(room(1), secret(1)).await.is_ok());
    for n in 60..63 {
        let _ = lab.join_from(room(1), secret(9), n).await;
    }
    assert_eq!(events.try_recv().unwrap(), Event::RoomLocked { host, room: room(1) });
}

#[tokio::test]
async fn failures_count_for_the_source_over_all_rooms() {
    let (lab, _) = with_room(registration(Some(1), Some(2))).await;
    let from = |address: Ipv6Addr| address.into();
    let join =
        async |room, n, source| lab.registry.join(&Join { room, credential: secret(n), source, account: None }).await;
    for n in 0..SOURCE_FAILURES {
        let neighbour = Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, n as u16);
        let answer = join(room(100 + n as u8), 9, from(neighbour)).await;
        assert!(matches!(answer, Err(JoinError::Invalid)), "{n}");
    }
    let same = from(Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 9, 9, 9, 9));
    // Wrong ones lock nothing any more, whether or not there is such a room.
    for at in [room(1), room(99)].into_iter().cycle().take(10) {
        let blocked = join(at, 9, same).await;
        assert!(matches!(blocked, Err(JoinError::TooMany { retry_after }) if retry_after == WINDOW), "{blocked:?}");
    }
    assert!(join(room(1), 1, same).await.is_ok());
    let by_token = Join { room: room(1), credential: token(2), source: same, account: None };
    let admitted = lab.registry.join(&by_token).await.unwrap();
    lab.registry.use_token(&admitted).await.unwrap();
    assert!(matches!(lab.registry.join(&by_token).await, Err(JoinError::TokenUsed)));
    let other = from(Ipv6Addr::new(0x2001, 0xdb8, 0, 8, 0, 0, 0, 1));
    assert!(matches!(join(room(1), 9, other).await, Err(JoinError::Invalid)));
    lab.turned.pass(WINDOW);
    assert!(matches!(join(room(1), 9, same).await, Err(JoinError::Invalid)));
}

#[tokio::test]
async fn ten_thousand_bad_joins_leave_the_owner_a_way() {
    let (lab, host) = with_room(registration(Some(1), None)).await;
    lab.registry.register_room(host, room(2), &registration(Some(1), None)).await.unwrap();
    for n in 0..10_000_u32 {
        let at = if n % 2 == 0 {
            room(1)
        } else {
            RoomId::new([[7; 12].as_slice(), &n.to_be_bytes()].concat().try_into().unwrap())
        };
        assert!(lab.join_from(at, secret(9), n).await.is_err());
    }
    let owner = 99_999;
    assert!(matches!(lab.join_from(room(1), secret(1), owner).await, Err(JoinError::Locked { .. })));
    assert_eq!(lab.join_from(room(2), secret(1), owner).await.unwrap().host, host);
}

#[tokio::test]
async fn another_account_is_told_only_to_who_has_the_credential_and_uses_nothing() {
    let identity = |subject: &str| Identity {
        issuer: "https://id.example".into(),
        subject: subject.into(),
        email: Some(format!("{subject}@example.org")),
    };
    let mut wanted = registration(Some(1), Some(2));
    wanted.account = Some(identity("ann"));
    let (lab, _) = with_room(wanted).await;
    let join = async |credential, account| {
        let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
        lab.registry.join(&Join { room: room(1), credential, source, account }).await
    };
    assert!(matches!(join(secret(9), Some(identity("bob"))).await, Err(JoinError::Invalid)));
    let Err(JoinError::AccountMismatch { host_email, device_email }) = join(token(2), Some(identity("bob"))).await
    else {
        panic!("let in")
    };
    assert_eq!((host_email.unwrap(), device_email.unwrap()), ("ann@example.org".into(), "bob@example.org".into()));
    let nobody = join(token(2), None).await;
    assert!(matches!(nobody, Err(JoinError::AccountMismatch { device_email: None, .. })));
    let admitted = join(token(2), Some(Identity { email: None, ..identity("ann") })).await.unwrap();
    lab.registry.use_token(&admitted).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_joins_at_once_one_uses_the_token() {
    let (lab, _) = with_room(registration(Some(1), Some(2))).await;
    let relays = [Arc::clone(&lab.registry), lab.another(Arc::clone(&lab.store), Limits::default())];
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..100_u32 {
        let relay = Arc::clone(&relays[n as usize % 2]);
        tasks.spawn(async move {
            let source = IpAddr::V4(Ipv4Addr::from_bits(n));
            let admitted = relay.join(&Join { room: room(1), credential: token(2), source, account: None }).await?;
            relay.use_token(&admitted).await
        });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(JoinError::TokenUsed))));
}

#[test]
fn a_decoy_is_looked_into_as_a_room_is() {
    let now = Timestamp::UNIX_EPOCH;
    let real = Room::registered(HostId::random(), &registration(Some(1), Some(2)), None, now);
    let (decoy, real) = (record::encode(&Room::decoy()).unwrap(), record::encode(&real).unwrap());
    assert!(decoy.len().abs_diff(real.len()) < 64, "{} against {}", decoy.len(), real.len());
    let decoy: Room = record::decode(&decoy).unwrap();
    for n in 0..=255 {
        assert_eq!(decoy.judge(&secret(n), now), crate::room::Verdict::Wrong);
        assert_eq!(decoy.judge(&token(n), now), crate::room::Verdict::Wrong);
    }
}
