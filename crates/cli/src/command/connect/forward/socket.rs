//! A program's socket, which is reset unless it was finished.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How much, and how long, is read and thrown away of a request that was answered before it was read: closing at once
/// would reset the connection, and the program might never see the answer.
const LINGER_BYTES: u64 = 1024 * 1024;
const LINGER_FOR: Duration = Duration::from_secs(2);

/// A socket. Dropped before it was finished it is reset: an answer that only the end of the connection ends would look
/// whole otherwise.
pub(super) struct Socket {
    stream: TcpStream,
    finished: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Socket { stream, finished: false }
    }

    /// Ends the connection in good order.
    pub(super) async fn finish(mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        self.finished = true;
        let mut scrap = tokio::io::sink();
        let mut rest = (&mut self.stream).take(LINGER_BYTES);
        let _ = timeout(LINGER_FOR, tokio::io::copy(&mut rest, &mut scrap)).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
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
