//! A connection that is read in large pieces.
//!
//! rustls asks for 4 KiB at a time, and every time would be a system call. What was read ahead lies in memory that is
//! given back, to whichever connection of the thread reads next, as soon as nothing of it is left: a connection that is
//! idle holds none.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// How much is read ahead at most.
pub(crate) const AHEAD: usize = 32 * 1024;

thread_local! {
    /// What the last connection has given back.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A connection, and what was read of it and is still to be taken.
#[derive(Debug)]
pub(crate) struct Ahead<S> {
    stream: S,
    read: Vec<u8>,
    at: usize,
}

impl<S> Ahead<S> {
    pub(crate) fn new(stream: S) -> Self {
        Ahead { stream, read: Vec::new(), at: 0 }
    }

    fn give_back(&mut self) {
        self.at = 0;
        self.read.clear();
        SPARE.set(std::mem::take(&mut self.read));
    }
}

impl<S: AsyncRead + Unpin> AsyncBufRead for Ahead<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.at == this.read.len() {
            this.at = 0;
            this.read = SPARE.take();
            this.read.clear();
            this.read.reserve_exact(AHEAD);
            match poll_read_buf(Pin::new(&mut this.stream), cx, &mut this.read) {
                Poll::Ready(Ok(len)) if len > 0 => {}
                other => {
                    this.give_back();
                    ready!(other)?;
                }
            }
        }
        Poll::Ready(Ok(&this.read[this.at..]))
    }

    fn consume(self: Pin<&mut Self>, len: usize) {
        let this = self.get_mut();
        this.at += len;
        if this.at == this.read.len() && this.at > 0 {
            this.give_back();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(self.as_mut().poll_fill_buf(cx))?;
        let len = read.len().min(buf.remaining());
        buf.put_slice(&read[..len]);
        self.consume(len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn nothing_is_held_once_all_is_read_and_nothing_is_lost_at_the_end() {
        let (mut far, near) = tokio::io::duplex(AHEAD);
        let mut near = Ahead::new(near);
        far.write_all(&[7; 10_000]).await.unwrap();
        let mut some = [0; 4096];
        near.read_exact(&mut some).await.unwrap();
        assert_eq!(near.read.len(), 10_000, "read at once");
        near.read_exact(&mut [0; 10_000 - 4096]).await.unwrap();
        assert_eq!(near.read.capacity(), 0);
        tokio::select! {
            biased;
            _ = near.read(&mut some) => panic!("nothing was sent"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(near.read.capacity(), 0);
        far.write_all(b"last").await.unwrap();
        drop(far);
        let mut last = Vec::new();
        near.read_to_end(&mut last).await.unwrap();
        assert_eq!((last.as_slice(), near.read.capacity()), (b"last".as_slice(), 0));
    }
}
