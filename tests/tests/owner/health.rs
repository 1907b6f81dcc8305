//! What a host says of itself to anyone.

use e2e::TestHost;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn pairing_is_declared_as_documented() {
    let host = TestHost::start(|_| {}).await;
    let health: Value = host.anyone().expect(Method::GET, "/health", 200, None).await;
    assert_eq!(health["status"], "ok");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        health["features"]["pairing"],
        json!({ "available": true, "transport": "daemon-http", "endpoint": "/pair", "token_bits": 128, "rng": "os-csprng" })
    );
    assert_eq!(health["features"]["relay"], json!({ "available": false, "connected": false }));
}

#[tokio::test]
async fn it_lives_and_is_ready() {
    let host = TestHost::start(|_| {}).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(host.anyone().get(path).send().await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn the_checked_in_openapi_document_is_the_served_one() {
    let host = TestHost::start(|_| {}).await;
    let served: Value = host.anyone().expect(Method::GET, "/api/openapi.json", 200, None).await;
    let path = e2e::repository().join("spec/openapi.json");
    if std::env::var_os("COUPLET_UPDATE").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&served).unwrap() + "\n").unwrap();
    }
    let checked_in: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(checked_in, served, "write it anew: COUPLET_UPDATE=1 cargo test -p e2e --test owner health");
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
}
