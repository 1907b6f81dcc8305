//! The TypeScript SDK at work: scenarios of `tests/sdk/scenarios.js`, played by Node.js and by Chromium alike, with a real
//! host, app and relay.
//!
//! A scenario asks for what only the owner, the operator or the test can do: `await stage.ask("link")`. The same scenario
//! runs in both, so what one of them can do and the other cannot shows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::{Path as Route, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::host::PATIENCE;
use crate::program::node;
use crate::{Browser, Relay, Running, TestApp, TestHost, free_port, repository};

/// How long a scenario may take, downloads and all.
const SCENARIO: Duration = Duration::from_secs(240);

/// What a scenario's page is.
const PAGE: &str =
    "<!doctype html><meta charset=\"utf-8\"><title>SDK</title><script type=\"module\" src=\"/page.js\"></script>";

/// What the SDK runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Each act is a process.
    Node,
    /// Each act is a page, loaded anew.
    Chromium,
}

/// By which way its sessions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Straight over the local network.
    Lan,
    /// Through the relay.
    Relay,
}

/// A host behind a relay, an app behind the host, and where a scenario is played. Dropping it ends all of them.
#[derive(Debug)]
pub struct Stage {
    /// The host; it takes LAN devices from the pages of this stage.
    pub host: TestHost,
    /// Its relay.
    pub relay: Relay,
    /// Its app.
    pub app: TestApp,
    way: Way,
    bytes: u64,
    player: Player,
    prompter: Prompter,
    home: TempDir,
}

#[derive(Debug)]
enum Player {
    Node,
    Chromium(Box<Browser>),
}

/// What a scenario asks, and where the answer goes.
#[derive(Debug)]
struct Cue {
    word: String,
    body: Value,
    answer: oneshot::Sender<Value>,
}

/// Hands what a scenario asks to the test, and the scenario to its page.
#[derive(Debug)]
struct Prompter {
    url: String,
    cues: mpsc::Receiver<Cue>,
    server: JoinHandle<()>,
}

impl Drop for Prompter {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stage {
    /// Sets it up. The owner is asked about every device.
    pub async fn set(runtime: Runtime, way: Way) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (prompter, app, relay) = (Prompter::start().await, TestApp::start().await, Relay::start().await);
        let config = home.path().join("config.toml");
        std::fs::write(&config, format!("allowed_origins = [\"{}\"]\n", prompter.url)).unwrap();
        let host = relay.host(|setup| {
            // An address that is the same after a restart.
            setup.app(app.url()).arg("--listen").arg(format!("127.0.0.1:{}", free_port()));
            setup.env("COUPLET_APPROVE", "always").arg("--config").arg(config.to_str().unwrap());
        });
        let host = host.await;
        let player = match runtime {
            Runtime::Node => Player::Node,
            Runtime::Chromium => Player::Chromium(Box::new(
                Browser::start(|setup| {
                    setup.trust(relay.ca()).measure();
                })
                .await,
            )),
        };
        Stage { host, relay, app, way, bytes: bytes(), player, prompter, home }
    }

    /// Plays an act: an exported function of `tests/sdk/scenarios.js`. What is stored stays for the next one.
    ///
    /// # Panics
    /// It failed, in its own words, or took too long.
    pub async fn play(&mut self, act: &str) -> Value {
        let mut process = match &self.player {
            Player::Node => Some(self.process(act)),
            Player::Chromium(browser) => {
                browser.open(&format!("{}/?act={act}", self.prompter.url)).await;
                None
            }
        };
        let end = tokio::time::Instant::now() + SCENARIO;
        loop {
            let cue = tokio::time::timeout_at(end, self.prompter.cues.recv()).await;
            let Ok(Some(cue)) = cue else { panic!("{act} took too long\n{}", self.said(process.as_ref()).await) };
            match cue.word.as_str() {
                "passed" => {
                    let _ = cue.answer.send(Value::Null);
                    if let Some(process) = &mut process {
                        // Nothing of the SDK keeps a process alive.
                        let (code, _, stderr) = process.ended(PATIENCE).await;
                        assert_eq!(code, 0, "{act}: {stderr}");
                    }
                    return cue.body;
                }
                "failed" => {
                    panic!("{act}: {}\n{}", cue.body.as_str().unwrap_or("?"), self.said(process.as_ref()).await)
                }
                word => {
                    let answer = self.answer(word, &cue.body).await;
                    // Who asked may have gone.
                    let _ = cue.answer.send(answer);
                }
            }
        }
    }

    /// The page, where there is one.
    #[must_use]
    pub fn browser(&self) -> Option<&Browser> {
        match &self.player {
            Player::Chromium(browser) => Some(browser),
            Player::Node => None,
        }
    }

    fn process(&self, act: &str) -> Running {
        let mut node = node();
        node.arg("--expose-gc")
            .arg(repository().join("tests/sdk/node.js"))
            .args([act, &self.prompter.url])
            .arg(self.home.path())
            .arg(self.relay.ca());
        node.env("HOME", self.home.path());
        Running::start(node)
    }

    async fn said(&self, process: Option<&Running>) -> String {
        match (&self.player, process) {
            (Player::Chromium(browser), _) => browser.console().await.join("\n"),
            (_, Some(process)) => process.written(),
            (_, None) => String::new(),
        }
    }

    /// What the owner or the operator does for a scenario.
    async fn answer(&mut self, word: &str, body: &Value) -> Value {
        let text = |member: &str| body[member].as_str().unwrap_or_else(|| panic!("{word} wants {member}")).to_owned();
        match word {
            "link" => json!(self.host.generate().await.link),
            "approve" => {
                Running::start(self.host.command(&["approve", &text("name"), &text("code")])).succeeds(PATIENCE).await;
                Value::Null
            }
            "reject" => {
                Running::start(self.host.command(&["reject", &text("name")])).succeeds(PATIENCE).await;
                Value::Null
            }
            "devices" => self.host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await,
            "revoke" => {
                let began = std::time::Instant::now();
                let mut revoke = Running::start(self.host.command(&["devices", "revoke", &text("name"), "--yes"]));
                revoke.succeeds(PATIENCE).await;
                json!({ "took": began.elapsed().as_millis() })
            }
            "restart-relay" => {
                self.relay.restart().await;
                Value::Null
            }
            "restart-host" => {
                self.host.kill().await;
                self.host.restart().await;
                Value::Null
            }
            "sessions" => {
                let most = body["most"].to_string();
                let configure = |setup: &mut crate::host::Setup| {
                    setup.env("COUPLET_LIMITS__MAX_SESSIONS", most);
                };
                self.host.restart_with(configure).await;
                Value::Null
            }
            "setting" => json!({
                "way": match self.way { Way::Lan => "lan", Way::Relay => "relay" },
                "bytes": self.bytes,
            }),
            other => panic!("nobody on this stage knows what {other} is"),
        }
    }
}

impl Prompter {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, cues) = mpsc::channel(1);
        let routes = Router::new()
            .route("/", get(async || ([(header::CONTENT_TYPE, "text/html")], PAGE)))
            .route("/couplet.js", get(async || script(&bundle())))
            .route("/page.js", get(async || script(&repository().join("tests/sdk/page.js"))))
            .route("/scenarios.js", get(async || script(&repository().join("tests/sdk/scenarios.js"))))
            .route("/store.js", get(async || script(&repository().join("tests/sdk/store.js"))))
            .route("/ask/{word}", post(ask))
            .with_state(sender);
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Prompter { url, cues, server }
    }
}

async fn ask(
    State(cues): State<mpsc::Sender<Cue>>,
    Route(word): Route<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    let (answer, answered) = oneshot::channel();
    cues.send(Cue { word, body, answer }).await.map_err(|_| StatusCode::GONE)?;
    answered.await.map(Json).map_err(|_| StatusCode::GONE)
}

/// How much `stream` sends each way: `COUPLET_SDK_BYTES`, or 64 MiB.
fn bytes() -> u64 {
    let wanted = std::env::var("COUPLET_SDK_BYTES");
    wanted.map_or(64 << 20, |bytes| bytes.parse().expect("COUPLET_SDK_BYTES is a number of bytes"))
}

/// What a page loads, in one file.
fn bundle() -> PathBuf {
    repository().join("packages/sdk/build/bundle/couplet.js")
}

fn script(path: &Path) -> Response {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}: run scripts/sdk, as `make test` does", path.display()));
    ([(header::CONTENT_TYPE, "text/javascript")], text).into_response()
}
