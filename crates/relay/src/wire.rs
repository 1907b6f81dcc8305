//! A connection: TLS, and before it what was read of it already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// TLS over TCP, the server's end.
#[cfg(not(feature = "failpoints"))]
pub(crate) type Tls = TlsStream<TcpStream>;
#[cfg(feature = "failpoints")]
pub(crate) type Tls = crate::recording::Recorded;

/// A connection whose handshake is done.
pub(crate) fn shaken(tls: TlsStream<TcpStream>) -> Tls {
    #[cfg(feature = "failpoints")]
    let tls = tls.into();
    tls
}

/// A connection some bytes of which were read and put back.
#[derive(Debug)]
pub(crate) struct Wire {
    tls: Tls,
    before: Vec<u8>,
    at: usize,
}

impl Wire {
    /// `before` comes first.
    pub(crate) fn new(tls: Tls, before: Vec<u8>) -> Self {
        Wire { tls, before, at: 0 }
    }

    /// What was put back and nobody has read, and the rest.
    pub(crate) fn into_parts(mut self) -> (Vec<u8>, Tls) {
        self.before.drain(..self.at);
        (self.before, self.tls)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = this.before.get(this.at..).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut this.tls).poll_read(cx, buf);
        }
        let len = left.len().min(buf.remaining());
        buf.put_slice(&left[..len]);
        this.at += len;
        if this.at == this.before.len() {
            (this.before, this.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, bufs)
    }
}
