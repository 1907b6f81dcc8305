//! Extended CONNECT (RFC 8441): how a WebSocket, or another upgrade, is asked for within HTTP/2. For the app it is an
//! upgrade of HTTP/1.1.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use couplet_protocol::Code;
use data_encoding::BASE64;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::gateway::{Answer, AnswerBody, Tunnel};
use crate::problem::Failure;

/// Writes what an upgraded stream is given. Ready: the stream is finished, or was reset. Dropped before that, it resets
/// the stream.
pub(super) type Writer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An upgrade that a device asks for.
pub(super) struct Asked {
    upgrade: OnUpgrade,
    writer: oneshot::Receiver<Writer>,
    /// What the app must answer to the key that it is sent; for WebSockets alone.
    accept: Option<String>,
}

/// Both ends of an upgraded stream, to be joined once its head is answered.
pub(super) struct Switched {
    upgrade: OnUpgrade,
    writer: oneshot::Receiver<Writer>,
    app: Tunnel,
}

/// The device's end. hyper alone would tell neither side of a break: it reads a stream that was reset with `CANCEL` or
/// `NO_ERROR` to its end, and ends in good order one that is dropped.
struct DeviceEnd {
    stream: TokioIo<Upgraded>,
    writing: Writing,
    /// This side has ended.
    is_shut: bool,
}

/// The writer, until it is ready; only ever polled by one task.
#[derive(Clone)]
struct Writing(Arc<Mutex<Option<Writer>>>);

impl Asked {
    /// Makes the device's request the app's. None: it asks for no upgrade. `writer` comes with the answer.
    pub(super) fn take(
        request: &mut Request<Incoming>,
        writer: oneshot::Receiver<Writer>,
    ) -> Result<Option<Self>, Failure> {
        if *request.method() != Method::CONNECT {
            return Ok(None);
        }
        let unforwardable = |next: &str| Failure::new(Code::RequestNotForwardable, next);
        let protocol = request.extensions_mut().remove::<Protocol>();
        let protocol = protocol.ok_or_else(|| unforwardable("This is no forward proxy: CONNECT needs :protocol."))?;
        let token = HeaderValue::from_str(protocol.as_str());
        let token = token.map_err(|_| unforwardable("The protocol to upgrade to is no token."))?;
        let upgrade = hyper::upgrade::on(&mut *request);
        *request.method_mut() = Method::GET;
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, token);
        headers.remove(header::SEC_WEBSOCKET_KEY);
        let is_websocket = protocol.as_str().eq_ignore_ascii_case("websocket");
        let accept = is_websocket.then(|| BASE64.encode(&crate::random::bytes::<16>())).map(|key| {
            let accept = derive_accept_key(key.as_bytes());
            if let Ok(key) = HeaderValue::from_str(&key) {
                headers.insert(header::SEC_WEBSOCKET_KEY, key);
            }
            accept
        });
        Ok(Some(Asked { upgrade, writer, accept }))
    }

    /// The answer for the device, and with a 101 what is to be joined behind it. A refusal passes as it is. A plain
    /// success cannot: to the device every 2xx means that the other protocol is spoken from here on (RFC 8441, 4).
    pub(super) fn answered(self, answer: Answer) -> Result<(Response<AnswerBody>, Option<Switched>), Failure> {
        let Answer { mut response, tunnel, .. } = answer;
        let Some(app) = tunnel else {
            if response.status().is_success() {
                let next = "The app answered as if nothing but HTTP was asked for. Ask without Upgrade, or see whether \
                            this path of the app takes that protocol.";
                return Err(Failure::new(Code::UpstreamBroken, next).because("a success instead of 101"));
            }
            return Ok((response, None));
        };
        let said = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if self.accept.is_some_and(|accept| said.is_none_or(|said| said.as_bytes() != accept.as_bytes())) {
            let next = "The app did not open the WebSocket as RFC 6455 asks. See its log.";
            return Err(Failure::new(Code::UpstreamBroken, next).because("a wrong Sec-WebSocket-Accept"));
        }
        *response.status_mut() = StatusCode::OK;
        for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT, header::CONTENT_LENGTH] {
            response.headers_mut().remove(name);
        }
        Ok((response, Some(Switched { upgrade: self.upgrade, writer: self.writer, app })))
    }
}

impl Switched {
    /// Joins both ends until they have finished, each way on its own.
    pub(super) async fn join(self) {
        let (Ok(upgraded), Ok(writer)) = (self.upgrade.await, self.writer.await) else {
            return tracing::debug!(target: "couplet::session", "an upgrade came to nothing");
        };
        let writing = Writing(Arc::new(Mutex::new(Some(writer))));
        let mut device = DeviceEnd { stream: TokioIo::new(upgraded), writing: writing.clone(), is_shut: false };
        let mut joined = pin!(self.app.join(&mut device, Bytes::new()));
        let joined = poll_fn(|cx| {
            let joined = joined.as_mut().poll(cx);
            // What was given to the stream is written also while nobody has more for it.
            let _ = writing.poll(cx);
            joined
        });
        if let Err(error) = joined.await {
            tracing::debug!(target: "couplet::session", %error, "an upgraded stream broke");
        }
        // Before the stream, whose end the writer would take for one that is meant.
        writing.stop();
    }
}

impl Writing {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writing) = writer.as_mut() {
            ready!(writing.as_mut().poll(cx));
            *writer = None;
        }
        Poll::Ready(())
    }

    fn stop(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl AsyncRead for DeviceEnd {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let is_end = buf.filled().len() == before && buf.remaining() > 0;
        // A stream that can no longer be written to, though this side has not ended, was reset.
        if is_end && !self.is_shut && self.writing.poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for DeviceEnd {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
