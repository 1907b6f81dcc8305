//! What passes as it comes: WebSockets, events, trailers, large bodies; and apps that are down, slow or broken.

use std::time::{Duration, Instant};

use couplet_protocol::Code;
use e2e::host::PATIENCE;
use e2e::raw::{Raw, RawServer, ask};
use e2e::websocket::tungstenite;
use e2e::{TestApp, TestHost, eventually, free_port, pattern, problem, websocket};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{QUIET, World, open_socket};

#[tokio::test]
async fn websockets_pass() {
    let world = World::start().await;
    let mut socket = open_socket(world.url(), &world.device).await.unwrap();
    let large: Vec<u8> = pattern::stream(8 << 20).map(|chunk| chunk.unwrap().to_vec()).concat().await;
    for message in [
        websocket::text("hello"),
        websocket::text(""),
        websocket::text("Zoë’s 📱"),
        tungstenite::Message::Binary(vec![0, 255, 13, 10].into()),
        tungstenite::Message::Binary(large.into()),
    ] {
        // Sent while it is read: the echo of a large one comes before its end is sent.
        let (mut sink, mut stream) = (&mut socket).split();
        let (sent, echo) = tokio::join!(sink.send(message.clone()), timeout(PATIENCE, stream.next()));
        sent.unwrap();
        assert!(echo.unwrap().unwrap().unwrap() == message);
    }
    socket.send(tungstenite::Message::Ping("p".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), tungstenite::Message::Pong("p".into()));
    socket.close(None).await.unwrap();
    // An error would be a connection that broke instead.
    let closed = timeout(PATIENCE, socket.next()).await.expect("the app closes too").unwrap().unwrap();
    assert!(closed.is_close(), "{closed:?}");
    assert!(timeout(PATIENCE, socket.next()).await.expect("and that is the end").is_none());
    let headers = world.app.last_request().headers;
    assert_eq!(
        (&headers["upgrade"], &headers["x-couplet-device-name"]),
        (&"websocket".parse().unwrap(), &"Phone".parse().unwrap())
    );
    assert!(!headers.contains_key("authorization"));
}

#[tokio::test]
async fn server_sent_events_pass_as_they_come() {
    let world = World::start().await;
    let mut ticks = world.caller().get("/sse").send().await.unwrap();
    assert_eq!(ticks.headers()["content-type"], "text/event-stream");
    // The stream has no end, so whatever comes has not waited for one.
    let mut read = String::new();
    while !read.contains("data: 4\n\n") {
        let chunk = timeout(PATIENCE, ticks.chunk()).await.expect("the next tick comes").unwrap().unwrap();
        read.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let wanted: String = (0..5).map(|n| format!("event: tick\ndata: {n}\n\n")).collect();
    assert!(read.starts_with(&wanted), "{read}");
}

#[tokio::test]
async fn trailers_pass() {
    let world = World::start().await;
    let mut connection = Raw::connect(world.url()).await;
    let request =
        format!("GET /trailers HTTP/1.1\r\nHost: h\r\n{}TE: trailers\r\nConnection: te\r\n\r\n", world.auth());
    connection.send(request).await;
    let answer = connection.until("x-checksum: 42\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("data\n"), "{answer}");
    assert!(answer.contains("trailer: x-checksum"), "{answer}");
}

#[tokio::test]
async fn who_expects_100_continue_is_told_to() {
    let world = World::start().await;
    let head = "POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n";
    let mut connection = Raw::connect(world.url()).await;
    connection.send(format!("{head}{}\r\n", world.auth())).await;
    let told = connection.until("\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 100 "), "{told}");
    connection.send(pattern::chunk(0, 5)).await;
    let answer = connection.answer().await;
    assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap(), json!({ "bytes": 5, "intact": true }));

    // Who may not send is told so instead, before the body.
    let refused = ask(world.url(), format!("{head}\r\n")).await;
    problem::expect_raw(&refused, Code::DeviceRequired);
}

#[tokio::test]
async fn an_app_that_is_down_is_named() {
    let port = free_port();
    let host = TestHost::start(|setup| {
        setup.app(format!("wiki=http://127.0.0.1:{port}"));
    })
    .await;
    let device = host.add_device("Phone").await;
    let caller = host.through_gateway("wiki", Some(&device.device_token));
    let problem = problem::expect(caller.get("/").send().await.unwrap(), Code::UpstreamDown).await;
    for wanted in ["\"wiki\"", &format!("127.0.0.1:{port}"), "Start it"] {
        assert!(problem.detail.contains(wanted), "{wanted}: {}", problem.detail);
    }
    let id = problem.request_id.unwrap();
    eventually("the log has the cause under the request's id", PATIENCE, async || host.logs().contains(&id)).await;

    // It is asked again as soon as it is there.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let late = axum::Router::new().route("/", axum::routing::get(async || "up"));
    let server = tokio::spawn(async move { axum::serve(listener, late).await.unwrap() });
    assert_eq!(caller.get("/").send().await.unwrap().text().await.unwrap(), "up");
    server.abort();
}

#[tokio::test]
async fn an_app_that_is_slow_or_broken_is_named() {
    let app = TestApp::start().await;
    let (silent, garbled) = (RawServer::start("").await, RawServer::start("SSH-2.0-OpenSSH_9.9\r\n\r\n").await);
    let host = TestHost::start(|setup| {
        setup.app(format!("slow={}", app.url())).app(format!("silent={}", silent.url()));
        setup.app(format!("garbled={}", garbled.url())).env("COUPLET_LIMITS__UPSTREAM_ANSWER_SECONDS", "1");
    })
    .await;
    let device = host.add_device("Phone").await;
    for (name, path, code) in [
        ("slow", "/slow?ms=60000", Code::UpstreamSlow),
        ("silent", "/", Code::UpstreamBroken),
        ("garbled", "/", Code::UpstreamBroken),
    ] {
        let begun = Instant::now();
        let answer = host.through_gateway(name, Some(&device.device_token)).get(path).send().await.unwrap();
        let problem = problem::expect(answer, code).await;
        assert!(problem.detail.contains(&format!("{name:?}")), "{}", problem.detail);
        assert!(begun.elapsed() < Duration::from_secs(20), "{name}");
    }
    let fine = host.through_gateway("slow", Some(&device.device_token)).get("/slow?ms=10").send().await.unwrap();
    assert_eq!(fine.status(), 200);
    // An answer that has begun may take its time.
    let mut ticks = host.through_gateway("slow", Some(&device.device_token)).get("/sse").send().await.unwrap();
    let mut read = String::new();
    while !read.contains("data: 15\n") {
        read.push_str(std::str::from_utf8(&ticks.chunk().await.unwrap().unwrap()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_passes_both_ways_in_bounded_memory() {
    const SIZE: u64 = 1 << 30;
    let _quiet = QUIET.lock().await;
    let world = World::start().await;
    assert_eq!(world.caller().get("/").send().await.unwrap().status(), 200);
    let before = world.host.peak_memory_kib();

    let mut download = world.caller().get(&format!("/download/{SIZE}")).send().await.unwrap();
    let mut at = 0;
    while let Some(chunk) = download.chunk().await.unwrap() {
        assert!(pattern::matches(at, &chunk), "at {at}");
        at += chunk.len() as u64;
    }
    assert_eq!(at, SIZE);

    let body = reqwest::Body::wrap_stream(pattern::stream(SIZE));
    let answer = world.caller().post("/upload").body(body).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "bytes": SIZE, "intact": true }));

    let grown = world.host.peak_memory_kib() - before;
    assert!(grown < 32 * 1024, "the host grew by {grown} KiB");
}

#[tokio::test]
async fn several_apps_have_an_address_each() {
    let (photos, wiki) = (TestApp::start().await, TestApp::start().await);
    let host = TestHost::start(|setup| {
        setup.app(format!("photos={}", photos.url())).app(format!("wiki={}", wiki.url()));
    })
    .await;
    assert_ne!(host.gateway_url("photos"), host.gateway_url("wiki"));
    let device = host.add_device("Phone").await;
    for (name, app, other) in [("photos", &photos, &wiki), ("wiki", &wiki, &photos)] {
        let seen = other.requests().len();
        let path = format!("/echo/{name}");
        let answer = host.through_gateway(name, Some(&device.device_token)).get(&path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!((app.last_request().uri.to_string(), other.requests().len()), (path, seen));
    }
    host.revoke(&device).await;
    for name in ["photos", "wiki"] {
        let answer = host.through_gateway(name, Some(&device.device_token)).get("/").send().await.unwrap();
        problem::expect(answer, Code::DeviceUnknown).await;
    }
}
