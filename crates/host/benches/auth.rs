//! What it costs to know a device.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start has nothing else to do")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use couplet_host::{Config, Pairing};
use divan::Bencher;
use http::{HeaderMap, HeaderValue, Request, header};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

struct Host {
    runtime: Runtime,
    pairing: Pairing,
    device: HeaderMap,
    _state: TempDir,
}

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let state = tempfile::tempdir().unwrap();
    let (pairing, device) = runtime.block_on(async {
        let config = Config::new(state.path().join("state"), "bench");
        let pairing = Pairing::open(config).await.unwrap();
        let admin = std::fs::read_to_string(state.path().join("state/admin-token")).unwrap();
        let request = Request::post("/api/pair/devices")
            .extension(ConnectInfo(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))))
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {}", admin.trim()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(r#"{"device_name":"bench","kind":"bearer"}"#))
            .unwrap();
        let answer = pairing.routes::<()>().with_state(()).oneshot(request).await.unwrap();
        let answer = to_bytes(answer.into_body(), 64 * 1024).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        let device = authorization(answer["device_token"].as_str().unwrap());
        pairing.authenticator().authenticate(&device).await.unwrap();
        (pairing, device)
    });
    Host { runtime, pairing, device, _state: state }
});

fn authorization(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap())])
}

/// A device that this process has checked before. The target is a microsecond at most.
#[divan::bench(sample_size = 1000)]
fn cached_bearer(bencher: Bencher<'_, '_>) {
    let auth = HOST.pairing.authenticator();
    bencher.bench(|| auth.cached(&HOST.device).unwrap());
}

/// The same device, from two threads at once.
#[divan::bench(threads = 2, sample_size = 1000)]
fn cached_bearer_of_two_threads(bencher: Bencher<'_, '_>) {
    let auth = HOST.pairing.authenticator();
    bencher.bench(|| auth.cached(&HOST.device).unwrap());
}

/// A token that no device has: one look into the database and no bcrypt, which takes tens of milliseconds.
#[divan::bench(sample_size = 10)]
fn unknown_bearer(bencher: Bencher<'_, '_>) {
    let auth = HOST.pairing.authenticator();
    let unknown = authorization(&format!("dev_{}", "x".repeat(32)));
    bencher.bench(|| HOST.runtime.block_on(auth.authenticate(&unknown)).unwrap_err());
}

fn main() {
    LazyLock::force(&HOST);
    divan::main();
}
