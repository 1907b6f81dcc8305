//! The copy loop: there and back between two connections, verbatim.
//!
//! A large piece goes from where it was read straight to the other end. Small ones are put together first, in memory that
//! all sessions of a thread share, so that a burst of small messages is sealed and sent once. Only what is put together and
//! not taken is kept; as long as the other end takes nothing, nothing more is read.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::time::Sleep;

/// As much as a TLS record carries (RFC 8446, 5.1): small pieces are put together up to this size.
pub(crate) const PIECE: usize = 16 * 1024;
/// A piece from this size on is handed on as it is: copying it would cost more than another record.
const LARGE: usize = PIECE / 2;

thread_local! {
    static TOGETHER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(PIECE));
}

/// Copies there and back until one way is over. `passed` learns of bytes as they pass, and says how long to wait before
/// the next are read.
pub(crate) async fn copy<S: AsyncBufRead + AsyncWrite + Unpin>(
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
    /// What was put together and not yet taken by the other end, from `at` on.
    rest: Vec<u8>,
    at: usize,
    /// Whether TLS may hold something back.
    unflushed: bool,
    /// Whether its source has ended, or failed.
    over: bool,
    /// Nothing is read until then.
    waits: Option<Pin<Box<Sleep>>>,
    pub(crate) carried: u64,
}

impl Way {
    /// `early` goes first.
    pub(crate) fn new(early: Vec<u8>) -> Self {
        let carried = early.len() as u64;
        Way { rest: early, at: 0, unflushed: false, over: false, waits: None, carried }
    }

    /// Ready when its source has ended and all that it sent was handed on, or when something fails.
    fn poll<S: AsyncBufRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut S,
        to: &mut S,
        passed: &impl Fn(usize) -> Duration,
    ) -> Poll<()> {
        loop {
            if ready!(self.poll_rest(cx, to)).is_err() || self.over {
                return Poll::Ready(());
            }
            let may_read = self.waits.as_mut().is_none_or(|until| until.as_mut().poll(cx).is_ready());
            let passing = if may_read {
                self.waits = None;
                TOGETHER.with_borrow_mut(|together| self.pass(cx, from, to, together))
            } else {
                Ok(0)
            };
            match passing {
                Ok(0) if self.over => {}
                Ok(0) => {
                    if self.unflushed && ready!(Pin::new(to).poll_flush(cx)).is_err() {
                        return Poll::Ready(());
                    }
                    self.unflushed = false;
                    return Poll::Pending;
                }
                Ok(len) => {
                    self.carried += len as u64;
                    let wait = passed(len);
                    if !wait.is_zero() {
                        self.waits = Some(Box::pin(tokio::time::sleep(wait)));
                    }
                }
                Err(_) => return Poll::Ready(()),
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

    /// Reads a piece and hands it on. Tells how much was read; 0 is nothing for now, or the end.
    fn pass<S: AsyncBufRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut S,
        to: &mut S,
        together: &mut Vec<u8>,
    ) -> io::Result<usize> {
        together.clear();
        while together.len() < PIECE {
            let piece = match Pin::new(&mut *from).poll_fill_buf(cx) {
                Poll::Ready(Ok(piece)) if !piece.is_empty() => piece,
                Poll::Pending => break,
                // What came before goes on its way first.
                Poll::Ready(_) => {
                    self.over = true;
                    break;
                }
            };
            if together.is_empty() && piece.len() >= LARGE {
                let Poll::Ready(len) = poll_write(cx, to, piece)? else { return Ok(0) };
                self.unflushed = true;
                Pin::new(&mut *from).consume(len);
                return Ok(len);
            }
            let len = piece.len().min(PIECE - together.len());
            together.extend_from_slice(&piece[..len]);
            Pin::new(&mut *from).consume(len);
        }
        let mut left = together.as_slice();
        while !left.is_empty() {
            let Poll::Ready(len) = poll_write(cx, to, left)? else {
                left.clone_into(&mut self.rest);
                break;
            };
            (left, self.unflushed) = (&left[len..], true);
        }
        Ok(together.len())
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

    use tokio::io::{AsyncRead, ReadBuf};

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

    impl AsyncBufRead for Fake {
        fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
            let this = self.get_mut();
            if matches!(this.sends.front(), Some(Err(_))) {
                return Poll::Ready(this.sends.pop_front().unwrap().map(|_| [].as_slice()));
            }
            this.sends.front().map_or(Poll::Pending, |piece| Poll::Ready(Ok(piece.as_deref().unwrap())))
        }

        fn consume(mut self: Pin<&mut Self>, len: usize) {
            let piece = self.sends[0].as_mut().unwrap();
            piece.drain(..len);
            if piece.is_empty() {
                self.sends.pop_front();
            }
        }
    }

    impl AsyncRead for Fake {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            unreachable!("it is read in pieces")
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
    fn small_pieces_go_together_and_large_ones_as_they_are() {
        let (mut way, mut from) = (Way::new(vec![1; 5]), Fake::sending(&[4000, 4000, 4000, 4000, 4000, 9000, 100]));
        let mut to = Fake::taking(usize::MAX);
        assert!(poll(&mut way, &mut from, &mut to).is_pending());
        assert_eq!(to.lengths(), [5, PIECE, 5 * 4000 + 9000 + 100 - PIECE]);
        assert_eq!(way.carried, 5 + 5 * 4000 + 9000 + 100);
        from = Fake::sending(&[LARGE, PIECE]);
        assert!(poll(&mut way, &mut from, &mut to).is_pending());
        assert_eq!(to.lengths()[3..], [LARGE, PIECE]);
    }

    #[test]
    fn who_takes_nothing_stops_the_reading() {
        for size in [1000, PIECE] {
            let (mut way, mut from, mut to) = (Way::new(Vec::new()), Fake::sending(&[size; 100]), Fake::taking(10));
            assert!(poll(&mut way, &mut from, &mut to).is_pending());
            let left = from.sends.len();
            assert!(left >= 100 - PIECE.div_ceil(size), "{left}");
            assert!(poll(&mut way, &mut from, &mut to).is_pending());
            assert_eq!((from.sends.len(), to.lengths()), (left, vec![10]));
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
            assert_eq!(to.lengths(), [25, 5]);
        }
    }
}
