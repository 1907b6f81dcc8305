//! The gateway in front of a real app: what passes, what does not, and what ends when a device's access does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

mod app_headers;
mod authz;
mod bearer;
mod ends;
mod forward_auth;
mod jupyter;
mod library;
mod limits;
mod signed;
mod smuggling;
mod streams;
mod unsent;

use couplet_protocol::Code;
use couplet_protocol::api::DeviceCredential;
use e2e::host::Caller;
use e2e::raw::{Answer, Raw, RawServer, ask};
use e2e::websocket::{WebSocket, tungstenite};
use e2e::{TestApp, TestHost, pattern, problem, websocket};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

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
