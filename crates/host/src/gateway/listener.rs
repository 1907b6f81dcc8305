//! One client's connection: HTTP/1.1 until it ends or upgrades.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::response::IntoResponse;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::answer::AnswerBody;
use super::forward::Forwarder;
use super::headers::Peer;
use super::pool::BUFFER;
use super::stream::Stream;
use super::upgrade::Tunnel;
use crate::problem::Failure;
use crate::session::Session;

/// How much, and how long, is read and thrown away of a request that was answered before it was read: closing at
/// once would reset the connection, and the client might never see the answer.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER_FOR: Duration = Duration::from_secs(2);

/// What the connection's task and its service tell each other.
#[derive(Default)]
struct Shared {
    tunnel: Mutex<Option<Tunnel>>,
    /// The device that was answered last.
    answered: Mutex<Option<Arc<Session>>>,
    /// Whether its answer is still coming.
    streams: Arc<AtomicBool>,
    lingers: AtomicBool,
}

impl Shared {
    fn answered(&self, session: Arc<Session>) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if !answered.as_ref().is_some_and(|last| Arc::ptr_eq(last, &session)) {
            *answered = Some(session);
        }
    }

    /// Whether the device whose answer is being written may no longer have it.
    fn must_break(&self) -> bool {
        self.streams.load(Ordering::Relaxed) && {
            let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            answered.as_ref().is_some_and(|session| session.ended().is_cancelled())
        }
    }
}

/// Serves one client until it leaves, `stopping` fires and it is idle, or the returned future is dropped.
pub(super) async fn serve(
    forwarder: Arc<Forwarder>,
    stream: TcpStream,
    peer: Peer,
    head_within: Duration,
    stopping: CancellationToken,
) {
    let shared = Arc::new(Shared::default());
    let service = {
        let shared = shared.clone();
        let peer = Arc::new(peer);
        service_fn(move |request| {
            let (forwarder, shared, peer) = (forwarder.clone(), shared.clone(), peer.clone());
            async move { Ok::<_, std::convert::Infallible>(respond(&forwarder, &shared, &peer, request).await) }
        })
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_within)
        .max_buf_size(BUFFER)
        .serve_connection(ClientStream::new(stream, shared.clone()), service);

    let mut stopping = Some(pin!(stopping.cancelled()));
    let result = poll_fn(|cx| {
        if stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(cx).is_ready()) {
            stopping = None;
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(result.is_ok());
        }
        if shared.must_break() { Poll::Ready(false) } else { Poll::Pending }
    })
    .await;

    let parts = connection.into_parts();
    let mut stream = parts.io;
    if !result {
        stream.reset();
        return;
    }
    let tunnel = shared.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(tunnel) = tunnel
        && let Err(error) = tunnel.join(stream.inner.tcp(), parts.read_buf).await
    {
        tracing::debug!(target: "couplet::gateway", %error, "an upgraded connection broke");
        stream.reset();
    }
}

async fn respond(
    forwarder: &Forwarder,
    shared: &Shared,
    peer: &Peer,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    shared.streams.store(false, Ordering::Relaxed);
    let had_body = !request.body().is_end_stream();
    let answered = async {
        let known = forwarder.auth.cached(request.headers());
        let (session, credential) = match known {
            Some(known) => known,
            None => forwarder.auth.authenticate(request.headers()).await?,
        };
        let answer = forwarder.forward(request, session.clone(), Some(credential), peer).await?;
        Ok::<_, Failure>((answer, session))
    };
    match answered.await {
        Ok((mut answer, session)) => {
            if answer.cut_short {
                shared.lingers.store(true, Ordering::Relaxed);
            }
            if answer.tunnel.is_some() {
                *shared.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = answer.tunnel;
            } else {
                answer.response.body_mut().tell_when_streaming(&shared.streams);
                shared.answered(session);
            }
            answer.response
        }
        Err(failure) => {
            let mut response = failure.into_response().map(AnswerBody::ours);
            if had_body {
                shared.lingers.store(true, Ordering::Relaxed);
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// The client's socket, which can end in three ways: cleanly, with a wait for what is still arriving, or broken.
struct ClientStream {
    inner: Stream,
    shared: Arc<Shared>,
    linger: Option<Linger>,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl ClientStream {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        ClientStream { inner: Stream::new(stream), shared, linger: None }
    }

    /// Makes the coming close a reset: what was sent must not be taken for the whole.
    fn reset(&mut self) {
        let _ = self.inner.tcp().set_zero_linger();
    }
}

impl Read for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl Write for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            if !self.shared.lingers.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let this = &mut *self;
        let linger =
            this.linger.get_or_insert_with(|| Linger { until: Box::pin(sleep(LINGER_FOR)), left: LINGER_BYTES });
        let mut scrap = [0; 4096];
        while linger.left > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut scrap = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(this.inner.tcp()).poll_read(cx, &mut scrap)) {
                Ok(()) if !scrap.filled().is_empty() => linger.left = linger.left.saturating_sub(scrap.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}
