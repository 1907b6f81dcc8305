//! The routes of the devices' listener. Web pages of any origin may use them: what lets in is a credential in the body,
//! which no page has by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::pages;
use crate::problem::Failure;
use crate::shared::Shared;
use crate::sockets::Socket;

/// How large the messages are that `/check` gives back, how many, and for how long.
const ECHO_MAX: usize = 1024;
const ECHOES: usize = 16;
const ECHO_TIME: Duration = Duration::from_secs(10);

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/pair", post(super::pair::ask).options(preflight))
        .route("/pair/relay/{sid}", get(super::pair::device_end))
        .route("/enroll", post(super::enroll::enroll))
        .route("/rooms", get(super::rooms::device))
        .route("/check", get(check))
        .route("/p", get(pages::client))
        .route("/p/", get(pages::client))
        .route("/P", get(pages::client))
        .route("/P/", get(pages::client))
        .route("/p/{file}", get(pages::client))
        .fallback(super::no_such_route)
        .method_not_allowed_fallback(super::wrong_method)
        .layer(from_fn(any_origin))
        .layer(from_fn_with_state(Arc::clone(&shared), pages::apps))
        .with_state(shared)
}

/// What a browser asks before it lets a page send JSON (Fetch, 3.2.2).
async fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    response
}

async fn any_origin(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    response
}

/// `GET /check`: a WebSocket on which a few messages come back, for `couplet relay check`.
async fn check(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(place): Extension<Arc<Socket>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let upgrade = upgrade.map_err(|_| super::upgrade::required())?;
    let page = super::page(&shared, &headers, peer)?;
    let cut = shared.tasks.cut.clone();
    let upgrade = super::rooms::small(upgrade).max_message_size(ECHO_MAX).max_frame_size(ECHO_MAX);
    Ok(upgrade.on_upgrade(async move |socket| {
        let _held = (place, page);
        cut.run_until_cancelled(tokio::time::timeout(ECHO_TIME, echo(socket))).await;
    }))
}

async fn echo(mut socket: WebSocket) {
    for _ in 0..ECHOES {
        match socket.recv().await {
            Some(Ok(Message::Binary(bytes))) if socket.send(Message::Binary(bytes.clone())).await.is_ok() => {}
            _ => return,
        }
    }
}
