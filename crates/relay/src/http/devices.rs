//! The routes of the devices' listener. Web pages of any origin may use them: what lets in is a credential in the body,
//! which no page has by itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
};
use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Shared, pages, upgrade};
use crate::bridge::End;
use crate::problem::Failure;

/// How much `/check` gives back, and for how long.
const ECHO_MAX: usize = 4096;
const ECHO_TIME: Duration = Duration::from_secs(10);

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/pair", post(super::pair::ask).options(preflight))
        .route("/pair/relay/{sid}", get(super::pair::device_end))
        .route("/enroll", post(super::enroll::enroll))
        .route("/rooms", get(super::rooms::device))
        .route("/check", get(check))
        .route("/p", get(pages::link))
        .route("/P", get(pages::link))
        .fallback(super::no_such_route)
        .method_not_allowed_fallback(super::wrong_method)
        .layer(from_fn(any_origin))
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

/// `GET /check`: an upgrade behind which a few bytes come back, for `couplet relay check`.
async fn check(State(shared): State<Arc<Shared>>, mut request: Request) -> Result<Response, Failure> {
    let (answer, end) = upgrade::websocket(&mut request)?.accept();
    shared.spawn(async move {
        if let Some(end) = end.await {
            let _ = tokio::time::timeout(ECHO_TIME, echo(end)).await;
        }
    });
    Ok(answer)
}

async fn echo(mut end: End) -> std::io::Result<()> {
    let (mut left, mut chunk) = (ECHO_MAX, [0; 256]);
    let early = std::mem::take(&mut end.early);
    left = left.saturating_sub(early.len());
    end.tls.write_all(&early).await?;
    while left > 0 {
        end.tls.flush().await?;
        let most = left.min(chunk.len());
        let len = end.tls.read(&mut chunk[..most]).await?;
        if len == 0 {
            break;
        }
        left -= len;
        end.tls.write_all(&chunk[..len]).await?;
    }
    end.tls.shutdown().await
}
