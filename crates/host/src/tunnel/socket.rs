//! The TCP connection beneath a session on the LAN.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::unsent::has_unsent;

/// A device's socket. What the kernel has not sent when the session is over is thrown away: nobody gets it whole, and a
/// revoked device no more of it.
#[derive(Debug)]
pub(crate) struct DeviceSocket(TcpStream);

impl DeviceSocket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        DeviceSocket(stream)
    }
}

impl Drop for DeviceSocket {
    fn drop(&mut self) {
        if has_unsent(&self.0) {
            let _ = self.0.set_zero_linger();
        }
    }
}

impl AsyncRead for DeviceSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for DeviceSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
