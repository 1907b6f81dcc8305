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

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use couplet_protocol::{Code, RelayName};

use crate::account::Accounts;
use crate::authority::Authority;
use crate::clock::Clock;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::problem::Failure;
use crate::quota::Sources;
use crate::registry::Registry;
use crate::rooms_door::RoomsDoor;
use crate::tasks::Tasks;

/// What the handlers work with.
pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    pub(crate) live: Arc<Live>,
    pub(crate) rooms: Arc<RoomsDoor>,
    pub(crate) accounts: Option<Arc<Accounts>>,
    pub(crate) authority: Authority,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) sources: Sources,
    /// The devices' listener.
    pub(crate) name: RelayName,
    /// The hosts' listener.
    pub(crate) hosts_name: RelayName,
    pub(crate) tasks: Tasks,
}

impl Shared {
    /// Where devices and enrolling hosts go.
    pub(crate) fn devices_url(&self) -> String {
        format!("https://{}", self.name)
    }

    /// Where hosts go.
    pub(crate) fn hosts_url(&self) -> String {
        format!("https://{}", self.hosts_name)
    }

    /// Runs a task until the relay ends.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }
}

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
