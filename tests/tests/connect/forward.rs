//! The forwarder of `couplet connect`: unmodified programs use the app through a session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::host::{Caller, PATIENCE};
use e2e::laptop::curl;
use e2e::pace::soon;
use e2e::websocket::{self, tungstenite};
use e2e::{Forwarder, Laptop, Running, TestApp, TestHost, eventually, free_port, pattern};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};

/// A host with an app, and a laptop that is connected with it.
struct World {
    app: TestApp,
    host: TestHost,
    laptop: Laptop,
    forwarder: Forwarder,
}

impl World {
    async fn start() -> Self {
        let app = TestApp::start().await;
        // Besides the usual one, an address that stays the same when the host is started again.
        let host = TestHost::start(|setup| {
            setup.app(app.url()).arg("--listen").arg(format!("127.0.0.1:{}", free_port()));
        })
        .await;
        let laptop = Laptop::new();
        let forwarder = laptop.pair(&host).await;
        World { app, host, laptop, forwarder }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.forwarder.url())
    }

    async fn curl(&self, path: &str, args: &[&str]) -> String {
        Running::start(curl(&[&[&*self.url(path)], args].concat())).succeeds(2 * PATIENCE).await
    }

    /// A download under way.
    async fn download(&self) -> Running {
        let curl = Running::start(curl(&[&self.url("/endless"), "--fail", "--output", "/dev/null"]));
        eventually("the download runs", PATIENCE, async || {
            self.app.requests().iter().any(|request| request.uri.path() == "/endless")
        })
        .await;
        curl
    }

    async fn revoke(&self) {
        let path = format!("/api/pair/devices/{}", self.forwarder.device_id());
        assert_eq!(self.host.owner().delete(&path).send().await.unwrap().status(), 204);
    }
}

#[tokio::test]
async fn curl_uses_the_app_as_it_is() {
    let world = World::start().await;
    assert_eq!(world.curl("/", &[]).await, "hello\n");
    let echo = world.curl("/echo/a%20b?c=d", &["-X", "PROPFIND", "-H", "X-Mine: 1", "-H", "Couplet-App: other"]).await;
    let echo: Value = serde_json::from_str(&echo).unwrap();
    assert_eq!((&echo["method"], &echo["uri"]), (&json!("PROPFIND"), &json!("/echo/a%20b?c=d")));
    let headers = &echo["headers"];
    // The app sees the address that the program used, and which device it is.
    assert_eq!(headers["host"], json!([world.forwarder.url().strip_prefix("http://").unwrap()]));
    assert_eq!(headers["x-couplet-device-id"], json!([world.forwarder.device_id()]));
    assert_eq!(
        (&headers["x-mine"], &headers["couplet-app"], &headers["authorization"]),
        (&json!(["1"]), &Value::Null, &Value::Null)
    );

    let cookies = world.curl("/cookies", &["--head", "-X", "GET"]).await;
    assert!(cookies.contains("app=1; Path=/") && cookies.contains("theme=dark; Path=/"), "{cookies}");
    let trailers = world.curl("/trailers", &["-H", "TE: trailers", "--raw"]).await;
    assert!(trailers.ends_with("0\nx-checksum: 42\n\n"), "{trailers:?}");
    let sse = Running::start(curl(&["-N", &world.url("/sse")]));
    sse.wait_for_line(PATIENCE, |line| line == "data: 2").await;
}

#[tokio::test]
async fn who_expects_100_continue_does_not_wait_for_it_in_vain() {
    let world = World::start().await;
    let began = Instant::now();
    let said = world.curl("/upload", &["-v", "-H", "Expect: 100-continue", "--data", "abc", "--stderr", "-"]).await;
    assert!(said.contains("100 Continue") && said.contains("\"bytes\":3"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_app_is_the_one_that_was_named() {
    let (first, second) = (TestApp::start().await, TestApp::start().await);
    let host = TestHost::start(|setup| {
        setup.app(format!("one={}", first.url())).app(format!("two={}", second.url()));
    })
    .await;
    let laptop = Laptop::new();
    let forwarder = laptop.pair(&host).await;
    assert_eq!(forwarder.caller().get("/").send().await.unwrap().status(), 200);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 0));
    let other = laptop.connect(&["--app", "two"]).await;
    assert_eq!(other.caller().get("/").send().await.unwrap().status(), 200);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    let none = laptop.connect(&["--app", "three"]).await;
    let answer = none.caller().get("/").send().await.unwrap();
    assert_eq!(answer.status(), 404);
    // The forwarder removes the header that programs send, so it is not what to tell them.
    let detail = answer.json::<Value>().await.unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("couplet connect --app NAME") && detail.contains("one, two"), "{detail}");
}

/// What is at one address shares cookies and service workers in a browser, whatever the port.
#[tokio::test]
async fn each_host_and_app_has_an_address_of_its_own() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let host = async |name: &'static str| {
        let host = TestHost::start(|setup| {
            setup.app(format!("one={}", app.url())).app(format!("two={}", app.url())).arg("--name").arg(name);
        })
        .await;
        laptop.pair(&host).await.stop().await;
        host
    };
    let _hosts = [host("Attic").await, host("Cellar").await];
    let address =
        |forwarder: &Forwarder| forwarder.url().strip_prefix("http://").unwrap().parse::<SocketAddr>().unwrap();
    let mut seen = HashMap::new();
    for (name, app) in [("attic", "one"), ("attic", "two"), ("cellar", "one"), ("cellar", "two")] {
        let first = laptop.connect_at_its_own(&[name, "--app", app]).await;
        let second = laptop.connect_at_its_own(&[name, "--app", app]).await;
        let (at, beside) = (address(&first), address(&second));
        assert!(at.port() == 7890 && beside.ip() == at.ip() && beside.port() != 7890, "{at} {beside}");
        assert_eq!(seen.insert(at.ip(), name), None, "{at} is another's too");
        assert_eq!(first.caller().get("/").send().await.unwrap().status(), 200);
        for other in ["localhost:7890", "127.0.0.1:7890"] {
            let answer = first.caller().get("/").header("host", other).send().await.unwrap();
            assert_eq!(answer.status(), 421, "{other}");
        }
        first.stop().await;
        let again = laptop.connect_at_its_own(&[name, "--app", app]).await;
        assert_eq!(address(&again), at, "it stays the same");
    }
}

#[tokio::test]
async fn websockets_pass() {
    let world = World::start().await;
    let mut socket = websocket::connect(&world.url("/ws"), &[]).await.unwrap();
    for message in [websocket::text("ping"), tungstenite::Message::binary(pattern::chunk(0, 60_000).to_vec())] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(tungstenite::Message::Close(_))) | None));
    let refused = websocket::connect(&world.url("/nowhere"), &[]).await;
    assert!(matches!(refused, Err(tungstenite::Error::Http(answer)) if answer.status() == 404));
    // A page of the app's is no WebSocket, and no 101 may say so.
    let no_socket = websocket::connect(&world.url("/"), &[]).await;
    assert!(
        matches!(&no_socket, Err(tungstenite::Error::Http(answer)) if answer.status() == 502),
        "{:?}",
        no_socket.err()
    );
    let other = world.curl("/", &["-H", "Connection: upgrade", "-H", "Upgrade: echo/1", "--include"]).await;
    assert!(other.starts_with("HTTP/1.1 502") && other.contains("CPL-1503"), "{other}");
}

#[tokio::test]
async fn a_gibibyte_passes_both_ways_in_bounded_memory() {
    const GIB: u64 = 1 << 30;
    let world = World::start().await;
    let before = (world.forwarder.running.peak_memory_kib(), world.host.peak_memory_kib());
    let caller = world.forwarder.caller();
    let mut answer = caller.get(&format!("/download/{GIB}")).send().await.unwrap();
    let mut bytes = 0;
    while let Some(chunk) = answer.chunk().await.unwrap() {
        assert!(pattern::matches(bytes, &chunk), "at {bytes}");
        bytes += chunk.len() as u64;
    }
    assert_eq!(bytes, GIB);
    let body = reqwest::Body::wrap_stream(pattern::stream(GIB));
    let answer = caller.post("/upload").body(body).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "bytes": GIB, "intact": true }));
    let after = (world.forwarder.running.peak_memory_kib(), world.host.peak_memory_kib());
    assert!(after.0 - before.0 < 32 * 1024, "the forwarder grew from {} to {} KiB", before.0, after.0);
    assert!(after.1 - before.1 < 32 * 1024, "the host grew from {} to {} KiB", before.1, after.1);
}

#[tokio::test]
async fn revoking_cuts_what_runs_and_the_laptop_is_told() {
    let mut world = World::start().await;
    let mut download = world.download().await;
    let began = Instant::now();
    world.revoke().await;
    assert!(!download.wait(PATIENCE).await.success(), "a part must not look whole");
    let took = began.elapsed();
    assert!(took < soon(Duration::from_secs(1)), "{took:?}");
    world.forwarder.state("revoked").await;
    assert_eq!(world.forwarder.running.wait(PATIENCE).await.code(), Some(4), "{}", world.forwarder.running.written());
    world.forwarder.running.wait_for_error_line(PATIENCE, |line| line.contains("CPL-1603")).await;
    // Proven, and said again to who comes back: the credentials stay until they are forgotten.
    let (code, stdout, stderr) = world.laptop.run(&["--json", "--listen", "127.0.0.1:0"]).await;
    assert!(code == 4 && stdout.contains("\"state\":\"revoked\""), "{code} {stdout} {stderr}");
    assert_eq!(std::fs::read_dir(world.laptop.folder()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_host_that_starts_again_needs_no_new_link() {
    let mut world = World::start().await;
    let mut download = world.download().await;
    world.host.kill().await;
    assert!(!download.wait(PATIENCE).await.success(), "a part must not look whole");
    world.forwarder.state("offline").await;
    world.host.restart().await;
    world.forwarder.state("direct").await;
    assert_eq!(world.curl("/", &[]).await, "hello\n");
    world.host.stop().await;
    let offline = world.forwarder.state("offline").await;
    assert!(offline["reason"].is_string() && offline["since"].is_string(), "{offline}");
    world.host.restart().await;
    world.forwarder.state("direct").await;
    assert_eq!(world.curl("/", &[]).await, "hello\n");
}

#[tokio::test]
async fn without_the_host_programs_are_told() {
    let mut world = World::start().await;
    world.host.stop().await;
    world.forwarder.state("offline").await;
    let answer = world.forwarder.caller().get("/").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &*answer.headers()["content-type"].to_str().unwrap().to_owned()),
        (503, "application/problem+json")
    );
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "CPL-1601");
}

#[tokio::test]
async fn web_pages_of_other_sites_are_kept_out() {
    let world = World::start().await;
    let port = world.forwarder.url().rsplit_once(':').unwrap().1.to_owned();
    let status = async |args: &[&str]| {
        let said = world.curl("/", &[&["-o", "/dev/null", "-w", "%{http_code}"], args].concat()).await;
        said.trim().to_owned()
    };
    // What a page has whose own name leads here (DNS rebinding), and what browsers say of pages.
    for name in ["evil.example", "couplet.internal", "127.0.0.1"] {
        assert_eq!(status(&["-H", &format!("Host: {name}")]).await, "421", "{name}");
    }
    let reached = world.app.requests().len();
    for (site, mode, expected) in [
        ("cross-site", "cors", "403"),
        ("same-site", "no-cors", "403"),
        ("cross-site", "navigate", "200"),
        ("same-origin", "cors", "200"),
        ("none", "navigate", "200"),
    ] {
        let site_header = format!("Sec-Fetch-Site: {site}");
        let mode_header = format!("Sec-Fetch-Mode: {mode}");
        let got = status(&["-H", &site_header, "-H", &mode_header, "-H", "Sec-Fetch-Dest: document"]).await;
        assert_eq!(got, expected, "{site} {mode}");
    }
    assert_eq!(world.app.requests().len(), reached + 3);
    let evil = websocket::connect(&world.url("/ws"), &[("origin", "http://evil.example")]).await;
    assert!(matches!(evil, Err(tungstenite::Error::Http(answer)) if answer.status() == 403));
    let own = format!("http://localhost:{port}");
    let socket = websocket::connect(&world.url("/ws").replace("127.0.0.1", "localhost"), &[("origin", &own)]).await;
    assert!(socket.is_ok());
}

#[tokio::test]
async fn the_devices_own_tokens_and_owner_routes_are_out_of_reach() {
    let world = World::start().await;
    // The app's own paths, not the host's: nothing of the owner's API is behind the forwarder.
    for path in ["/api/pair/devices", "/api/pair/generate"] {
        let answer =
            Caller::new(world.forwarder.url(), Some(&world.host.admin_token())).get(path).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(world.app.last_request().uri, path);
        assert!(
            !world.app.last_request().headers.contains_key("authorization"),
            "the owner's token does not reach an app"
        );
    }
}
