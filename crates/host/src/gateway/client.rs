//! The client's socket, down to what the kernel has taken of an answer and not sent yet.
//!
//! A device that reads slowly leaves what it was answered in the kernel, for minutes if it likes. As long as it is
//! there it can be called back: a close with a linger time of zero throws it away. So while any is left the
//! connection stays open, also when it has nothing else to do, and breaks when the device's session ends. What has
//! been sent is in the network or with the device, and nobody can call that back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::stream::Stream;
use crate::unsent::{has_unsent, poll_sent, wait_for_all};

/// How much, and how long, is read and thrown away of a request that was answered before it was read: closing at
/// once would reset the connection, and the client might never see the answer.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER_FOR: Duration = Duration::from_secs(2);

/// What a client's socket is told by those who answer the client.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// The session of the device that was answered has ended; taken note of by the socket.
    pub(super) ended: AtomicBool,
    /// What is written next is for a request that was judged since, or is the refusal of one.
    pub(super) renewed: AtomicBool,
    /// The answer is still coming from the app.
    pub(super) streams: Arc<AtomicBool>,
    /// The request may still be coming when everything is answered.
    pub(super) lingers: AtomicBool,
}

/// A client's socket. Dropped before it was shut down it is reset, so that a part is not taken for the whole.
pub(super) struct ClientStream {
    inner: Stream,
    fate: Arc<Fate>,
    /// The kernel took no more; hyper may hold something, too.
    blocked: bool,
    close: Close,
}

/// How far a socket is from being closed.
enum Close {
    /// Not yet.
    Open,
    /// Everything is written, and not yet sent.
    Sending,
    /// The client knows the end, and may still be sending.
    Lingering {
        until: Pin<Box<Sleep>>,
        left: usize,
    },
    Done,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, fate: Arc<Fate>) -> Self {
        ClientStream { inner: Stream::new(stream), fate, blocked: false, close: Close::Open }
    }

    /// Makes the coming drop a reset whatever was said before.
    pub(super) fn reset(&mut self) {
        self.close = Close::Open;
    }

    /// Fails if the session of the device has ended while something for it is on its way, or is about to be. A
    /// connection that has nothing on its way goes on: the next request is told.
    fn check(&mut self, writes: bool) -> io::Result<()> {
        if !self.fate.ended.load(Ordering::Acquire) {
            return Ok(());
        }
        let renewed = self.fate.renewed.load(Ordering::Relaxed);
        let on_its_way = self.blocked || self.fate.streams.load(Ordering::Relaxed) || has_unsent(self.inner.tcp());
        if on_its_way || writes && !renewed {
            return Err(io::Error::other("the device's access has ended"));
        }
        if renewed {
            self.fate.renewed.store(false, Ordering::Relaxed);
            self.fate.ended.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.blocked = written.is_pending();
        written
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.close {
                Close::Open => {
                    wait_for_all(self.inner.tcp());
                    self.close = Close::Sending;
                }
                Close::Sending => {
                    ready!(poll_sent(self.inner.tcp(), cx))?;
                    ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
                    self.close = match self.fate.lingers.load(Ordering::Relaxed) {
                        true => Close::Lingering { until: Box::pin(sleep(LINGER_FOR)), left: LINGER_BYTES },
                        false => Close::Done,
                    };
                }
                Close::Lingering { until, left } => {
                    ready!(poll_scrap(self.inner.tcp(), until, left, cx));
                    self.close = Close::Done;
                }
                Close::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if !matches!(self.close, Close::Done) {
            let _ = self.inner.tcp().set_zero_linger();
        }
    }
}

impl Read for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl Write for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(true)?;
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.wrote(written)
    }

    /// Whatever hyper does, it ends in this or in a write: so this is where it learns of the end.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(false)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(false)?;
        self.poll_close(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(true)?;
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }
}

/// Reads and throws away, within bounds, until the client has finished.
fn poll_scrap(stream: &mut TcpStream, until: &mut Pin<Box<Sleep>>, left: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
    let mut scrap = [0; 4096];
    while *left > 0 && until.as_mut().poll(cx).is_pending() {
        let mut scrap = ReadBuf::new(&mut scrap);
        match ready!(Pin::new(&mut *stream).poll_read(cx, &mut scrap)) {
            Ok(()) if !scrap.filled().is_empty() => *left = left.saturating_sub(scrap.filled().len()),
            _ => break,
        }
    }
    Poll::Ready(())
}
