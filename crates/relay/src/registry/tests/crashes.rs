//! A relay that is killed after any write of a change: what it was told before holds, and the change can be done again.

use super::*;
use crate::room::Room;
use crate::store::memory::Killed;

/// More writes than any change takes.
const MOST: usize = 12;

/// Runs `change` on relays that are killed after 0, 1, 2 … writes, and `check` on what they leave. Tells on how many
/// of them the change was not answered as done.
async fn killed_at_each_write(
    change: impl AsyncFn(&Arc<Registry>, HostId) -> bool,
    check: impl AsyncFn(&mut Lab, HostId, bool),
) -> usize {
    let mut broken = 0;
    for writes in 0..MOST {
        let mut lab = Lab::new();
        let host = lab.host(1).await;
        lab.registry.register_room(host, room(1), &registration(Some(1), Some(2))).await.unwrap();
        lab.registry.register_room(host, room(2), &registration(Some(1), None)).await.unwrap();
        let dying = lab.another(Arc::new(Killed::after(Arc::clone(&lab.store), writes)), Limits::default());
        let done = change(&dying, host).await;
        broken += usize::from(!done);
        lab.restart();
        check(&mut lab, host, done).await;
        lab.registry.sweep().await.unwrap();
        check(&mut lab, host, done).await;
        index_agrees(&lab).await;
    }
    broken
}

async fn index_agrees(lab: &Lab) {
    let mut indexed = lab.rows(Bucket::Owned).await;
    for (key, entry) in lab.rows(Bucket::Rooms).await {
        let row: Room = record::decode(&entry.value).unwrap();
        let at = indexed.iter().position(|(index, _)| *index == format!("{}.{key}", row.host)).expect("indexed");
        let index = String::from_utf8(indexed.swap_remove(at).1.value.to_vec()).unwrap();
        assert!(index.contains(&format!("{}", row.is_open())), "{index}");
    }
    assert!(indexed.is_empty(), "{indexed:?}");
}

#[tokio::test]
async fn while_it_enrols() {
    let key = HostKey::new([5; 32]);
    let mut broken = 0;
    for writes in 0..MOST {
        let mut lab = Lab::new();
        let invitation = lab.registry.invite(Duration::from_secs(60)).await.unwrap();
        let dying = lab.another(Arc::new(Killed::after(Arc::clone(&lab.store), writes)), Limits::default());
        let first = dying.redeem(&invitation, key).await.ok();
        broken += usize::from(first.is_none());
        lab.restart();
        let id = lab.registry.redeem(&invitation, key).await.unwrap();
        assert!(first.is_none_or(|first| first == id));
        assert_eq!(lab.registry.known_host(key).await.unwrap(), Some(id));
        assert!(matches!(lab.registry.redeem(&invitation, HostKey::new([6; 32])).await, Err(RedeemError::Used)));
        assert_eq!(lab.registry.hosts().await.unwrap().len(), 1);
    }
    assert!((2..MOST).contains(&broken), "{broken}");
}

#[tokio::test]
async fn while_it_registers() {
    let broken = killed_at_each_write(
        async |registry, host| registry.register_room(host, room(3), &registration(Some(3), None)).await.is_ok(),
        async |lab, _, done| {
            assert!(lab.join(room(1), secret(1)).await.is_ok());
            assert!(!done || lab.join(room(3), secret(3)).await.is_ok());
        },
    );
    assert!((2..MOST).contains(&broken.await));
}

#[tokio::test]
async fn while_it_removes() {
    for at in [1, 2] {
        let broken = killed_at_each_write(
            async |registry, host| registry.remove_room(host, room(at)).await.is_ok(),
            async |lab, host, done| {
                assert!(!done || lab.join(room(at), secret(1)).await.is_err());
                lab.registry.remove_room(host, room(at)).await.unwrap();
                assert!(matches!(
                    lab.join_from(room(at), secret(1), 5).await,
                    Err(JoinError::Invalid | JoinError::Locked { .. })
                ));
                assert!(lab.join(room(3 - at), secret(1)).await.is_ok(), "the other room stays");
            },
        );
        assert!((1..MOST).contains(&broken.await));
    }
}

#[tokio::test]
async fn while_it_revokes() {
    let broken = killed_at_each_write(
        async |registry, host| registry.revoke_host(host).await.is_ok(),
        async |lab, host, done| {
            assert!(!done || lab.registry.is_revoked(host).await.unwrap());
            if lab.registry.is_revoked(host).await.unwrap() {
                lab.registry.sweep().await.unwrap();
                assert!(lab.join(room(2), secret(1)).await.is_err());
                assert!(lab.registry.known_host(HostKey::new([1; 32])).await.unwrap().is_none());
            }
        },
    );
    assert!((2..MOST).contains(&broken.await));
}

#[tokio::test]
async fn while_it_uses_a_token() {
    let broken = killed_at_each_write(
        async |registry, _| {
            let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let join = Join { room: room(1), credential: token(2), source, account: None };
            registry.use_token(&registry.join(&join).await.unwrap()).await.is_ok()
        },
        async |lab, _, done| match lab.join(room(1), token(2)).await {
            Err(JoinError::TokenUsed) => {}
            other => assert!(!done && other.is_ok(), "{other:?}"),
        },
    );
    assert_eq!(broken.await, 1);
}
