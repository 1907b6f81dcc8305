//! A relay that does what no relay should: never a session, never a hang, and an error that names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::relaying::double::{Double, Reply};
use crate::relaying::mischief::{Fault, Toward, evil};
use crate::relaying::{ROOM_SECRET, offer, serve};
use crate::responder::{self, Host, Listener, knows, soon, store};
use couplet_client::{Client, CredentialStore, PairError, PairRequest, State, pair};
use couplet_protocol::offer::LinkForm;
use couplet_protocol::secret::RoomSecret;
use couplet_protocol::{CheckCode, Code, Endpoint};

fn silent(_: &CheckCode) {}

/// Pairs through this relay.
async fn through(double: &Double, host: &Host, store: &Arc<dyn CredentialStore>) -> Result<(), PairError> {
    let link = offer(host, &double.name, &[]).to_link(LinkForm::Web);
    let request = PairRequest { relay_ca: Some(double.ca.clone()), ..responder::request("Laptop") };
    let paired = tokio::time::timeout(Duration::from_secs(200), pair(&link, request, store, silent)).await;
    let credentials = paired.expect("it hangs")?;
    knows(&credentials);
    Ok(())
}

#[tokio::test]
async fn answers_that_no_relay_gives_are_bounded_and_name_it() {
    let sid = "ab".repeat(16);
    let answer = |sid: &str, url: &str| format!(r#"{{"sid":"{sid}","relay_url":"{url}","expires_at":"x"}}"#);
    let bodies = [
        answer("../../../../etc/passwd", "https://relay.example"),
        answer(&sid.to_uppercase(), "https://relay.example"),
        answer(&sid, "http://127.0.0.1:1"),
        answer(&sid, "https://127.0.0.1/elsewhere"),
        answer(&sid, "https://localhost:1"),
        "[]".to_owned(),
        format!("{}{}", answer(&sid, "https://relay.example"), " ".repeat(100_000)),
    ];
    let host = Host::new(1);
    let mut doubles = Vec::new();
    for body in bodies {
        doubles.push(Double::start(move |_, _| Reply::json(200, "", &body)).await);
    }
    doubles.push(Double::start(|_, _| Reply::json(307, "location: https://127.0.0.1:1/pair\r\n", "")).await);
    doubles.push(Double::start(|_, _| Reply::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".into())).await);
    doubles.push(Double::start(|_, _| Reply::problem(403, "", "CPL-1604")).await);
    let (_folder, store) = store();
    for double in &doubles {
        let error = soon(through(double, &host, &store)).await.unwrap_err();
        assert_eq!(error.code(), Code::RelayBroken, "{error}");
        assert!(error.to_string().contains(double.name.as_str()) && !error.to_string().contains("canary"), "{error}");
        assert_eq!(double.asked.lock().unwrap().len(), 1, "it is asked once");
    }
    assert!(store.list().unwrap().hosts.is_empty());
}

#[tokio::test]
async fn a_relay_that_never_comes_to_an_end_is_given_up() {
    let host = Host::new(1);
    let (_folder, store) = store();
    let endless = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n";
    for (reply, code) in
        [(0, Code::RelayUnreachable), (1, Code::RelayUnreachable), (2, Code::RelayBroken), (3, Code::RelayBroken)]
    {
        let double = Double::start(move |_, _| match reply {
            0 => Reply::Silence,
            1 => Reply::HangUp,
            // A head without end.
            2 => Reply::Endless(b"x: y\r\n".repeat(1000)),
            // A body that is never whole.
            _ => Reply::Bytes([&endless[..], b"1\r\n \r\n"].concat()),
        })
        .await;
        let error = soon(through(&double, &host, &store)).await.unwrap_err();
        assert_eq!(error.code(), code, "{reply}: {error}");
        assert!(error.to_string().contains(double.name.as_str()), "{error}");
    }
}

#[tokio::test]
async fn an_upgrade_that_something_in_between_changed_is_blocked() {
    let host = Host::new(1);
    let (_folder, store) = store();
    let switched = |accept: &str, more: &str| {
        let head = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ";
        Reply::Bytes(format!("{head}{accept}\r\n{more}\r\n").into())
    };
    for kind in 0..4 {
        let double = Double::start(move |relay, asked| match (asked.line.starts_with("POST"), kind) {
            (true, _) => Reply::session(relay),
            (_, 0) => switched("AAAA", ""),
            (_, 1) => Reply::json(502, "", "<html>"),
            (_, 2) => Reply::json(200, "", "{}"),
            _ => switched(&accept(&asked.head), "sec-websocket-extensions: permessage-deflate\r\n"),
        })
        .await;
        let error = soon(through(&double, &host, &store)).await.unwrap_err();
        assert_eq!(error.code(), Code::UpgradeBlocked, "{kind}: {error}");
        assert!(error.to_string().contains(double.name.as_str()), "{error}");
        // The connection is used again: a device comes with one handshake.
        assert!(double.asked.lock().unwrap().iter().all(|asked| asked.connection == 1));
    }
}

fn accept(head: &str) -> String {
    let is_key = |line: &&str| line.to_lowercase().starts_with("sec-websocket-key:");
    let (_, key) = head.lines().find(is_key).unwrap().split_once(':').unwrap();
    tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.trim().as_bytes())
}

#[tokio::test]
async fn a_certificate_out_of_its_time_may_be_the_clock() {
    let host = Host::new(1);
    let (_folder, store) = store();
    for (from, to) in [(2001, 2002), (2101, 2102)] {
        let certify = move |params: &mut rcgen::CertificateParams| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
        };
        let double = Double::with(certify, Reply::honest, |_| async {}).await;
        let error = soon(through(&double, &host, &store)).await.unwrap_err();
        assert_eq!(error.code(), Code::ClockDiffers, "{error}");
        assert!(error.to_string().contains("this machine's clock") && error.next_step().contains("clock"), "{error}");
    }
    let late = |_: &_, _: &_| Reply::problem(410, "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "CPL-1804");
    let error = soon(through(&Double::start(late).await, &host, &store)).await.unwrap_err();
    assert!(error.to_string().contains("ahead of the relay's"), "{error}");
}

/// Every fault at every message of a pairing.
fn faults() -> Vec<Fault> {
    let mut faults = Vec::new();
    for (toward, count) in [(Toward::Host, 3), (Toward::Device, 3)] {
        for at in 0..count {
            faults.extend([
                Fault::Drop(toward, at),
                Fault::Replay(toward, at),
                Fault::Flip(toward, at),
                Fault::Text(toward, at),
                Fault::Cut(toward, at),
            ]);
            // The last ones come when both have what they need.
            if at < 2 {
                faults.extend([Fault::Duplicate(toward, at), Fault::Reflect(toward, at)]);
            }
        }
    }
    faults
}

/// The clock runs ahead whenever everybody waits.
#[tokio::test(start_paused = true)]
async fn what_a_relay_does_to_messages_never_makes_a_pairing() {
    for fault in faults() {
        let host = Host::new(1);
        let double = evil(&host, fault).await;
        let (_folder, store) = store();
        let outcome = through(&double, &host, &store).await;
        assert_eq!(double.count("GET /pair/relay/"), 1, "{fault:?} was not tried, or the device came twice");
        // The first message in its own place is no replay.
        if matches!(fault, Fault::Replay(_, 0)) {
            continue;
        }
        let error = outcome.expect_err(&format!("{fault:?}"));
        assert!(error.to_string().contains(double.name.as_str()), "{fault:?}: {error}");
        assert!(!error.next_step().is_empty());
        let kept = store.list().unwrap().hosts;
        assert!(kept.iter().all(|credentials| !credentials.is_paired()), "{fault:?}");
    }
}

#[tokio::test]
async fn an_honest_relay_and_a_slow_one_make_one() {
    let host = Host::new(1);
    let slow = Duration::from_millis(300);
    for fault in [Fault::None, Fault::Delay(Toward::Host, 0, slow), Fault::Delay(Toward::Device, 2, slow)] {
        let double = evil(&host, fault).await;
        let (_folder, store) = store();
        soon(through(&double, &host, &store)).await.unwrap();
        assert!(store.list().unwrap().hosts[0].is_paired());
    }
}

#[tokio::test]
async fn who_answers_for_another_host_is_refused() {
    let (host, other) = (Host::new(1), Host { offer: Host::new(1).offer, ..Host::new(2) });
    let double = evil(&other, Fault::None).await;
    let (_folder, store) = store();
    let error = soon(through(&double, &host, &store)).await.unwrap_err();
    assert!(error.to_string().contains(double.name.as_str()), "{error}");
    assert!(store.list().unwrap().hosts.is_empty());
}

/// A device that was paired on the local network and has only this relay now.
async fn stranded(host: &Host, double: &Double, store: &Arc<dyn CredentialStore>) -> couplet_client::Credentials {
    let grant = host.grant(&[]);
    let lan = Listener::host(host, move |session| serve(session, grant.clone())).await;
    let link = host.link(&[lan.address]);
    let mut credentials = soon(pair(&link, responder::request("Laptop"), store, silent)).await.unwrap();
    knows(&credentials);
    credentials.endpoints = vec![Endpoint::Relay(double.name.clone())];
    credentials.room_secret = Some(RoomSecret::new(ROOM_SECRET));
    credentials.relay_ca = Some(double.ca.clone());
    store.save(&credentials).unwrap();
    credentials
}

#[tokio::test]
async fn a_session_that_is_tampered_with_ends_and_names_the_relay() {
    for at in [2, 3] {
        for fault in [
            Fault::Flip(Toward::Device, at),
            Fault::Duplicate(Toward::Device, at - 1),
            Fault::Swap(Toward::Device, at - 1),
            Fault::Replay(Toward::Device, at),
            Fault::Reflect(Toward::Host, at),
        ] {
            let host = Host::new(1);
            let double = evil(&host, fault).await;
            let (_folder, store) = store();
            let credentials = stranded(&host, &double, &store).await;
            let client = Client::connect(credentials.id(), store.clone()).await.unwrap();
            let mut states = client.state();
            let broken = |state: &State| {
                let State::Offline { reason, .. } = state else { return false };
                reason.to_string().contains(double.name.as_str())
            };
            let ended = async {
                tokio::select! {
                    state = states.wait_for(broken) => drop(state.unwrap()),
                    // Something to seal and open.
                    () = async { loop {
                        let request = http::Request::get("http://app/").body(http_body_util::Empty::<bytes::Bytes>::new());
                        let _ = client.request(request.unwrap()).await;
                    } } => {}
                }
            };
            tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap_or_else(|_| panic!("{fault:?} goes on"));
        }
    }
}

#[tokio::test]
async fn no_relay_keeps_a_device_from_its_host_on_the_local_network() {
    let host = Host::new(1);
    let tries = Arc::new(AtomicUsize::new(0));
    let double = Double::start(|_, _| Reply::problem(429, "retry-after: 4000000000\r\n", "CPL-1806")).await;
    let (_folder, store) = store();
    let mut credentials = stranded(&host, &double, &store).await;
    // An address that refuses for a while, and then is the host's.
    let (of, count) = (host.clone(), tries.clone());
    let lan = Listener::start(move |stream, number| {
        let (host, count) = (of.clone(), count.clone());
        async move {
            if count.fetch_add(1, Ordering::Relaxed) < 3 {
                return;
            }
            if let Some(session) = host.accept(stream, number).await {
                serve(session, host.grant(&[])).await;
            }
        }
    })
    .await;
    credentials.endpoints.push(Endpoint::Lan(lan.address));
    store.save(&credentials).unwrap();
    let client = Client::connect(credentials.id(), store).await.unwrap();
    let direct = State::Direct { endpoint: lan.address };
    soon(client.state().wait_for(|state| *state == direct)).await.unwrap();
    assert_eq!(double.count("POST /pair"), 1, "what it said counts");
    client.close().await;
}

#[tokio::test]
async fn rooms_are_tried_upward_to_a_bound() {
    let host = Host::new(1);
    let double = Double::start(|_, _| Reply::problem(423, "retry-after: 900\r\n", "CPL-1805")).await;
    let (_folder, store) = store();
    let credentials = stranded(&host, &double, &store).await;
    let client = Client::connect(credentials.id(), store).await.unwrap();
    let locked = |state: &State| match state {
        State::Offline { reason, .. } => reason.relay().is_some_and(|(_, failure)| failure.code() == Code::RoomLocked),
        _ => false,
    };
    soon(client.state().wait_for(locked)).await.unwrap();
    let asked = double.asked.lock().unwrap().clone();
    let secret = RoomSecret::new(ROOM_SECRET);
    let rooms: Vec<bool> =
        asked.iter().zip(0..).map(|(asked, n)| asked.body.contains(&secret.room(n).unwrap().to_hex())).collect();
    assert_eq!(rooms, [true; 9]);
    assert!(asked.iter().all(|asked| asked.connection == 1), "on one connection");
}
