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

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use couplet_protocol::Code;

use crate::problem::Failure;

/// The part of a path that a route takes; nothing, which no id is, when it is no text.
fn part(path: Result<Path<String>, PathRejection>) -> String {
    path.map(|Path(part)| part).unwrap_or_default()
}

async fn no_such_route() -> Response {
    Failure::new(Code::NoSuchRoute, "Is this the right listener? Devices and hosts have one each.").into_response()
}

async fn wrong_method() -> Response {
    Failure::new(Code::MethodNotAllowed, "Use a method that the protocol names for this path.").into_response()
}
