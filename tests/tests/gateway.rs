//! The gateway in front of a real app: what passes, what does not, and what ends when a device's access does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

use std::time::{Duration, Instant};

use couplet_protocol::Code;
use couplet_protocol::api::DeviceCredential;
use e2e::app::SeenRequest;
use e2e::host::{Caller, PATIENCE};
use e2e::raw::{Answer, Raw, RawServer, ask};
use e2e::websocket::{self, WebSocket, tungstenite};
use e2e::{TestApp, TestHost, eventually, free_port, pattern, problem};
use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Held by the tests that measure time or memory, so that they do not measure each other.
static QUIET: Mutex<()> = Mutex::const_new(());

/// A host, an app behind it, and a device.
struct World {
    app: TestApp,
    host: TestHost,
    device: DeviceCredential,
}

impl World {
    async fn start() -> Self {
        let app = TestApp::start().await;
        let host = TestHost::start(|setup| {
            setup.app(app.url());
        })
        .await;
        let device = host.add_device("Phone").await;
        World { app, host, device }
    }

    fn url(&self) -> &str {
        self.host.gateway_url("app")
    }

    fn caller(&self) -> Caller {
        self.host.through_gateway("app", Some(&self.device.device_token))
    }

    /// The device's credential as a header line.
    fn auth(&self) -> String {
        bearer(&self.device)
    }

    /// Sends a request line and header lines, with the device's credential, as they are.
    async fn ask(&self, line: &str, headers: &[&str]) -> Answer {
        let headers: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
        ask(self.url(), format!("{line} HTTP/1.1\r\nHost: h\r\n{}{headers}Connection: close\r\n\r\n", self.auth()))
            .await
    }

    async fn update(&self, device: &DeviceCredential, change: Value) {
        let path = format!("/api/pair/devices/{}", device.device_id);
        let _: Value = self.host.owner().expect(Method::PATCH, &path, 200, Some(change)).await;
    }
}

fn bearer(device: &DeviceCredential) -> String {
    format!("Authorization: Bearer {}\r\n", device.device_token)
}

async fn open_socket(url: &str, device: &DeviceCredential) -> Result<WebSocket, tungstenite::Error> {
    let authorization = format!("Bearer {}", device.device_token);
    websocket::connect(&format!("{url}/ws"), &[("authorization", &authorization)]).await
}

/// A host in front of a server that answers every request with the same bytes.
async fn before_raw(answer: &'static str) -> (RawServer, TestHost, DeviceCredential) {
    let server = RawServer::start(answer).await;
    let host = TestHost::start(|setup| {
        setup.app(server.url());
    })
    .await;
    let device = host.add_device("Phone").await;
    (server, host, device)
}

#[tokio::test]
async fn nothing_passes_without_a_credential() {
    let world = World::start().await;
    let (admin, token) = (world.host.admin_token(), &world.device.device_token);
    let other = format!("dev_{}", "A".repeat(32));
    for (headers, code) in [
        (String::new(), Code::DeviceRequired),
        (format!("Cookie: couplet_session={token}; token={token}"), Code::DeviceRequired),
        (format!("Authorization: Basic {token}"), Code::DeviceRequired),
        (format!("Authorization: {token}"), Code::DeviceRequired),
        (format!("Authorization: Bearer {other}"), Code::DeviceUnknown),
        (format!("Authorization: Bearer {token}A"), Code::DeviceUnknown),
        ("Authorization: Bearer ".to_owned(), Code::DeviceRequired),
        (format!("Authorization: Bearer {admin}"), Code::OwnerIsNoDevice),
        (format!("Couplet-Token: {admin}"), Code::OwnerIsNoDevice),
        (format!("Couplet-Token: {other}"), Code::DeviceUnknown),
        // The stranger of the two headers decides.
        (format!("Couplet-Token: {other}\r\nAuthorization: Bearer {token}"), Code::DeviceUnknown),
        (format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}"), Code::DuplicateHeader),
        ("X-Couplet-Device-Id: 0190a8f0-0000-7000-8000-000000000000".to_owned(), Code::DeviceRequired),
    ] {
        for line in [format!("GET /echo?token={token}"), "POST /upload".to_owned(), "OPTIONS *".to_owned()] {
            let end = if headers.is_empty() { "" } else { "\r\n" };
            let request = format!("{line} HTTP/1.1\r\nHost: h\r\n{headers}{end}Connection: close\r\n\r\n");
            let answer = ask(world.url(), request).await;
            assert_eq!(answer.status, code.status(), "{headers}: {}", String::from_utf8_lossy(&answer.body));
            problem::expect_raw(&answer, code);
        }
    }
    let answer = world.host.through_gateway("app", None).get("/").send().await.unwrap();
    assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    let refused = websocket::connect(&format!("{}/ws", world.url()), &[]).await;
    assert!(matches!(refused, Err(tungstenite::Error::Http(answer)) if answer.status() == 401));
    assert_eq!(world.app.requests().len(), 0);

    assert_eq!(world.caller().get("/").send().await.unwrap().text().await.unwrap(), "hello\n");
}

#[tokio::test]
async fn nothing_of_ours_shadows_the_apps_paths() {
    let world = World::start().await;
    for path in ["/health", "/pair", "/api/pair/devices", "/api/pair/me", "/api/openapi.json", "/nowhere"] {
        let answer = world.caller().get(path).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (404, ""), "{path}");
        assert_eq!(world.app.last_request().uri, path);
    }
}

#[tokio::test]
async fn every_method_path_and_body_passes_unchanged() {
    let world = World::start().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "MKCOL", "REPORT", "x-y"] {
        let answer = world.ask(&format!("{method} /echo/a"), &[]).await;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let echo: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{method}: {error}: {body}"));
        assert_eq!((answer.status, &echo["method"]), (200, &json!(method)));
    }
    for target in [
        "/echo/a?b=c&b=c&=&&d",
        "/echo/%2e%2E/%2f%5C%00",
        "/echo/a/../b/./c",
        "/echo//double///slashes/",
        "/echo/semi;colon=1;/x",
        "/echo/~!$&'()*+,=:@|^{}\"",
        "/echo/%E2%82%AC?q=%20+%25&../x",
        "/echo/x?",
        "/echo?http://x/y",
    ] {
        let answer = world.ask(&format!("GET {target}"), &[]).await;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let echo: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{target}: {error}: {body}"));
        assert_eq!((answer.status, &echo["uri"]), (200, &json!(target)));
    }
    assert_eq!(world.ask("OPTIONS *", &[]).await.status, 404, "the app's own answer");
    assert_eq!(
        (world.app.last_request().method, world.app.last_request().uri.to_string()),
        (Method::OPTIONS, "*".into())
    );

    let size = 3_000_017_u64;
    for method in [Method::POST, Method::PUT] {
        let bytes: Vec<u8> = pattern::stream(size).map(|chunk| chunk.unwrap().to_vec()).concat().await;
        let chunked = reqwest::Body::wrap_stream(pattern::stream(size));
        for body in [bytes.into(), chunked] {
            let answer = world.caller().request(method.clone(), "/upload").body(body).send().await.unwrap();
            assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "bytes": size, "intact": true }));
        }
    }
    let headers = world.app.last_request().headers;
    assert!(headers.contains_key("transfer-encoding") && !headers.contains_key("content-length"), "{headers:?}");
    let answer = world.caller().get(&format!("/download/{size}")).send().await.unwrap();
    assert_eq!(answer.content_length(), Some(size));
    let download = answer.bytes().await.unwrap();
    assert!(download.len() as u64 == size && pattern::matches(0, &download));
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let world = World::start().await;
    let mut connection = Raw::connect(world.url()).await;
    for _ in 0..2 {
        connection.send(format!("HEAD /download/4711 HTTP/1.1\r\nHost: h\r\n{}\r\n", world.auth())).await;
        let head = connection.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 4711\r\n"), "{head}");
    }
    connection.send(format!("GET /download/3 HTTP/1.1\r\nHost: h\r\n{}\r\n", world.auth())).await;
    assert_eq!(connection.answer().await.body, pattern::chunk(0, 3));
}

#[tokio::test]
async fn the_app_is_told_the_device() {
    let world = World::start().await;
    let offer = world.host.generate().await;
    let body =
        json!({ "pair_token": offer.pair_token.expose(), "device_name": "Zoë’s 📱", "device_model": "Pixel 9\"," });
    let device: DeviceCredential =
        world.host.anyone().expect(Method::POST, "/api/pair/exchange", 200, Some(body)).await;
    let forged = "X-Couplet-Device-Id: forged\r\nx-couplet-device-name: forged\r\nX-COUPLET-DEVICE-MODEL: forged\r\n\
                  X_Couplet_Device_Id: forged\r\nX-Couplet_Device-Name: forged\r\nx_couplet_device_model: forged\r\n\
                  X-Couplet-Device-Id: again\r\nX-Couplet-Anything: forged\r\nX_COUPLET_OWNER: forged\r\n";
    let tell = async |device: &DeviceCredential| {
        let auth = bearer(device);
        let request = format!("GET /echo HTTP/1.1\r\nHost: h\r\n{auth}{forged}Connection: close\r\n\r\n");
        assert_eq!(ask(world.url(), request).await.status, 200);
        let headers = world.app.last_request().headers;
        let ours = headers.iter().filter(|(name, _)| name.as_str().replace('_', "-").starts_with("x-couplet"));
        let mut ours: Vec<_> = ours.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        ours.sort();
        ours
    };
    assert_eq!(
        tell(&device).await,
        [
            format!("x-couplet-device-id: {}", device.device_id),
            "x-couplet-device-model: Pixel%209%22%2C".to_owned(),
            "x-couplet-device-name: Zo%C3%AB%E2%80%99s%20%F0%9F%93%B1".to_owned(),
        ]
    );
    // A device without a model has none, whatever is forged.
    let told = tell(&world.device).await;
    let id = format!("x-couplet-device-id: {}", world.device.device_id);
    assert_eq!(told, [id, "x-couplet-device-name: Phone".to_owned()]);
}

#[tokio::test]
async fn the_credential_stays_with_us() {
    let world = World::start().await;
    let token = &world.device.device_token;
    let all = |headers: &reqwest::header::HeaderMap| format!("{headers:?}");
    assert_eq!(world.ask("GET /echo", &[]).await.status, 200);
    let headers = world.app.last_request().headers;
    assert!(!headers.contains_key("authorization") && !all(&headers).contains(token), "{headers:?}");

    let http = reqwest::Client::new();
    let own = http.get(format!("{}/echo", world.url())).header("couplet-token", token).basic_auth("zoe", Some("pw"));
    assert_eq!(own.send().await.unwrap().status(), 200);
    let headers = world.app.last_request().headers;
    assert_eq!(headers["authorization"], "Basic em9lOnB3");
    assert!(!all(&headers).contains(token) && !headers.contains_key("couplet-token"), "{headers:?}");

    // A second one of ours goes nowhere: it is the owner's or another device's.
    for second in [format!("dev_{}", "A".repeat(32)), format!("adm_{}", "A".repeat(43)), "a".repeat(32)] {
        let request = format!(
            "GET /echo HTTP/1.1\r\nHost: h\r\nCouplet-Token: {token}\r\nAuthorization: Bearer {second}\r\n\
             Connection: close\r\n\r\n"
        );
        assert_eq!(ask(world.url(), request).await.status, 200);
        assert!(!all(&world.app.last_request().headers).contains(&second));
    }
    let headers = world.app.last_request().headers;
    assert!(!all(&headers).contains(token), "{headers:?}");
}

#[tokio::test]
async fn the_app_learns_who_asked_and_under_which_name() {
    let world = World::start().await;
    let forged = [
        "X-Forwarded-For: 203.0.113.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.test",
        "X-Forwarded-Port: 1",
        "X_Forwarded_For: 203.0.113.7",
        "Forwarded: for=203.0.113.7",
        "X-Real-IP: 203.0.113.7",
    ];
    let request = |host: &str| {
        let forged = forged.join("\r\n");
        format!("GET /echo HTTP/1.1\r\nHost: {host}\r\n{}{forged}\r\nConnection: close\r\n\r\n", world.auth())
    };
    for host in ["photos.example.test", "photos.example.test:8080", "[::1]:99"] {
        assert_eq!(ask(world.url(), request(host)).await.status, 200);
        let headers = world.app.last_request().headers;
        assert_eq!(headers["host"], host, "unchanged");
        assert_eq!(
            (&headers["x-forwarded-for"], &headers["x-forwarded-host"]),
            (&"127.0.0.1".parse().unwrap(), &host.parse().unwrap())
        );
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert!(
            !format!("{headers:?}").contains("203.0.113.7") && !headers.contains_key("x-forwarded-port"),
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn a_configured_proxys_word_counts() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url()).env("COUPLET_TRUSTED_PROXIES", "127.0.0.0/8");
    })
    .await;
    let device = host.add_device("Phone").await;
    let request = host.through_gateway("app", Some(&device.device_token)).get("/echo");
    let request = request.header("x-forwarded-for", "192.168.5.1").header("x-forwarded-proto", "https");
    let request = request.header("x-forwarded-host", "photos.example.test").header("x_forwarded_for", "forged");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let headers = app.last_request().headers;
    assert_eq!(
        (&headers["x-forwarded-for"], &headers["x-forwarded-proto"]),
        (&"192.168.5.1, 127.0.0.1".parse().unwrap(), &"https".parse().unwrap())
    );
    assert_eq!(headers["x-forwarded-host"], "photos.example.test");
    assert!(!headers.contains_key("x_forwarded_for"), "{headers:?}");
}

#[tokio::test]
async fn what_belongs_to_one_hop_stays_there() {
    let (server, host, device) = before_raw(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: close\r\nUpgrade: h2c\r\nX-End: 1\r\n\r\nok",
    )
    .await;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: h\r\n{}Connection: X-Hop, Keep-Alive, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
         Proxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nX-End: 1\r\n\r\n",
        bearer(&device)
    );
    let answer = ask(host.gateway_url("app"), request).await;
    assert_eq!((answer.status, answer.body.as_slice(), answer.header("x-end")), (200, b"ok".as_slice(), Some("1")));
    for name in ["x-hop", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(answer.header(name), None, "{:?}", answer.headers);
    }
    let got = server.got_once().to_lowercase();
    assert!(got.contains("\r\nx-end: 1\r\n"), "{got}");
    for name in ["x-hop", "keep-alive", "proxy-connection", "te:", "upgrade", "connection:"] {
        assert!(!got.contains(&format!("\r\n{name}")), "{name}: {got}");
    }
}

#[tokio::test]
async fn our_cookie_passes_in_neither_direction() {
    let (server, host, device) = before_raw(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: couplet_session=planted\r\n\
         Set-Cookie: Couplet_Session =planted; Path=/\r\nSet-Cookie: b=2\r\n\r\n",
    )
    .await;
    let cookies = "Cookie: a=1; couplet_session=secret; b=2\r\nCookie: couplet_session=secret";
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{}{cookies}\r\nConnection: close\r\n\r\n", bearer(&device));
    let answer = ask(host.gateway_url("app"), request).await;
    let set: Vec<_> = answer.headers.iter().filter(|(n, _)| n == "set-cookie").map(|(_, v)| v.as_str()).collect();
    assert_eq!(set, ["a=1; Path=/", "b=2"]);
    let got = server.got_once();
    assert!(got.contains("cookie: a=1; b=2\r\n") && !got.contains("secret"), "{got}");
}

#[tokio::test]
async fn a_device_that_may_only_read_only_reads() {
    let world = World::start().await;
    world.update(&world.device, json!({ "scope": { "read_only": true } })).await;
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(world.ask(&format!("{method} /echo"), &[]).await.status, 200, "{method}");
    }
    let seen = world.app.requests().len();
    for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "MKCOL", "TRACE", "get"] {
        problem::expect_raw(&world.ask(&format!("{method} /echo"), &[]).await, Code::MethodOutOfScope);
        let overridden = ["X-HTTP-Method-Override: GET", "Content-Length: 0"];
        problem::expect_raw(&world.ask(&format!("{method} /echo"), &overridden).await, Code::MethodOutOfScope);
    }
    let refused = open_socket(world.url(), &world.device).await;
    assert!(matches!(refused, Err(tungstenite::Error::Http(answer)) if answer.status() == 403));
    assert_eq!(world.app.requests().len(), seen);
}

#[tokio::test]
async fn a_device_stays_within_its_paths() {
    let world = World::start().await;
    world.update(&world.device, json!({ "scope": { "paths": ["/echo/a", "/ws"] } })).await;
    for path in ["/echo/a", "/echo/a/", "/echo/a/b", "/echo/a?x=../../b", "/echo/a/..."] {
        assert_eq!(world.ask(&format!("POST {path}"), &[]).await.status, 200, "{path}");
    }
    // Headers by which an app would take the request for another one do not reach it.
    let overrides = ["X-HTTP-Method-Override: DELETE", "X_Original_URL: /admin", "X-Rewrite-URL: /admin", "X-Fine: 1"];
    assert_eq!(world.ask("POST /echo/a", &overrides).await.status, 200);
    let names: Vec<String> = world.app.last_request().headers.keys().map(ToString::to_string).collect();
    assert!(names.contains(&"x-fine".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("override") || name.contains("url")), "{names:?}");
    open_socket(world.url(), &world.device).await.unwrap();
    let seen = world.app.requests().len();
    for path in ["/", "/echo", "/echo/ab", "/echo/A", "/wsx", "http://h/echo"] {
        problem::expect_raw(&world.ask(&format!("GET {path}"), &[]).await, Code::PathOutOfScope);
    }
    for path in [
        "/echo/a/../b",
        "/echo/a/..",
        "/echo/a/./b",
        "/echo/a/%2e%2e/b",
        "/echo/a%2fb",
        "/echo/%61",
        "/echo//a",
        "/echo/a//b",
        "/echo/a/..;/b",
        "/echo/a;x=1",
        "/echo/a\\..\\b",
        "/../echo/a",
        "http://h/echo/a/../b",
    ] {
        problem::expect_raw(&world.ask(&format!("GET {path}"), &[]).await, Code::PathAmbiguous);
    }
    assert_eq!(world.app.requests().len(), seen);
}

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

/// What a strict server makes of the bytes that reached it: one request and nothing after it, framed in one way.
fn is_one_request(got: &str) -> Result<(), String> {
    let (head, mut body) = got.split_once("\r\n\r\n").ok_or("no end of the head")?;
    if head.split("\r\n").any(|line| line.contains(['\r', '\n', '\0'])) {
        return Err("a bare CR, LF or NUL in the head".to_owned());
    }
    let mut lines = head.split("\r\n");
    lines.next();
    let fields: Vec<(String, &str)> = lines
        .map(|line| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim())))
        .collect::<Option<_>>()
        .ok_or("a line that is no header")?;
    if fields.iter().any(|(name, _)| name.is_empty() || name.contains([' ', '\t'])) {
        return Err("a name with spaces".to_owned());
    }
    let of = |wanted: &str| fields.iter().filter(|(name, _)| name == wanted).map(|(_, v)| *v).collect::<Vec<_>>();
    match (of("content-length").as_slice(), of("transfer-encoding").as_slice()) {
        ([], []) => {}
        ([length], []) => body = body.get(length.parse::<usize>().map_err(|e| e.to_string())?..).unwrap_or(""),
        ([], ["chunked"]) => loop {
            let Some((size, rest)) = body.split_once("\r\n") else { break body = "" };
            let size = usize::from_str_radix(size, 16).map_err(|_| format!("chunk size {size:?}"))?;
            match rest.get(size..) {
                Some(rest) if size == 0 => break body = rest.strip_prefix("\r\n").unwrap_or(rest),
                Some(rest) => body = rest.strip_prefix("\r\n").ok_or("a chunk without its end")?,
                None => break body = "",
            }
        },
        (lengths, codings) => return Err(format!("framed as {lengths:?} and {codings:?}")),
    }
    if body.is_empty() { Ok(()) } else { Err(format!("{body:?} after the request")) }
}

#[test]
fn two_requests_are_told_from_one() {
    for one in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        assert_eq!(is_one_request(one), Ok(()));
        assert!(is_one_request(&format!("{one}GET /smuggled HTTP/1.1\r\n\r\n")).is_err());
    }
    assert!(
        is_one_request("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").is_err()
    );
    assert!(is_one_request("GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n").is_err());
}

#[tokio::test]
async fn no_request_hides_in_another() {
    let (server, host, device) = before_raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let length = smuggled.len();
    let shapes = [
        format!("Content-Length: {}\r\n{chunked}\r\n0\r\n\r\n{smuggled}", length + 5),
        format!("{chunked}Content-Length: {}\r\n\r\n0\r\n\r\n{smuggled}", length + 5),
        format!("{chunked}Content-Length: 0\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{smuggled}"),
        format!("Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Content-Length: 0, {length}\r\n\r\n{smuggled}"),
        format!("Content-Length: +{length}\r\n\r\n{smuggled}"),
        format!("Content-Length: -1\r\n\r\n{smuggled}"),
        format!("Content-Length: 0x{length:x}\r\n\r\n{smuggled}"),
        format!("Content-Length : {length}\r\n\r\n{smuggled}"),
        format!("Content_Length: {length}\r\n\r\n{smuggled}"),
        format!("Content-Length: {length}\n\n{smuggled}"),
        format!("X: a\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("X: a\rContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("X: a\r\n Content-Length: {length}\r\n\r\n{smuggled}"),
        format!("X:\r\n\tContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Content-Length:\r\n {length}\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding : chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: xchunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: \x0bchunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: identity\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{chunked}{chunked}\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Connection: Content-Length\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Connection: Transfer-Encoding\r\n{chunked}\r\n0\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n0\n\n{smuggled}"),
        format!("{chunked}\r\n0;\nx\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n1;a=\"\r\n\"\r\nx\r\n0\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n-1\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n10000000000000000\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n2\r\nabX\r\n0\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n0\r\nX: y\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("X: a\0b\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
    ];
    for line in ["POST / HTTP/1.1", "GET / HTTP/1.1", "POST / HTTP/1.0"] {
        for shape in &shapes {
            let mut connection = Raw::connect(host.gateway_url("app")).await;
            connection.send(format!("{line}\r\nHost: h\r\n{}{shape}", bearer(&device))).await;
            // Nothing more comes, so whatever the gateway makes of it is over once it has answered or hung up.
            connection.finish().await;
            let _ = connection.end().await;
        }
    }
    let got = server.got();
    assert!(got.len() >= 6, "some of them are requests: {}", got.len());
    // A connection to the app may be made for a request that then turns out to be none.
    for got in got.into_iter().filter(|got| !got.is_empty()) {
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(!got.starts_with("GET /smuggled"), "{got}");
        assert_eq!(is_one_request(&got), Ok(()), "{got:?}");
    }
}
