//! Pairing in a sealed session: offer, claim, the owner's word with the check code, grant, ack.

use couplet_protocol::api::{DeviceKind, DeviceList, GenerateAnswer, MeAnswer, PairingList};
use couplet_protocol::frame::CloseCode;
use couplet_protocol::message::{Control, Grant};
use couplet_protocol::{Endpoint, Offer};
use e2e::device::{Said, keys};
use e2e::{TestDevice, TestHost};
use reqwest::Method;
use serde_json::{Value, json};

async fn host(approve: &str) -> TestHost {
    TestHost::start(|setup| {
        setup.arg("--approve").arg(approve).env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "1000").movable_clock();
    })
    .await
}

async fn devices(host: &TestHost) -> DeviceList {
    host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await
}

async fn waiting(host: &TestHost) -> PairingList {
    host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await
}

/// Approves with this body: the status and the code of the refusal.
async fn approve(host: &TestHost, offer: &GenerateAnswer, body: Value) -> (u16, String) {
    let path = format!("/api/pair/pairings/{}/approve", offer.offer_id);
    let answer = host.owner().post(&path).json(&body).send().await.unwrap();
    let status = answer.status().as_u16();
    let problem: Value = answer.json().await.unwrap_or_default();
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

async fn me(host: &TestHost, grant: &Grant) -> u16 {
    host.device(&grant.device_token).get("/api/pair/me").send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_offer_carries_what_a_device_needs() {
    let host = host("never").await;
    let asked = jiff::Timestamp::now();
    let answer = host.generate().await;
    let offer = Offer::from_link(&answer.link).unwrap();
    assert!(answer.link.starts_with("COUPLET:") && answer.link.len() <= 154, "{}", answer.link.len());
    let address = host.pairing_url().strip_prefix("http://").unwrap();
    assert_eq!(offer.endpoints, [Endpoint::Lan(address.parse().unwrap())]);
    let end: jiff::Timestamp = answer.link_expires_at.parse().unwrap();
    assert_eq!(i64::from(offer.expires_at), end.as_second());
    let lives = end.as_second() - asked.as_second();
    assert!((300..330).contains(&lives), "{lives}");
    let token: jiff::Timestamp = answer.expires_at.parse().unwrap();
    let lives = token.as_second() - asked.as_second();
    assert!((60..90).contains(&lives), "{lives}");
    for (body, expected) in
        [(json!({"link_ttl": 9}), 422), (json!({"link_ttl": 601}), 422), (json!({"link_ttl": 10}), 200)]
    {
        let status = host.owner().post("/api/pair/generate").json(&body).send().await.unwrap().status();
        assert_eq!(status, expected, "{body}");
    }
}

#[tokio::test]
async fn a_device_pairs_by_its_link() {
    let host = host("never").await;
    let offer = host.generate().await;
    let device = TestDevice::new("Anna's iPad");
    let (grant, sealed) = device.pair(host.pairing_url(), &offer.link).await;
    let paired = host.event("device.paired", |event| event["pairing_id"] == json!(offer.offer_id)).await;
    assert_eq!((&paired["door"], &paired["device_name"]), (&json!("offer"), &json!("Anna's iPad")));
    assert_eq!((&paired["network"], &paired["platform"]), (&json!("127.0.0.1"), &json!("iPadOS 19")));
    assert_eq!(grant.host_name, sealed.host_name);
    assert_eq!(grant.endpoints, Offer::from_link(&offer.link).unwrap().endpoints);
    assert!(grant.room_secret.is_some());
    let opened = host.event("session.opened", |event| event["device_id"] == json!(grant.device_id)).await;
    assert_eq!((&opened["path"], &opened["network"]), (&json!("lan"), &json!("127.0.0.1")));
    drop(sealed);
    host.event("session.closed", |event| event["device_id"] == json!(grant.device_id)).await;

    let listed = devices(&host).await.devices;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].kind, listed[0].device_id.to_string()), (DeviceKind::Mobile, grant.device_id.clone()));
    assert_eq!(listed[0].platform.as_ref().unwrap().as_str(), "iPadOS 19");
    let me: MeAnswer = host.device(&grant.device_token).expect(Method::GET, "/api/pair/me", 200, None).await;
    assert_eq!(me.device_model.unwrap().as_str(), "iPad13,8");
}

#[tokio::test]
async fn a_device_says_what_it_is() {
    let host = host("never").await;
    for (said, kind) in
        [("desktop", DeviceKind::Desktop), ("browser", DeviceKind::Browser), ("toaster", DeviceKind::Other)]
    {
        let mut device = TestDevice::new(said);
        (device.claim.kind, device.claim.model, device.claim.platform) = (said.to_owned(), None, None);
        device.pair(host.pairing_url(), &host.generate().await.link).await;
        assert_eq!(devices(&host).await.devices[0].kind, kind);
    }
}

#[tokio::test]
async fn the_owner_types_what_the_device_shows() {
    let host = host("always").await;
    let offer = host.generate().await;
    let device = TestDevice::new("iPad");
    let mut sealed = device.claim(host.pairing_url(), &offer.link).await.unwrap();
    let wanted = host.event("approval.wanted", |_| true).await;
    assert_eq!((&wanted["check_code"], &wanted["door"]), (&json!(true), &json!("offer")));
    let asked = waiting(&host).await.pairings;
    assert!(asked.len() == 1 && asked[0].check_code, "{asked:?}");
    assert_eq!(asked[0].platform.as_deref(), Some("iPadOS 19"));
    assert_eq!(asked[0].network.as_deref(), Some("127.0.0.1"));

    for without in
        [json!({}), json!({"check_code": null}), json!({"check_code": "12345"}), json!({"check_code": "abcdef"})]
    {
        assert_eq!(approve(&host, &offer, without).await, (422, "CPL-1219".into()));
    }
    let empty = format!("/api/pair/pairings/{}/approve", offer.offer_id);
    assert_eq!(host.owner().post(&empty).send().await.unwrap().status(), 422);
    assert_eq!(approve(&host, &offer, wrong(&sealed.check_code.show())).await, (403, "CPL-1220".into()));
    assert_eq!(devices(&host).await.devices.len(), 0, "nobody is in before the right code");

    let code = json!({"check_code": sealed.check_code.show()});
    assert_eq!(approve(&host, &offer, code.clone()).await, (204, String::new()));
    let grant = sealed.granted().await;
    assert_eq!(approve(&host, &offer, code).await, (409, "CPL-1210".into()));
    sealed.send(&Control::Ack).await;
    assert_eq!(sealed.said().await, Said::Control(Control::Paired));
    assert_eq!(me(&host, &grant).await, 200);
    let audit: Value = host.owner().expect(Method::GET, "/api/audit", 200, None).await;
    let actions: Vec<&str> =
        audit["entries"].as_array().unwrap().iter().rev().map(|entry| entry["action"].as_str().unwrap()).collect();
    let expected = [
        "offer.created",
        "approval.wanted",
        "check_code.wrong",
        "pairing.approved",
        "credential.issued",
        "device.paired",
    ];
    assert_eq!(actions, expected);
}

/// A code that is not this one.
fn wrong(code: &str) -> Value {
    let first = if code.starts_with('0') { "1" } else { "0" };
    json!({ "check_code": format!("{first}{}", &code[1..]) })
}

#[tokio::test]
async fn the_third_wrong_code_turns_the_device_away() {
    let host = host("always").await;
    let offer = host.generate().await;
    let mut sealed = TestDevice::new("iPad").claim(host.pairing_url(), &offer.link).await.unwrap();
    host.event("approval.wanted", |_| true).await;
    let code = sealed.check_code.show();
    assert_eq!(approve(&host, &offer, wrong(&code)).await.1, "CPL-1220");
    assert_eq!(approve(&host, &offer, wrong(&code)).await.1, "CPL-1220");
    assert_eq!(approve(&host, &offer, wrong(&code)).await, (403, "CPL-1221".into()));
    assert_eq!(sealed.rejected().await, "CPL-1208");
    host.event("pairing.rejected", |event| event["pairing_id"] == json!(offer.offer_id)).await;
    assert_eq!(approve(&host, &offer, json!({ "check_code": code })).await.0, 409);
    assert_eq!(devices(&host).await.devices.len(), 0);
    // The offer is over with it.
    let again = TestDevice::new("iPad").claim(host.pairing_url(), &offer.link).await;
    assert_eq!(again.unwrap_err(), Said::Refused("CPL-1208".into()));
}

#[tokio::test]
async fn the_owner_can_say_no() {
    let host = host("always").await;
    let offer = host.generate().await;
    let mut sealed = TestDevice::new("iPad").claim(host.pairing_url(), &offer.link).await.unwrap();
    host.event("approval.wanted", |_| true).await;
    let path = format!("/api/pair/pairings/{}/reject", offer.offer_id);
    assert_eq!(host.owner().post(&path).send().await.unwrap().status(), 204);
    assert_eq!(sealed.rejected().await, "CPL-1208");
    assert_eq!(devices(&host).await.devices.len(), 0);
}

#[tokio::test]
async fn an_owner_who_does_not_answer_ends_the_claim() {
    let host = host("always").await;
    let offer = host.generate().await;
    let mut sealed = TestDevice::new("iPad").claim(host.pairing_url(), &offer.link).await.unwrap();
    host.event("approval.wanted", |_| true).await;
    host.set_clock("+121");
    assert_eq!(sealed.rejected().await, "CPL-1209");
    host.event("offer.expired", |event| event["pairing_id"] == json!(offer.offer_id)).await;
    assert_eq!(approve(&host, &offer, json!({"check_code": sealed.check_code.show()})).await.0, 409);
}

#[tokio::test]
async fn a_device_that_goes_away_frees_the_offer() {
    let host = host("always").await;
    let offer = host.generate().await;
    let sealed = TestDevice::new("Lost").claim(host.pairing_url(), &offer.link).await.unwrap();
    host.event("approval.wanted", |event| event["device_name"] == "Lost").await;
    drop(sealed);
    let released = host.event("offer.released", |event| event["pairing_id"] == json!(offer.offer_id)).await;
    assert_eq!(released["device_name"], "Lost");
    assert_eq!(waiting(&host).await.pairings.len(), 0);
    let mut sealed = TestDevice::new("Found").claim(host.pairing_url(), &offer.link).await.unwrap();
    host.event("approval.wanted", |event| event["device_name"] == "Found").await;
    let code = json!({"check_code": sealed.check_code.show()});
    assert_eq!(approve(&host, &offer, code).await.0, 204);
    sealed.granted().await;
}

#[tokio::test]
async fn who_goes_away_three_times_has_seen_enough_codes() {
    let host = host("always").await;
    let offer = host.generate().await;
    for n in 1..=3 {
        let name = format!("Try {n}");
        let sealed = TestDevice::new(&name).claim(host.pairing_url(), &offer.link).await.unwrap();
        host.event("approval.wanted", |event| event["device_name"] == name).await;
        drop(sealed);
        if n < 3 {
            host.event("offer.released", |event| event["device_name"] == name).await;
        }
    }
    assert_eq!(host.event("offer.expired", |_| true).await["code"], "CPL-1701", "not for want of an answer");
    let again = TestDevice::new("iPad").claim(host.pairing_url(), &offer.link).await;
    assert_eq!(again.unwrap_err(), Said::Refused("CPL-1201".into()));
    let body = json!({ "pair_token": offer.pair_token.expose(), "device_name": "iPad" });
    let exchange = host.anyone().post("/api/pair/exchange").json(&body).send().await.unwrap();
    assert_eq!(exchange.status(), 400, "both credentials end together");
}

#[tokio::test]
async fn a_name_that_cannot_be_used_is_told_and_uses_nothing_up() {
    let host = host("never").await;
    let offer = host.generate().await;
    for change in [
        |device: &mut TestDevice| device.claim.name = "  ".into(),
        |device: &mut TestDevice| device.claim.name = "a\u{202e}b".into(),
        |device: &mut TestDevice| device.claim.model = Some("\u{1b}[2J".into()),
        |device: &mut TestDevice| device.claim.platform = Some("x".repeat(65)),
    ] {
        let mut device = TestDevice::new("iPad");
        change(&mut device);
        let mut sealed = device.claim(host.pairing_url(), &offer.link).await.unwrap();
        assert_eq!(sealed.rejected().await, "CPL-1205");
    }
    TestDevice::new("iPad").pair(host.pairing_url(), &offer.link).await;
}

#[tokio::test]
async fn a_full_host_tells_both_ends() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__MAX_DEVICES", "1");
    })
    .await;
    let first = host.add_device("First").await;
    let offer = host.generate().await;
    let mut sealed = TestDevice::new("Second").claim(host.pairing_url(), &offer.link).await.unwrap();
    assert_eq!(sealed.rejected().await, "CPL-1204");
    host.revoke(&first).await;
    TestDevice::new("Second").pair(host.pairing_url(), &offer.link).await;
}

#[tokio::test]
async fn data_before_paired_is_fatal() {
    let host = host("always").await;
    let offer = host.generate().await;
    let mut sealed = TestDevice::new("iPad").claim(host.pairing_url(), &offer.link).await.unwrap();
    host.event("approval.wanted", |_| true).await;
    sealed.send_data(b"GET / HTTP/1.1").await;
    assert!(matches!(sealed.said().await, Said::Gone | Said::Closed(CloseCode::Rejected)));
    host.event("offer.released", |_| true).await;
    assert_eq!(devices(&host).await.devices.len(), 0);
}

#[tokio::test]
async fn an_ack_before_the_grant_is_fatal() {
    let host = host("always").await;
    let offer = host.generate().await;
    let mut sealed = TestDevice::new("iPad").claim(host.pairing_url(), &offer.link).await.unwrap();
    host.event("approval.wanted", |_| true).await;
    sealed.send(&Control::Ack).await;
    assert_eq!(sealed.said().await, Said::Closed(CloseCode::Rejected));
    host.event("offer.released", |_| true).await;
}

#[tokio::test]
async fn a_grant_whose_ack_is_lost_counts_when_its_device_comes_back() {
    let host = host("never").await;
    let offer = host.generate().await;
    let device = TestDevice::new("iPad");
    let mut sealed = device.claim(host.pairing_url(), &offer.link).await.unwrap();
    let grant = sealed.granted().await;
    drop(sealed);
    assert_eq!(devices(&host).await.devices[0].last_seen, None);
    let _back = device.reconnect(host.pairing_url(), &keys(&offer.link, &grant)).await.unwrap();
    host.event("device.paired", |event| event["pairing_id"] == json!(offer.offer_id)).await;
    host.event("session.opened", |_| true).await;
    assert_eq!(me(&host, &grant).await, 200);
}

#[tokio::test]
async fn a_grant_that_is_never_used_is_dropped() {
    let host = host("never").await;
    let offer = host.generate().await;
    let device = TestDevice::new("iPad");
    let mut sealed = device.claim(host.pairing_url(), &offer.link).await.unwrap();
    let grant = sealed.granted().await;
    drop(sealed);
    host.set_clock("+601");
    host.event("offer.expired", |event| event["pairing_id"] == json!(offer.offer_id)).await;
    assert_eq!(devices(&host).await.devices.len(), 0);
    let back = device.reconnect(host.pairing_url(), &keys(&offer.link, &grant)).await;
    assert_eq!(back.unwrap_err(), Said::Refused("CPL-1103".into()));
    assert_eq!(me(&host, &grant).await, 401);
}

#[tokio::test]
async fn the_wait_for_the_ack_begins_anew_with_the_host() {
    let mut host = host("never").await;
    let offer = host.generate().await;
    let device = TestDevice::new("iPad");
    let mut sealed = device.claim(host.pairing_url(), &offer.link).await.unwrap();
    let grant = sealed.granted().await;
    drop(sealed);
    host.stop().await;
    // The host was off for a day: the device could not come back meanwhile.
    host.set_clock("+1d");
    host.restart().await;
    let _back = device.reconnect(host.pairing_url(), &keys(&offer.link, &grant)).await.unwrap();
    host.event("device.paired", |event| event["pairing_id"] == json!(offer.offer_id)).await;
}
