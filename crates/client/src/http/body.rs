//! An answer's body, as it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

/// The body broke off: what came of it is not the whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off: {0}")]
pub struct BodyError(String);

/// The body of an answer. Dropping it stops the request.
#[derive(Debug)]
pub struct Body {
    stream: RecvStream,
    length: Option<u64>,
    part: Part,
    /// What is still being sent of the request.
    _upload: Option<AbortOnDropHandle<()>>,
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Data,
    Trailers,
    End,
}

impl Body {
    pub(super) fn new(
        stream: RecvStream,
        length: Option<u64>,
        upload: Option<AbortOnDropHandle<()>>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Body { stream, length, part: Part::Data, _upload: upload, permit: Some(permit) }
    }

    fn end(&mut self) {
        self.part = Part::End;
        self.permit = None;
    }

    /// Anything but an end that the host sent is a break: also a reset that says `NO_ERROR` or `CANCEL`, and the end
    /// of the session.
    fn break_off(&mut self, error: &h2::Error) -> BodyError {
        self.end();
        BodyError(error.to_string())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.part == Part::Data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Taken from here on; what is taken makes room for more.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if let Some(length) = &mut self.length {
                        *length = length.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(self.break_off(&error)))),
                None => self.part = Part::Trailers,
            }
        }
        if self.part == Part::End {
            return Poll::Ready(None);
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => {
                self.end();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => Poll::Ready(Some(Err(self.break_off(&error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.part == Part::End || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length),
            None if self.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}
