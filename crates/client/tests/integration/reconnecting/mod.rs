//! Coming back to a host: when, and over which of its addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use couplet_client::{Client, Reason, State, pair};
use couplet_protocol::Endpoint;
use couplet_protocol::frame::CloseCode;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::pairing::{granting, silent};
use crate::responder::{self, Host, Listener, knows, request, soon, store};

/// How long a device stays away whose session a host closed with this code, although somebody wants one.
async fn stays_away(code: CloseCode) -> Duration {
    let host = Host::new(1);
    let pairing = granting(&host).await;
    let (of, (came, mut comes)) = (host.clone(), mpsc::unbounded_channel());
    let listener = Listener::start(move |stream: TcpStream, number| {
        let (host, came) = (of.clone(), came.clone());
        async move {
            came.send(Instant::now()).unwrap();
            if let Some(session) = host.accept(stream, number).await {
                session.stream.close(code).await;
            }
        }
    })
    .await;
    let (_folder, store) = store();
    let link = host.link(&[pairing.address]);
    let mut credentials = soon(pair(&link, request("Laptop"), &store, silent)).await.unwrap();
    knows(&credentials);
    credentials.endpoints = vec![Endpoint::Lan(listener.address)];
    store.save(&credentials).unwrap();
    let client = Client::connect(credentials.id(), store).await.unwrap();
    let first = soon(comes.recv()).await.unwrap();
    let closed = |state: &State| matches!(state, State::Offline { reason: Reason::Closed(why), .. } if *why == code);
    soon(client.state().wait_for(closed)).await.unwrap();
    // From here on there is nothing but waiting, up to the next connection.
    tokio::time::pause();
    let wanted = http::Request::new(http_body_util::Empty::<Bytes>::new());
    let (answer, again) = tokio::join!(client.request(wanted), comes.recv());
    assert!(answer.is_err(), "{answer:?}");
    again.unwrap() - first
}

#[tokio::test]
async fn who_was_replaced_leaves_the_place_for_ten_seconds() {
    let away = stays_away(CloseCode::Replaced).await;
    assert!((Duration::from_secs(10)..Duration::from_secs(20)).contains(&away), "{away:?}");
}

#[tokio::test]
async fn who_finds_no_place_waits_before_it_asks_again() {
    let away = stays_away(CloseCode::Busy).await;
    assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&away), "{away:?}");
}

#[tokio::test]
async fn the_first_finished_handshake_wins_and_the_other_is_never_confirmed() {
    let host = Host::new(1);
    let pairing = granting(&host).await;
    let quick = Listener::host(&host, |session| responder::http(session.stream, |_, _| async {})).await;
    let (go, confirmed) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
    let (ended, mut ends) = mpsc::unbounded_channel();
    // Its address comes first, and it is in no hurry to answer.
    let slow = {
        let (host, go, confirmed) = (host.clone(), go.clone(), confirmed.clone());
        Listener::start(move |stream: TcpStream, number| {
            let (host, go, confirmed, ended) = (host.clone(), go.clone(), confirmed.clone(), ended.clone());
            async move {
                go.acquire().await.unwrap().forget();
                confirmed.fetch_or(host.accept(stream, number).await.is_some(), Ordering::Relaxed);
                ended.send(()).unwrap();
            }
        })
        .await
    };
    let (_folder, store) = store();
    let link = host.link(&[pairing.address]);
    let mut credentials = soon(pair(&link, request("Laptop"), &store, silent)).await.unwrap();
    knows(&credentials);
    credentials.endpoints = [slow.address, quick.address].map(Endpoint::Lan).into();
    store.save(&credentials).unwrap();

    let began = Instant::now();
    let client = Client::connect(credentials.id(), store).await.unwrap();
    let direct = State::Direct { endpoint: quick.address };
    soon(client.state().wait_for(|state| *state == direct)).await.unwrap();
    // The host has five seconds to answer; nobody waited for that.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(slow.accepted.load(Ordering::Relaxed), 1);
    go.add_permits(1);
    soon(ends.recv()).await.unwrap();
    assert!(!confirmed.load(Ordering::Relaxed), "a session too many was opened");
    client.close().await;
}
