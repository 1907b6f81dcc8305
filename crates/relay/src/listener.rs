//! The listeners: accept, shake hands, and serve what comes; every wait is bounded, every connection has its place.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::authority::host_in;
use crate::config::Limits;
use crate::http::body::Patience;
use crate::http::events::{self, CertificateEnd, Head};
use crate::live::Connection;
use crate::rate::Rates;
use crate::shared::Shared;
use crate::sockets::{Socket, Sockets};
use crate::wire::{Tls, Wire, shaken};

/// What hyper reads of a head at most, and what a device may send behind one before its upgrade is answered.
const HEAD_MAX: usize = 8 * 1024;
/// For how many times the time of a head a device's connection takes requests. Sessions and rooms go on for longer.
const HEADERS_IN_AGE: u32 = 6;
/// The kernel asks no more often whether a peer is there.
const SECOND: Duration = Duration::from_secs(1);
/// How much may wait in the kernel for a peer that reads slowly.
const UNSENT_MAX: u32 = 64 * 1024;

/// One of the two listeners with TLS.
pub(crate) struct Listener {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sockets: Sockets,
    pub(crate) tls: TlsAcceptor,
    pub(crate) app: Router,
    pub(crate) limits: Limits,
    pub(crate) kind: Kind,
    /// How often a refusal is written down: who is refused comes as often as it likes.
    pub(crate) refusals: Rates<()>,
}

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Devices,
    Hosts,
}

/// Accepts until it is dropped.
pub(crate) async fn accept(listener: TcpListener, this: Arc<Listener>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match this.sockets.take(peer.ip()) {
                Some(socket) => {
                    let served = Arc::clone(&this).serve(stream, peer, socket);
                    this.shared.spawn(served);
                }
                None => this.shared.metrics.turned_away.increment(1),
            },
            Err(error) => {
                // Out of file descriptors, say: waiting is all that helps.
                tracing::warn!(target: "couplet::relay", %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Small answers at once, and an end when the peer takes nothing for so long that it is not there or does not mean to
/// read.
fn settle(stream: &TcpStream, limits: &Limits) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    // A peer that has vanished while nothing was sent is found out about in much the same time.
    let stalled = Duration::from_secs(limits.stalled_seconds);
    socket
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(stalled).with_interval(stalled.div_f32(4.0).max(SECOND)))?;
    socket.set_tcp_user_timeout(Some(stalled))?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)
}

impl Listener {
    fn may_write(&self) -> bool {
        self.refusals.spend((), Instant::now()).is_ok()
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, socket: Socket) {
        if settle(&stream, &self.limits).is_err() {
            return;
        }
        let handshake = self.tls.accept(stream);
        match tokio::time::timeout(self.limits.handshake(), handshake).await {
            Ok(Ok(tls)) => match self.kind {
                Kind::Devices => self.http(Wire::new(shaken(tls), Vec::new()), peer, Arc::new(socket), None).await,
                Kind::Hosts => self.host(Box::new(shaken(tls)), peer, socket).await,
            },
            Ok(Err(error)) => {
                self.shared.metrics.handshakes_failed.increment(1);
                // Why a host's certificate is refused, the operator wants to know; what scanners do, nobody does.
                let refused = self.kind == Kind::Hosts && error.to_string().contains("peer certificate");
                if refused && self.may_write() {
                    tracing::info!(target: "couplet::relay", peer = %peer.ip(), %error, "host.refused");
                }
            }
            Err(_) => self.shared.metrics.handshakes_failed.increment(1),
        }
    }

    /// A host, whose certificate TLS has verified: not revoked, not too many connections, and what does it want?
    async fn host(self: Arc<Self>, mut tls: Box<Tls>, peer: SocketAddr, socket: Socket) {
        let named = tls.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(host_in);
        let Some((host, end)) = named else { return };
        // What cannot be looked up is not let in.
        if !matches!(self.shared.registry.is_revoked(host).await, Ok(false)) {
            if self.may_write() {
                tracing::info!(target: "couplet::relay", peer = %peer.ip(), %host, "host.refused: revoked or unknown");
            }
            let _ = tokio::time::timeout(self.limits.handshake(), tls.shutdown()).await;
            return;
        }
        socket.known();
        let Some(connection) = self.shared.live.connected(host) else {
            self.shared.metrics.turned_away.increment(1);
            return;
        };
        // Revoked between the look and the entry.
        if !matches!(self.shared.registry.is_revoked(host).await, Ok(false)) {
            return;
        }
        let _ = self.shared.registry.host_seen(host, self.shared.clock.now()).await;
        let (connection, socket) = (Arc::new(connection), Arc::new(socket));
        let head = tokio::time::timeout(self.limits.header(), head(&mut tls)).await;
        match head {
            Ok(Ok((Head::Events(last), _))) => {
                let left = CertificateEnd(end).left();
                // A task of its own: this one is as large as all that it might have become.
                self.shared.spawn(events::run(tls, connection, last, left, socket));
            }
            Ok(Ok((_, read))) => {
                let cut = connection.cut.clone();
                let served = self.http(Wire::new(*tls, read), peer, socket, Some((connection, CertificateEnd(end))));
                cut.run_until_cancelled(served).await;
            }
            _ => {}
        }
    }

    async fn http(
        &self,
        wire: Wire,
        peer: SocketAddr,
        socket: Arc<Socket>,
        host: Option<(Arc<Connection>, CertificateEnd)>,
    ) {
        let patience = Patience(self.limits.header());
        // Who has nothing to do here but to hold a place is let go; a host's certificate counts to its end.
        let age = match &host {
            Some((_, certificate)) => certificate.left(),
            None => self.limits.header() * HEADERS_IN_AGE,
        };
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let extensions = request.extensions_mut();
            extensions.insert(ConnectInfo(peer));
            extensions.insert(patience);
            extensions.insert(Arc::clone(&socket));
            if let Some((connection, end)) = &host {
                extensions.insert(Arc::clone(connection));
                extensions.insert(*end);
            }
            self.app.clone().oneshot(request)
        });
        let served = http1(self.limits.header()).serve_connection(TokioIo::new(wire), service).with_upgrades();
        tokio::pin!(served);
        let over = tokio::time::timeout(age, &mut served).await;
        let served = match over {
            Ok(served) => served,
            // What is being asked is still answered.
            Err(_) => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(target: "couplet::relay", %error, "connection ended");
        }
    }
}

/// HTTP/1.1 whose heads are small and come in time.
pub(crate) fn http1(header: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(header).max_buf_size(HEAD_MAX);
    http
}

/// Reads until it is clear what the first request is.
async fn head(tls: &mut Tls) -> io::Result<(Head, Vec<u8>)> {
    let mut read = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let len = tls.read(&mut chunk).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read.extend_from_slice(&chunk[..len]);
        match events::recognise(&read) {
            Head::Partial if read.len() < HEAD_MAX => {}
            Head::Partial => return Ok((Head::Other, read)),
            known => return Ok((known, read)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_finds_out_about_peers_that_have_vanished() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        settle(&stream, &Limits { stalled_seconds: 40, ..Limits::default() }).unwrap();
        let socket = SockRef::from(&stream);
        let seconds = |n| Duration::from_secs(n);
        assert!(socket.keepalive().unwrap(), "while nothing is sent");
        assert_eq!(
            (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap()),
            (seconds(40), seconds(10))
        );
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(40)), "while something is");
    }
}
