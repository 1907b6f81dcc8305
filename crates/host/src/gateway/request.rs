//! A request's body on its way to the app.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::headers;
use super::pool::App;

/// How far a body has come; shared by the body, which hyper owns, and the one who waits for the answer.
#[derive(Debug)]
pub(super) struct Flow {
    app: Arc<App>,
    started: Instant,
    /// Milliseconds after `started` at which the body last moved.
    moved: AtomicU64,
    stage: AtomicU8,
    held: AtomicBool,
    waker: AtomicWaker,
}

/// Who has to act for the body to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// The app: it has not taken what there is.
    App,
    /// The client: it has not sent more.
    Client,
    /// Nobody: all of it is sent.
    Done,
    /// The client broke it off, or framed it wrongly.
    Broken,
}

impl Flow {
    /// A body that starts now; `held` until [`Flow::release`] when the client waits to be told to send it.
    pub(super) fn new(app: Arc<App>, held: bool) -> Arc<Self> {
        Arc::new(Flow {
            app,
            started: Instant::now(),
            moved: AtomicU64::new(0),
            stage: AtomicU8::new(Stage::App as u8),
            held: AtomicBool::new(held),
            waker: AtomicWaker::new(),
        })
    }

    /// Lets the body through. Reading it is what makes the client's connection say `100 Continue`.
    pub(super) fn release(&self) {
        self.held.store(false, Ordering::Release);
        self.waker.wake();
    }

    #[cfg(test)]
    pub(super) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    pub(super) fn last_move(&self) -> Instant {
        self.started + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }

    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::App,
            1 => Stage::Client,
            2 => Stage::Done,
            _ => Stage::Broken,
        }
    }

    pub(super) fn at(&self, stage: Stage) {
        if stage != Stage::Client {
            let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.moved.store(millis, Ordering::Relaxed);
        }
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn poll_held(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.held.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.held.load(Ordering::Acquire) { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// A body as it comes from the client.
#[derive(Debug)]
pub(super) enum ClientBody {
    /// Frame by frame.
    Stream(Incoming),
    /// All of it, which was signed, and its place in memory.
    Whole { bytes: Bytes, _place: OwnedSemaphorePermit },
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut *self {
            ClientBody::Stream(incoming) => Pin::new(incoming).poll_frame(cx),
            ClientBody::Whole { bytes, .. } if bytes.is_empty() => Poll::Ready(None),
            ClientBody::Whole { bytes, .. } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ClientBody::Stream(incoming) => incoming.is_end_stream(),
            ClientBody::Whole { bytes, .. } => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ClientBody::Stream(incoming) => incoming.size_hint(),
            ClientBody::Whole { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// The body as the connection to the app reads it. Without a flow there is nothing in it.
#[derive(Debug)]
pub(super) struct RequestBody {
    inner: ClientBody,
    flow: Option<Arc<Flow>>,
    /// It comes by HTTP/2, where hyper takes a stream that was reset with `NO_ERROR` for one that has ended.
    is_stream: bool,
}

/// Why a request's body broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyBroken {
    /// Its framing, or its connection.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The client took back its stream.
    #[error("the client reset the stream")]
    Reset,
}

impl RequestBody {
    pub(super) fn new(inner: ClientBody, flow: Option<Arc<Flow>>, is_stream: bool) -> Self {
        RequestBody { inner, flow, is_stream }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyBroken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyBroken>>> {
        let this = &mut *self;
        let Some(flow) = &this.flow else { return Poll::Ready(None) };
        ready!(flow.poll_held(cx));
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            flow.at(Stage::Client);
            return Poll::Pending;
        };
        let frame = match frame {
            None if this.is_stream && !this.inner.is_end_stream() => Some(Err(BodyBroken::Reset)),
            frame => frame.map(|frame| frame.map_err(BodyBroken::from)),
        };
        flow.at(match &frame {
            None => Stage::Done,
            Some(Err(_)) => Stage::Broken,
            Some(Ok(frame)) if frame.is_trailers() || this.inner.is_end_stream() => Stage::Done,
            Some(Ok(_)) => Stage::App,
        });
        Poll::Ready(frame.map(|frame| frame.map(|frame| clean(frame, &flow.app))))
    }

    fn is_end_stream(&self) -> bool {
        self.flow.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn clean(frame: Frame<Bytes>, app: &App) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            headers::clean_trailers(&mut trailers, &app.headers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
