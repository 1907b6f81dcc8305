//! The gateway: puts a real app behind device authentication.
//!
//! A request passes through these hands: [`listener`] reads it off a client's connection, whose socket is
//! [`client`], and finds the device that sent it, as [`signed`] does for those that sign; [`forward`] judges it, and sends it over a connection of [`pool`] after [`headers`] made its head
//! the app's; [`request`] and [`answer`] are the two bodies, streamed frame by frame, and gathered only where a signature
//! covers the whole; [`upgrade`]
//! is what remains after a `101`. All of one client's work happens in the one task of its connection, on one
//! thread of [`workers`], which also drives the connection to the app meanwhile.
//!
//! Whatever a device has open ends when its [`Session`] does: a request that waits is answered 401, a body that
//! streams and a tunnel break.

mod alarm;
mod answer;
mod client;
mod forward;
mod headers;
mod listener;
mod pool;
mod request;
mod signed;
mod stream;
#[cfg(test)]
mod tests;
mod upgrade;
mod workers;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use answer::{AnswerBody, BodyError};
pub use forward::Answer;
pub(crate) use headers::COOKIE;
pub use headers::Peer;
pub use upgrade::Tunnel;

use self::alarm::Alarm;
use self::forward::Forwarder;
use self::request::ClientBody;
use self::workers::{Job, Slot, Workers};
use crate::auth::{Authenticator, CredentialHeader};
use crate::config::{Limits, Upstream};
use crate::problem::Failure;
use crate::session::Session;
use crate::slots::Slots;
use crate::{listen, net};

/// How long exchanges may go on once the host stops.
const DRAIN_FOR: Duration = Duration::from_secs(5);

/// One app behind device authentication.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    authenticator: Authenticator,
    limits: Limits,
    trusted_proxies: Vec<IpNet>,
    /// For requests that come from elsewhere than our listeners.
    forwarder: Forwarder,
    /// Shared by this gateway's listeners, and gone with the last of them.
    workers: Mutex<Weak<Workers>>,
    worker_count: usize,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gateway")
    }
}

impl Gateway {
    /// A gateway to `upstream`, for the devices that `authenticator` knows.
    #[must_use]
    pub fn new(upstream: Upstream, authenticator: Authenticator, limits: &Limits, trusted_proxies: Vec<IpNet>) -> Self {
        Self::with_workers(Workers::count(), upstream, authenticator, limits, trusted_proxies)
    }

    fn with_workers(
        worker_count: usize,
        upstream: Upstream,
        authenticator: Authenticator,
        limits: &Limits,
        trusted_proxies: Vec<IpNet>,
    ) -> Self {
        Gateway(Arc::new(Inner {
            forwarder: Forwarder::new(upstream.clone(), authenticator.clone(), limits),
            upstream,
            authenticator,
            limits: limits.clone(),
            trusted_proxies,
            workers: Mutex::default(),
            worker_count,
        }))
    }

    /// Forwards one request of a device that is already known, wherever the request came from.
    ///
    /// # Errors
    /// The request is not permitted or not forwardable, or the app gave no answer.
    pub async fn forward(
        &self,
        request: Request<Incoming>,
        session: Arc<Session>,
        credential: Option<CredentialHeader>,
        peer: &Peer,
    ) -> Result<Answer, Failure> {
        let (now, alarm, ended) = (self.0.authenticator.now(), Alarm::default(), session.ended().clone());
        let mut ended = pin!(ended.cancelled());
        let request = request.map(ClientBody::Stream);
        let mut forwarded = pin!(self.0.forwarder.forward(request, session, credential, peer, now, &alarm));
        poll_fn(|cx| {
            // Only to be woken: what is being forwarded looks for itself.
            let _ = ended.as_mut().poll(cx);
            forwarded.as_mut().poll(cx)
        })
        .await
    }

    /// Serves clients until `shutdown`, then lets exchanges finish for a while. Dropping the future cuts them all.
    ///
    /// A gateway may serve several listeners at once.
    pub fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let inner = self.0.clone();
        async move {
            let workers = match inner.workers() {
                Ok(workers) => workers,
                Err(error) => {
                    tracing::error!(target: "couplet::gateway", %error, "cannot start the gateway's threads");
                    return;
                }
            };
            let (open, mut all_gone) = mpsc::channel(1);
            let door = Door {
                workers,
                open,
                places: Slots::new(inner.limits.max_connections),
                shutdown,
                cut: CancellationToken::new(),
            };
            let _cut = door.cut.clone().drop_guard();
            loop {
                tokio::select! {
                    () = door.shutdown.cancelled() => break,
                    accepted = listener.accept() => inner.accepted(accepted, &door).await,
                }
            }
            drop(listener);
            let Door { open, .. } = door;
            drop(open);
            if timeout(DRAIN_FOR, all_gone.recv()).await.is_err() {
                tracing::info!(target: "couplet::gateway", "cutting what did not finish in time");
            }
        }
    }
}

/// One listener's connections.
struct Door {
    workers: Arc<Workers>,
    open: mpsc::Sender<()>,
    places: Arc<Slots>,
    shutdown: CancellationToken,
    cut: CancellationToken,
}

impl Inner {
    fn workers(&self) -> io::Result<Arc<Workers>> {
        let mut running = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(workers) = running.upgrade() {
            return Ok(workers);
        }
        let forwarder = || Forwarder::new(self.upstream.clone(), self.authenticator.clone(), &self.limits);
        let workers = Arc::new(Workers::start(self.worker_count, forwarder)?);
        *running = Arc::downgrade(&workers);
        Ok(workers)
    }

    async fn accepted(&self, accepted: io::Result<(TcpStream, SocketAddr)>, door: &Door) {
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Being out of file descriptors does not pass by trying again at once.
                tracing::warn!(target: "couplet::gateway", %error, "cannot accept a connection");
                return sleep(Duration::from_millis(50)).await;
            }
        };
        let ip = from.ip().to_canonical();
        let Some(place) = door.places.take(ip) else {
            return listen::refuse(&stream);
        };
        listen::settle(&stream, &self.limits);
        let slot = Slot { _place: place, _open: door.open.clone() };
        let port = stream.local_addr().ok().map(|address| address.port());
        let peer = Peer::new(ip, net::within(&self.trusted_proxies, ip)).at(port);
        let (stopping, cut) = (door.shutdown.clone(), door.cut.clone());
        if let Ok(stream) = stream.into_std() {
            door.workers.serve(Job { stream, peer, head_within: self.limits.header_timeout(), stopping, cut, slot });
        }
    }
}
