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
/// How much longer the answer may take for what was sent before the question.
const UNDERWAY: Duration = Duration::from_secs(30);
/// How slow a line may be, in bytes a second; and how long what was sent may be on its way for that.
const SLOWEST: u64 = 4 * 1024;
const LONGEST: Duration = Duration::from_secs(60);

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

/// Waits for the pong. What is on its way to the host gives it more time, and so does any other sign of life: it may stand
/// behind much else.
async fn answered(ping: &mut PingPong, heard: &LastHeard) -> bool {
    let asked = Instant::now();
    loop {
        let since = asked.max(heard.at());
        let until = since + heard.arrives().saturating_duration_since(since).min(UNDERWAY) + PONG;
        if Instant::now() >= until {
            return false;
        }
        if let Ok(pong) = tokio::time::timeout_at(until, poll_fn(|cx| ping.poll_pong(cx))).await {
            return pong.is_ok();
        }
    }
}

/// When something came last, and when what was sent has arrived.
#[derive(Clone, Debug)]
pub(super) struct LastHeard {
    began: Instant,
    millis: Arc<AtomicU64>,
    arrives: Arc<AtomicU64>,
}

impl LastHeard {
    fn at(&self) -> Instant {
        self.began + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    fn now(&self) {
        self.millis.store(millis(self.began.elapsed()), Ordering::Relaxed);
    }

    /// When what was sent has reached the host over as slow a line as may be.
    fn arrives(&self) -> Instant {
        self.began + Duration::from_millis(self.arrives.load(Ordering::Relaxed))
    }

    fn sends(&self, bytes: usize) {
        let now = self.began.elapsed();
        let begins = Duration::from_millis(self.arrives.load(Ordering::Relaxed)).max(now);
        let takes = Duration::from_millis(bytes as u64 * 1000 / SLOWEST);
        self.arrives.store(millis((begins + takes).min(now + LONGEST)), Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A stream that notes when something came, and what is sent.
pub(super) struct Heard<S> {
    stream: S,
    heard: LastHeard,
}

pub(super) fn listen<S>(stream: S) -> (Heard<S>, LastHeard) {
    let heard = LastHeard { began: Instant::now(), millis: Arc::default(), arrives: Arc::default() };
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
        let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.heard.sends(sent);
        Poll::Ready(Ok(sent))
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
        let sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        self.heard.sends(sent);
        Poll::Ready(Ok(sent))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::sleep;

    use super::*;

    /// Carries this many bytes a second, and little of them at a time.
    async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, rate: u32) -> io::Result<()> {
        let mut piece = [0; 512];
        loop {
            let length = from.read(&mut piece).await?;
            sleep(Duration::from_secs(length as u64) / rate).await;
            to.write_all(&piece[..length]).await?;
        }
    }

    /// A host that takes a body of this length as tunnels do, and answers.
    async fn host(stream: DuplexStream, length: usize) -> Result<(), h2::Error> {
        let window = 256 * 1024;
        let mut connection = h2::server::Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(4 * window)
            .handshake::<_, Bytes>(stream)
            .await?;
        while let Some(request) = connection.accept().await {
            let (request, mut respond) = request?;
            tokio::spawn(async move {
                let mut body = request.into_body();
                let mut taken = 0;
                while let Some(Ok(part)) = body.data().await {
                    taken += part.len();
                    let _ = body.flow_control().release_capacity(part.len());
                }
                assert_eq!(taken, length);
                let _ = respond.send_response(http::Response::new(()), true);
            });
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_over_a_slow_line_is_not_given_up() {
        const LENGTH: usize = 1 << 20;
        let (device, near) = duplex(64 * 1024);
        let (far, app) = duplex(64 * 1024);
        let (from_device, to_device) = tokio::io::split(near);
        let (from_host, to_host) = tokio::io::split(far);
        // Between two signs of life the host takes half of what it has room for: more than twenty seconds.
        tokio::spawn(carry(from_device, to_host, 6 * 1024));
        tokio::spawn(carry(from_host, to_device, 6 * 1024));
        tokio::spawn(host(app, LENGTH));
        let (http, driver) = super::super::open(device).await.unwrap();
        let driver = tokio::spawn(driver.run());
        let body = http_body_util::Full::new(Bytes::from(vec![7; LENGTH]));
        let request = http::Request::post("http://localhost/").body(body).unwrap();
        let Ok(answer) = http.request(request, Duration::from_secs(1)).await else { panic!("it was given up") };
        assert_eq!(answer.status(), 200);
        assert!(!driver.is_finished());
    }
}
