//! An app to stand behind the gateway: it answers, echoes, streams both ways, and remembers what reached it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response, Sse, sse};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use futures_util::{Stream, StreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::pattern;

/// A running app. Dropping it stops it.
///
/// | path | what it does |
/// | --- | --- |
/// | `/` | says hello |
/// | `/echo` and below, any method | answers with the method, target and headers that reached it, as JSON |
/// | `/upload` | answers `{bytes, intact}`: how much came, and whether it was [`pattern`] |
/// | `/download/{bytes}` | sends so many bytes of [`pattern`] |
/// | `/endless` | sends [`pattern`] for ever |
/// | `/sse` | sends `tick` with a number, ten a second, for ever |
/// | `/ws` | sends every text and binary WebSocket message back |
/// | `/slow?ms=…` | waits before it answers |
/// | `/trailers` | sends the trailer `x-checksum: 42` |
/// | `/cookies` | sets two cookies |
#[derive(Debug)]
pub struct TestApp {
    addr: SocketAddr,
    seen: Seen,
    server: JoinHandle<()>,
}

/// A request as it reached the app.
#[derive(Clone, Debug)]
pub struct SeenRequest {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
}

type Seen = Arc<Mutex<Vec<SeenRequest>>>;

impl TestApp {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Seen::default();
        let routes = routes().layer(middleware::from_fn_with_state(Arc::clone(&seen), remember));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        TestApp { addr, seen, server }
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What reached it so far.
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.seen.lock().unwrap().clone()
    }

    /// What reached it last.
    #[must_use]
    pub fn last_request(&self) -> SeenRequest {
        self.requests().pop().expect("no request reached the app")
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn remember(State(seen): State<Seen>, request: Request, next: Next) -> Response {
    seen.lock().unwrap().push(SeenRequest {
        method: request.method().clone(),
        uri: request.uri().clone(),
        headers: request.headers().clone(),
    });
    next.run(request).await
}

fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/echo", any(echo))
        .route("/echo/{*rest}", any(echo))
        .route("/upload", post(upload).put(upload))
        .route("/download/{bytes}", get(download))
        .route("/endless", get(|| async { Body::from_stream(pattern::stream(u64::MAX)) }))
        .route("/sse", get(ticks))
        .route("/ws", any(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(echo_messages) }))
        .route("/slow", get(slow))
        .route("/trailers", get(trailers))
        .route("/cookies", get(cookies))
}

async fn echo(request: Request) -> Json<serde_json::Value> {
    let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in request.headers() {
        headers.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    Json(json!({ "method": request.method().as_str(), "uri": request.uri().to_string(), "headers": headers }))
}

async fn upload(body: Body) -> Json<serde_json::Value> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut intact) = (0, true);
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else { break };
        intact &= pattern::matches(bytes, &chunk);
        bytes += chunk.len() as u64;
    }
    Json(json!({ "bytes": bytes, "intact": intact }))
}

async fn download(Path(bytes): Path<u64>) -> Response {
    ([("content-length", bytes.to_string())], Body::from_stream(pattern::stream(bytes))).into_response()
}

async fn ticks() -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let interval = tokio::time::interval(Duration::from_millis(100));
    let ticks = tokio_stream::wrappers::IntervalStream::new(interval).enumerate();
    Sse::new(ticks.map(|(number, _)| Ok(sse::Event::default().event("tick").data(number.to_string()))))
}

async fn echo_messages(mut socket: WebSocket) {
    // Pings and closes are answered by the reading itself.
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn slow(Query(query): Query<BTreeMap<String, u64>>) -> &'static str {
    tokio::time::sleep(Duration::from_millis(query.get("ms").copied().unwrap_or(1000))).await;
    "at last\n"
}

async fn trailers() -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("42"));
    let frames = [Frame::data("data\n".into()), Frame::trailers(trailers)].map(Ok::<Frame<bytes::Bytes>, Infallible>);
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    ([(HeaderName::from_static("trailer"), "x-checksum")], body).into_response()
}

async fn cookies() -> impl IntoResponse {
    axum::response::AppendHeaders([("set-cookie", "app=1; Path=/"), ("set-cookie", "theme=dark; Path=/")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket;

    #[tokio::test]
    async fn it_answers_echoes_and_remembers() {
        let app = TestApp::start().await;
        let http = reqwest::Client::new();
        assert_eq!(http.get(app.url()).send().await.unwrap().text().await.unwrap(), "hello\n");
        let echo = http.patch(app.url() + "/echo/a?b=c").header("x-a", "1").send().await.unwrap();
        let echo: serde_json::Value = echo.json().await.unwrap();
        assert_eq!(
            (&echo["method"], &echo["uri"], &echo["headers"]["x-a"][0]),
            (&json!("PATCH"), &json!("/echo/a?b=c"), &json!("1"))
        );
        assert_eq!((app.requests().len(), app.last_request().method), (2, Method::PATCH));
    }

    #[tokio::test]
    async fn it_streams_both_ways() {
        let (app, http, size) = (TestApp::start().await, reqwest::Client::new(), 1_000_003);
        let download = http.get(app.url() + "/download/1000003").send().await.unwrap().bytes().await.unwrap();
        assert!(download.len() as u64 == size && pattern::matches(0, &download));
        let body = reqwest::Body::wrap_stream(pattern::stream(size));
        let upload = http.post(app.url() + "/upload").body(body).send().await.unwrap();
        assert_eq!(upload.json::<serde_json::Value>().await.unwrap(), json!({ "bytes": size, "intact": true }));
        let mut ticks = http.get(app.url() + "/sse").send().await.unwrap();
        assert_eq!(ticks.chunk().await.unwrap().unwrap(), "event: tick\ndata: 0\n\n");
    }

    #[tokio::test]
    async fn it_echoes_messages() {
        let app = TestApp::start().await;
        let mut socket = websocket::connect(&(app.url() + "/ws"), &[]).await.unwrap();
        futures_util::SinkExt::send(&mut socket, websocket::text("ping")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), websocket::text("ping"));
    }
}
