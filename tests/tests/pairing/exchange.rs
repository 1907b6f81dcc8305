//! The LAN token's door: generate, scan, exchange, and the owner's word where the policy wants it.

use couplet_protocol::api::{ClaimAnswer, DeviceCredential, GenerateAnswer, MeAnswer, PairingList};
use e2e::{TestApp, TestHost};
use reqwest::Method;
use serde_json::{Value, json};

fn body(offer: &GenerateAnswer, name: &str) -> Value {
    json!({ "pair_token": offer.pair_token.expose(), "device_name": name, "device_model": "iPad13,8" })
}

/// Sends an exchange; the status and the JSON of the answer.
async fn exchange(host: &TestHost, body: &Value) -> (u16, Value) {
    let answer = host.anyone().post("/api/pair/exchange").json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[track_caller]
fn refused((status, problem): (u16, Value), expected: u16, code: &str) {
    assert_eq!((status, &problem["code"]), (expected, &json!(code)), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
}

fn millis(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

#[tokio::test]
async fn a_phone_pairs_with_one_scan() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let offer = host.generate().await;
    // All that the phone has is the text of the QR.
    let (authority, token) = offer.qr_url.strip_prefix("couplet://").unwrap().split_once("?pair=").unwrap();
    let answer = reqwest::Client::new()
        .post(format!("http://{authority}/api/pair/exchange"))
        .json(&json!({ "pair_token": token, "device_name": "iPad Pro", "device_model": "iPad Pro 12.9-inch" }))
        .send()
        .await
        .unwrap();
    let credential: DeviceCredential = answer.json().await.unwrap();
    let paired = host.event("device.paired", |event| event["device_name"] == "iPad Pro").await;
    assert_eq!(paired["pairing_id"], json!(offer.offer_id));
    let hello = host.through_gateway("app", Some(&credential.device_token)).get("/").send().await.unwrap();
    assert_eq!(hello.text().await.unwrap(), "hello\n");
}

#[tokio::test]
async fn generate_answers_token_link_and_expiry() {
    let host = TestHost::start(|_| {}).await;
    let answer: Value = host.owner().expect(Method::POST, "/api/pair/generate", 200, Some(json!({}))).await;
    for member in ["offer_id", "pair_token", "qr_url", "expires_at"] {
        assert!(answer[member].is_string(), "{member}: {answer}");
    }
}

#[tokio::test]
async fn generate_takes_an_empty_body() {
    let host = TestHost::start(|_| {}).await;
    let answer = host.owner().post("/api/pair/generate").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let empty = host.owner().post("/api/pair/generate").header("content-length", "0").send().await.unwrap();
    assert_eq!(empty.status(), 200);
}

#[tokio::test]
async fn a_lifetime_is_10_to_600_seconds() {
    let host = TestHost::start(|_| {}).await;
    for ttl in [9, 601] {
        let answer = host.owner().post("/api/pair/generate").json(&json!({ "ttl": ttl })).send().await.unwrap();
        refused((answer.status().as_u16(), answer.json().await.unwrap()), 422, "CPL-1213");
    }
    for ttl in [10, 600] {
        let before = jiff::Timestamp::now().as_millisecond();
        let body = Some(json!({ "ttl": ttl }));
        let offer: GenerateAnswer = host.owner().expect(Method::POST, "/api/pair/generate", 200, body).await;
        let lives = millis(&offer.expires_at) - before;
        assert!((ttl * 1000..ttl * 1000 + 5000).contains(&lives), "{lives}");
    }
}

#[tokio::test]
async fn expires_at_is_60_seconds_ahead() {
    let host = TestHost::start(|_| {}).await;
    let before = jiff::Timestamp::now().as_millisecond();
    let lives = millis(&host.generate().await.expires_at) - before;
    assert!((60_000..65_000).contains(&lives), "{lives}");
}

#[tokio::test]
async fn the_link_has_the_documented_form() {
    let host = TestHost::start(|_| {}).await;
    let offer = host.generate().await;
    let authority = host.pairing_url().strip_prefix("http://").unwrap();
    assert_eq!(offer.qr_url, format!("couplet://{authority}?pair={}", offer.pair_token.expose()));
}

#[tokio::test]
async fn the_link_names_the_address_that_answers() {
    let host = TestHost::start(|_| {}).await;
    let port = host.pairing_url().rsplit(':').next().unwrap().to_owned();
    // The owner's own machine calls it localhost; a phone could do nothing with that.
    let request = host.owner().post("/api/pair/generate").header("host", format!("localhost:{port}"));
    let offer: GenerateAnswer = request.send().await.unwrap().json().await.unwrap();
    let authority = offer.qr_url.strip_prefix("couplet://").unwrap().split('?').next().unwrap().to_owned();
    let health = reqwest::get(format!("http://{authority}/health")).await.unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn tokens_have_the_documented_forms() {
    let host = TestHost::start(|_| {}).await;
    let offer = host.generate().await;
    let (_, credential) = exchange(&host, &body(&offer, "iPad")).await;
    let is_form = |token: &str, prefix: &str, length: usize| {
        let tail = token.strip_prefix(prefix).unwrap();
        tail.len() == length && tail.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    assert!(is_form(offer.pair_token.expose(), "otp_", 22));
    assert!(is_form(credential["device_token"].as_str().unwrap(), "dev_", 32));
}

#[tokio::test]
async fn exchange_answers_token_id_and_server_name() {
    let host = TestHost::start(|setup| {
        setup.arg("--name").arg("My Mac Studio");
    })
    .await;
    let (status, credential) = exchange(&host, &body(&host.generate().await, "iPad")).await;
    assert_eq!((status, &credential["server_name"]), (200, &json!("My Mac Studio")));
    let id = credential["device_id"].as_str().unwrap();
    assert_eq!((id.len(), id.split('-').count()), (36, 5));
    let me: MeAnswer =
        host.device(credential["device_token"].as_str().unwrap()).expect(Method::GET, "/api/pair/me", 200, None).await;
    assert_eq!(me.device_id.to_string(), id);
    assert_eq!(me.device_model.unwrap().as_str(), "iPad13,8");
}

#[tokio::test]
async fn exchange_needs_no_other_credential() {
    let host = TestHost::start(|_| {}).await;
    let answer = host.anyone().post("/api/pair/exchange").json(&body(&host.generate().await, "iPad")).send();
    let answer = answer.await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["cache-control"]), (200, &"no-store".parse().unwrap()));
}

#[tokio::test]
async fn exchange_without_a_required_member_is_400() {
    let host = TestHost::start(|_| {}).await;
    let offer = host.generate().await;
    for member in ["pair_token", "device_name"] {
        let mut body = body(&offer, "iPad");
        body.as_object_mut().unwrap().remove(member);
        refused(exchange(&host, &body).await, 400, "CPL-1001");
    }
    assert_eq!(exchange(&host, &body(&offer, "iPad")).await.0, 200, "nothing was used up");
}

#[tokio::test]
async fn a_name_that_cannot_be_used_is_422() {
    let host = TestHost::start(|_| {}).await;
    let offer = host.generate().await;
    let long = "x".repeat(65);
    for name in ["", "  ", &long, "a\0b", "a\u{202e}b", "a\u{1b}[2Jb", "a\nb"] {
        refused(exchange(&host, &body(&offer, name)).await, 422, "CPL-1205");
    }
    let mut model = body(&offer, "iPad");
    model["device_model"] = json!("\u{2066}x");
    refused(exchange(&host, &model).await, 422, "CPL-1205");
    assert_eq!(exchange(&host, &body(&offer, &"é".repeat(64))).await.0, 200, "nothing was used up");
}

#[tokio::test]
async fn the_model_is_optional() {
    let host = TestHost::start(|_| {}).await;
    let credential = host.pair_device("iPad").await;
    let me: MeAnswer = host.device(&credential.device_token).expect(Method::GET, "/api/pair/me", 200, None).await;
    assert_eq!(me.device_model, None);
}

#[tokio::test]
async fn an_unknown_token_is_400() {
    let host = TestHost::start(|_| {}).await;
    for token in ["otp_AAAAAAAAAAAAAAAAAAAAAA", "otp_short", "", "dev_AAAAAAAAAAAAAAAAAAAAAA"] {
        let body = json!({ "pair_token": token, "device_name": "iPad" });
        refused(exchange(&host, &body).await, 400, "CPL-1201");
    }
}

#[tokio::test]
async fn a_used_token_is_410() {
    let host = TestHost::start(|_| {}).await;
    let offer = host.generate().await;
    assert_eq!(exchange(&host, &body(&offer, "iPad")).await.0, 200);
    refused(exchange(&host, &body(&offer, "iPad")).await, 410, "CPL-1203");
    refused(exchange(&host, &body(&offer, "Another")).await, 410, "CPL-1203");
}

#[tokio::test]
async fn a_token_ends_after_60_seconds() {
    let host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let (kept, lost) = (host.generate().await, host.generate().await);
    host.set_clock("+55");
    assert_eq!(exchange(&host, &body(&kept, "In time")).await.0, 200);
    host.set_clock("+61");
    refused(exchange(&host, &body(&lost, "Late")).await, 400, "CPL-1201");
    // The offer's other credential, the link, lives longer.
    host.set_clock("+301");
    host.event("offer.expired", |event| event["pairing_id"] == json!(lost.offer_id)).await;
    // The clock is set back: what has ended stays ended.
    host.set_clock("-1h");
    refused(exchange(&host, &body(&lost, "Later")).await, 400, "CPL-1201");
}

#[tokio::test]
async fn a_clock_set_back_while_the_host_is_down_revives_nothing() {
    let mut host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let offer = host.generate().await;
    host.stop().await;
    host.set_clock("-1d");
    host.restart().await;
    refused(exchange(&host, &body(&offer, "From yesterday")).await, 400, "CPL-1201");
}

#[tokio::test]
async fn an_offer_outlives_a_restart_and_so_does_its_use() {
    let mut host = TestHost::start(|_| {}).await;
    let (first, second) = (host.generate().await, host.generate().await);
    assert_eq!(exchange(&host, &body(&first, "Before")).await.0, 200);
    host.restart().await;
    refused(exchange(&host, &body(&first, "Again")).await, 410, "CPL-1203");
    assert_eq!(exchange(&host, &body(&second, "After")).await.0, 200);
}

#[tokio::test]
async fn a_device_token_outlives_a_restart() {
    let mut host = TestHost::start(|_| {}).await;
    let credential = host.pair_device("iPad").await;
    host.restart().await;
    let me: MeAnswer = host.device(&credential.device_token).expect(Method::GET, "/api/pair/me", 200, None).await;
    assert_eq!(me.device_id, credential.device_id);
}

#[tokio::test]
async fn a_withdrawn_offer_pairs_nobody() {
    let host = TestHost::start(|_| {}).await;
    let offer = host.generate().await;
    let path = format!("/api/pair/offers/{}", offer.offer_id);
    assert_eq!(host.owner().delete(&path).send().await.unwrap().status(), 204);
    assert_eq!(host.owner().delete(&path).send().await.unwrap().status(), 409);
    refused(exchange(&host, &body(&offer, "Late")).await, 400, "CPL-1201");
    let unknown = "/api/pair/offers/00000000-0000-4000-8000-000000000000";
    assert_eq!(host.owner().delete(unknown).send().await.unwrap().status(), 404);
}

async fn asking() -> TestHost {
    TestHost::start(|setup| {
        setup.arg("--approve").arg("always").movable_clock();
    })
    .await
}

/// Claims an offer of a host that asks; the body to poll with.
async fn claim(host: &TestHost, offer: &GenerateAnswer) -> (Value, ClaimAnswer) {
    let mut body = body(offer, "iPad");
    let (status, answer) = exchange(host, &body).await;
    assert_eq!(status, 202, "{answer}");
    let answer: ClaimAnswer = serde_json::from_value(answer).unwrap();
    body["claim"] = json!(answer.claim.expose());
    (body, answer)
}

#[tokio::test]
async fn an_approved_claim_is_paid_out_once() {
    let host = asking().await;
    let offer = host.generate().await;
    let (poll, _) = claim(&host, &offer).await;
    let wanted = host.event("approval.wanted", |_| true).await;
    assert_eq!((&wanted["device_name"], &wanted["network"]), (&json!("iPad"), &json!("127.0.0.1")));
    assert_eq!(exchange(&host, &poll).await.0, 202);
    let waiting: PairingList = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
    assert_eq!(waiting.pairings.len(), 1);
    // Nobody else can have the same offer meanwhile.
    refused(exchange(&host, &body(&offer, "Another")).await, 410, "CPL-1203");

    let approve = format!("/api/pair/pairings/{}/approve", offer.offer_id);
    assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 204);
    assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 409);
    let (status, credential) = exchange(&host, &poll).await;
    assert_eq!(status, 200, "{credential}");
    refused(exchange(&host, &poll).await, 410, "CPL-1217");
    let token = credential["device_token"].as_str().unwrap();
    assert_eq!(host.device(token).get("/api/pair/me").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_the_owner_approved_is_what_is_paired() {
    let host = asking().await;
    let offer = host.generate().await;
    let (mut poll, _) = claim(&host, &offer).await;
    let approve = format!("/api/pair/pairings/{}/approve", offer.offer_id);
    assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 204);
    poll["device_name"] = json!("Someone else");
    let (_, credential) = exchange(&host, &poll).await;
    let device = host.device(credential["device_token"].as_str().unwrap());
    let me: MeAnswer = device.expect(Method::GET, "/api/pair/me", 200, None).await;
    assert_eq!(me.device_name.as_str(), "iPad");
}

#[tokio::test]
async fn a_rejected_claim_is_403_for_good() {
    let host = asking().await;
    let offer = host.generate().await;
    let (poll, _) = claim(&host, &offer).await;
    let reject = format!("/api/pair/pairings/{}/reject", offer.offer_id);
    assert_eq!(host.owner().post(&reject).send().await.unwrap().status(), 204);
    refused(exchange(&host, &poll).await, 403, "CPL-1208");
    refused(exchange(&host, &poll).await, 403, "CPL-1208");
    let approve = format!("/api/pair/pairings/{}/approve", offer.offer_id);
    assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 409, "a decision stands");
}

#[tokio::test]
async fn a_claim_waits_120_seconds_whatever_the_offers_expiry() {
    let host = asking().await;
    let (mut offers, mut polls) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let offer = host.generate().await;
        polls.push(claim(&host, &offer).await.0);
        offers.push(offer);
    }
    host.set_clock("+110");
    assert_eq!(exchange(&host, &polls[0]).await.0, 202, "the offer's minute is over, the claim's is not");
    let approve = |offer: &GenerateAnswer| format!("/api/pair/pairings/{}/approve", offer.offer_id);
    assert_eq!(host.owner().post(&approve(&offers[0])).send().await.unwrap().status(), 204);
    assert_eq!(exchange(&host, &polls[0]).await.0, 200);
    host.set_clock("+121");
    refused(exchange(&host, &polls[1]).await, 410, "CPL-1209");
    host.event("offer.expired", |event| event["pairing_id"] == json!(offers[1].offer_id)).await;
    let late = host.owner().post(&approve(&offers[1])).send().await.unwrap();
    assert!([409, 410].contains(&late.status().as_u16()), "{}", late.status());
}

#[tokio::test]
async fn a_claim_waits_through_a_restart() {
    let mut host = asking().await;
    let offer = host.generate().await;
    let (poll, _) = claim(&host, &offer).await;
    host.restart().await;
    assert_eq!(exchange(&host, &poll).await.0, 202);
    let approve = format!("/api/pair/pairings/{}/approve", offer.offer_id);
    assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 204);
    host.restart().await;
    assert_eq!(exchange(&host, &poll).await.0, 200);
}

#[tokio::test]
async fn a_claim_of_another_offer_is_refused() {
    let host = asking().await;
    let (poll, _) = claim(&host, &host.generate().await).await;
    let other = host.generate().await;
    let mut mixed = body(&other, "iPad");
    mixed["claim"] = poll["claim"].clone();
    refused(exchange(&host, &mixed).await, 400, "CPL-1216");
    mixed["claim"] = json!("clm_AAAAAAAAAAAAAAAAAAAAAA");
    refused(exchange(&host, &mixed).await, 400, "CPL-1216");
    mixed["claim"] = json!("nonsense");
    refused(exchange(&host, &mixed).await, 400, "CPL-1216");
}
