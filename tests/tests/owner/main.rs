//! The pairing listener's outer defences: who may call it, from where, under which name, with what in the body.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

mod audit;
mod bodies;
mod crash;
mod health;
mod logs;
mod origins;
mod phone;
mod store;

use couplet_protocol::Code;
use couplet_protocol::api::{DeviceList, PairUrlAnswer};
use e2e::host::Caller;
use e2e::raw::{Answer, ask};
use e2e::{TestHost, problem};
use reqwest::Method;
use serde_json::{Value, json};

/// Every route that only the owner may use, taken from the host's own description, so that a new one is tested too.
async fn owners_routes(host: &TestHost) -> Vec<(Method, String)> {
    let document: Value = host.anyone().expect(Method::GET, "/api/openapi.json", 200, None).await;
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["security"] == json!([{ "owner": [] }]) {
                let path = path.replace("{id}", "0190a8f0-0000-7000-8000-000000000000");
                routes.push((method.to_uppercase().parse().unwrap(), path));
            }
        }
    }
    routes
}

/// A token of the owner's form that is not the owner's.
fn other_admin_token(host: &TestHost) -> String {
    let mut token = host.admin_token();
    let last = token.pop().unwrap();
    token.push(if last == 'A' { 'Q' } else { 'A' });
    token
}

#[tokio::test]
async fn every_owners_route_refuses_everyone_else() {
    let host = TestHost::start(|_| {}).await;
    let device = host.add_device("Phone").await.device_token;
    let routes = owners_routes(&host).await;
    assert!(routes.len() >= 10, "{routes:?}");
    for (method, path) in &routes {
        for token in [None, Some(device.as_str()), Some(&other_admin_token(&host)), Some(""), Some("adm_")] {
            let caller = Caller::new(host.pairing_url(), token);
            // Also without a body: who may not call learns nothing of what the route takes.
            let answer = caller.request(method.clone(), path).send().await.unwrap();
            assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{method} {path}");
            problem::expect(answer, Code::OwnerRequired).await;
        }
        // The owner's token counts as a bearer credential and as nothing else.
        let token = host.admin_token();
        for (name, value) in [
            ("couplet-token", token.clone()),
            ("authorization", format!("Basic {token}")),
            ("cookie", format!("couplet_session={token}")),
            ("x-forwarded-for", "127.0.0.1".to_owned()),
        ] {
            let answer = host.anyone().request(method.clone(), path).header(name, value).send().await.unwrap();
            problem::expect(answer, Code::OwnerRequired).await;
        }
    }
}

#[tokio::test]
async fn generate_is_for_the_owner() {
    let host = TestHost::start(|_| {}).await;
    for token in [None, Some(other_admin_token(&host))] {
        let caller = Caller::new(host.pairing_url(), token.as_deref());
        problem::expect(caller.post("/api/pair/generate").send().await.unwrap(), Code::OwnerRequired).await;
    }
    let device = host.pair_device("Phone").await;
    let answer = host.device(&device.device_token).post("/api/pair/generate").send().await.unwrap();
    problem::expect(answer, Code::OwnerRequired).await;
    // Refusals took nothing of the owner's five a minute.
    for _ in 0..4 {
        host.generate().await;
    }
}

#[tokio::test]
async fn the_list_is_for_the_owner() {
    let host = TestHost::start(|_| {}).await;
    let device = host.add_device("Phone").await;
    for token in [None, Some(device.device_token.clone()), Some(other_admin_token(&host))] {
        let answer = Caller::new(host.pairing_url(), token.as_deref()).get("/api/pair/devices").send().await.unwrap();
        problem::expect(answer, Code::OwnerRequired).await;
    }
    let list: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    assert_eq!(list.devices.iter().map(|d| d.device_id).collect::<Vec<_>>(), [device.device_id]);
}

#[tokio::test]
async fn revoking_is_for_the_owner() {
    let host = TestHost::start(|_| {}).await;
    let (one, other) = (host.add_device("One").await, host.add_device("Other").await);
    let path = format!("/api/pair/devices/{}", one.device_id);
    for token in [None, Some(&one.device_token), Some(&other.device_token), Some(&other_admin_token(&host))] {
        let caller = Caller::new(host.pairing_url(), token.map(String::as_str));
        problem::expect(caller.delete(&path).send().await.unwrap(), Code::OwnerRequired).await;
    }
    let me = host.device(&one.device_token);
    assert_eq!(me.get("/api/pair/me").send().await.unwrap().status(), 200);
    host.revoke(&one).await;
    problem::expect(me.get("/api/pair/me").send().await.unwrap(), Code::DeviceUnknown).await;
}

#[tokio::test]
async fn pair_is_for_the_owner_unless_the_door_is_open() {
    let closed = TestHost::start(|_| {}).await;
    let device = closed.add_device("Phone").await.device_token;
    for token in [None, Some(device), Some(other_admin_token(&closed))] {
        let answer = Caller::new(closed.pairing_url(), token.as_deref()).get("/pair").send().await.unwrap();
        problem::expect(answer, Code::LanPairingClosed).await;
    }
    let _: PairUrlAnswer = closed.owner().expect(Method::GET, "/pair", 200, None).await;

    let open = TestHost::start(|setup| {
        setup.arg("--lan-pairing").arg("open");
    })
    .await;
    let answer = open.anyone().get("/pair").send().await.unwrap();
    assert_eq!(answer.status(), 202, "the owner is asked");
    assert!(!answer.text().await.unwrap().contains("token"));
    let _: PairUrlAnswer = open.owner().expect(Method::GET, "/pair", 200, None).await;
}

/// `GET /health` with these header lines.
async fn health(host: &TestHost, headers: &str) -> Answer {
    let headers: String = headers.lines().flat_map(|line| [line.trim(), "\r\n"]).collect();
    ask(host.pairing_url(), format!("GET /health HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")).await
}
