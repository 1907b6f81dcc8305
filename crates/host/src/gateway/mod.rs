//! The gateway: puts a real app behind device authentication.
//!
//! A request passes through these hands: [`listener`] reads it off a client's connection and finds the device
//! that sent it; [`forward`] judges it, and sends it over a connection of [`pool`] after [`headers`] made its head
//! the app's; [`request`] and [`answer`] are the two bodies, streamed frame by frame, never gathered; [`upgrade`]
//! is what remains after a `101`. All of one client's work happens in the one task of its connection, which also
//! drives the connection to the app meanwhile.
//!
//! Whatever a device has open ends when its [`Session`] does: a request that waits is answered 401, a body that
//! streams and a tunnel break.

mod answer;
mod forward;
mod headers;
mod listener;
mod pool;
mod request;
#[cfg(test)]
mod tests;
mod upgrade;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse;
use couplet_protocol::Code;
use http::Request;
use hyper::body::Incoming;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use answer::{AnswerBody, BodyError};
pub use forward::Answer;
pub use headers::Peer;
pub use upgrade::Tunnel;

use crate::auth::{Authenticator, CredentialHeader};
use crate::config::{Limits, Upstream};
use crate::problem::Failure;
use crate::session::Session;

/// How long exchanges may go on once the host stops.
const DRAIN_FOR: Duration = Duration::from_secs(5);
/// How often idle connections to the app are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

/// One app behind device authentication.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    forwarder: Arc<forward::Forwarder>,
    head_within: Duration,
    max_connections: usize,
    trusted_proxies: Vec<IpNet>,
}

impl Gateway {
    /// A gateway to `upstream`, for the devices that `authenticator` knows.
    #[must_use]
    pub fn new(upstream: Upstream, authenticator: Authenticator, limits: &Limits, trusted_proxies: Vec<IpNet>) -> Self {
        Gateway(Arc::new(Inner {
            forwarder: Arc::new(forward::Forwarder::new(upstream, authenticator, limits)),
            head_within: limits.header_timeout(),
            max_connections: limits.max_connections,
            trusted_proxies,
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
        self.0.forwarder.forward(request, session, credential, peer).await
    }

    /// Serves clients until `shutdown`, then lets exchanges finish for a while. Dropping the future cuts them all.
    pub fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let gateway = self.clone();
        async move {
            let mut connections = JoinSet::new();
            let mut sweep = interval(SWEEP_EVERY);
            sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    accepted = listener.accept() => gateway.accepted(accepted, &mut connections, &shutdown).await,
                    Some(_) = connections.join_next() => {}
                    _ = sweep.tick() => gateway.0.forwarder.pool.sweep(),
                }
            }
            drop(listener);
            let all_done = async { while connections.join_next().await.is_some() {} };
            if timeout(DRAIN_FOR, all_done).await.is_err() {
                tracing::info!(target: "couplet::gateway", "cutting what did not finish in time");
            }
        }
    }

    async fn accepted(
        &self,
        accepted: io::Result<(TcpStream, SocketAddr)>,
        connections: &mut JoinSet<()>,
        stopping: &CancellationToken,
    ) {
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A connection that is gone already costs nothing; being out of file descriptors does not pass
                // by trying again at once.
                tracing::warn!(target: "couplet::gateway", %error, "cannot accept a connection");
                return sleep(Duration::from_millis(50)).await;
            }
        };
        if connections.len() >= self.0.max_connections {
            return refuse(&stream);
        }
        let _ = stream.set_nodelay(true);
        let ip = from.ip().to_canonical();
        let peer = Peer::new(ip, self.0.trusted_proxies.iter().any(|net| net.contains(&ip)));
        let (forwarder, stopping) = (self.0.forwarder.clone(), stopping.clone());
        connections.spawn(listener::serve(forwarder, stream, peer, self.0.head_within, stopping));
    }
}

/// Tells a client that there are too many, as far as its socket takes it at once.
fn refuse(stream: &TcpStream) {
    let response = Failure::new(Code::TooManyConnections, "Close some, or try again later.").into_response();
    let head = format!(
        "HTTP/1.1 {} Service Unavailable\r\ncontent-length: 0\r\nretry-after: 5\r\nconnection: close\r\n\r\n",
        response.status().as_u16()
    );
    let _ = stream.try_write(head.as_bytes());
}
