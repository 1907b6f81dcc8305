//! A hundred devices, one code.

use std::net::{IpAddr, Ipv4Addr};

use couplet_protocol::api::DeviceList;
use e2e::TestHost;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn one_token_pairs_one_device() {
    let host = TestHost::start(|_| {}).await;
    let offer = host.generate().await;
    let url = format!("{}/api/pair/exchange", host.pairing_url());
    let mut tries = tokio::task::JoinSet::new();
    for n in 1..=100 {
        let client = reqwest::Client::builder().no_proxy().local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, n)));
        let body = json!({ "pair_token": offer.pair_token.expose(), "device_name": format!("Device {n}") });
        let request = client.build().unwrap().post(&url).json(&body);
        tries.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let mut statuses = tries.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert_eq!(statuses[1..], [410; 99]);
    let devices: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    assert_eq!(devices.devices.len(), 1);
}

#[tokio::test]
async fn one_approved_claim_is_collected_once() {
    let host = TestHost::start(|setup| {
        setup.arg("--approve").arg("always");
    })
    .await;
    let offer = host.generate().await;
    let mut body = json!({ "pair_token": offer.pair_token.expose(), "device_name": "iPad" });
    let claim: serde_json::Value =
        host.anyone().expect(Method::POST, "/api/pair/exchange", 202, Some(body.clone())).await;
    body["claim"] = claim["claim"].clone();
    let approve = format!("/api/pair/pairings/{}/approve", offer.offer_id);
    assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 204);
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let request = host.anyone().post("/api/pair/exchange").json(&body);
        tries.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let mut statuses = tries.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert_eq!(statuses[1..], [410; 19]);
}
