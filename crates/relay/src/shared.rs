//! What every part of a running relay works with.

use std::sync::Arc;

use couplet_phone::Phone;
use couplet_protocol::RelayName;

use crate::account::Accounts;
use crate::authority::Authority;
use crate::clock::Clock;
use crate::http::enroll::Enrolments;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::quota::Sources;
use crate::registry::Registry;
use crate::rooms_door::RoomsDoor;
use crate::sockets::Sockets;
use crate::tasks::Tasks;

/// One relay.
pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    pub(crate) live: Arc<Live>,
    pub(crate) rooms: Arc<RoomsDoor>,
    pub(crate) accounts: Option<Arc<Accounts>>,
    pub(crate) authority: Authority,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) sources: Sources,
    pub(crate) enrolments: Enrolments,
    /// WebSockets that web pages have open before they have shown anything.
    pub(crate) pages: Sockets,
    /// The phone's web client.
    pub(crate) phone: Phone,
    /// The devices' listener.
    pub(crate) name: RelayName,
    /// The hosts' listener.
    pub(crate) hosts_name: RelayName,
    /// What runs as long as the relay does.
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

    /// Whether the relay is about to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.live.table().draining
    }

    /// Runs a task until the relay ends.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }
}
