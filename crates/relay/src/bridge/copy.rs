//! The copy loop: there and back between two connections, verbatim.
//!
//! What one end sends is read into memory that all sessions of a thread share and written to the other end at once. Only
//! what that end does not take is kept; as long as it takes nothing, nothing more is read.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How much is read at once.
pub(crate) const CHUNK: usize = 32 * 1024;

thread_local! {
    static CHUNKS: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// Copies there and back until one way is over. `passed` learns of bytes as they pass, and says how long to wait before
/// the next are read.
pub(crate) async fn copy<S: AsyncRead + AsyncWrite + Unpin>(
    one: &mut S,
    other: &mut S,
    [there, back]: &mut [Way; 2],
    passed: &impl Fn(usize) -> Duration,
) {
    poll_fn(|cx| {
        // Both are polled each time: either may be what woke the task.
        let gone = there.poll(cx, one, other, passed).is_ready();
        let come = back.poll(cx, other, one, passed).is_ready();
        if gone || come { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// One direction.
pub(crate) struct Way {
    /// What was read and not yet taken by the other end, from `at` on.
    rest: Vec<u8>,
    at: usize,
    /// Whether TLS may hold something back.
    unflushed: bool,
    /// Nothing is read until then.
    waits: Option<Pin<Box<Sleep>>>,
    pub(crate) carried: u64,
}

impl Way {
    /// `early` goes first.
    pub(crate) fn new(early: Vec<u8>) -> Self {
        let carried = early.len() as u64;
        Way { rest: early, at: 0, unflushed: false, waits: None, carried }
    }

    /// Ready when its source has ended and all that it sent was handed on, or when something fails.
    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut S,
        to: &mut S,
        passed: &impl Fn(usize) -> Duration,
    ) -> Poll<()> {
        loop {
            if ready!(self.poll_rest(cx, to)).is_err() {
                return Poll::Ready(());
            }
            let may_read = self.waits.as_mut().is_none_or(|until| until.as_mut().poll(cx).is_ready());
            let copied = if may_read {
                self.waits = None;
                CHUNKS.with_borrow_mut(|chunk| self.poll_copy(cx, from, to, chunk))
            } else {
                Poll::Pending
            };
            match copied {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(len)) => {
                    self.carried += len as u64;
                    let wait = passed(len);
                    if !wait.is_zero() {
                        self.waits = Some(Box::pin(tokio::time::sleep(wait)));
                    }
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
    fn poll_rest<S: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut S) -> Poll<io::Result<()>> {
        while self.at < self.rest.len() {
            self.at += ready!(poll_write(cx, to, &self.rest[self.at..]))?;
            self.unflushed = true;
        }
        (self.rest, self.at) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Reads a chunk and hands it on. Tells how much was read; 0 is the end.
    fn poll_copy<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut S,
        to: &mut S,
        chunk: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::new(chunk);
        ready!(Pin::new(from).poll_read(cx, &mut read))?;
        let mut left = read.filled();
        let len = left.len();
        while !left.is_empty() {
            let Poll::Ready(taken) = poll_write(cx, to, left)? else {
                left.clone_into(&mut self.rest);
                break;
            };
            (left, self.unflushed) = (&left[taken..], true);
        }
        Poll::Ready(Ok(len))
    }
}

/// What the other end has taken, which is never nothing.
fn poll_write<S: AsyncWrite + Unpin>(cx: &mut Context<'_>, to: &mut S, piece: &[u8]) -> Poll<io::Result<usize>> {
    let len = ready!(Pin::new(to).poll_write(cx, piece))?;
    Poll::Ready(if len == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(len) })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use super::*;

    /// One end: what it will send, piece by piece, how much it takes, and what it was sent.
    #[derive(Default)]
    struct Fake {
        sends: VecDeque<io::Result<Vec<u8>>>,
        takes: usize,
        sent: Vec<Vec<u8>>,
    }

    impl Fake {
        fn sending(pieces: &[usize]) -> Self {
            Fake { sends: pieces.iter().map(|len| Ok(vec![7; *len])).collect(), ..Fake::default() }
        }

        fn taking(takes: usize) -> Self {
            Fake { takes, ..Fake::default() }
        }

        fn lengths(&self) -> Vec<usize> {
            self.sent.iter().map(Vec::len).collect()
        }
    }

    impl AsyncRead for Fake {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let Some(piece) = self.sends.pop_front() else { return Poll::Pending };
            buf.put_slice(&piece?);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Fake {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let len = buf.len().min(self.takes);
            if len == 0 {
                return Poll::Pending;
            }
            self.takes -= len;
            self.sent.push(buf[..len].to_vec());
            Poll::Ready(Ok(len))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn poll(way: &mut Way, from: &mut Fake, to: &mut Fake) -> Poll<()> {
        way.poll(&mut Context::from_waker(Waker::noop()), from, to, &|_| Duration::ZERO)
    }

    #[test]
    fn each_piece_is_handed_on_as_it_came_and_what_was_early_goes_first() {
        let (mut way, mut from) = (Way::new(vec![1; 5]), Fake::sending(&[4000, CHUNK, 1]));
        let mut to = Fake::taking(usize::MAX);
        assert!(poll(&mut way, &mut from, &mut to).is_pending());
        assert_eq!(to.lengths(), [5, 4000, CHUNK, 1]);
        assert_eq!(way.carried, 5 + 4000 + CHUNK as u64 + 1);
    }

    #[test]
    fn who_takes_nothing_stops_the_reading() {
        for size in [1000, CHUNK] {
            let (mut way, mut from, mut to) = (Way::new(Vec::new()), Fake::sending(&[size; 100]), Fake::taking(10));
            assert!(poll(&mut way, &mut from, &mut to).is_pending());
            assert!(poll(&mut way, &mut from, &mut to).is_pending());
            assert_eq!((from.sends.len(), to.lengths()), (99, vec![10]), "one piece is in the relay's hands");
            to.takes = usize::MAX;
            assert!(poll(&mut way, &mut from, &mut to).is_pending());
            assert_eq!(to.lengths().iter().sum::<usize>(), 100 * size, "nothing is lost");
        }
    }

    #[test]
    fn what_came_before_the_end_is_handed_on() {
        for end in [Ok(Vec::new()), Err(io::ErrorKind::ConnectionReset.into())] {
            let (mut way, mut from, mut to) = (Way::new(Vec::new()), Fake::sending(&[10, 20]), Fake::taking(25));
            from.sends.push_back(end);
            assert!(poll(&mut way, &mut from, &mut to).is_pending(), "five are left");
            to.takes = 5;
            assert!(poll(&mut way, &mut from, &mut to).is_ready());
            assert_eq!(to.lengths(), [10, 15, 5]);
        }
    }
}
