//! Pairing with a host and coming back to it through a relay.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::relaying::common::TestHost;
use crate::relaying::{self, ROOM_SECRET, World, serve};
use crate::responder::{self, Host, Listener, knows, nowhere, soon, store};
use couplet_client::{AttemptError, Client, CredentialStore, Credentials, PairError, Reason, State, pair};
use couplet_protocol::secret::RoomSecret;
use couplet_protocol::{CheckCode, Code, Endpoint};
use serde_json::json;

fn silent(_: &CheckCode) {
    panic!("no code is shown");
}

/// A device that is paired through the relay; the host is away then.
async fn paired(world: &World) -> (tempfile::TempDir, Arc<dyn CredentialStore>, Credentials) {
    world.register_offer().await;
    let host = world.granting(&[]).await;
    let (folder, store) = store();
    let credentials = soon(pair(&world.link(&[]), world.request(), &store, silent)).await.unwrap();
    knows(&credentials);
    drop(host);
    (folder, store, credentials)
}

async fn relayed(client: &Client, world: &World) {
    let relay = State::Relay { relay: world.name() };
    soon(client.state().wait_for(|state| *state == relay)).await.unwrap();
}

fn refused_by_relay(state: &State) -> Option<Code> {
    match state {
        State::Offline { reason, .. } => reason.relay().map(|(_, failure)| failure.code()),
        _ => None,
    }
}

#[tokio::test]
async fn a_device_pairs_and_comes_back_through_a_relay() {
    let world = World::start().await;
    world.register_offer().await;
    world.register_room(0).await;
    let host = world.granting(&[]).await;
    let (_folder, store) = store();
    // The local network leads nowhere. A link is read in any case.
    let link = world.link(&[nowhere().await]).to_lowercase();
    let credentials = soon(pair(&link, world.request(), &store, silent)).await.unwrap();
    assert!(credentials.is_paired() && credentials.endpoints == [Endpoint::Relay(world.name())]);
    assert_eq!(host.came.load(Ordering::Relaxed), 1);
    knows(&credentials);
    // What counts for the relay was kept with the pairing.
    let client = Client::connect(credentials.id(), store).await.unwrap();
    relayed(&client, &world).await;
    let request = http::Request::new(http_body_util::Empty::<bytes::Bytes>::new());
    let request = {
        let mut request = request;
        *request.uri_mut() = "http://app/".parse().unwrap();
        request
    };
    assert_eq!(soon(client.request(request)).await.unwrap().status(), 200);
    client.close().await;
}

#[tokio::test]
async fn the_local_network_wins_and_the_relay_is_not_asked() {
    let world = World::start().await;
    let (_folder, store, mut credentials) = paired(&world).await;
    let host = world.granting(&[]).await;
    let grant = relaying::grant(&world.host, &world.name(), &[]);
    let lan = Listener::host(&world.host, move |session| serve(session, grant.clone())).await;
    credentials.endpoints.push(Endpoint::Lan(lan.address));
    store.save(&credentials).unwrap();
    world.register_room(0).await;
    let client = Client::connect(credentials.id(), store).await.unwrap();
    let direct = State::Direct { endpoint: lan.address };
    soon(client.state().wait_for(|state| *state == direct)).await.unwrap();
    assert_eq!(host.came.load(Ordering::Relaxed), 0);
    // The local network is gone: the session breaks, and the relay is next.
    drop(lan);
    relayed(&client, &world).await;
    client.close().await;
}

#[tokio::test]
async fn a_locked_room_has_another_behind_it_and_that_is_remembered() {
    let world = World::start().await;
    let (_folder, store, credentials) = paired(&world).await;
    for number in 0..=2 {
        world.register_room(number).await;
    }
    // Somebody who knows the ids.
    let secret = RoomSecret::new(ROOM_SECRET);
    for number in [0, 0, 0, 1, 1, 1] {
        let room = secret.room(number).unwrap().to_hex();
        world.relay.pair(&json!({"room_id": room, "secret_hash": "0".repeat(64)})).await;
    }
    let _host = world.granting(&[]).await;
    let client = Client::connect(credentials.id(), store.clone()).await.unwrap();
    relayed(&client, &world).await;
    client.close().await;
    assert_eq!(store.load(&credentials.id()).unwrap()[0].room_number, 2);
    // One that the host gave up since is passed over as well.
    let mut behind = credentials;
    behind.room_number = 3;
    store.save(&behind).unwrap();
    world.register_room(4).await;
    let client = Client::connect(behind.id(), store.clone()).await.unwrap();
    relayed(&client, &world).await;
    client.close().await;
    assert_eq!(store.load(&behind.id()).unwrap()[0].room_number, 4);
}

#[tokio::test]
async fn a_room_that_opens_and_leads_to_somebody_else_has_another_behind_it() {
    let world = World::start().await;
    let (_folder, store, credentials) = paired(&world).await;
    // Another host, which knows the ids from a relay that was used before, and does not have the host's key.
    let other = TestHost::enroll(&world.relay).await;
    let other = World { relay: world.relay.clone(), enrolled: Arc::new(other), host: Host::new(2) };
    for number in 0..=1 {
        other.register_room(number).await;
    }
    for number in 2..=3 {
        world.register_room(number).await;
    }
    let lures = other.granting(&[]).await;
    let _host = world.granting(&[]).await;
    let client = Client::connect(credentials.id(), store.clone()).await.unwrap();
    relayed(&client, &world).await;
    client.close().await;
    assert_eq!(store.load(&credentials.id()).unwrap()[0].room_number, 2);
    assert_eq!(lures.came.load(Ordering::Relaxed), 2, "each of its rooms is tried once");
}

#[tokio::test]
async fn a_pairing_that_came_to_nothing_keeps_the_one_before_it_from_no_relay() {
    let world = World::start().await;
    let (_folder, store, credentials) = paired(&world).await;
    world.register_room(0).await;
    // The host never heard of it: no room of its is there, for which the relay is left alone.
    let mut unfinished = credentials.clone();
    unfinished.keys.0.psk_id = [9; 8];
    unfinished.room_secret = Some(RoomSecret::new([9; 32]));
    unfinished.paired_at = None;
    store.save(&unfinished).unwrap();
    assert_eq!(store.load(&credentials.id()).unwrap().len(), 2);
    let _host = world.granting(&[]).await;
    let client = Client::connect(credentials.id(), store).await.unwrap();
    relayed(&client, &world).await;
    client.close().await;
}

#[tokio::test]
async fn a_host_that_is_away_is_waited_for() {
    let world = World::start().await;
    let (_folder, store, credentials) = paired(&world).await;
    world.register_room(0).await;
    let client = Client::connect(credentials.id(), store).await.unwrap();
    let away = |state: &State| refused_by_relay(state) == Some(Code::HostOffline);
    soon(client.state().wait_for(away)).await.unwrap();
    let _host = world.granting(&[]).await;
    relayed(&client, &world).await;
    client.close().await;
}

#[tokio::test]
async fn what_a_relay_refuses_says_which_relay_and_what_to_do() {
    let world = World::start().await;
    let (_folder, store) = store();
    let try_it = async |request| soon(pair(&world.link(&[]), request, &store, silent)).await.unwrap_err();
    let named = |error: &PairError, code: Code, step: &str| {
        assert_eq!(error.code(), code, "{error}");
        let text = format!("{error}\n{}", error.next_step());
        assert!(text.contains(world.name().as_str()) && text.contains(step), "{text}");
    };
    // Nobody vouches for the relay.
    named(&try_it(responder::request("Laptop")).await, Code::RelayUntrusted, "--relay-ca FILE");
    named(&try_it(world.request()).await, Code::RoomRefused, "couplet pair");
    world.register_offer().await;
    named(&try_it(world.request()).await, Code::HostOffline, "Is the host running");
    let keys = world.host.offer(&[]).keys().unwrap();
    let path = format!("/host/rooms/{}", keys.room.to_hex());
    world.enrolled.request(&world.relay, http::Method::DELETE, &path, None).await;
    named(&try_it(world.request()).await, Code::OfferOver, "couplet pair");
    assert!(store.list().unwrap().hosts.is_empty());
}

#[tokio::test]
async fn a_device_without_a_room_does_not_try_the_relay() {
    let world = World::start().await;
    let (_folder, store, mut credentials) = paired(&world).await;
    credentials.room_secret = None;
    store.save(&credentials).unwrap();
    let client = Client::connect(credentials.id(), store).await.unwrap();
    let offline = |state: &State| matches!(state, State::Offline { reason: Reason::NoAddress, .. });
    soon(client.state().wait_for(offline)).await.unwrap();
}

#[tokio::test]
async fn a_relay_that_is_gone_is_named() {
    let world = World::start().await;
    let (_folder, store) = store();
    let gone = couplet_protocol::RelayName::parse(&format!("localhost:{}", nowhere().await.port())).unwrap();
    let offer = relaying::offer(&world.host, &gone, &[nowhere().await]);
    let link = offer.to_link(couplet_protocol::offer::LinkForm::Web);
    let error = soon(pair(&link, world.request(), &store, silent)).await.unwrap_err();
    assert_eq!(error.code(), Code::RelayUnreachable);
    let PairError::Relay { tried, .. } = &error else { panic!("{error}") };
    assert!(matches!(tried[0].failure, AttemptError::NoConnection(_)), "the local network comes first");
    assert!(error.next_step().contains(&format!("couplet relay check {gone}")), "{}", error.next_step());
}
