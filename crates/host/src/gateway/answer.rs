//! An answer's body on its way to the client.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::pool::{Link, Pool};
use crate::session::Session;

/// Why an answer broke off. The client's connection must break too, so that the part is not taken for the whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The device was revoked or restricted, or its access expired.
    #[error("the device's access has ended")]
    Ended,
    /// The app broke it off.
    #[error("the app broke off its answer")]
    Broken(#[source] axum::Error),
}

/// The body of what the gateway answers: the app's, as it comes, or a problem of our own.
pub struct AnswerBody(Kind);

enum Kind {
    Ours(axum::body::Body),
    Apps(Box<Stream>),
}

struct Stream {
    incoming: Incoming,
    driver: Driver,
    session: Arc<Session>,
    /// Made when the body does not come at once.
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Told when the body does not come at once.
    streams: Option<Arc<AtomicBool>>,
}

/// Who drives the connection to the app while the body comes.
enum Driver {
    /// Reading the body does.
    Reader(Box<Link>, Arc<Pool>),
    /// A task, as the request's body goes on and must do so even when nobody reads the answer.
    Task { _stop: Stop },
    /// It has ended; what came of the body is still to be read.
    Gone,
}

/// Stops a task when dropped.
struct Stop(AbortHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl AnswerBody {
    pub(crate) fn ours(body: axum::body::Body) -> Self {
        AnswerBody(Kind::Ours(body))
    }

    /// The app's body. `uploading`: the request's body is still on its way.
    pub(super) fn apps(
        incoming: Incoming,
        link: Option<Box<Link>>,
        pool: &Arc<Pool>,
        session: Arc<Session>,
        uploading: bool,
    ) -> Self {
        let driver = match link {
            Some(link) if incoming.is_end_stream() && !uploading => {
                pool.keep(link);
                return AnswerBody::ours(axum::body::Body::empty());
            }
            Some(link) if uploading => {
                // The answer's body owns this task: dropping it stops both.
                Driver::Task { _stop: Stop(tokio::spawn(link.into_connection()).abort_handle()) }
            }
            Some(link) => Driver::Reader(link, pool.clone()),
            None => Driver::Gone,
        };
        AnswerBody(Kind::Apps(Box::new(Stream { incoming, driver, session, ended: None, streams: None })))
    }
}

impl AnswerBody {
    /// Sets `streams` once the body turns out not to come at once.
    pub(super) fn tell_when_streaming(&mut self, streams: &Arc<AtomicBool>) {
        if let Kind::Apps(stream) = &mut self.0 {
            stream.streams = Some(streams.clone());
        }
    }
}

impl Stream {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = self.poll_incoming(cx);
        let is_last = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.incoming.is_end_stream(),
            Poll::Ready(Some(Err(_))) => false,
            Poll::Pending => false,
        };
        if is_last {
            if let Driver::Reader(link, pool) = std::mem::replace(&mut self.driver, Driver::Gone) {
                pool.keep(link);
            }
            if let Some(streams) = &self.streams {
                streams.store(false, Ordering::Relaxed);
            }
        } else {
            // Also after a frame: a client that does not read keeps us from being polled, so its connection
            // must have something to be woken by.
            if self.poll_ended(cx).is_ready() {
                return Poll::Ready(Some(Err(BodyError::Ended)));
            }
            if let Some(streams) = &self.streams {
                streams.store(true, Ordering::Relaxed);
            }
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(|error| BodyError::Broken(axum::Error::new(error)))))
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Driver::Reader(link, _) = &mut self.driver else {
            return Pin::new(&mut self.incoming).poll_frame(cx);
        };
        if let Poll::Ready(frame) = link.take_frame(&mut self.incoming) {
            return Poll::Ready(frame);
        }
        if link.poll(cx).is_ready() {
            self.driver = Driver::Gone;
        }
        // Only the connection fills the body, and it was polled just now: the body itself needs to wake nobody.
        Pin::new(&mut self.incoming).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let session = &self.session;
        self.ended.get_or_insert_with(|| Box::pin(session.ended().clone().cancelled_owned())).as_mut().poll(cx)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Ours(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Broken),
            Kind::Apps(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Ours(body) => body.is_end_stream(),
            Kind::Apps(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Ours(body) => body.size_hint(),
            Kind::Apps(stream) => stream.incoming.size_hint(),
        }
    }
}
