//! Debian's own Caddy and nginx, with the very configurations of `docs/forward-auth.md`, ask the host about every request.

use e2e::host::{Caller, PATIENCE, listens};
use e2e::{Running, Signer, TestApp, TestHost, free_port, program, websocket};
use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

const DEVICE_HEADERS: [&str; 3] = ["x-couplet-device-id", "x-couplet-device-name", "x-couplet-device-model"];

/// The only block of this language in the document, with the ports of this test.
fn block(language: &str, port: u16, host: &TestHost, app: &TestApp) -> String {
    let document = std::fs::read_to_string(e2e::repository().join("docs/forward-auth.md")).unwrap();
    let mut blocks = document.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix(language));
    let block = blocks.next().unwrap_or_else(|| panic!("the document has no block for {language}"));
    assert_eq!(blocks.next(), None, "one block for {language}");
    let pairing = host.pairing_url().trim_start_matches("http://");
    let replaced = [
        ("127.0.0.1:8080", format!("127.0.0.1:{port}")),
        ("127.0.0.1:7878", pairing.to_owned()),
        ("127.0.0.1:3000", app.addr().to_string()),
    ];
    replaced.iter().fold(block.to_owned(), |block, (from, to)| {
        assert!(block.contains(from), "{language}: {from}");
        block.replace(from, to)
    })
}

struct Proxy {
    _running: Running,
    _folder: TempDir,
    url: String,
}

impl Proxy {
    async fn caddy(host: &TestHost, app: &TestApp) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let file = folder.path().join("Caddyfile");
        std::fs::write(&file, format!("{{\n\tadmin off\n}}\n{}", block("caddyfile", port, host, app))).unwrap();
        let mut caddy = program("caddy");
        caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        caddy.env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
        Proxy::started(caddy, folder, port).await
    }

    async fn nginx(host: &TestHost, app: &TestApp) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let file = folder.path().join("nginx.conf");
        let around = format!(
            "daemon off; pid nginx.pid; error_log stderr; worker_processes 1; events {{}}\n\
             http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; \
             uwsgi_temp_path u; scgi_temp_path s;\n{}\n}}\n",
            block("nginx", port, host, app)
        );
        std::fs::write(&file, around).unwrap();
        let mut nginx = program("nginx");
        nginx.args(["-e", "stderr", "-p"]).arg(folder.path()).arg("-c").arg(file);
        Proxy::started(nginx, folder, port).await
    }

    async fn started(command: std::process::Command, folder: TempDir, port: u16) -> Self {
        let running = Running::start(command);
        listens(&format!("127.0.0.1:{port}")).await;
        Proxy { _running: running, _folder: folder, url: format!("http://127.0.0.1:{port}") }
    }

    fn caller(&self, token: Option<&str>) -> Caller {
        Caller::new(&self.url, token)
    }
}

async fn host() -> TestHost {
    TestHost::start(|setup| {
        setup.env("COUPLET_TRUSTED_PROXIES", "127.0.0.0/8");
    })
    .await
}

async fn status(request: reqwest::RequestBuilder) -> u16 {
    request.timeout(PATIENCE).send().await.unwrap().status().as_u16()
}

/// What both proxies must do.
async fn judges_as_the_gateway_does(host: &TestHost, app: &TestApp, proxy: &Proxy) {
    let device = host.pair_device("Zoë’s Gerät").await;
    let (token, id) = (device.device_token.as_str(), device.device_id.to_string());
    let paired = proxy.caller(Some(token));

    // Without a credential, with a wrong one, with the owner's: nothing reaches the app.
    let wrong = format!("dev_{}", "A".repeat(32));
    for token in [None, Some(wrong.as_str()), Some(host.admin_token().as_str())] {
        assert_eq!(status(proxy.caller(token).get("/echo")).await, 401);
    }
    assert!(app.requests().is_empty());

    // With one the app answers, knows the device, and does not see the credential. Nobody told the model: it is empty.
    let seen = async |request: reqwest::RequestBuilder| {
        assert_eq!(status(request).await, 200);
        app.last_request().headers
    };
    let is_told = |headers: &HeaderMap| {
        assert_eq!(headers["x-couplet-device-id"], id);
        assert_eq!(headers["x-couplet-device-name"], "Zo%C3%AB%E2%80%99s%20Ger%C3%A4t");
    };
    let headers = seen(paired.get("/echo")).await;
    is_told(&headers);
    assert!(headers.get("authorization").is_none() && headers.get("couplet-token").is_none(), "{headers:?}");

    // Headers that pose as ours do not reach it, the empty model's neither.
    let forged = DEVICE_HEADERS.iter().fold(paired.get("/echo"), |request, header| {
        request.header(*header, "forged").header(header.replace('-', "_"), "forged")
    });
    let headers = seen(forged).await;
    is_told(&headers);
    assert!(headers.get("x-couplet-device-model").is_none_or(HeaderValue::is_empty), "{headers:?}");
    assert!(headers.iter().all(|(_, value)| value != "forged"), "{headers:?}");

    // As Couplet-Token it leaves Authorization to the app; pages of the app may call it.
    let by_token = proxy.caller(Some("the-apps-own")).post("/echo").header("couplet-token", token);
    let headers = seen(by_token.header("origin", "https://app.example").header("cookie", "a=b").body("text")).await;
    assert_eq!(headers["authorization"], "Bearer the-apps-own");
    assert_eq!(headers["cookie"], "a=b");
    assert!(headers.get("couplet-token").is_none(), "{headers:?}");

    // A device with limits is judged by what it asks of the app, whatever it says about that itself.
    let scope = async |scope: serde_json::Value| {
        let path = format!("/api/pair/devices/{id}");
        let answer = host.owner().patch(&path).json(&json!({ "scope": scope })).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    scope(json!({ "read_only": true, "paths": ["/echo"] })).await;
    assert_eq!(status(paired.get("/echo/within?x=1")).await, 200);
    for (method, path) in [(Method::POST, "/echo"), (Method::GET, "/"), (Method::GET, "/echoes"), (Method::DELETE, "/")]
    {
        let request = paired.request(method.clone(), path);
        let lies = request.header("x-forwarded-method", "GET").header("x-forwarded-uri", "/echo");
        assert_eq!(status(lies).await, 403, "{method} {path}");
    }
    let socket = paired.get("/echo").header("connection", "upgrade").header("upgrade", "websocket");
    assert_eq!(status(socket).await, 403, "a WebSocket writes");
    scope(json!({})).await;
    assert_eq!(status(paired.post("/echo")).await, 200);

    // Without limits, WebSockets pass.
    let authorization = format!("Bearer {token}");
    let url = format!("{}/ws", proxy.url);
    let mut socket = websocket::connect(&url, &[("authorization", &authorization)]).await.unwrap();
    socket.send(websocket::text("hello")).await.unwrap();
    let echo = timeout(PATIENCE, socket.next()).await.expect("the app echoes").unwrap().unwrap();
    assert_eq!(echo, websocket::text("hello"));
    assert_eq!(app.last_request().headers["x-couplet-device-id"], id);

    // Watches sign for the proxy's address; the challenge goes both ways, and the app sees none of it.
    let watch = Signer::start().key().pair(host, "Watch").await;
    let reached = app.requests().len();
    let echo = watch.gets(&proxy.url, "/echo/a?b=c", 200).await;
    assert!(echo.contains(&watch.id) && watch.challenge().is_some(), "{echo}");
    assert!(!app.last_request().headers.contains_key("x-couplet-challenge"), "{echo}");
    let request = watch.signed(&proxy.url, "GET", "/echo", b"", |_| ());
    assert_eq!(request.outcome().await.0, 200);
    assert_eq!(request.outcome().await.0, 401, "once");
    let mut elsewhere = watch.signed(&proxy.url, "GET", "/echo", b"", |_| ());
    elsewhere.url.set_path("/echo/other");
    assert_eq!(elsewhere.outcome().await.0, 401);
    // Nobody here sees a body, so none is signed for.
    for (method, body) in [("POST", &b""[..]), ("DELETE", b""), ("PUT", b"x"), ("GET", b"x")] {
        let status = watch.signed(&proxy.url, method, "/echo", body, |_| ()).outcome().await.0;
        assert_eq!(status, 401, "{method}");
    }
    assert_eq!(app.requests().len(), reached + 2);

    // Revoked is revoked.
    host.revoke(&device).await;
    assert_eq!(status(paired.get("/echo")).await, 401);
}

#[tokio::test]
async fn caddy_judges_as_the_gateway_does() {
    let (host, app) = (host().await, TestApp::start().await);
    let proxy = Proxy::caddy(&host, &app).await;
    judges_as_the_gateway_does(&host, &app, &proxy).await;
}

#[tokio::test]
async fn nginx_judges_as_the_gateway_does() {
    let (host, app) = (host().await, TestApp::start().await);
    let proxy = Proxy::nginx(&host, &app).await;
    judges_as_the_gateway_does(&host, &app, &proxy).await;
}
