//! The operator's listener: plain HTTP, on an address that only the operator reaches.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use couplet_protocol::Code;
use http::header::CONTENT_TYPE;

use crate::metrics::Levels;
use crate::problem::Failure;
use crate::shared::Shared;
use crate::sockets::Sockets;

/// What the operator's listener knows besides the rest.
pub(crate) struct Operator {
    pub(crate) shared: Arc<Shared>,
    pub(crate) devices: Sockets,
    pub(crate) hosts: Sockets,
}

pub(crate) fn router(operator: Operator) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(numbers))
        .fallback(super::no_such_route)
        .method_not_allowed_fallback(super::wrong_method)
        .with_state(Arc::new(operator))
}

/// 200 when devices and hosts are served, 503 when the store does not answer or the relay drains.
async fn ready(State(operator): State<Arc<Operator>>) -> Result<&'static str, Failure> {
    if operator.shared.is_draining() {
        return Err(Failure::new(Code::RelayDraining, "It ends when its sessions have ended."));
    }
    operator.shared.registry.ready().await?;
    Ok("ok\n")
}

async fn numbers(State(operator): State<Arc<Operator>>) -> Response {
    let shared = &operator.shared;
    let levels = Levels {
        hosts: shared.live.hosts_online(),
        sessions: shared.live.sessions_open(),
        device_sockets: operator.devices.count(),
        host_sockets: operator.hosts.count(),
        rooms: shared.rooms.open_rooms(),
    };
    let text = shared.metrics.render(levels);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
