//! Connections to one app.
//!
//! A [`Link`] is driven by the very task that serves the client: while it waits for the answer, and from the
//! answer's body. So an exchange wakes one task, not three, and nothing crosses threads or queues. An idle link
//! is driven by nobody; that the app has closed it is seen at its next use, before anything is written to it,
//! or by [`Pool::sweep`].

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::Code;
use futures_util::task::AtomicWaker;
use http::{HeaderName, HeaderValue};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::request::RequestBody;
use super::stream::Stream;
use crate::config::Upstream;
use crate::problem::Failure;

/// Idle connections kept to one app.
const IDLE_MAX: usize = 64;
/// How many sweeps an idle one outlives: common app servers close theirs after 5 s, and we want to be first.
const IDLE_SWEEPS: u8 = 2;
/// What may be buffered of one message in each direction, which also bounds the answer's head.
pub(super) const BUFFER: usize = 64 * 1024;

/// The app as the gateway knows it.
#[derive(Debug)]
pub(super) struct App {
    pub(super) name: String,
    pub(super) authority: String,
    pub(super) host: HeaderValue,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// When the address needs no name lookup.
    address: Option<SocketAddr>,
}

impl App {
    pub(super) fn new(upstream: Upstream) -> Self {
        App {
            host: HeaderValue::from_str(&upstream.authority).unwrap_or(HeaderValue::from_static("localhost")),
            address: upstream.authority.parse().ok(),
            name: upstream.name,
            authority: upstream.authority,
            headers: upstream.headers,
        }
    }

    /// A failure whose text names the app: `The app "web" at 127.0.0.1:3000 …`.
    pub(super) fn failure(&self, code: Code, what: &str) -> Failure {
        Failure::new(code, format!("The app {:?} at {} {what}", self.name, self.authority))
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = match self.address {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect(&self.authority).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

type Connection = http1::Connection<Stream, RequestBody>;

/// What a connection rings when it can go on: it wakes the task that drives it at the time, or nobody.
#[derive(Default)]
struct Bell {
    task: AtomicWaker,
    muted: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.muted.load(Ordering::Relaxed) {
            self.task.wake();
        }
    }
}

/// One connection to the app.
pub(super) struct Link {
    pub(super) send: http1::SendRequest<RequestBody>,
    connection: Connection,
    bell: Arc<Bell>,
    waker: Waker,
    /// How many sweeps found it idle since its last use.
    swept: u8,
}

impl Link {
    /// Reads and writes what can be. Ready when the connection has ended or changes its protocol.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.bell.task.register(cx.waker());
        Pin::new(&mut self.connection).poll(&mut Context::from_waker(&self.waker))
    }

    /// Takes what is there of a body that came over this connection, which then could go on at once and would wake
    /// the task that is just running. So it is kept from it; whoever needs more polls the connection next anyway.
    pub(super) fn take_frame(&self, body: &mut Incoming) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.bell.muted.store(true, Ordering::Relaxed);
        let frame = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        self.bell.muted.store(false, Ordering::Relaxed);
        frame
    }

    /// The connection alone, to be driven elsewhere. It ends after the exchange under way.
    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    /// The bare stream and what was read ahead of it, once the protocol has changed.
    pub(super) fn into_stream(self) -> (TcpStream, Bytes) {
        let parts = self.connection.into_parts();
        (parts.io.into_tcp(), parts.read_buf)
    }

    /// Whether it has finished its exchange and is open still, as far as a look at it tells.
    fn is_usable(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop())).is_pending() && self.send.is_ready()
    }
}

/// The idle connections to one app, the last used first.
pub(super) struct Pool {
    app: Arc<App>,
    connect_within: Duration,
    idle: Mutex<VecDeque<Box<Link>>>,
}

impl Pool {
    pub(super) fn new(app: Arc<App>, connect_within: Duration) -> Self {
        Pool { app, connect_within, idle: Mutex::default() }
    }

    /// An idle connection, if there is one.
    pub(super) fn reuse(&self) -> Option<Box<Link>> {
        self.idle().pop_back()
    }

    /// A fresh connection.
    pub(super) async fn connect(&self) -> Result<Box<Link>, Failure> {
        let app = &self.app;
        let stream = match timeout(self.connect_within, app.connect()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let what = match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => "refused the connection. Start it, then try again.",
                    _ => "cannot be reached. Check its address and that it runs, then try again.",
                };
                return Err(app.failure(Code::UpstreamDown, what).because(error));
            }
            Err(_) => {
                let what = "did not take the connection in time. Check that it is not overloaded, then try again.";
                return Err(app.failure(Code::UpstreamDown, what).because("connecting took too long"));
            }
        };
        let handshake = http1::Builder::new().max_buf_size(BUFFER).handshake(Stream::new(stream)).await;
        let (send, connection) = handshake
            .map_err(|error| app.failure(Code::UpstreamDown, "cannot be used. Check its log.").because(error))?;
        let bell = Arc::<Bell>::default();
        let waker = Waker::from(bell.clone());
        Ok(Box::new(Link { send, connection, bell, waker, swept: 0 }))
    }

    /// Keeps a connection whose exchange is over, unless either side wants it closed.
    pub(super) fn keep(&self, mut link: Box<Link>) {
        if !link.send.is_ready() && !link.is_usable() {
            return;
        }
        link.bell.task.take();
        link.swept = 0;
        let mut idle = self.idle();
        let dropped = if idle.len() >= IDLE_MAX { idle.pop_front() } else { None };
        idle.push_back(link);
        drop(idle);
        drop(dropped);
    }

    /// Closes connections that were idle too long or that the app has closed.
    pub(super) fn sweep(&self) {
        self.idle().retain_mut(|link| {
            link.swept += 1;
            link.swept < IDLE_SWEEPS && link.is_usable()
        });
    }

    /// How many connections are idle.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.idle().len()
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Box<Link>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
