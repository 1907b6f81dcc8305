//! One open session that speaks HTTP, and the search for a nearer one.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use couplet_protocol::Endpoint;
use couplet_protocol::frame::CloseCode;
use couplet_protocol::message::Control;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::credentials::Credentials;
use crate::greet::Opened;
use crate::http::{self, Http};
use crate::race::race;
use crate::relay::{Pauses, RelayTrust};
use crate::sealed::Link;

/// How long the first bytes of a session may take to be written, and a nearer host to say its first.
const BEGIN: Duration = Duration::from_secs(5);
/// How long after a session through a relay has opened the local network is tried again, and the most between two tries:
/// each of them tells whoever is at that address in a network of strangers that this device was there.
const NEARER: Duration = Duration::from_secs(2);
const NEARER_MOST: Duration = Duration::from_secs(600);

/// An open session, whose bytes move while `driver` is polled.
pub(super) struct Session {
    pub(super) endpoint: Endpoint,
    pub(super) peer: SocketAddr,
    pub(super) room: Option<u32>,
    pub(super) host_name: String,
    pub(super) http: Http,
    pub(super) driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    pub(super) link: Link,
    pub(super) heard: mpsc::Receiver<Box<Control>>,
    /// The host has spoken in it.
    pub(super) is_settled: bool,
}

impl Session {
    /// Begins to speak HTTP.
    ///
    /// # Errors
    /// It was over before; the link tells why.
    pub(super) async fn begin(opened: Opened) -> Result<Self, Link> {
        let Opened { endpoint, peer, room, host_name, stream, link, heard } = opened;
        let Ok(Ok((http, driver))) = timeout(BEGIN, http::open(stream)).await else { return Err(link) };
        let driver = Box::pin(driver.run());
        Ok(Session { endpoint, peer, room, host_name, http, driver, link, heard, is_settled: false })
    }

    /// Waits until the host has spoken. None: it did not, or took the session back.
    async fn settled(mut self) -> Option<Self> {
        let settled = self.http.settled();
        let spoke = tokio::select! {
            spoke = timeout(BEGIN, settled) => spoke.is_ok(),
            () = &mut self.driver => return None,
        };
        if !spoke {
            self.link.close(CloseCode::Leaving);
            let _ = timeout(Duration::from_secs(1), self.driver).await;
            return None;
        }
        self.is_settled = true;
        Some(self)
    }

    /// Lets what is under way come to its end. Nothing new begins once nobody has its `http` any more.
    pub(super) async fn drain(self) {
        let Session { http, driver, link, heard, .. } = self;
        drop((http, heard));
        driver.await;
        drop(link);
    }
}

/// Waits until the host is met on the local network, where the present session goes through a relay. Never ends where
/// the host has no address there.
pub(super) async fn nearer(mut credentials: Credentials) -> Session {
    credentials.endpoints.retain(|endpoint| matches!(endpoint, Endpoint::Lan(_)));
    if credentials.endpoints.is_empty() {
        return std::future::pending().await;
    }
    let (trust, mut pauses) = (RelayTrust::default(), Pauses::default());
    let mut wait = NEARER;
    loop {
        sleep(wait).await;
        wait = (wait * 4).min(NEARER_MOST);
        let Ok(opened) = race(&credentials, (&trust, None), None, &mut pauses).await else { continue };
        let Ok(session) = Session::begin(opened).await else { continue };
        if let Some(session) = session.settled().await {
            return session;
        }
    }
}
