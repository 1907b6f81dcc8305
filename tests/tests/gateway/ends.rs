//! What a device has open when its access ends.

use std::time::{Duration, Instant};

use couplet_protocol::Code;
use couplet_protocol::api::DeviceCredential;
use e2e::app::SeenRequest;
use e2e::host::PATIENCE;
use e2e::raw::Raw;
use e2e::websocket::WebSocket;
use e2e::{eventually, pattern, problem, websocket};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{QUIET, World, bearer, open_socket};

/// Everything that a device can have open at once.
struct Open {
    socket: WebSocket,
    events: Raw,
    /// Read by nobody after its start, so that the gateway waits with full buffers.
    download: Raw,
    upload: Raw,
    waiting: Raw,
}

impl Open {
    async fn start(world: &World, device: &DeviceCredential) -> Self {
        let begin = async |line: &str, headers: &str, wanted: Option<&str>| {
            let mut raw = Raw::connect(world.url()).await;
            raw.send(format!("{line} HTTP/1.1\r\nHost: h\r\n{}{headers}\r\n", bearer(device))).await;
            if let Some(wanted) = wanted {
                raw.until(wanted).await;
            }
            raw
        };
        let mut socket = open_socket(world.url(), device).await.unwrap();
        socket.send(websocket::text("open")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), websocket::text("open"));
        let events = begin("GET /sse", "", Some("event: tick")).await;
        let download = begin("GET /endless", "", Some("\r\n\r\n")).await;
        let mut upload = begin("POST /upload", "Content-Length: 1000000000\r\n", None).await;
        upload.send(pattern::chunk(0, 60_000)).await;
        let waiting = begin("GET /slow?ms=600000", "", None).await;
        let id = device.device_id.to_string();
        let is_its = |seen: &SeenRequest, path: &str| {
            seen.uri.path() == path && seen.headers["x-couplet-device-id"] == id.as_str()
        };
        eventually("all five are under way at the app", PATIENCE, async || {
            let seen = world.app.requests();
            ["/ws", "/sse", "/endless", "/upload", "/slow"].iter().all(|path| seen.iter().any(|s| is_its(s, path)))
        })
        .await;
        Open { socket, events, download, upload, waiting }
    }

    /// Waits until all of it has ended, and checks that nothing ended as if it were complete.
    async fn end(mut self) {
        let socket = async {
            let end = self.socket.next().await;
            assert!(!matches!(end, Some(Ok(_))), "{end:?}");
        };
        let events = async { assert!(self.events.end().await.is_err(), "a break, not an end") };
        let download = async { assert!(self.download.end().await.is_err(), "a break, not an end") };
        let refusal = async |raw: &mut Raw| {
            if let Some(answer) = raw.try_answer().await {
                assert_eq!(answer.status, 401, "{answer:?}");
            }
        };
        let (upload, waiting) = (refusal(&mut self.upload), refusal(&mut self.waiting));
        tokio::join!(socket, events, download, upload, waiting);
    }

    /// Shows that it all goes on.
    async fn goes_on(&mut self) {
        self.socket.send(websocket::text("still")).await.unwrap();
        assert_eq!(self.socket.next().await.unwrap().unwrap(), websocket::text("still"));
        // Fresh ones, not what waited in the buffers.
        for _ in 0..3 {
            self.events.until("event: tick").await;
        }
        self.upload.send(pattern::chunk(60_000, 1000)).await;
        assert!(self.download.more().await.is_ok_and(|n| n > 0));
    }
}

/// Two devices have everything open, one loses its access in this way; `lose` returns the moment of the loss.
async fn one_ends_and_the_other_goes_on(
    lose: impl AsyncFn(&World, &DeviceCredential) -> Instant,
    prepare: Option<Value>,
) {
    let _quiet = QUIET.lock().await;
    let world = World::start().await;
    let (device, other) = (world.device.clone(), world.host.add_device("Other").await);
    if let Some(change) = prepare {
        world.update(&device, change).await;
    }
    let (open, mut others) = (Open::start(&world, &device).await, Open::start(&world, &other).await);
    let lost = lose(&world, &device).await;
    timeout(PATIENCE, open.end()).await.expect("everything ends");
    let took = lost.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    timeout(PATIENCE, others.goes_on()).await.expect("the other's goes on");
}

#[tokio::test]
async fn revoking_ends_websockets_and_transfers() {
    let revoke = async |world: &World, device: &DeviceCredential| {
        let now = Instant::now();
        world.host.revoke(device).await;
        now
    };
    one_ends_and_the_other_goes_on(revoke, None).await;
}

#[tokio::test]
async fn unpairing_ends_websockets_and_transfers() {
    let unpair = async |world: &World, device: &DeviceCredential| {
        let now = Instant::now();
        let me = world.host.device(&device.device_token).delete("/api/pair/me");
        assert_eq!(me.send().await.unwrap().status(), 204);
        now
    };
    one_ends_and_the_other_goes_on(unpair, None).await;
}

#[tokio::test]
async fn a_narrower_scope_ends_websockets_and_transfers() {
    let narrow = async |world: &World, device: &DeviceCredential| {
        let now = Instant::now();
        world.update(device, json!({ "scope": { "paths": ["/echo"] } })).await;
        now
    };
    one_ends_and_the_other_goes_on(narrow, None).await;
}

#[tokio::test]
async fn an_expiry_ends_websockets_and_transfers() {
    let (end, steady) = (jiff::Timestamp::now() + Duration::from_secs(20), Instant::now() + Duration::from_secs(20));
    // Setting the end ends what is open, so it is set before anything is.
    let expire = async |_: &World, _: &DeviceCredential| {
        tokio::time::sleep_until(steady.into()).await;
        steady
    };
    one_ends_and_the_other_goes_on(expire, Some(json!({ "expires_at": end.to_string() }))).await;
}

#[tokio::test]
async fn an_expired_device_is_told_so() {
    let world = World::start().await;
    let end = jiff::Timestamp::now() + Duration::from_secs(2);
    world.update(&world.device, json!({ "expires_at": end.to_string() })).await;
    eventually("the device's time ends", PATIENCE, async || {
        world.caller().get("/").send().await.unwrap().status() == 401
    })
    .await;
    assert!(jiff::Timestamp::now() >= end);
    problem::expect(world.caller().get("/").send().await.unwrap(), Code::DeviceExpired).await;
    world.update(&world.device, json!({ "expires_at": null })).await;
    assert_eq!(world.caller().get("/").send().await.unwrap().status(), 200);
}
