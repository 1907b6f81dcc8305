//! Moves the bytes of an HTTP/2 connection, and notices when its link is cut.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::STREAMS;

/// While a stream is open: how long nothing may come before the host is asked, and how long it may take to answer.
const QUIET: Duration = Duration::from_secs(5);
const PONG: Duration = Duration::from_secs(5);

/// The connection. It does everything while it is run, and nothing else does.
pub(crate) struct Driver<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection: Connection<Heard<S>, Bytes>,
    ping: Option<PingPong>,
    heard: LastHeard,
    streams: Arc<Semaphore>,
    opened: Arc<Notify>,
    settle: watch::Sender<bool>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(super) fn new(
        mut connection: Connection<Heard<S>, Bytes>,
        heard: LastHeard,
        streams: Arc<Semaphore>,
        opened: Arc<Notify>,
        settle: watch::Sender<bool>,
    ) -> Self {
        Driver { ping: connection.ping_pong(), connection, heard, streams, opened, settle }
    }

    /// Runs until the session is over, or its link shows no life while somebody waits for it.
    pub(crate) async fn run(self) {
        let Driver { mut connection, ping, heard, streams, opened, settle } = self;
        let watch = async {
            let Some(mut ping) = ping else { return std::future::pending().await };
            // The host's settings come before this pong.
            if ping.send_ping(Ping::opaque()).is_ok() && poll_fn(|cx| ping.poll_pong(cx)).await.is_ok() {
                settle.send_replace(true);
            }
            loop {
                while streams.available_permits() == STREAMS {
                    opened.notified().await;
                }
                // Whoever waits now begins to wait now.
                let mut since = Instant::now();
                while streams.available_permits() < STREAMS {
                    sleep_until(since.max(heard.at()) + QUIET).await;
                    since = since.max(heard.at());
                    if since.elapsed() < QUIET || streams.available_permits() == STREAMS {
                        continue;
                    }
                    if ping.send_ping(Ping::opaque()).is_err() || !answered(&mut ping, &heard).await {
                        return;
                    }
                    since = Instant::now();
                }
            }
        };
        tokio::select! {
            _ = &mut connection => {}
            () = watch => {}
        }
    }
}

/// Waits for the pong. Any other sign of life gives it more time: it may stand behind much that is under way.
async fn answered(ping: &mut PingPong, heard: &LastHeard) -> bool {
    let mut until = Instant::now() + PONG;
    loop {
        match tokio::time::timeout_at(until, poll_fn(|cx| ping.poll_pong(cx))).await {
            Ok(pong) => return pong.is_ok(),
            Err(_) if heard.at() + PONG > until => until = heard.at() + PONG,
            Err(_) => return false,
        }
    }
}

/// When something came last.
#[derive(Clone, Debug)]
pub(super) struct LastHeard {
    began: Instant,
    millis: Arc<AtomicU64>,
}

impl LastHeard {
    fn at(&self) -> Instant {
        self.began + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    fn now(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }
}

/// A stream that notes when something came.
pub(super) struct Heard<S> {
    stream: S,
    heard: LastHeard,
}

pub(super) fn listen<S>(stream: S) -> (Heard<S>, LastHeard) {
    let heard = LastHeard { began: Instant::now(), millis: Arc::default() };
    (Heard { stream, heard: heard.clone() }, heard)
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.heard.now();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
