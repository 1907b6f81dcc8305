//! HTTP within a session: its limits, what passes, and what the host itself answers there.

use bytes::Bytes;
use couplet_protocol::Code;
use e2e::http2::{fill, head, read, refused};
use e2e::pace::soon;
use e2e::{Http2, TestApp, TestDevice, TestHost, Upstream};
use futures_util::future::join_all;
use hyper::http::{HeaderMap, Method, Request};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;
/// What may be under way in the kernel's buffers of two connections, and in all of ours.
const UNDER_WAY: usize = 24 * MIB;

/// A device in a session with a host, and an app by hand behind it.
struct World {
    app: Upstream,
    host: TestHost,
    device_id: String,
    http: Http2,
}

impl World {
    async fn start() -> Self {
        let app = Upstream::start().await;
        let host = TestHost::start(|setup| {
            setup.app(app.url());
        })
        .await;
        let (device_id, http) = session(&host).await;
        World { app, host, device_id, http }
    }
}

async fn session(host: &TestHost) -> (String, Http2) {
    let (grant, sealed) = TestDevice::new("iPad").pair(host.pairing_url(), &host.generate().await.link).await;
    (grant.device_id, Http2::over(sealed).await)
}

#[tokio::test]
async fn the_65th_request_waits_and_is_then_served() {
    let World { app, http, host: _host, .. } = World::start().await;
    assert_eq!(http.streams, 64);
    let ask = || http.ask(Method::GET, "http://app/", &[]);
    let all = async { join_all((0..65).map(|_| ask())).await };
    let serve = async {
        let mut held = Vec::new();
        for _ in 0..64 {
            held.push(app.next().await);
        }
        assert!(!app.has_next().await, "the 65th did not wait");
        held.remove(0).answer("first").await;
        app.next().await.answer("last").await;
        for exchange in held {
            exchange.answer("held").await;
        }
    };
    let (answers, ()) = tokio::join!(all, serve);
    let mut bodies = Vec::new();
    for mut answer in answers {
        bodies.push(read(answer.body_mut()).await.unwrap());
    }
    let count = |body: &[u8]| bodies.iter().filter(|read| *read == body).count();
    assert_eq!((count(b"first"), count(b"held"), count(b"last")), (1, 63, 1));
}

#[tokio::test]
async fn too_many_headers_are_refused_and_the_session_lives() {
    let World { app, http, host: _host, .. } = World::start().await;
    let long = "x".repeat(20 * 1024);
    let refused = http.ask(Method::GET, "http://app/", &[("x-long", &long)]).await;
    assert_eq!(refused.status(), 431);
    let fits = "y".repeat(14 * 1024);
    let headers = [("x-fits", &*fits)];
    let ask = http.ask(Method::GET, "http://app/", &headers);
    let serve = async {
        let exchange = app.next().await;
        assert!(exchange.head.contains(&fits), "it reached the app as it was");
        exchange.answer("fine").await;
    };
    let (mut answer, ()) = tokio::join!(ask, serve);
    assert_eq!(read(answer.body_mut()).await.unwrap(), b"fine");
    assert!(!app.has_next().await, "what was refused did not reach the app");
}

#[tokio::test]
async fn trailers_pass_both_ways_but_not_those_that_name_the_device() {
    let World { app, http, host: _host, .. } = World::start().await;
    let request = Request::post("http://app/").header("te", "trailers");
    let request = request.header("trailer", "x-checksum, x-couplet-device-id");
    let (answer, mut stream) = http.open(request.body(()).unwrap(), false).await;
    stream.send_data(Bytes::from_static(b"data"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "42".parse().unwrap());
    trailers.insert("x-couplet-device-id", "another".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let mut exchange = app.next().await;
    let body = exchange.until("\r\n\r\n").await;
    assert_eq!(body.to_ascii_lowercase(), "4\r\ndata\r\n0\r\nx-checksum: 42\r\n\r\n");
    exchange
        .send(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nx-sum: 43\r\n\r\n",
        )
        .await;
    let mut answer = head(answer).await;
    assert_eq!(read(answer.body_mut()).await.unwrap(), b"ok");
    let trailers = answer.body_mut().trailers().await.unwrap().unwrap();
    assert_eq!(trailers["x-sum"], "43");
}

#[tokio::test]
async fn who_does_not_read_holds_the_app_back() {
    let World { app, http, host, .. } = World::start().await;
    let before = host.peak_memory_kib();
    let mut slow = Vec::new();
    for _ in 0..2 {
        let (ask, mut exchange) = tokio::join!(http.ask(Method::GET, "http://app/", &[]), async {
            let mut exchange = app.next().await;
            exchange.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await;
            exchange
        });
        let sent = exchange.fill(4 * UNDER_WAY).await;
        assert!(sent < UNDER_WAY, "the app was not held back after {sent} bytes");
        slow.push((ask, exchange, sent));
    }
    let grown = host.peak_memory_kib() - before;
    assert!(grown < 8 * 1024, "the host grew by {grown} KiB");
    // Nothing of it is lost.
    for (mut answer, exchange, sent) in slow {
        drop(exchange);
        assert_eq!(read(answer.body_mut()).await.unwrap().len(), sent);
    }
}

#[tokio::test]
async fn an_app_that_does_not_read_holds_the_device_back() {
    let World { app, http, host, .. } = World::start().await;
    let before = host.peak_memory_kib();
    let (answer, mut stream) = http.upload().await;
    let mut exchange = app.next().await;
    let sent = fill(&mut stream, 0, 4 * UNDER_WAY).await;
    assert!(sent < UNDER_WAY, "the device was not held back after {sent} bytes");
    let grown = host.peak_memory_kib() - before;
    assert!(grown < 8 * 1024, "the host grew by {grown} KiB");
    // One upload that is stuck does not hold up another request.
    let (mut other, ()) = tokio::join!(http.ask(Method::GET, "http://app/", &[]), async {
        app.next().await.answer("other").await;
    });
    assert_eq!(read(other.body_mut()).await.unwrap(), b"other");
    let total = sent + 3 * MIB;
    let (got, sent) = tokio::join!(exchange.until("\r\n0\r\n\r\n"), async {
        let mut sent = sent;
        while sent < total {
            sent = fill(&mut stream, sent, total).await;
        }
        stream.send_data(Bytes::new(), true).unwrap();
        sent
    });
    assert_eq!(sent, total);
    assert!(got.len() > total);
    exchange.answer("all").await;
    assert_eq!(read(head(answer).await.body_mut()).await.unwrap(), b"all");
}

#[tokio::test]
async fn an_unknown_app_is_named_with_those_there_are() {
    let (one, two) = (TestApp::start().await, TestApp::start().await);
    let host = TestHost::start(|setup| {
        setup.app(format!("one={}", one.url())).app(format!("two={}", two.url()));
    })
    .await;
    let (_, http) = session(&host).await;
    let answer = http.ask(Method::GET, "http://app/", &[("couplet-app", "three")]).await;
    let problem = refused(answer, Code::NoSuchApp).await;
    assert!(problem.detail.contains("one, two"), "{}", problem.detail);
    // A second name is no choice.
    let twice = [("couplet-app", "one"), ("couplet-app", "two")];
    assert!(http.ask(Method::GET, "http://app/", &twice).await.status().is_client_error());
    assert_eq!(http.ask(Method::GET, "http://app/", &[("couplet-app", "two")]).await.status(), 200);
    assert_eq!((one.requests().len(), two.requests().len()), (0, 1));
    assert!(!two.last_request().headers.contains_key("couplet-app"));
}

/// Each route of the host that is the owner's, as the OpenAPI document lists them.
fn owner_routes() -> Vec<(Method, String)> {
    let text = std::fs::read_to_string(e2e::repository().join("spec/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, route) in methods.as_object().unwrap() {
            let security = route["security"].as_array();
            if security.is_some_and(|security| security.iter().any(|way| way.get("owner").is_some())) {
                routes.push((method.to_uppercase().parse().unwrap(), path.clone()));
            }
        }
    }
    routes
}

#[tokio::test]
async fn the_host_itself_answers_for_the_device_and_never_for_the_owner() {
    let World { app, http, host, device_id } = World::start().await;
    let mut me = http.ask(Method::GET, "http://couplet.internal/api/pair/me", &[]).await;
    let me: Value = serde_json::from_slice(&read(me.body_mut()).await.unwrap()).unwrap();
    assert_eq!((&me["device_id"], &me["device_name"]), (&json!(device_id), &json!("iPad")));
    assert_eq!(http.ask(Method::GET, "http://couplet.internal/health", &[]).await.status(), 200);

    let routes = owner_routes();
    assert!(routes.len() >= 9, "{routes:?}");
    let token = format!("Bearer {}", host.admin_token());
    let own = [("authorization", &*token), ("couplet-app", "app")];
    for (method, path) in &routes {
        let path = path.replace("{id}", &device_id);
        for authority in ["couplet.internal", "COUPLET.Internal:80"] {
            for headers in [&own[..], &[]] {
                let answer = http.ask(method.clone(), &format!("http://{authority}{path}"), headers).await;
                refused(answer, Code::NoSuchRoute).await;
            }
        }
    }
    for path in ["/api/pair/me/../devices", "//api/pair/devices", "/api/pair/me/", "/api/pair/tunnel", "/pair"] {
        let answer = http.ask(Method::GET, &format!("http://couplet.internal{path}"), &own).await;
        refused(answer, Code::NoSuchRoute).await;
    }
    let answer = http.ask(Method::PUT, "http://couplet.internal/api/pair/me", &own).await;
    refused(answer, Code::MethodNotAllowed).await;
    let mut upgrade = Request::connect("http://couplet.internal/api/pair/events").body(()).unwrap();
    upgrade.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (answer, _) = http.open(upgrade, false).await;
    refused(head(answer).await, Code::NoSuchRoute).await;
    assert!(!app.has_next().await, "none of it reached the app");
    // Nothing has happened to the device, and it may still end its own pairing.
    assert_eq!(http.ask(Method::GET, "http://couplet.internal/api/pair/me", &[]).await.status(), 200);
    let (answer, _) = http.open(Request::delete("http://couplet.internal/api/pair/me").body(()).unwrap(), true).await;
    let ending = http.link.ended();
    let revoked = host.event("device.revoked", |event| event["device_id"] == device_id.as_str());
    let (_, ending, _) = tokio::join!(answer, ending, revoked);
    assert_eq!(format!("{ending:?}"), "Closed(Revoked)");
}

/// A new name counts from the next request on; a narrower scope ends the session, and holds in the next.
#[tokio::test]
async fn a_new_name_and_a_narrower_scope_count_at_once() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let device = TestDevice::new("iPad");
    let link = host.generate().await.link;
    let (grant, sealed) = device.pair(host.pairing_url(), &link).await;
    let http = Http2::over(sealed).await;
    let path = format!("/api/pair/devices/{}", grant.device_id);
    let change = async |change: Value| {
        let _: Value = host.owner().expect(Method::PATCH, &path, 200, Some(change)).await;
    };
    let name = async || {
        assert_eq!(http.ask(Method::GET, "http://app/echo", &[]).await.status(), 200);
        app.last_request().headers["x-couplet-device-name"].to_str().unwrap().to_owned()
    };
    assert_eq!(name().await, "iPad");
    change(json!({ "device_name": "Kitchen" })).await;
    assert_eq!(name().await, "Kitchen");

    let mut endless = http.ask(Method::GET, "http://app/endless", &[]).await;
    let began = std::time::Instant::now();
    change(json!({ "scope": { "read_only": true } })).await;
    while let Ok(Some(_)) = e2e::http2::chunk(endless.body_mut()).await {}
    let took = began.elapsed();
    assert!(took < soon(std::time::Duration::from_secs(1)), "{took:?}");
    let sealed = device.reconnect(host.pairing_url(), &e2e::device::keys(&link, &grant)).await.unwrap();
    let http = Http2::over(sealed).await;
    assert_eq!(http.ask(Method::GET, "http://app/echo", &[]).await.status(), 200);
    refused(http.ask(Method::POST, "http://app/echo", &[]).await, Code::MethodOutOfScope).await;
}
