//! Listening: bind with errors that say what to do, accept, and let go of connections in an orderly way.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use couplet_protocol::{Code, Problem};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::config::{Config, GATEWAY_PORT, Limits, PAIRING_PORT};
use crate::net;
use crate::slots::{Slot, Slots};
use crate::start::StartError;
use crate::unsent::UNSENT_MAX;

/// How long open connections may take to end once the host stops.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// Where something is to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At loopback and every private address of this machine, at this port.
    Default(u16),
    /// At these addresses.
    Given(Vec<SocketAddr>),
}

impl Place {
    /// Where the pairing API is to be served.
    pub(crate) fn of_pairing(config: &Config) -> Self {
        if config.listen.is_empty() { Place::Default(PAIRING_PORT) } else { Place::Given(config.listen.clone()) }
    }

    /// Where the app with this number is to be served.
    pub(crate) fn of_app(config: &Config, number: u16) -> Self {
        let port = GATEWAY_PORT.saturating_add(number);
        // Beside a pairing listener on a free port of the system's choice, an app's port is of its choice too.
        let port_beside = |pairing: u16| if pairing == 0 { 0 } else { port };
        match (config.gateway.get(usize::from(number)), config.listen.is_empty()) {
            (Some(given), _) => Place::Given(vec![*given]),
            (None, true) => Place::Default(port),
            // With the pairing addresses given, the apps stay on those.
            (None, false) => Place::Given(
                config.listen.iter().map(|a| SocketAddr::new(a.ip(), port_beside(a.port()))).collect::<Vec<_>>(),
            ),
        }
    }

    /// The addresses that it means now.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Place::Default(port) => {
                let own = std::iter::once(IpAddr::V4(Ipv4Addr::LOCALHOST)).chain(net::lan_addresses());
                own.map(|ip| SocketAddr::new(ip, *port)).collect()
            }
            Place::Given(addresses) => addresses.clone(),
        }
    }

    /// Binds them. A machine may have no IPv6.
    pub(crate) fn bind(&self) -> Result<Vec<TcpListener>, StartError> {
        let mut bound = bind_all(&self.addresses())?;
        if let Place::Default(port) = self {
            match bind(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), *port)) {
                Err(error) if error.code() == Code::PortInUse => return Err(error),
                also => bound.extend(also),
            }
        }
        Ok(bound)
    }
}

/// Binds one address.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    open(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::new(
            Code::PortInUse,
            format!("{address} is taken by another program. Stop it, or give this host another port: --listen or --gateway ADDR:PORT."),
        ),
        io::ErrorKind::PermissionDenied => StartError::new(
            Code::AddressUnusable,
            format!("{address}: this user may not listen there; ports below 1024 are the system's. Take a higher port: --listen or --gateway ADDR:PORT."),
        ),
        _ => StartError::new(
            Code::AddressUnusable,
            format!("{address}: {error}. Name an address of this machine (`ip address` lists them): --listen or --gateway ADDR:PORT."),
        ),
    })
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    // A restart must not wait for the last run's connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Binds each of the addresses.
fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    addresses.iter().map(|address| bind(*address)).collect()
}

/// Serves an axum app until `stop` fires; then lets open requests end for [`DRAIN`] and cuts the rest. Dropping the
/// future cuts all.
pub(crate) async fn serve(listener: TcpListener, app: Router, limits: Limits, stop: CancellationToken) {
    accept(listener, None, app, limits, stop).await;
}

/// The same, over TLS.
pub(crate) async fn serve_tls(
    listener: TcpListener,
    tls: TlsAcceptor,
    app: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    accept(listener, Some(tls), app, limits, stop).await;
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, app: Router, limits: Limits, stop: CancellationToken) {
    let slots = Slots::new(limits.max_connections);
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let _cut_when_dropped = cut.clone().drop_guard();
    loop {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
        match accepted {
            Ok((stream, peer)) => {
                let Some(slot) = slots.take(peer.ip()) else {
                    if tls.is_none() {
                        refuse(&stream);
                    }
                    continue;
                };
                settle(&stream, &limits);
                let (cut, tls, app, limits, stop) =
                    (cut.clone(), tls.clone(), app.clone(), limits.clone(), stop.clone());
                tasks.spawn(async move {
                    let served = async {
                        let Some(tls) = tls else { return connection(stream, peer, slot, app, limits, stop).await };
                        // Scanners come with all sorts of handshakes.
                        if let Ok(Ok(stream)) = tokio::time::timeout(limits.header_timeout(), tls.accept(stream)).await
                        {
                            connection(stream, peer, slot, app, limits, stop).await;
                        }
                    };
                    cut.run_until_cancelled(served).await;
                });
            }
            Err(error) => {
                // Out of file descriptors, say: waiting is all that helps.
                tracing::warn!(target: "couplet::http", %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    let _ = tokio::time::timeout(DRAIN, tasks.wait()).await;
}

/// What every accepted connection gets: small answers at once, and an end when the other side takes nothing for so
/// long that it is not there, or does not mean to read (nothing else would end such a connection), and until then
/// little that waits in the kernel.
pub(crate) fn settle(stream: &TcpStream, limits: &Limits) {
    let stalled = Duration::from_secs(limits.stalled_seconds);
    let socket = SockRef::from(stream);
    let set = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(stalled)))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_MAX));
    if let Err(error) = set {
        // The other side is gone already.
        tracing::debug!(target: "couplet::http", %error, "cannot set up a connection");
    }
}

/// Tells a client that there are too many, as far as its socket takes it at once.
pub(crate) fn refuse(stream: &TcpStream) {
    let mut problem = Problem::new(Code::TooManyConnections, "Close some, or try again in a few seconds.");
    let id = crate::random::uuid().simple().to_string();
    tracing::debug!(target: "couplet::http", peer = ?stream.peer_addr().ok(), request_id = %id, "too many connections");
    problem.request_id = Some(id);
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
         content-length: {}\r\nretry-after: 5\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.try_write(answer.as_bytes());
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
    slot: Slot,
    app: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    // A connection that becomes a sealed session keeps its slot.
    let slot = Arc::new(slot);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Arc::clone(&slot));
        app.clone().oneshot(request)
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout()).max_buf_size(64 * 1024);
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(target: "couplet::http", %peer, %error, "connection ended");
    }
}
