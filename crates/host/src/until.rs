//! A body that breaks off when its device may no longer use it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

pin_project! {
    /// Passes a body on until the token fires; then it fails, so that the other end sees that the rest is missing.
    pub(crate) struct Until<B> {
        #[pin]
        body: B,
        #[pin]
        ended: WaitForCancellationFutureOwned,
        token: CancellationToken,
    }
}

impl<B> Until<B> {
    pub(crate) fn new(body: B, token: CancellationToken) -> Self {
        Until { body, ended: token.clone().cancelled_owned(), token }
    }
}

impl<B> Body for Until<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        if this.token.is_cancelled() {
            return Poll::Ready(Some(Err("the device was revoked".into())));
        }
        match this.body.poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => this.ended.poll(context).map(|()| Some(Err("the device was revoked".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
