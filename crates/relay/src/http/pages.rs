//! The phone's web client, on the devices' listener: its pages at `/p`, and on the origins of apps nothing but what joins
//! those to it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use couplet_protocol::Code;
use http::header::HOST;
use http::{HeaderMap, Method, Uri};

use crate::problem::Failure;
use crate::shared::Shared;

/// `GET /p`, and what it loads.
pub(super) async fn client(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    shared.phone.client(uri.path(), &headers).map(Body::from)
}

/// Answers what is asked of an app's origin. No route of the relay is there: what an app's scripts ask of their own origin
/// is nothing that a device or a host asks of the relay.
pub(super) async fn apps(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match shared.phone.is_app(host) {
        None => next.run(request).await,
        Some(true) if matches!(*request.method(), Method::GET | Method::HEAD) => {
            shared.phone.app(request.uri().path(), request.headers()).map(Body::from)
        }
        Some(true) => super::wrong_method().await,
        Some(false) => {
            let next = "Couplet's page makes the names of apps by itself: open the app there.";
            Failure::new(Code::HostNotAllowed, next).into_response()
        }
    }
}
