//! A watch's pairing: a nonce, a key that never leaves the watch, and the owner's word where the policy wants it.

use std::net::{IpAddr, Ipv4Addr};

use couplet_protocol::api::{ClaimAnswer, DeviceKind, DeviceList, PairingList, WatchPaired, WatchPairingInfo};
use data_encoding::BASE64;
use e2e::watch::pairing_info;
use e2e::{Signer, TestHost};
use reqwest::Method;
use serde_json::{Value, json};

async fn register(host: &TestHost, body: &Value) -> (u16, Value) {
    let answer = host.anyone().post("/watch/devices").json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[track_caller]
fn refused((status, problem): (u16, Value), expected: u16, code: &str) {
    assert_eq!((status, &problem["code"]), (expected, &json!(code)), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
}

async fn watches(host: &TestHost) -> DeviceList {
    host.owner().expect(Method::GET, "/watch/devices", 200, None).await
}

/// More than ten a minute.
fn many(setup: &mut e2e::host::Setup) {
    setup.env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "1000");
}

#[tokio::test]
async fn a_watch_pairs_with_its_key_in_any_form() {
    let (host, signer) = (TestHost::start(many).await, Signer::start());
    for (form, signature) in
        [("sec1", "raw"), ("compressed", "der"), ("spki", "twin"), ("jwk", "twin_der"), ("sec1", "der"), ("jwk", "raw")]
    {
        let (key, info) = (signer.key(), pairing_info(&host).await);
        let body = json!({
            "public_key": key.public[form], "signature": key.prove(&info.nonce)[signature], "nonce": info.nonce,
            "device_name": format!("{form} {signature}"), "device_model": "Watch7,2", "platform": "watchOS 12",
        });
        let (status, paired) = register(&host, &body).await;
        assert_eq!(status, 200, "{form} {signature}: {paired}");
        let paired: WatchPaired = serde_json::from_value(paired).unwrap();
        let event = host.event("device.paired", |e| e["device_id"] == json!(paired.device_id)).await;
        assert_eq!((&event["pairing_id"], &event["door"]), (&json!(info.offer_id), &json!("watch")));
    }
    let list = watches(&host).await.devices;
    assert_eq!(list.len(), 6);
    for watch in list {
        assert_eq!((watch.kind, watch.revoked_at), (DeviceKind::Watch, None));
        assert_eq!(watch.platform.unwrap().to_string(), "watchOS 12");
        assert_eq!(watch.device_model.unwrap().to_string(), "Watch7,2");
    }
}

#[tokio::test]
async fn pairing_info_says_where_and_which_host() {
    let mut host = TestHost::start(|_| {}).await;
    let before = jiff::Timestamp::now().as_millisecond();
    let info = pairing_info(&host).await;
    assert_eq!((info.url.as_str(), info.endpoint.as_str()), (host.pairing_url(), "/watch/devices"));
    let authority = host.pairing_url().trim_start_matches("http://");
    let qr = format!("couplet://{authority}/watch/devices?nonce={}&machine_id={}", info.nonce, info.machine_id);
    assert_eq!(info.qr_url, qr);
    let end = info.expires_at.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    assert!((60_000..65_000).contains(&(end - before)), "{}", info.expires_at);
    // The nonce holds its time.
    let nonce = data_encoding::BASE64URL_NOPAD.decode(info.nonce.as_bytes()).unwrap();
    assert_eq!(i64::from_be_bytes(nonce[..8].try_into().unwrap()), end - 60_000);
    assert_eq!(nonce.len(), 24);

    // For the owner, by GET, and not by a page of another site.
    refused_as(&host.anyone().get("/watch/pairing-info"), 401, "CPL-1101").await;
    refused_as(&host.owner().request(Method::HEAD, "/watch/pairing-info"), 405, "").await;
    refused_as(&host.owner().get("/watch/pairing-info").header("sec-fetch-site", "cross-site"), 403, "CPL-1011").await;

    // It is the same host after a restart, and the nonce is still good: it is its time that ends it.
    host.restart().await;
    assert_eq!(pairing_info(&host).await.machine_id, info.machine_id);
    let key = Signer::start().key();
    assert_eq!(register(&host, &key.registration(&info.nonce, "Watch")).await.0, 200);
    // A nonce is a secret as long as it lives: it stands in no log, and in the database as a hash.
    assert!(!host.logs().contains(&info.nonce));
    for file in ["couplet.db", "couplet.db-wal"] {
        let bytes = std::fs::read(host.state_dir().join(file)).unwrap();
        assert!(!bytes.windows(32).any(|window| window == info.nonce.as_bytes()), "{file}");
    }
}

async fn refused_as(request: &reqwest::RequestBuilder, status: u16, code: &str) {
    let answer = request.try_clone().unwrap().send().await.unwrap();
    assert_eq!(answer.status(), status);
    let text = answer.text().await.unwrap();
    assert!(text.contains(code), "{text}");
}

#[tokio::test]
async fn a_nonce_pairs_one_watch_within_a_minute() {
    let host = TestHost::start(|setup| {
        many(setup);
        setup.movable_clock();
    })
    .await;
    let signer = Signer::start();
    let info = pairing_info(&host).await;
    assert_eq!(register(&host, &signer.key().registration(&info.nonce, "First")).await.0, 200);
    refused(register(&host, &signer.key().registration(&info.nonce, "Second")).await, 409, "CPL-1223");

    // One that this host never made, though its time is right.
    let mut bytes = data_encoding::BASE64URL_NOPAD.decode(info.nonce.as_bytes()).unwrap();
    bytes[23] ^= 1;
    let made_up = data_encoding::BASE64URL_NOPAD.encode(&bytes);
    refused(register(&host, &signer.key().registration(&made_up, "Third")).await, 400, "CPL-1222");
    refused(register(&host, &signer.key().registration("short", "Third")).await, 400, "CPL-1222");

    // Late: it says by how much.
    let late = pairing_info(&host).await;
    host.set_clock("+75");
    let (status, problem) = register(&host, &signer.key().registration(&late.nonce, "Late")).await;
    assert_eq!((status, &problem["code"]), (400, &json!("CPL-1222")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        ["75 seconds behind", "76 seconds behind", "77 seconds behind"].iter().any(|d| detail.contains(d)),
        "{detail}"
    );
    assert_eq!(watches(&host).await.devices.len(), 1);
}

#[tokio::test]
async fn only_the_key_that_is_sent_can_sign() {
    let (host, signer) = (TestHost::start(many).await, Signer::start());
    let (info, key, other) = (pairing_info(&host).await, signer.key(), signer.key());
    let fine = key.registration(&info.nonce, "Watch");
    let foreign = pairing_info(&host).await;
    for signature in [
        other.prove(&info.nonce)["raw"].clone(),
        key.prove(&foreign.nonce)["raw"].clone(),
        json!(BASE64.encode(&[0; 64])),
        json!("nonsense"),
        json!(""),
    ] {
        let mut body = fine.clone();
        body["signature"] = signature;
        refused(register(&host, &body).await, 401, "CPL-1224");
    }
    let mut body = fine.clone();
    body["device_name"] = json!("\u{202e}");
    refused(register(&host, &body).await, 422, "CPL-1205");
    assert_eq!(register(&host, &fine).await.0, 200, "none of these used the nonce up");
}

/// Watches hold P-256 keys in secure hardware. Never reintroduce another kind: see `signature::key` in the protocol.
#[tokio::test]
async fn device_keys_are_p256_and_nothing_else() {
    let (host, signer) = (TestHost::start(many).await, Signer::start());
    let info = pairing_info(&host).await;
    for curve in ["ed25519", "p384"] {
        let key = signer.key_on(curve);
        let proof = key.prove(&info.nonce);
        for form in ["sec1", "compressed", "spki", "jwk"] {
            let body = json!({ "public_key": key.public[form], "signature": proof["raw"], "nonce": info.nonce,
                "device_name": "Watch" });
            refused(register(&host, &body).await, 400, "CPL-1225");
        }
    }
    let key = signer.key();
    let proof = key.prove(&info.nonce);
    let mut point = BASE64.decode(key.public["sec1"].as_str().unwrap().as_bytes()).unwrap();
    point[64] ^= 1;
    let identity = vec![0];
    for (what, bytes) in [("off the curve", point), ("the identity", identity), ("zeros", vec![0; 65])] {
        let body = json!({ "public_key": BASE64.encode(&bytes), "signature": proof["raw"], "nonce": info.nonce,
            "device_name": "Watch" });
        let (status, problem) = register(&host, &body).await;
        assert_eq!((status, &problem["code"]), (400, &json!("CPL-1225")), "{what}");
    }
    // Nor does the owner's pre-fill make a watch of a token's holder.
    let add = host.owner().post("/api/pair/devices").json(&json!({ "device_name": "x", "kind": "watch" }));
    assert_eq!(add.send().await.unwrap().status(), 400);
    assert!(watches(&host).await.devices.is_empty());
}

#[tokio::test]
async fn with_approval_a_watch_waits_and_only_its_key_is_paired() {
    let host = TestHost::start(|setup| {
        many(setup);
        setup.env("COUPLET_APPROVE", "always");
    })
    .await;
    let signer = Signer::start();
    let (key, other, info) = (signer.key(), signer.key(), pairing_info(&host).await);
    let mut body = key.registration(&info.nonce, "Watch");
    let (status, claim) = register(&host, &body).await;
    assert_eq!(status, 202, "{claim}");
    let claim: ClaimAnswer = serde_json::from_value(claim).unwrap();
    assert_eq!(claim.shown_as, "Watch");
    refused(register(&host, &other.registration(&info.nonce, "Watch")).await, 409, "CPL-1223");

    let waiting: PairingList = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
    let [waiting] = <[_; 1]>::try_from(waiting.pairings).unwrap();
    assert_eq!((waiting.id, waiting.device_name.as_deref()), (info.offer_id, Some("Watch")));
    body["claim"] = json!(claim.claim.expose());
    body["device_name"] = json!("Another name");
    assert_eq!(register(&host, &body).await.0, 202);
    // Who has the claim and another key gets nothing by it.
    let mut stolen = other.registration(&info.nonce, "Watch");
    stolen["claim"] = body["claim"].clone();
    refused(register(&host, &stolen).await, 400, "CPL-1216");

    let approve = format!("/api/pair/pairings/{}/approve", waiting.id);
    assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 204);
    refused(register(&host, &stolen).await, 400, "CPL-1216");
    let (status, paired) = register(&host, &body).await;
    assert_eq!(status, 200, "{paired}");
    refused(register(&host, &body).await, 410, "CPL-1217");
    let [watch] = <[_; 1]>::try_from(watches(&host).await.devices).unwrap();
    assert_eq!(watch.device_name.to_string(), "Watch", "what the owner saw is what is stored");

    // And the owner may say no.
    let info = pairing_info(&host).await;
    let mut body = key.registration(&info.nonce, "Again");
    body["claim"] = register(&host, &body).await.1["claim"].clone();
    let reject = format!("/api/pair/pairings/{}/reject", info.offer_id);
    assert_eq!(host.owner().post(&reject).send().await.unwrap().status(), 204);
    refused(register(&host, &body).await, 403, "CPL-1208");
}

async fn info_from(host: &TestHost, from: Ipv4Addr) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().local_address(IpAddr::V4(from)).build().unwrap();
    let answer = client.get(format!("{}/watch/pairing-info", host.pairing_url())).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn the_open_door_always_asks_and_closes_no_other() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LAN_PAIRING", "open").env("COUPLET_APPROVE", "never");
    })
    .await;
    let signer = Signer::start();
    let (status, info) = info_from(&host, Ipv4Addr::new(127, 0, 0, 5)).await;
    assert_eq!(status, 200, "{info}");
    let info: WatchPairingInfo = serde_json::from_value(info).unwrap();
    let (status, claim) = register(&host, &signer.key().registration(&info.nonce, "Stranger")).await;
    assert_eq!(status, 202, "whatever the policy: {claim}");
    let waiting: PairingList = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
    assert_eq!(serde_json::to_value(waiting.pairings[0].door).unwrap(), "watch_lan");

    // One source has three nonces, and ten requests in a minute.
    let greedy = Ipv4Addr::new(127, 0, 0, 6);
    for expected in [200, 200, 200, 409, 409, 409, 409, 409, 409, 409, 429] {
        assert_eq!(info_from(&host, greedy).await.0, expected);
    }
    // All of them together have 32, and the owner's doors stay open.
    for source in 7..40 {
        for _ in 0..3 {
            info_from(&host, Ipv4Addr::new(127, 0, 0, source)).await;
        }
    }
    refused(info_from(&host, Ipv4Addr::new(127, 0, 0, 41)).await, 409, "CPL-1206");
    host.generate().await;
    let mine = pairing_info(&host).await;
    assert_eq!(register(&host, &signer.key().registration(&mine.nonce, "Mine")).await.0, 200);
}

#[tokio::test]
async fn the_eleventh_registration_in_a_minute_is_429() {
    let host = TestHost::start(|_| {}).await;
    for _ in 0..10 {
        assert_eq!(register(&host, &json!({})).await.0, 400);
    }
    refused(register(&host, &json!({})).await, 429, "CPL-1207");
}

#[tokio::test]
async fn signatures_are_not_verified_at_no_cost_for_who_makes_a_claim_up() {
    let host = TestHost::start(|_| {}).await;
    let signer = Signer::start();
    let (mine, other) = (signer.key(), signer.key());
    let nonce = pairing_info(&host).await.nonce;
    let mut body = mine.registration(&nonce, "Stranger");
    body["signature"] = other.prove(&nonce)["der"].clone();
    body["claim"] = json!(format!("clm_{}", "A".repeat(22)));
    for _ in 0..10 {
        refused(register(&host, &body).await, 401, "CPL-1224");
    }
    refused(register(&host, &body).await, 429, "CPL-1207");
}

#[tokio::test]
async fn the_owner_lists_active_and_revoked_watches_and_revokes() {
    let app = e2e::TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let (signer, gateway) = (Signer::start(), host.gateway_url("app").to_owned());
    let watch = signer.key().pair(&host, "Anna's").await;
    let other = signer.key().pair(&host, "Ben's").await;
    let token = host.add_device("Editor").await;
    assert_eq!(watch.gets(&gateway, "/", 200).await, "hello\n");

    // The owner's routes are the owner's.
    let path = format!("/watch/devices/{}/revoke", watch.id);
    for caller in [host.anyone(), host.device(&token.device_token)] {
        assert_eq!(caller.get("/watch/devices").send().await.unwrap().status(), 401);
        assert_eq!(caller.post(&path).send().await.unwrap().status(), 401);
    }
    assert_eq!(host.owner().post(&path).send().await.unwrap().status(), 204);
    host.event("device.revoked", |event| event["device_id"] == watch.id).await;
    let problem: Value = serde_json::from_str(&watch.gets(&gateway, "/", 401).await).unwrap();
    assert_eq!(problem["code"], "CPL-1103");
    assert_eq!(host.owner().post(&path).send().await.unwrap().status(), 404, "the second time");
    let editor = format!("/watch/devices/{}/revoke", token.device_id);
    assert_eq!(host.owner().post(&editor).send().await.unwrap().status(), 404, "no watch");
    assert_eq!(host.owner().post("/watch/devices/x/revoke").send().await.unwrap().status(), 404);

    let list = watches(&host).await.devices;
    let states: Vec<_> = list.iter().map(|d| (d.device_name.to_string(), d.revoked_at.is_some())).collect();
    assert_eq!(states, [("Ben's".to_owned(), false), ("Anna's".to_owned(), true)]);
    assert_eq!(other.gets(&gateway, "/", 200).await, "hello\n");
}

#[tokio::test]
async fn verify_tells_whether_a_request_is_signed_by_that_watch() {
    let host = TestHost::start(|_| {}).await;
    let signer = Signer::start();
    let (watch, other) = (signer.key().pair(&host, "Anna's").await, signer.key().pair(&host, "Ben's").await);
    let path = format!("/watch/devices/{}/verify", watch.id);
    watch.gets(host.pairing_url(), &path, 204).await;
    let refused = other.gets(host.pairing_url(), &path, 401).await;
    assert!(refused.contains("CPL-1110"), "{refused}");
    assert_eq!(host.anyone().get(&path).send().await.unwrap().status(), 401);
    assert_eq!(host.owner().get(&path).send().await.unwrap().status(), 401, "the owner is no watch");
    let device = host.add_device("Editor").await;
    let own = format!("/watch/devices/{}/verify", device.device_id);
    assert_eq!(host.device(&device.device_token).get(&own).send().await.unwrap().status(), 401);

    // It asks about itself and unpairs itself as any device does.
    let me = watch.gets(host.pairing_url(), "/api/pair/me", 200).await;
    assert!(me.contains(&watch.id), "{me}");
    assert_eq!(watch.send(host.pairing_url(), "DELETE", "/api/pair/me", b"").await.status(), 204);
    watch.gets(host.pairing_url(), "/api/pair/me", 401).await;
}

#[tokio::test]
async fn a_plug_pulled_leaves_a_watch_paired_or_its_nonce_unused() {
    for (point, paired) in [("watch.nonce_used", false), ("watch.before_commit", false), ("watch.committed", true)] {
        let mut host = TestHost::start(|setup| {
            setup.failpoint(point);
        })
        .await;
        let (key, info) = (Signer::start().key(), pairing_info(&host).await);
        let body = key.registration(&info.nonce, "Watch");
        let request = tokio::spawn(host.anyone().post("/watch/devices").json(&body).send());
        host.failpoint(point).await;
        host.kill().await;
        assert!(request.await.unwrap().is_err());
        host.without_failpoint();
        host.restart().await;
        assert_eq!(watches(&host).await.devices.len(), usize::from(paired), "{point}");
        let (status, answer) = register(&host, &body).await;
        assert_eq!(status, if paired { 409 } else { 200 }, "{point}: {answer}");
    }
}
