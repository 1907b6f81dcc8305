//! A socket under hyper that sends small messages with one plain write.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Up to here copying the pieces together is cheaper than having the kernel gather them.
const GATHER_MAX: usize = 2048;

/// A TCP stream as hyper takes it.
pub(super) struct Stream(TokioIo<TcpStream>);

impl Stream {
    pub(super) fn new(stream: TcpStream) -> Self {
        Stream(TokioIo::new(stream))
    }

    pub(super) fn tcp(&mut self) -> &mut TcpStream {
        self.0.inner_mut()
    }

    pub(super) fn into_tcp(self) -> TcpStream {
        self.0.into_inner()
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = Pin::new(&mut self.0);
        if let [only] = bufs {
            return inner.poll_write(cx, only);
        }
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total > GATHER_MAX {
            return inner.poll_write_vectored(cx, bufs);
        }
        let (mut gathered, mut end) = ([0; GATHER_MAX], 0);
        for buf in bufs {
            gathered[end..end + buf.len()].copy_from_slice(buf);
            end += buf.len();
        }
        inner.poll_write(cx, &gathered[..end])
    }
}
