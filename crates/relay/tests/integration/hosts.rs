//! Hosts: enrolment, certificates, event streams, revocation, restarts.

use std::time::{Duration, Instant};

use crate::common::{self, TestHost, TestRelay, ask_secret, by_secret, csr, eventually, is_let_in, room, within};
use couplet_protocol::EnrollmentToken;
use futures_util::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType, date_time_ymd};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is done to a certificate before it is signed.
type Change = &'static dyn Fn(&mut CertificateParams);

#[tokio::test]
async fn a_token_lets_one_host_in_and_names_all_that_it_needs() {
    let relay = TestRelay::start(|_| {}).await;
    let text = relay.invite().await;
    let token = EnrollmentToken::parse(&text).unwrap();
    assert_eq!(format!("https://{}", token.relay), relay.ready.public);
    assert_eq!(format!("https://{}", token.hosts), relay.ready.hosts);
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let enroll = |token: &str, key: &KeyPair| json!({"token": token, "csr": csr(key)});
    let answer = relay.post("/enroll", &enroll(&text, &key)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!((&answer.body["hosts_url"], &answer.body["ca"]), (&json!(relay.ready.hosts), &json!(relay.ca())));
    assert!(is_let_in(&relay, Some((answer.body["certificate"].as_str().unwrap(), &key))).await);

    let again = relay.post("/enroll", &enroll(&text, &other)).await;
    assert_eq!((again.status, again.code()), (StatusCode::GONE, "CPL-1810"));
    for bad in ["", "enr_AAAA", &text[..text.len() - 3]] {
        let answer = relay.post("/enroll", &enroll(bad, &other)).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, "CPL-1809"), "{bad}");
    }
    let answer = relay.post("/enroll", &json!({"token": relay.invite().await, "csr": "x"})).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "CPL-1812"));
    // A known key needs no token and stays the same host; an unknown one gets nothing.
    let renewed = relay.post("/enroll", &json!({"csr": csr(&key)})).await;
    assert_eq!((renewed.status, &renewed.body["host_id"]), (StatusCode::OK, &answer_id(&relay, &key).await));
    let unknown = relay.post("/enroll", &json!({"csr": csr(&other)})).await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
}

async fn answer_id(relay: &TestRelay, key: &KeyPair) -> serde_json::Value {
    relay.post("/enroll", &json!({"csr": csr(key)})).await.body["host_id"].clone()
}

#[tokio::test]
async fn only_certificates_of_the_relays_own_ca_are_let_in() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    assert!(is_let_in(&relay, Some((&host.certificate, &host.key))).await);
    assert!(!is_let_in(&relay, None).await, "none");

    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(format!("couplet:host:{}", host.id).try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let own = params.self_signed(&host.key).unwrap();
    assert!(!is_let_in(&relay, Some((&own.pem(), &host.key))).await, "self-made with the same name");

    let other = TestRelay::start(|_| {}).await;
    let foreign = TestHost::enroll(&other).await;
    assert!(!is_let_in(&relay, Some((&foreign.certificate, &foreign.key))).await, "of another CA");

    // Of this very CA.
    let ca_key = std::fs::read_to_string(relay.ready.state_dir.join("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&relay.ca(), KeyPair::from_pem(&ca_key).unwrap()).unwrap();
    let issue = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = params.clone();
        change(&mut params);
        params.signed_by(&host.key, &issuer).unwrap().pem()
    };
    let refused: [(&str, Change); 8] = [
        ("expired", &|p| p.not_after = date_time_ymd(2026, 1, 1)),
        ("not valid yet", &|p| p.not_before = date_time_ymd(2100, 1, 1)),
        ("for a server", &|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ("a listener's", &|p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            p.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
        }),
        ("a listener's that names a host", &|p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            p.subject_alt_names.push(SanType::DnsName("localhost".try_into().unwrap()));
        }),
        ("of two hosts", &|p| p.subject_alt_names.extend(p.subject_alt_names.clone())),
        ("of no host", &|p| p.subject_alt_names = Vec::new()),
        ("of an unknown host", &|p| {
            p.subject_alt_names = vec![SanType::URI(format!("couplet:host:{}", uuid::Uuid::nil()).try_into().unwrap())];
        }),
    ];
    assert!(is_let_in(&relay, Some((&issue(&|_| {}), &host.key))).await);
    let ca = (relay.ca(), KeyPair::from_pem(&ca_key).unwrap());
    assert!(!is_let_in(&relay, Some((&ca.0, &ca.1))).await, "the CA itself");
    for (what, change) in refused {
        assert!(!is_let_in(&relay, Some((&issue(change), &host.key))).await, "{what}");
    }
}

#[tokio::test]
async fn nothing_of_a_host_goes_on_when_its_certificate_ends() {
    let relay = TestRelay::start(|_| {}).await;
    let mut host = TestHost::enroll(&relay).await;
    for n in [1, 2] {
        host.room(&relay, &room(n), by_secret(n)).await;
    }
    let ca_key = std::fs::read_to_string(relay.ready.state_dir.join("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&relay.ca(), KeyPair::from_pem(&ca_key).unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(format!("couplet:host:{}", host.id).try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let end = Duration::from_secs(now.as_secs() + 6);
    params.not_after = date_time_ymd(1970, 1, 1) + end;
    let certificate = params.signed_by(&host.key, &issuer).unwrap().pem();
    host.config = common::with_certificate(&relay, &certificate, &host.key);

    let mut events = host.events(&relay, None).await;
    let sid = relay.pair(&ask_secret(1)).await.sid();
    let (mut device, mut session) = (relay.device_end(&sid).await, host.socket(&relay, &sid).await);
    let rooms = host.tls(&relay).await.unwrap();
    let (mut rooms, _) = tokio_tungstenite::client_async("wss://localhost/rooms", rooms).await.unwrap();
    let register = json!({"type": "register_room", "room_id": room(2), "secret_hash": common::hex(2, 32),
        "public_key": "key"});
    rooms.send(register.to_string().into()).await.unwrap();
    within("registered", rooms.next()).await.unwrap().unwrap();
    let mut kept = common::sender(host.tls(&relay).await.unwrap()).await;
    let alive = async |kept: &mut _| common::send(kept, Method::GET, "/nowhere", None).await.status;
    assert_eq!(alive(&mut kept).await, StatusCode::NOT_FOUND);

    while events.next().await.is_some() {}
    assert!(matches!(within("the device's end", device.next()).await, None | Some(Err(_))));
    assert!(matches!(within("the host's end", session.next()).await, None | Some(Err(_))));
    while let Some(Ok(_)) = within("the room's end", rooms.next()).await {}
    within("the kept connection's end", async {
        while kept.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let took = std::time::UNIX_EPOCH.elapsed().unwrap() - now;
    assert!((Duration::from_secs(5)..Duration::from_secs(12)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn who_fails_to_enrol_too_often_does_not_keep_its_neighbours_out() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    let token = relay.invite().await;
    let mut made_up = EnrollmentToken::parse(&token).unwrap();
    made_up.secret = couplet_protocol::secret::EnrollmentSecret::new([9; 16]);
    let key = KeyPair::generate().unwrap();
    let guess = json!({"token": *made_up.to_text(), "csr": csr(&key)});
    for _ in 0..40 {
        assert_eq!(relay.post("/enroll", &guess).await.code(), "CPL-1809");
    }
    let renewed = relay.post("/enroll", &json!({"csr": csr(&host.key)})).await;
    assert_eq!((renewed.status, &renewed.body["host_id"]), (StatusCode::OK, &json!(host.id)));
    assert_eq!(relay.post("/enroll", &json!({"token": token, "csr": csr(&key)})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_revoked_host_is_cut_at_once_and_does_not_come_back() {
    let relay = TestRelay::start(|_| {}).await;
    let (host, other) = (TestHost::enroll(&relay).await, TestHost::enroll(&relay).await);
    host.room(&relay, &room(1), by_secret(1)).await;
    let (mut events, mut others) = (host.events(&relay, None).await, other.events(&relay, None).await);
    let sid = relay.pair(&ask_secret(1)).await.sid();
    let (mut device, mut end) = (relay.device_end(&sid).await, host.socket(&relay, &sid).await);
    // One that has said nothing yet.
    let mut silent = host.tls(&relay).await.unwrap();
    assert!(events.next().await.is_some());

    let start = Instant::now();
    let revoked = relay.control(Method::POST, &format!("/hosts/{}/revoke", host.id), None).await;
    assert_eq!(revoked.status, StatusCode::OK, "{revoked:?}");
    assert_eq!(events.next().await, None);
    assert!(matches!(within("the device's end", device.next()).await, None | Some(Err(_))));
    assert!(matches!(within("the host's end", end.next()).await, None | Some(Err(_))));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let _ = silent.write_all(b"GET /host/events HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut rest = Vec::new();
    let _ = within("the silent one ends", silent.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));

    assert!(!is_let_in(&relay, Some((&host.certificate, &host.key))).await);
    assert_eq!(relay.post("/enroll", &json!({"csr": csr(&host.key)})).await.code(), "CPL-1811");
    let with_token = json!({"token": relay.invite().await, "csr": csr(&host.key)});
    assert_eq!(relay.post("/enroll", &with_token).await.code(), "CPL-1811");
    assert_eq!(relay.pair(&ask_secret(1)).await.status, StatusCode::UNAUTHORIZED, "its rooms are gone");
    let missing = relay.control(Method::POST, &format!("/hosts/{}/revoke", uuid::Uuid::nil()), None).await;
    assert_eq!(missing.code(), "CPL-1824");
    // Others are not disturbed.
    other.room(&relay, &room(2), by_secret(2)).await;
    relay.pair(&ask_secret(2)).await.sid();
    assert_eq!(others.next().await.unwrap().name, "pair-cmd");
}

#[tokio::test]
async fn commands_are_told_again_until_the_host_has_followed_them() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    for n in 1..=3 {
        host.room(&relay, &room(n), by_secret(n)).await;
    }
    let mut events = host.events(&relay, None).await;
    let mut sids = Vec::new();
    for n in 1..=3 {
        sids.push(relay.pair(&ask_secret(n)).await.sid());
        assert_eq!(events.next().await.unwrap().id.as_deref(), Some(sids.last().unwrap().as_str()));
    }
    // The second was followed; the first was heard.
    let _device = relay.device_end(&sids[1]).await;
    let _end = host.end(&relay, &sids[1]).await.unwrap();
    let mut again = host.events(&relay, Some(&sids[0])).await;
    assert_eq!(again.next().await.unwrap().id.as_deref(), Some(sids[2].as_str()));
    assert_eq!(events.next().await, None, "a new stream replaces the old");
    let mut all = host.events(&relay, Some("nonsense")).await;
    for sid in [&sids[0], &sids[2]] {
        assert_eq!(all.next().await.unwrap().id.as_deref(), Some(sid.as_str()));
    }
    // The newest is the one that counts, and when it goes the host is offline.
    let sid = relay.pair(&ask_secret(1)).await.sid();
    assert_eq!(all.next().await.unwrap().id.as_deref(), Some(sid.as_str()));
    drop(all);
    eventually("offline", async || {
        let answer = relay.pair(&ask_secret(1)).await;
        (answer.status, answer.code()) == (StatusCode::SERVICE_UNAVAILABLE, "CPL-1807")
    })
    .await;
}

#[tokio::test]
async fn a_stream_behind_another_request_on_its_connection_works_too() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    let mut tls = host.tls(&relay).await.unwrap();
    tls.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\nGET /host/events HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut got = String::new();
    let mut read = async |until: &str| {
        within("the stream", async {
            while !got.contains(until) {
                let mut chunk = [0; 1024];
                let len = tls.read(&mut chunk).await.unwrap();
                assert_ne!(len, 0, "{got}");
                got += std::str::from_utf8(&chunk[..len]).unwrap();
            }
        })
        .await;
    };
    read("text/event-stream").await;
    let sid = relay.pair(&ask_secret(1)).await.sid();
    read(&format!("id: {sid}")).await;
}

#[tokio::test]
async fn a_restart_keeps_hosts_rooms_and_revocations() {
    let mut relay = TestRelay::start(|_| {}).await;
    let (host, revoked) = (TestHost::enroll(&relay).await, TestHost::enroll(&relay).await);
    host.room(&relay, &room(1), by_secret(1)).await;
    relay.control(Method::POST, &format!("/hosts/{}/revoke", revoked.id), None).await;
    let token = relay.invite().await;
    let ca = relay.ca();
    relay.restart().await;
    assert_eq!(relay.ca(), ca);
    assert!(!is_let_in(&relay, Some((&revoked.certificate, &revoked.key))).await);
    let _events = host.events(&relay, None).await;
    let sid = relay.pair(&ask_secret(1)).await.sid();
    let _device = relay.device_end(&sid).await;
    assert!(host.end(&relay, &sid).await.is_ok());
    let key = KeyPair::generate().unwrap();
    assert_eq!(relay.post("/enroll", &json!({"token": token, "csr": csr(&key)})).await.status, StatusCode::OK);
    let listed = relay.control(Method::GET, "/hosts", None).await;
    let states: Vec<_> =
        listed.body["hosts"].as_array().unwrap().iter().map(|h| (&h["online"], h["revoked_at"].is_null())).collect();
    assert_eq!(states.len(), 3);
    assert_eq!(states.iter().filter(|state| **state == (&json!(true), true)).count(), 1);
    assert_eq!(states.iter().filter(|state| !state.1).count(), 1);
}

#[tokio::test]
async fn rooms_belong_to_their_first_host_and_are_bounded() {
    let relay = TestRelay::start(|config| config.limits.rooms_per_host = 2).await;
    let (host, other) = (TestHost::enroll(&relay).await, TestHost::enroll(&relay).await);
    let put = async |host: &TestHost, n: u8, body| {
        host.request(&relay, Method::PUT, &format!("/host/rooms/{}", room(n)), Some(&body)).await
    };
    assert_eq!(put(&host, 1, by_secret(1)).await.status, StatusCode::CREATED);
    assert_eq!(put(&host, 1, by_secret(2)).await.status, StatusCode::NO_CONTENT);
    let theirs = put(&other, 1, by_secret(1)).await;
    assert_eq!((theirs.status, theirs.code()), (StatusCode::FORBIDDEN, "CPL-1813"));
    assert_eq!(put(&host, 2, by_secret(2)).await.status, StatusCode::CREATED);
    let third = put(&host, 3, by_secret(3)).await;
    assert_eq!((third.status, third.code()), (StatusCode::CONFLICT, "CPL-1814"));
    let path = format!("/host/rooms/{}", room(1));
    assert_eq!(other.request(&relay, Method::DELETE, &path, None).await.code(), "CPL-1813");
    for body in [json!({}), json!({"public_key": "k"}), json!({"secret_hash": "x", "public_key": "k"})] {
        assert_eq!(put(&host, 2, body).await.status, StatusCode::BAD_REQUEST);
    }
    let big = json!({"public_key": "k".repeat(20_000)});
    assert_eq!(put(&host, 2, big).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(put(&host, 1, by_secret(1)).await.status, StatusCode::NO_CONTENT, "the connection goes on");
}
