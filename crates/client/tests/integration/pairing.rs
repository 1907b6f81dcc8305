//! Pairing with a host and coming back to it, and what can go wrong.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use crate::responder::{self, Host, Listener, Session, knows, nowhere, refuse, request, soon, store};
use couplet_client::{AttemptError, Client, CredentialStore, Credentials, PairError, State, pair};
use couplet_protocol::frame::CloseCode;
use couplet_protocol::message::Control;
use couplet_protocol::{CheckCode, Code};
use tokio::net::TcpStream;
use tokio_tungstenite::accept_async;

pub(crate) fn silent(_: &CheckCode) {
    panic!("no code is shown");
}

async fn grant(host: Host, mut session: Session) {
    if session.code.is_some() {
        session.stream.send(&host.grant(&[])).await.unwrap();
        assert_eq!(session.stream.control().await.unwrap(), Control::Ack);
        session.stream.send(&Control::Paired).await.unwrap();
    }
    let _ = session.stream.control().await;
}

pub(crate) async fn granting(host: &Host) -> Listener {
    let of = host.clone();
    Listener::host(host, move |session| grant(of.clone(), session)).await
}

fn kept(store: &Arc<dyn CredentialStore>) -> Vec<Credentials> {
    store.list().unwrap().hosts
}

#[tokio::test]
async fn a_host_that_asks_nobody_pairs_without_a_code() {
    let host = Host::new(1);
    let listener = granting(&host).await;
    let (_folder, store) = store();
    // The first address leads nowhere, and that is no matter.
    let link = host.link(&[nowhere().await, listener.address]);
    let credentials = soon(pair(&link, request("Laptop"), &store, silent)).await.unwrap();
    assert!(credentials.is_paired());
    assert_eq!((credentials.host_name.as_str(), credentials.device_token.expose()), ("Host 1", "dev_canary"));
    assert_eq!(credentials.endpoints.len(), 2, "a grant without addresses leaves those of the offer");
    assert!(!format!("{credentials:?}").contains("canary"));
    let found = kept(&store);
    // Times are kept in whole seconds.
    assert!(found.len() == 1 && found[0].is_paired() && found[0].keys == credentials.keys);
}

#[tokio::test]
async fn a_host_that_says_that_its_secrets_can_be_guessed_is_not_paired_with() {
    let host = Host::new(1);
    let says = |rng: &str| format!(r#"{{"features":{{"pairing":{{"available":true,"rng":{rng}}}}}}}"#);
    let serve = |host: Host| {
        move |stream, number| {
            let host = host.clone();
            async move {
                if let Some(session) = host.accept(stream, number).await {
                    grant(host, session).await;
                }
            }
        }
    };
    for rng in ["\"mersenne-twister\"", "\"\"", "7", "null"] {
        let listener = Listener::healthy("200 OK", &says(rng), serve(host.clone())).await;
        let (_folder, store) = store();
        let error = soon(pair(&host.link(&[listener.address]), request("Laptop"), &store, silent)).await.unwrap_err();
        assert!(
            matches!(error, PairError::WeakRandom { .. }) && error.code() == Code::VersionsDiffer,
            "{rng}: {error}"
        );
        assert!(error.to_string().contains(&listener.address.to_string()) && kept(&store).is_empty(), "{error}");
        assert!(error.next_step().contains("Update the host"), "{}", error.next_step());
        // Nor by another way: it leads to the same host.
        let silent_about_it = Listener::healthy("500 x", "", serve(host.clone())).await;
        let link = host.link(&[listener.address, silent_about_it.address]);
        let error = soon(pair(&link, request("Laptop"), &store, silent)).await.unwrap_err();
        assert!(matches!(error, PairError::WeakRandom { .. }) && kept(&store).is_empty(), "{error}");
    }
    // Whatever is no plain statement says nothing: who stands in between could make up either.
    let large = says("\"x\"").replace('}', &format!("}}{}", " ".repeat(40_000)));
    for (status, body) in [
        ("200 OK", says("\"os-csprng\"")),
        ("200 OK", "<html>".to_owned()),
        ("200 OK", "[]".to_owned()),
        ("200 OK", r#"{"features":{"pairing":{}}}"#.to_owned()),
        ("200 OK", large),
        ("500 x", says("\"x\"")),
    ] {
        let listener = Listener::healthy(status, &body, serve(host.clone())).await;
        let (_folder, store) = store();
        soon(pair(&host.link(&[listener.address]), request("Laptop"), &store, silent)).await.unwrap();
    }
}

#[tokio::test]
async fn the_owner_is_asked_with_the_code_that_the_device_shows() {
    let host = Host::new(1);
    let of = host.clone();
    let (asked, typed) = tokio::sync::mpsc::channel(1);
    let typed = Arc::new(tokio::sync::Mutex::new(typed));
    let listener = Listener::host(&host, move |mut session: Session| {
        let (host, typed) = (of.clone(), typed.clone());
        async move {
            // The owner waits until the device shows it.
            let typed: CheckCode = typed.lock().await.recv().await.unwrap();
            let right = session.code.as_ref() == Some(&typed);
            let answer = if right { host.grant(&[]) } else { Control::Rejected { code: "CPL-1208".into() } };
            session.stream.send(&answer).await.unwrap();
            let _ = session.stream.control().await;
            let _ = session.stream.send(&Control::Paired).await;
            let _ = session.stream.control().await;
        }
    })
    .await;
    let (_folder, store) = store();
    let show = |code: &CheckCode| asked.try_send(code.clone()).unwrap();
    let paired = soon(pair(&host.link(&[listener.address]), request("Laptop"), &store, show)).await;
    assert!(paired.unwrap().is_paired());
}

#[tokio::test]
async fn a_no_after_the_keys_is_the_hosts_and_one_before_is_a_hint() {
    let host = Host::new(1);
    let (_folder, store) = store();
    let listener = Listener::host(&host, |mut session: Session| async move {
        let code = Control::Rejected { code: "CPL-1208".into() };
        session.stream.send(&code).await.unwrap();
        session.stream.close(CloseCode::Rejected).await;
    })
    .await;
    let no = soon(pair(&host.link(&[listener.address]), request("Laptop"), &store, silent)).await.unwrap_err();
    assert!(matches!(no, PairError::Rejected(_)) && no.code() == Code::PairingRejected, "{no}");

    let listener = Listener::start(|stream: TcpStream, _| async move {
        refuse(accept_async(stream).await.unwrap(), "CPL-1203").await;
    })
    .await;
    let mut offer = host.offer(&[listener.address]);
    offer.expires_at = 1;
    let link = offer.to_link(couplet_protocol::offer::LinkForm::App);
    let hint = soon(pair(&link, request("Laptop"), &store, silent)).await.unwrap_err();
    assert!(matches!(hint, PairError::Refused { expired: true, .. }) && hint.code() == Code::PairTokenUsed, "{hint}");
    assert!(kept(&store).is_empty());
}

#[tokio::test]
async fn every_address_that_was_tried_is_named() {
    let host = Host::new(1);
    let (_folder, store) = store();
    let web = Listener::start(|stream: TcpStream, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = stream;
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let closed = nowhere().await;
    let error = soon(pair(&host.link(&[closed, web.address]), request("Laptop"), &store, silent)).await.unwrap_err();
    let PairError::Unreachable { tried, expired: false } = &error else { panic!("{error}") };
    assert!(matches!(tried[0].failure, AttemptError::NoConnection(_)));
    assert_eq!(tried[1].failure, AttemptError::NotCouplet(404));
    let text = error.to_string();
    assert!(text.contains(&closed.to_string()) && text.contains(&web.address.to_string()), "{text}");
}

#[tokio::test]
async fn a_host_with_another_key_is_found_out() {
    let (host, other) = (Host::new(1), Host::new(2));
    // It answers, as if it could.
    let stranger = Listener::start(move |stream: TcpStream, _| async move {
        use futures_util::{SinkExt, StreamExt};
        let mut socket = accept_async(stream).await.unwrap();
        let _ = socket.next().await;
        let m2 = [&[2_u8][..], &[7; 120]].concat();
        let _ = socket.send(tokio_tungstenite::tungstenite::Message::binary(m2)).await;
        let _ = socket.next().await;
    })
    .await;
    let (_folder, store) = store();
    let error = soon(pair(&host.link(&[stranger.address]), request("Laptop"), &store, silent)).await.unwrap_err();
    assert!(matches!(error, PairError::WrongKey { .. }) && error.code() == Code::HostKeyDiffers, "{error}");
    assert!(error.to_string().contains(&host.key.public().fingerprint()), "{error}");

    // A known host comes with another key: by its address, and by its name.
    let listener = granting(&host).await;
    soon(pair(&host.link(&[listener.address]), request("Laptop"), &store, silent)).await.unwrap();
    let by_address = soon(pair(&other.link(&[listener.address]), request("Laptop"), &store, silent)).await.unwrap_err();
    let mut namesake = other.clone();
    namesake.name = host.name.clone();
    let elsewhere = granting(&namesake).await;
    let link = namesake.link(&[elsewhere.address]);
    let by_name = soon(pair(&link, request("Laptop"), &store, silent)).await.unwrap_err();
    // A name that only looks like it is the same to a person.
    let mut lookalike = namesake.clone();
    lookalike.name = format!(" {}.", host.name.to_uppercase());
    let elsewhere = granting(&lookalike).await;
    let link_alike = lookalike.link(&[elsewhere.address]);
    let by_looks = soon(pair(&link_alike, request("Laptop"), &store, silent)).await.unwrap_err();
    for error in [by_address, by_name, by_looks] {
        let PairError::OtherKey(keys) = &error else { panic!("{error}") };
        assert_eq!(keys.pinned, host.key.public().fingerprint());
        assert_eq!(keys.offered, other.key.public().fingerprint());
        let text = error.to_string();
        assert!(text.contains(&keys.pinned) && text.contains(&keys.offered), "{text}");
        assert!(error.next_step().contains("--forget"), "{}", error.next_step());
    }
    assert_eq!(kept(&store).len(), 1);

    // Said aloud that it is another host, it is let in beside the known one.
    let mut meant = request("Laptop");
    meant.another_host = true;
    soon(pair(&link, meant, &store, silent)).await.unwrap();
    assert_eq!(kept(&store).len(), 2);
}

#[tokio::test]
async fn a_host_that_vanishes_after_the_grant_is_asked_again_later() {
    let host = Host::new(1);
    let of = host.clone();
    let confirmed = Arc::new(Mutex::new(None));
    let seen = confirmed.clone();
    let listener = Listener::host(&host, move |mut session: Session| {
        let (host, seen) = (of.clone(), seen.clone());
        async move {
            if session.number == 1 {
                session.stream.send(&host.grant(&[])).await.unwrap();
                assert_eq!(session.stream.control().await.unwrap(), Control::Ack);
                // A plug is pulled here.
                return;
            }
            *seen.lock().unwrap() = Some(session.number);
            responder::http(session.stream, |_, _| async {}).await;
        }
    })
    .await;
    let (_folder, store) = store();
    let error = soon(pair(&host.link(&[listener.address]), request("Laptop"), &store, silent)).await.unwrap_err();
    assert!(matches!(error, PairError::Unfinished { .. }), "{error}");
    let pending = kept(&store);
    assert!(pending.len() == 1 && !pending[0].is_paired());

    knows(&pending[0]);
    let client = Client::connect(pending[0].id(), store.clone()).await.unwrap();
    soon(client.state().wait_for(State::is_online)).await.unwrap();
    assert_eq!(listener.accepted.load(Ordering::Relaxed), 2);
    assert!(kept(&store)[0].is_paired(), "the session that opened finished the pairing");
    client.close().await;
    assert!(confirmed.lock().unwrap().is_some());
}

#[tokio::test]
async fn a_new_pairing_that_comes_to_nothing_leaves_the_old_one() {
    let host = Host::new(1);
    let listener = granting(&host).await;
    let (_folder, store) = store();
    let first = soon(pair(&host.link(&[listener.address]), request("Laptop"), &store, silent)).await.unwrap();
    let of = host.clone();
    let broken = Listener::host(&host, move |mut session: Session| {
        let host = of.clone();
        async move {
            session.stream.send(&host.grant(&[])).await.unwrap();
            let _ = session.stream.control().await;
            session.stream.send(&Control::Rejected { code: "CPL-1209".into() }).await.unwrap();
            session.stream.close(CloseCode::Rejected).await;
        }
    })
    .await;
    let no = soon(pair(&host.link(&[broken.address]), request("Laptop"), &store, silent)).await.unwrap_err();
    assert_eq!(no.code(), Code::ClaimExpired, "{no}");
    let found = kept(&store);
    assert!(found.len() == 1 && found[0].device_key == first.device_key && found[0].is_paired());
}

/// The host answers, but nothing shows that it took the confirm: the pairing that worked until now is not given up.
#[tokio::test]
async fn an_answer_to_an_unfinished_pairing_leaves_the_old_one() {
    let host = Host::new(1);
    let listener = granting(&host).await;
    let (_folder, store) = store();
    let first = soon(pair(&host.link(&[listener.address]), request("Laptop"), &store, silent)).await.unwrap();
    drop(listener);
    let of = host.clone();
    let listener = Listener::host(&host, move |mut session: Session| {
        let host = of.clone();
        async move {
            match session.number {
                // A plug is pulled after the grant, and the host forgets it, as nobody came back in time.
                1 => {
                    session.stream.send(&host.grant(&[])).await.unwrap();
                    let _ = session.stream.control().await;
                }
                2 => session.stream.close(CloseCode::Revoked).await,
                _ => responder::http(session.stream, |_, _| async {}).await,
            }
        }
    })
    .await;
    let link = host.link(&[listener.address]);
    let error = soon(pair(&link, request("Laptop"), &store, silent)).await.unwrap_err();
    assert!(matches!(error, PairError::Unfinished { .. }), "{error}");
    let both = kept_of(&store, &first);
    assert!(both.len() == 2 && !both[0].is_paired() && both[1].device_key == first.device_key);
    both.iter().for_each(knows);
    // The first is at an address that is gone; what it learnt since leads to the host.
    let mut moved = both[1].clone();
    moved.endpoints = both[0].endpoints.clone();
    store.save(&moved).unwrap();
    store.save(&both[0]).unwrap();

    let client = Client::connect(first.id(), store.clone()).await.unwrap();
    soon(client.state().wait_for(State::is_online)).await.unwrap();
    assert_eq!(listener.accepted.load(Ordering::Relaxed), 3);
    let left = store.load(&first.id()).unwrap();
    assert!(left.iter().any(|left| left.device_key == first.device_key && left.is_paired()), "it is still there");
    client.close().await;
}

fn kept_of(store: &Arc<dyn CredentialStore>, of: &Credentials) -> Vec<Credentials> {
    store.load(&of.id()).unwrap()
}

#[tokio::test]
async fn no_more_of_the_link_than_needed_is_said() {
    let (_folder, store) = store();
    for link in ["", "COUPLET:AAAA", "https://relay.example/p#x", "couplet://192.168.1.2:7878?pair=otp_canary"] {
        let error = soon(pair(link, request("Laptop"), &store, silent)).await.unwrap_err();
        assert_eq!(error.code(), Code::LinkUnusable);
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}
