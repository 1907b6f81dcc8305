//! The bridge: copies bytes between the two ends of a session, verbatim and unread.
//!
//! There is no frame parser here. What one end sends is read into memory that all sessions of a thread share and written
//! to the other end at once; only what that end does not take is kept, and then nothing more is read. So a session that is
//! idle holds nothing, and one whose reader stands still holds [`CHUNK`] bytes and as much again within TLS, a direction.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use couplet_protocol::relay::EARLY_MAX;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::quota::Quota;
use crate::sockets::Socket;
use crate::wire::Tls;

/// How much is read at once, and how much TLS may hold for a peer that does not take it: together 64 KiB.
const CHUNK: usize = 32 * 1024;
/// How long the last bytes may take to leave once one end is gone.
const FAREWELL: Duration = Duration::from_secs(5);

thread_local! {
    static CHUNKS: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// One end of a session, after its upgrade.
#[derive(Debug)]
pub(crate) struct End {
    /// The connection.
    pub(crate) tls: Box<Tls>,
    /// What it sent before there was another end.
    pub(crate) early: Vec<u8>,
    /// Its place among the connections.
    pub(crate) _socket: Arc<Socket>,
}

/// Waits for the other end. Meanwhile at most [`EARLY_MAX`] bytes are taken, so that an end that goes away is noticed.
/// None when the session is over before it began.
pub(crate) async fn wait(
    mut end: End,
    mut other: oneshot::Receiver<End>,
    cut: &CancellationToken,
) -> Option<(End, End)> {
    let mut chunk = [0; 1024];
    loop {
        let room = EARLY_MAX.saturating_sub(end.early.len()).min(chunk.len());
        tokio::select! {
            biased;
            () = cut.cancelled() => return None,
            other = &mut other => return Some((end, other.ok()?)),
            read = end.tls.read(&mut chunk[..room]), if room > 0 => match read {
                Ok(len) if len > 0 => end.early.extend_from_slice(&chunk[..len]),
                _ => return None,
            },
        }
    }
}

/// How many bytes went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) to_host: u64,
    pub(crate) to_device: u64,
}

/// Copies until either end ends, or `cut` fires; then both are closed. `tell` learns of the bytes as they pass.
pub(crate) async fn run(
    mut device: End,
    mut host: End,
    quotas: &[Arc<Quota>],
    cut: &CancellationToken,
    tell: impl Fn(usize),
) -> Carried {
    for end in [&mut device, &mut host] {
        end.tls.get_mut().1.set_buffer_limit(Some(CHUNK));
    }
    let mut to_host = Way::new(std::mem::take(&mut device.early));
    let mut to_device = Way::new(std::mem::take(&mut host.early));
    let (a, b) = (&mut device.tls, &mut host.tls);
    let copied = cut.run_until_cancelled(poll_fn(|cx| {
        // Both are polled each time: either may be what woke the task.
        let one = to_host.poll(cx, a.as_mut(), b.as_mut(), quotas, &tell);
        let other = to_device.poll(cx, b.as_mut(), a.as_mut(), quotas, &tell);
        if one.is_ready() || other.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    }));
    if copied.await.is_some() {
        let farewell = async { tokio::join!(device.tls.shutdown(), host.tls.shutdown()) };
        let _ = cut.run_until_cancelled(tokio::time::timeout(FAREWELL, farewell)).await;
    }
    Carried { to_host: to_host.carried, to_device: to_device.carried }
}

/// One direction.
struct Way {
    /// What was read and not yet taken by the other end, from `at` on.
    rest: Vec<u8>,
    at: usize,
    /// Whether TLS may hold something back.
    unflushed: bool,
    /// The quota is overdrawn until then.
    overdrawn: Option<Pin<Box<Sleep>>>,
    carried: u64,
}

impl Way {
    fn new(early: Vec<u8>) -> Self {
        let carried = early.len() as u64;
        Way { rest: early, at: 0, unflushed: false, overdrawn: None, carried }
    }

    /// Ready when its source has ended and all that it sent was handed on, or when something fails.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Tls,
        to: &mut Tls,
        quotas: &[Arc<Quota>],
        tell: &impl Fn(usize),
    ) -> Poll<()> {
        loop {
            match self.poll_rest(cx, to) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
            let may_read = match &mut self.overdrawn {
                Some(until) => until.as_mut().poll(cx).is_ready(),
                None => true,
            };
            let copied = if may_read {
                self.overdrawn = None;
                CHUNKS.with_borrow_mut(|chunk| self.poll_copy(cx, from, to, chunk))
            } else {
                Poll::Pending
            };
            match copied {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(len)) => {
                    self.carried += len as u64;
                    tell(len);
                    self.charge(len, quotas);
                }
                Poll::Pending => {
                    if self.unflushed && ready!(Pin::new(to).poll_flush(cx)).is_err() {
                        return Poll::Ready(());
                    }
                    self.unflushed = false;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Hands on what is left of earlier.
    fn poll_rest(&mut self, cx: &mut Context<'_>, to: &mut Tls) -> Poll<io::Result<()>> {
        while self.at < self.rest.len() {
            let len = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest[self.at..]))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            (self.at, self.unflushed) = (self.at + len, true);
        }
        (self.rest, self.at) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Reads a chunk and hands it on; what is not taken is kept. Tells how much was read; 0 is the end.
    fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Tls,
        to: &mut Tls,
        chunk: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::new(chunk);
        ready!(Pin::new(from).poll_read(cx, &mut read))?;
        let (mut left, len) = (read.filled(), read.filled().len());
        while !left.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, left)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(len) => (left, self.unflushed) = (&left[len..], true),
                Poll::Pending => {
                    left.clone_into(&mut self.rest);
                    break;
                }
            }
        }
        Poll::Ready(Ok(len))
    }

    fn charge(&mut self, len: usize, quotas: &[Arc<Quota>]) {
        let now = Instant::now();
        let wait = quotas.iter().map(|quota| quota.charge(len, now)).max().unwrap_or_default();
        if !wait.is_zero() {
            self.overdrawn = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }
}
