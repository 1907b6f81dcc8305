//! A request's body on its way to the host.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

/// How the sending of a body ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of it is on its way, or the host wants no more of it.
    Done,
    /// It broke off: the host was told, and the app must not take the part for the whole.
    Broken(String),
}

/// Sends a body. Dropped before its end, it resets the stream.
pub(super) struct Upload<B: Body> {
    stream: SendStream<Bytes>,
    body: Pin<Box<B>>,
    chunk: Bytes,
    ended: bool,
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    pub(super) fn new(stream: SendStream<Bytes>, body: B) -> Self {
        Upload { stream, body: Box::pin(body), chunk: Bytes::new(), ended: false }
    }

    /// Sends what there is of the chunk, as far as the host has room.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while !self.chunk.is_empty() {
            self.stream.reserve_capacity(self.chunk.len());
            let room = ready!(self.stream.poll_capacity(cx));
            let room = room.unwrap_or_else(|| Err(Reason::STREAM_CLOSED.into()))?.min(self.chunk.len());
            let part = self.chunk.split_to(room);
            let is_last = self.chunk.is_empty() && self.body.is_end_stream();
            self.stream.send_data(part, is_last)?;
            self.ended = is_last;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sent, h2::Error>> {
        loop {
            // Asked also while the body gives nothing: the host may want no more of it.
            if let Poll::Ready(reset) = self.stream.poll_reset(cx) {
                reset?;
                return Poll::Ready(Ok(Sent::Done));
            }
            ready!(self.poll_chunk(cx))?;
            if self.ended {
                return Poll::Ready(Ok(Sent::Done));
            }
            match ready!(self.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.chunk = data,
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.stream.send_trailers(trailers)?;
                            self.ended = true;
                            return Poll::Ready(Ok(Sent::Done));
                        }
                    }
                },
                Some(Err(error)) => {
                    self.break_off();
                    return Poll::Ready(Ok(Sent::Broken(error.to_string())));
                }
                None => {
                    self.stream.send_data(Bytes::new(), true)?;
                    self.ended = true;
                    return Poll::Ready(Ok(Sent::Done));
                }
            }
        }
    }

    fn break_off(&mut self) {
        reset(&mut self.stream);
        self.ended = true;
    }
}

/// Not with `CANCEL` or `NO_ERROR`, which some take for an end.
pub(super) fn reset(stream: &mut SendStream<Bytes>) {
    stream.send_reset(Reason::INTERNAL_ERROR);
}

impl<B> Future for Upload<B>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    type Output = Sent;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Sent> {
        let sent = ready!(self.poll_send(cx));
        // A stream that cannot be written any more shows in the answer, with the reason.
        let sent = sent.unwrap_or(Sent::Done);
        self.ended = true;
        Poll::Ready(sent)
    }
}

impl<B: Body> Drop for Upload<B> {
    fn drop(&mut self) {
        if !self.ended {
            reset(&mut self.stream);
        }
    }
}
