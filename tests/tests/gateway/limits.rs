//! How often, how many.

use std::net::{IpAddr, Ipv4Addr};

use couplet_protocol::api::DeviceCredential;
use e2e::TestHost;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn the_sixth_generate_in_a_minute_is_429() {
    let host = TestHost::start(|_| {}).await;
    for _ in 0..5 {
        host.generate().await;
    }
    let answer = host.owner().post("/api/pair/generate").send().await.unwrap();
    assert_eq!(answer.status(), 429);
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "CPL-1207");
}

async fn wrong_exchange(host: &TestHost, from: Ipv4Addr) -> u16 {
    let client = reqwest::Client::builder().no_proxy().local_address(IpAddr::V4(from)).build().unwrap();
    let body = json!({ "pair_token": "otp_AAAAAAAAAAAAAAAAAAAAAA", "device_name": "x" });
    let request = client.post(format!("{}/api/pair/exchange", host.pairing_url())).json(&body);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_eleventh_exchange_in_a_minute_is_429() {
    let host = TestHost::start(|_| {}).await;
    for _ in 0..10 {
        assert_eq!(wrong_exchange(&host, Ipv4Addr::LOCALHOST).await, 400);
    }
    assert_eq!(wrong_exchange(&host, Ipv4Addr::LOCALHOST).await, 429);
}

#[tokio::test]
async fn nonsense_counts_like_any_other_exchange() {
    let host = TestHost::start(|_| {}).await;
    let nonsense = async || {
        let request = host.anyone().post("/api/pair/exchange").header("content-type", "application/json").body("{");
        request.send().await.unwrap().status().as_u16()
    };
    for _ in 0..10 {
        assert_eq!(nonsense().await, 400);
    }
    assert_eq!(nonsense().await, 429);
}

#[tokio::test]
async fn limits_hold_for_each_source_alone() {
    let host = TestHost::start(|_| {}).await;
    for _ in 0..11 {
        wrong_exchange(&host, Ipv4Addr::new(127, 0, 0, 5)).await;
    }
    assert_eq!(wrong_exchange(&host, Ipv4Addr::new(127, 0, 0, 5)).await, 429);
    assert_eq!(wrong_exchange(&host, Ipv4Addr::new(127, 0, 0, 6)).await, 400);
}

#[tokio::test]
async fn the_device_above_the_maximum_is_409() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__MAX_DEVICES", "2");
    })
    .await;
    let first = host.add_device("one").await;
    host.add_device("two").await;
    let offer = host.generate().await;
    let body = json!({ "pair_token": offer.pair_token.expose(), "device_name": "three" });
    let full: Value = host.anyone().expect(Method::POST, "/api/pair/exchange", 409, Some(body.clone())).await;
    assert_eq!(full["code"], "CPL-1204");
    let full: Value = host.owner().expect(Method::GET, "/pair", 409, None).await;
    assert_eq!(full["code"], "CPL-1204");
    // The code was not used up: there is room once a device is revoked.
    host.revoke(&first).await;
    let _: DeviceCredential = host.anyone().expect(Method::POST, "/api/pair/exchange", 200, Some(body)).await;
}

#[tokio::test]
async fn the_default_maximum_is_64_devices() {
    let host = TestHost::start(|_| {}).await;
    for n in 0..64 {
        host.add_device(&format!("Device {n}")).await;
    }
    let body = Some(json!({ "device_name": "one too many" }));
    let full: Value = host.owner().expect(Method::POST, "/api/pair/devices", 409, body).await;
    assert_eq!(full["code"], "CPL-1204");
}

#[tokio::test]
async fn the_ninth_open_offer_is_409() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "100");
    })
    .await;
    let mut offers = Vec::new();
    for _ in 0..8 {
        offers.push(host.generate().await);
    }
    let full: Value = host.owner().expect(Method::POST, "/api/pair/generate", 409, None).await;
    assert_eq!(full["code"], "CPL-1206");
    let path = format!("/api/pair/offers/{}", offers[3].offer_id);
    assert_eq!(host.owner().delete(&path).send().await.unwrap().status(), 204);
    host.generate().await;
}

/// Connections whose answers nobody reads do not keep others out.
#[tokio::test]
async fn a_client_that_reads_nothing_is_let_go() {
    let app = e2e::TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url()).env("COUPLET_LIMITS__STALLED_SECONDS", "1").env("COUPLET_LIMITS__MAX_CONNECTIONS", "2");
    })
    .await;
    let device = host.add_device("Phone").await;
    let paths = [
        (host.pairing_url(), "/api/openapi.json".to_owned(), "/livez"),
        (host.gateway_url("app"), "/download/100000000".to_owned(), "/"),
    ];
    for (url, greedy, polite) in paths {
        let address = url.strip_prefix("http://").unwrap();
        let mut held = Vec::new();
        for _ in 0..2 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
            let request =
                format!("GET {greedy} HTTP/1.1\r\nhost: {address}\r\ncouplet-token: {}\r\n\r\n", device.device_token);
            // So many that their answers fill what the kernel takes.
            let requests = request.repeat(400);
            let written = stream.write_all(requests.as_bytes());
            let _ = tokio::time::timeout(std::time::Duration::from_millis(500), written).await;
            held.push(stream);
        }
        let ask = async || {
            let request = reqwest::Client::new().get(format!("{url}{polite}")).bearer_auth(&device.device_token);
            request.send().await.is_ok_and(|answer| answer.status() == 200)
        };
        e2e::eventually("others are served again", e2e::host::PATIENCE, ask).await;
        drop(held);
    }
}
