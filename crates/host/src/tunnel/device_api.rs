//! What a device asks of the host itself: `couplet.internal` (spec/protocol.md, 5). Never an owner's route.

use axum::Json;
use axum::response::{IntoResponse, Response};
use couplet_protocol::Code;
use http::{Method, StatusCode};

use crate::http::{health, me};
use crate::pairing::Core;
use crate::problem::Failure;
use crate::session::Session;
use crate::store::audit::Actor;

/// The authority under which a device reaches the host itself.
pub(super) const AUTHORITY: &str = "couplet.internal";

/// Answers a request to the host itself. The device is the one whose session it came in.
pub(super) async fn answer(core: &Core, session: &Session, method: &Method, path: &str) -> Response {
    match (method, path) {
        (&Method::GET, "/api/pair/me") => Json(me(core, session)).into_response(),
        (&Method::DELETE, "/api/pair/me") => match core.revoke(session.device.device_id, Actor::Device).await {
            // The session ends with it, and the answer may be lost in that: its CLOSE says the same.
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(failure) => failure.into_response(),
        },
        (&Method::GET, "/health") => Json(health(core).await).into_response(),
        (_, "/api/pair/me") => not_allowed("GET and DELETE"),
        (_, "/health") => not_allowed("GET"),
        _ => Failure::new(Code::NoSuchRoute, "A device may ask for /api/pair/me and /health here.").into_response(),
    }
}

fn not_allowed(methods: &str) -> Response {
    Failure::new(Code::MethodNotAllowed, format!("Use {methods}.")).into_response()
}
