//! Couplet inside somebody's axum app: the example as a program, and the library's promises one by one.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::FromRef;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use couplet_host::{Config, Device, DeviceSession, Pairing, StartError};
use couplet_protocol::Code;
use couplet_protocol::api::{DeviceCredential, GenerateAnswer, WatchPaired, WatchPairingInfo};
use e2e::host::{Caller, PATIENCE};
use e2e::program::example;
use e2e::{Running, Signer, TestWatch, eventually, free_port, problem, repository};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Calls the pairing routes as a phone and as the owner.
struct Pairs {
    url: String,
    admin: String,
}

impl Pairs {
    fn owner(&self) -> Caller {
        Caller::new(&self.url, Some(&self.admin))
    }

    fn caller(&self, token: Option<&str>) -> Caller {
        Caller::new(&self.url, token)
    }

    async fn pair(&self, name: &str, model: Option<&str>) -> DeviceCredential {
        let offer: GenerateAnswer = self.owner().expect(Method::POST, "/api/pair/generate", 200, None).await;
        let body = json!({ "pair_token": offer.pair_token.expose(), "device_name": name, "device_model": model });
        self.caller(None).expect(Method::POST, "/api/pair/exchange", 200, Some(body)).await
    }

    async fn revoke(&self, device: &DeviceCredential) {
        let path = format!("/api/pair/devices/{}", device.device_id);
        assert_eq!(self.owner().delete(&path).send().await.unwrap().status(), 204);
    }

    async fn limit(&self, device: &DeviceCredential, paths: &[&str]) {
        let path = format!("/api/pair/devices/{}", device.device_id);
        let _: Value =
            self.owner().expect(Method::PATCH, &path, 200, Some(json!({ "scope": { "paths": paths } }))).await;
    }

    async fn text(&self, token: Option<&str>, path: &str) -> (u16, String) {
        let answer = self.caller(token).get(path).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

/// The example, running in a folder of its own.
struct Example {
    pairs: Pairs,
    running: Running,
    folder: TempDir,
}

impl Example {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let mut command = example("axum_app");
        command.current_dir(folder.path()).env("LISTEN", &listen);
        let mut running = Running::start(command);
        let (url, anyone) = (format!("http://{listen}"), reqwest::Client::new());
        eventually("the example answers", PATIENCE, async || {
            assert!(!running.has_ended(), "{}", running.written());
            anyone.get(format!("{url}/health")).send().await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        let admin = std::fs::read_to_string(folder.path().join("target/axum-app/admin-token")).unwrap();
        let pairs = Pairs { url, admin: admin.trim().to_owned() };
        Example { pairs, running, folder }
    }
}

#[test]
fn the_example_is_short() {
    let source = std::fs::read_to_string(repository().join("examples/axum_app.rs")).unwrap();
    assert!(source.lines().count() < 40, "{} lines", source.lines().count());
}

#[tokio::test]
async fn the_example_lets_paired_devices_in_until_they_are_revoked() {
    let example = Example::start().await;
    let pairs = &example.pairs;
    assert_eq!(pairs.text(None, "/").await, (200, "Hello, stranger\n".to_owned()));
    problem::expect(pairs.caller(None).get("/notes").send().await.unwrap(), Code::DeviceRequired).await;

    let phone = pairs.pair("Zoë’s 📱", Some("Pixel 9")).await;
    let token = Some(phone.device_token.as_str());
    assert_eq!(pairs.text(token, "/").await, (200, "Hello, Zoë’s 📱\n".to_owned()));
    assert_eq!(pairs.text(token, "/notes").await, (200, format!("The notes of {}\n", phone.device_id)));

    pairs.revoke(&phone).await;
    assert_eq!(pairs.text(token, "/").await, (200, "Hello, stranger\n".to_owned()));
    problem::expect(pairs.caller(token).get("/notes").send().await.unwrap(), Code::DeviceUnknown).await;
}

#[tokio::test]
async fn the_example_stops_in_good_order() {
    let mut example = Example::start().await;
    let told = example.folder.path().join("target/axum-app/serve.json");
    assert!(told.exists());
    example.running.signal("TERM");
    assert_eq!(example.running.wait(PATIENCE).await.code(), Some(0));
    assert!(!told.exists(), "the command line no longer looks for it");
}

/// An app in this process, served by the library. Dropping it stops it.
struct App {
    pairs: Pairs,
    server: JoinHandle<Result<(), StartError>>,
    stop: CancellationToken,
    folder: TempDir,
}

impl Drop for App {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone, FromRef)]
struct Shared {
    pairing: Pairing,
}

async fn open() -> (Pairing, TcpListener, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let pairing = Pairing::open(Config::new(folder.path().join("state"), "Library")).await.unwrap();
    (pairing, TcpListener::bind("127.0.0.1:0").await.unwrap(), folder)
}

impl App {
    /// Serves the app that `build` makes of the pairing; the pairing routes are added.
    async fn start(build: impl FnOnce(&Pairing) -> Router<Shared>) -> Self {
        let (pairing, listener, folder) = open().await;
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = build(&pairing).with_state(Shared { pairing: pairing.clone() }).merge(pairing.routes());
        let stop = CancellationToken::new();
        let server = {
            let stop = stop.clone();
            tokio::spawn(async move { pairing.serve(listener, app, stop).await })
        };
        let admin = std::fs::read_to_string(folder.path().join("state/admin-token")).unwrap();
        App { pairs: Pairs { url, admin: admin.trim().to_owned() }, server, stop, folder }
    }
}

/// Who calls, by an app's own rules: a device, else the login that the app had before.
async fn who(device: Option<Device>, headers: HeaderMap) -> Response {
    let session = headers.get("cookie").is_some_and(|cookie| cookie == "session=alice");
    match (device, session) {
        (Some(device), _) => format!("device {}", device.device_name).into_response(),
        (None, true) => "session alice".into_response(),
        (None, false) => (StatusCode::UNAUTHORIZED, "log in").into_response(),
    }
}

#[tokio::test]
async fn the_layer_falls_through_to_the_apps_own_auth() {
    let app = App::start(|_| Router::new().route("/", get(who))).await;
    let phone = app.pairs.pair("Phone", None).await;
    let ask = async |token: Option<&str>, cookie: &str| {
        let answer = app.pairs.caller(token).get("/").header("cookie", cookie).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let token = Some(phone.device_token.as_str());
    assert_eq!(ask(token, "").await, (200, "device Phone".to_owned()));
    assert_eq!(ask(token, "session=alice").await, (200, "device Phone".to_owned()));
    assert_eq!(ask(None, "session=alice").await, (200, "session alice".to_owned()));
    // Somebody else's bearer token is the app's to judge.
    assert_eq!(ask(Some("the-apps-own"), "session=alice").await, (200, "session alice".to_owned()));
    assert_eq!(ask(None, "").await, (401, "log in".to_owned()));

    app.pairs.revoke(&phone).await;
    assert_eq!(ask(token, "session=alice").await, (200, "session alice".to_owned()));
    assert_eq!(ask(token, "").await, (401, "log in".to_owned()));
}

#[tokio::test]
async fn a_device_out_of_its_scope_is_no_stranger() {
    let app = App::start(|_| Router::new().route("/", get(who))).await;
    let phone = app.pairs.pair("Phone", None).await;
    app.pairs.limit(&phone, &["/photos"]).await;
    let request = app.pairs.caller(Some(&phone.device_token)).get("/").header("cookie", "session=alice");
    problem::expect(request.send().await.unwrap(), Code::PathOutOfScope).await;
}

#[tokio::test]
async fn the_handler_gets_the_device() {
    async fn tell(device: Device, DeviceSession(session): DeviceSession) -> Json<Value> {
        assert_eq!(session.device, device);
        Json(json!({
            "id": device.device_id, "name": device.device_name.as_str(),
            "model": device.device_model.map(|model| model.to_string()),
        }))
    }
    // Behind the layer, and alone.
    let app = App::start(|pairing| {
        let behind = Router::new().route("/behind", get(tell)).route_layer(pairing.require_device());
        behind.route("/alone", get(tell))
    })
    .await;
    for (name, model) in [("Zoë’s 📱", Some("Pixel 9")), ("Editor", None)] {
        let device = app.pairs.pair(name, model).await;
        for path in ["/behind", "/alone"] {
            let caller = app.pairs.caller(Some(&device.device_token));
            let told: Value = caller.expect(Method::GET, path, 200, None).await;
            assert_eq!(told, json!({ "id": device.device_id, "name": name, "model": model }));
            problem::expect(app.pairs.caller(None).get(path).send().await.unwrap(), Code::DeviceRequired).await;
        }
    }
}

#[tokio::test]
async fn an_app_without_the_pairing_routes_does_not_start() {
    let hello = || Router::new().route("/", get(async || "hello"));
    let wrong: [fn(Router, &Pairing) -> Router; 4] = [
        |app, _| app,
        |app, pairing| app.nest("/pairing", pairing.routes()),
        |app, _| app.route("/health", get(async || "fine")),
        |app, pairing| {
            let locked = async || StatusCode::UNAUTHORIZED;
            app.merge(pairing.routes()).layer(axum::middleware::from_fn(move |_: axum::extract::Request, _| locked()))
        },
    ];
    for build in wrong {
        let (pairing, listener, folder) = open().await;
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = build(hello(), &pairing);
        let serving = pairing.serve(listener, app, CancellationToken::new());
        let error = tokio::time::timeout(PATIENCE, serving).await.expect("it ends at once").unwrap_err();
        assert_eq!(error.code(), Code::ConfigInvalid);
        assert!(error.to_string().contains("pairing.routes()"), "{error}");
        // Nothing says that a host runs here, and nothing answers.
        assert!(!folder.path().join("state/serve.json").exists());
        assert!(reqwest::get(url).await.is_err());
    }
}

#[tokio::test]
async fn a_streaming_answer_breaks_off_when_its_device_is_revoked() {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    let stream = Arc::new(tokio::sync::Mutex::new(Some(tokio_stream::wrappers::ReceiverStream::new(receiver))));
    let app = App::start(|pairing| {
        let handler = async move || Body::from_stream(stream.lock().await.take().unwrap());
        Router::new().route("/stream", get(handler)).route_layer(pairing.require_device())
    })
    .await;
    let (phone, other) = (app.pairs.pair("Phone", None).await, app.pairs.pair("Other", None).await);
    let answer = app.pairs.caller(Some(&phone.device_token)).get("/stream").send().await.unwrap();
    let mut chunks = answer.bytes_stream();
    for part in ["one", "two"] {
        sender.send(Ok(part.into())).await.unwrap();
        assert_eq!(chunks.next().await.unwrap().unwrap(), part);
        // Somebody else's revocation changes nothing.
        if part == "one" {
            app.pairs.revoke(&other).await;
        }
    }
    app.pairs.revoke(&phone).await;
    let next = tokio::time::timeout(std::time::Duration::from_secs(1), chunks.next()).await;
    assert!(next.expect("within a second").unwrap().is_err(), "the part must not pass for the whole");
    tokio::time::timeout(PATIENCE, sender.closed()).await.expect("the handler's stream is dropped");
}

#[tokio::test]
async fn a_handler_that_waits_is_left_when_its_device_is_revoked() {
    let (started, mut has_started) = mpsc::channel::<()>(1);
    let app = App::start(|pairing| {
        let wait = async move || {
            started.send(()).await.unwrap();
            std::future::pending::<&'static str>().await
        };
        Router::new().route("/wait", get(wait)).route_layer(pairing.require_device())
    })
    .await;
    let phone = app.pairs.pair("Phone", None).await;
    let waiting = tokio::spawn(app.pairs.caller(Some(&phone.device_token)).get("/wait").send());
    has_started.recv().await.unwrap();
    app.pairs.revoke(&phone).await;
    let answer = tokio::time::timeout(PATIENCE, waiting).await.expect("it is answered").unwrap().unwrap();
    problem::expect(answer, Code::DeviceUnknown).await;
}

#[tokio::test]
async fn the_routes_keep_their_defences_in_an_app() {
    let app = App::start(|_| Router::new().route("/", get(async || "the app's own"))).await;
    let send = async |path: &str, header: &str, value: &str| {
        app.pairs.owner().get(path).header(header, value).send().await.unwrap()
    };
    for path in ["/health", "/api/pair/devices", "/pair"] {
        problem::expect(send(path, "host", "rebound.evil.test").await, Code::HostNotAllowed).await;
        problem::expect(send(path, "origin", "http://evil.test").await, Code::OriginNotAllowed).await;
        assert_eq!(send(path, "origin", &app.pairs.url).await.status(), 200, "{path}");
    }
    let answer = app.pairs.owner().post("/api/pair/generate").body("ttl=60").send().await.unwrap();
    problem::expect(answer, Code::UnsupportedMediaType).await;
    problem::expect(app.pairs.caller(None).get("/api/pair/devices").send().await.unwrap(), Code::OwnerRequired).await;
    // The app's own paths are the app's to defend.
    assert_eq!(send("/", "host", "any.name.test").await.text().await.unwrap(), "the app's own");
}

#[tokio::test]
async fn scopes_are_held_against_the_whole_path_in_a_nested_router() {
    async fn name(device: Device) -> String {
        device.device_name.to_string()
    }
    let app = App::start(|pairing| {
        let layered = Router::new().route("/notes", get(name)).route_layer(pairing.require_device());
        let inner = Router::new().nest("/v1", layered).route("/plain", get(name));
        Router::new().nest("/api", inner).route("/notes", get(name))
    })
    .await;
    let phone = app.pairs.pair("Phone", None).await;
    let token = Some(phone.device_token.as_str());
    for (scope, allowed, refused) in [
        ("/api/v1", vec!["/api/v1/notes"], vec!["/api/plain", "/notes"]),
        ("/api", vec!["/api/v1/notes", "/api/plain"], vec!["/notes"]),
        ("/notes", vec!["/notes"], vec!["/api/v1/notes", "/api/plain"]),
        ("/v1", vec![], vec!["/api/v1/notes", "/api/plain", "/notes"]),
    ] {
        app.pairs.limit(&phone, &[scope]).await;
        for path in allowed {
            assert_eq!(app.pairs.text(token, path).await, (200, "Phone".to_owned()), "{scope} {path}");
        }
        for path in refused {
            let answer = app.pairs.caller(token).get(path).send().await.unwrap();
            problem::expect(answer, Code::PathOutOfScope).await;
        }
    }
}

#[tokio::test]
async fn the_command_line_finds_the_app_while_it_runs() {
    let mut app = App::start(|_| Router::new()).await;
    let told = app.folder.path().join("state/serve.json");
    eventually("the app tells where it is", PATIENCE, async || told.exists()).await;
    let told_text = std::fs::read_to_string(&told).unwrap();
    assert!(told_text.contains(&app.pairs.url), "{told_text}");
    app.stop.cancel();
    tokio::time::timeout(PATIENCE, &mut app.server).await.expect("it stops").unwrap().unwrap();
    assert!(!told.exists());
}

#[tokio::test]
async fn watches_sign_for_the_apps_routes_without_a_body() {
    let private = |pairing: &Pairing| Router::new().route("/notes", get(who).post(who)).layer(pairing.require_device());
    let app = App::start(|pairing| private(pairing).route("/", get(who))).await;
    let key = Signer::start().key();
    let info: WatchPairingInfo = app.pairs.owner().expect(Method::GET, "/watch/pairing-info", 200, None).await;
    let body = key.registration(&info.nonce, "Watch");
    let paired: WatchPaired = app.pairs.caller(None).expect(Method::POST, "/watch/devices", 200, Some(body)).await;
    let watch = TestWatch::new(key, paired.device_id.to_string());
    let url = &app.pairs.url;
    assert_eq!(watch.gets(url, "/notes?x=1", 200).await, "device Watch");
    assert_eq!(watch.gets(url, "/", 200).await, "device Watch");
    let request = watch.signed(url, "GET", "/notes", b"", |_| ());
    assert_eq!(request.outcome().await.0, 200);
    assert_eq!(request.outcome().await, (401, "CPL-1112".to_owned()));
    let with_body = watch.signed(url, "POST", "/notes", b"x", |_| ());
    assert_eq!(with_body.outcome().await, (401, "CPL-1110".to_owned()));
    assert_eq!(watch.signed(url, "POST", "/notes", b"", |_| ()).outcome().await.0, 200);
}
