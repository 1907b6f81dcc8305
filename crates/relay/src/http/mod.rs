//! The relay's routes: `devices` and `hosts` for the two listeners, `private` for the operator's.

pub(crate) mod body;
pub(crate) mod devices;
pub(crate) mod enroll;
pub(crate) mod events;
pub(crate) mod hosts;
mod pages;
pub(crate) mod pair;
pub(crate) mod private;
mod rooms;
pub(crate) mod upgrade;

use std::net::SocketAddr;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use couplet_protocol::Code;
use http::HeaderMap;
use http::header::ORIGIN;

use crate::problem::Failure;
use crate::shared::Shared;
use crate::sockets::Socket;

/// The part of a path that a route takes; nothing, which no id is, when it is no text.
fn part(path: Result<Path<String>, PathRejection>) -> String {
    path.map(|Path(part)| part).unwrap_or_default()
}

/// A place for a WebSocket that a web page asks for, which any page can (RFC 6455, 10.2). Whoever opens one in a browser is not
/// to keep the devices behind the same address out: pages have a sixteenth of a source's connections.
fn page(shared: &Shared, headers: &HeaderMap, peer: SocketAddr) -> Result<Option<Socket>, Failure> {
    if !headers.contains_key(ORIGIN) {
        return Ok(None);
    }
    let full =
        || Failure::new(Code::TooManyConnections, "Close other pages that use the relay, or try again in a moment.");
    shared.pages.take(peer.ip()).map(Some).ok_or_else(full)
}

async fn no_such_route() -> Response {
    Failure::new(Code::NoSuchRoute, "Is this the right listener? Devices and hosts have one each.").into_response()
}

async fn wrong_method() -> Response {
    Failure::new(Code::MethodNotAllowed, "Use a method that the protocol names for this path.").into_response()
}
