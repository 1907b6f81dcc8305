//! One request and the head of its answer.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Http;
use super::body::Body;
use super::upload::{Sent, Upload};
use crate::error::RequestError;

/// How long a request that asks to be told to continue waits for it: an app that knows no such thing never says it.
const CONTINUE: Duration = Duration::from_secs(1);

/// Headers of one connection, which HTTP/2 does not have (RFC 9113, 8.2.2).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
];

/// A request that came to nothing on this session.
pub(crate) enum Failed<B> {
    /// The session was over before anything was sent: here is the request.
    Unsent(Request<B>),
    /// For good.
    Error(RequestError),
}

impl Http {
    /// Sends a request and waits for the head of its answer, for as long as the app takes.
    pub(crate) async fn request<B>(&self, request: Request<B>, within: Duration) -> Result<Response<Body>, Failed<B>>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Display,
    {
        let Ok(permit) = self.permit(within).await else { return Err(Failed::Error(RequestError::TooMany)) };
        let (mut head, body) = request.into_parts();
        let ended = body.is_end_stream();
        prepare(&mut head.headers, body.size_hint().exact().filter(|_| !ended));
        let holds = !ended && expects_continue(&head.headers);
        let mut wire = Request::new(());
        *wire.method_mut() = head.method.clone();
        *wire.uri_mut() = head.uri.clone();
        *wire.headers_mut() = head.headers.clone();
        let (answer, stream) = match self.send(wire, ended).await {
            Ok(sent) => sent,
            Err(None) => return Err(Failed::Unsent(Request::from_parts(head, body))),
            Err(Some(error)) => return Err(Failed::Error(error)),
        };
        if ended {
            let answer = answer.await.map_err(|error| Failed::Error(broken(&error)))?;
            return Ok(with_body(answer, None, permit));
        }
        exchange(answer, Upload::new(stream, body), holds, permit).await.map_err(Failed::Error)
    }

    /// Room for one more stream.
    pub(super) async fn permit(&self, within: Duration) -> Result<OwnedSemaphorePermit, RequestError> {
        let permit = timeout(within, Arc::clone(&self.streams).acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or(RequestError::TooMany)
    }

    /// Sends the head. The error is None when the session is over and nothing was sent.
    pub(super) async fn send(
        &self,
        head: Request<()>,
        ended: bool,
    ) -> Result<(ResponseFuture, h2::SendStream<Bytes>), Option<RequestError>> {
        let mut send = self.send.clone().ready().await.map_err(|_| None)?;
        let sent = send.send_request(head, ended).map_err(|error| {
            let is_ours = !(error.is_io() || error.is_go_away() || error.is_remote());
            is_ours.then(|| RequestError::Unsendable(error.to_string()))
        })?;
        // Behind the permit, so that the driver sees the stream that it is told of.
        self.opened.notify_one();
        Ok(sent)
    }
}

/// Sends the body while the answer is waited for; what is left of it then, a task sends.
async fn exchange<B>(
    answer: ResponseFuture,
    upload: Upload<B>,
    holds: bool,
    permit: OwnedSemaphorePermit,
) -> Result<Response<Body>, RequestError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Display,
{
    let mut answer = answer;
    let mut upload = Box::pin(upload);
    let mut sending = true;
    if holds && let Some(answer) = hold(&mut answer).await {
        let answer = answer.map_err(|error| broken(&error))?;
        // Giving the body up resets the stream, and with it what has not come yet of the answer.
        let unsent = AbortOnDropHandle::new(tokio::spawn(async move {
            let _unsent = upload;
            std::future::pending::<()>().await;
        }));
        return Ok(with_body(answer, Some(unsent), permit));
    }
    let head = poll_fn(|cx| {
        if sending && let Poll::Ready(sent) = upload.as_mut().poll(cx) {
            sending = false;
            if let Sent::Broken(why) = sent {
                return Poll::Ready(Err(RequestError::Body(why)));
            }
        }
        poll_answer(&mut answer, cx).map(|answer| answer.map_err(|error| broken(&error)))
    });
    let head = head.await?;
    let upload = sending.then(|| {
        AbortOnDropHandle::new(tokio::spawn(async move {
            upload.await;
        }))
    });
    Ok(with_body(head, upload, permit))
}

/// Waits until the host says to continue, or long enough; the answer, when that comes instead.
async fn hold(answer: &mut ResponseFuture) -> Option<Result<Response<h2::RecvStream>, h2::Error>> {
    let mut enough = pin!(sleep_until(Instant::now() + CONTINUE));
    poll_fn(|cx| {
        // First, as looking for the answer throws away what comes before it.
        while let Poll::Ready(Some(Ok(interim))) = answer.poll_informational(cx) {
            if interim.status() == StatusCode::CONTINUE {
                return Poll::Ready(None);
            }
        }
        if let Poll::Ready(answer) = poll_answer(answer, cx) {
            return Poll::Ready(Some(answer));
        }
        enough.as_mut().poll(cx).map(|()| None)
    })
    .await
}

fn poll_answer(answer: &mut ResponseFuture, cx: &mut Context<'_>) -> Poll<Result<Response<h2::RecvStream>, h2::Error>> {
    std::pin::Pin::new(answer).poll(cx)
}

pub(super) fn with_body(
    answer: Response<h2::RecvStream>,
    upload: Option<AbortOnDropHandle<()>>,
    permit: OwnedSemaphorePermit,
) -> Response<Body> {
    let length = answer.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    // An answer without a body may name the length that it would have.
    let length = if answer.body().is_end_stream() { Some(0) } else { length };
    answer.map(|stream| Body::new(stream, length, upload, permit))
}

/// Removes what HTTP/2 does not carry, and says how long the body is.
pub(super) fn prepare(headers: &mut HeaderMap, length: Option<u64>) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    let trailers = headers.get_all(header::TE).iter().any(|value| names_trailers(value.as_bytes()));
    headers.remove(header::TE);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(length) = length
        && !headers.contains_key(header::CONTENT_LENGTH)
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
}

/// Whether a `TE` value names `trailers` (RFC 9110, 10.1.4).
fn names_trailers(value: &[u8]) -> bool {
    let coding = |part: &[u8]| part.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_vec();
    value.split(|byte| *byte == b',').any(|part| coding(part).eq_ignore_ascii_case(b"trailers"))
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

pub(super) fn broken(error: &h2::Error) -> RequestError {
    RequestError::Broken(error.to_string())
}
