//! One client's connection: HTTP/1.1 until it ends or upgrades.

use std::future::{Future, poll_fn};
use std::pin::Pin;
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
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::alarm::Alarm;
use super::answer::AnswerBody;
use super::forward::Forwarder;
use super::headers::Peer;
use super::pool::BUFFER;
use super::stream::Stream;
use super::upgrade::Tunnel;
use crate::auth::Recent;
use crate::session::Session;

/// How much, and how long, is read and thrown away of a request that was answered before it was read: closing at
/// once would reset the connection, and the client might never see the answer.
const LINGER_BYTES: usize = 1024 * 1024;
const LINGER_FOR: Duration = Duration::from_secs(2);

/// What the connection's task and its service tell each other.
#[derive(Default)]
struct Shared {
    tunnel: Mutex<Option<Tunnel>>,
    alarm: Alarm,
    recent: Mutex<Recent>,
    /// The device that is served, or was last.
    served: Mutex<Option<Arc<Session>>>,
    /// Whether that is another one than the task watches.
    is_other: AtomicBool,
    /// Whether its answer is still coming.
    streams: Arc<AtomicBool>,
    lingers: AtomicBool,
}

impl Shared {
    fn serves(&self, session: &Arc<Session>) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if !served.as_ref().is_some_and(|last| Arc::ptr_eq(last, session)) {
            *served = Some(session.clone());
            self.is_other.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the device whose answer is being written may no longer have it.
    fn must_break(&self) -> bool {
        self.streams.load(Ordering::Relaxed) && {
            let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
            served.as_ref().is_some_and(|session| session.ended().is_cancelled())
        }
    }
}

/// A token that wakes the connection's task. Asked once it does so; from then on a look is enough, and cheaper.
struct Signal {
    token: CancellationToken,
    asked: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Signal {
    fn new(token: CancellationToken) -> Self {
        Signal { token, asked: None }
    }

    fn has_fired(&mut self, cx: &mut Context<'_>) -> bool {
        if self.asked.is_some() {
            return self.token.is_cancelled();
        }
        self.asked.insert(Box::pin(self.token.clone().cancelled_owned())).as_mut().poll(cx).is_ready()
    }
}

/// Wakes the connection's task when the session of the device that it serves ends.
#[derive(Default)]
struct Watch(Option<Pin<Box<WaitForCancellationFutureOwned>>>);

impl Watch {
    /// Turns to another device if it is one now. Whether its session has ended already.
    fn poll(&mut self, shared: &Shared, cx: &mut Context<'_>) -> Poll<()> {
        if !shared.is_other.swap(false, Ordering::Relaxed) {
            return Poll::Pending;
        }
        let served = shared.served.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = &*served else { return Poll::Pending };
        self.0.insert(Box::pin(session.ended().clone().cancelled_owned())).as_mut().poll(cx)
    }
}

/// Serves one client until it leaves, `stopping` fires and it is idle, `cut` fires, or the returned future is dropped.
pub(super) async fn serve(
    forwarder: Arc<Forwarder>,
    stream: TcpStream,
    peer: Peer,
    head_within: Duration,
    stopping: CancellationToken,
    cut: CancellationToken,
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
        .timer(shared.alarm.clone())
        .header_read_timeout(head_within)
        .max_buf_size(BUFFER)
        .serve_connection(ClientStream::new(stream, shared.clone()), service);

    let (mut stopping, mut cut) = (Signal::new(stopping), Signal::new(cut));
    let mut stopped = false;
    let mut watch = Watch::default();
    let result = poll_fn(|cx| {
        if cut.has_fired(cx) {
            return Poll::Ready(None);
        }
        if !stopped && stopping.has_fired(cx) {
            stopped = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        loop {
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Some(result.is_ok()));
            }
            if shared.must_break() {
                return Poll::Ready(Some(false));
            }
            ready!(watch.poll(&shared, cx));
        }
    })
    .await;
    let Some(result) = result else { return };

    let parts = connection.into_parts();
    let mut stream = parts.io;
    if !result {
        stream.reset();
        return;
    }
    let tunnel = shared.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(tunnel) = tunnel
        && let Some(Err(error)) = cut.token.run_until_cancelled(tunnel.join(stream.inner.tcp(), parts.read_buf)).await
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
        let now = forwarder.auth.now();
        let known = {
            let mut recent = shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
            forwarder.auth.cached_again(&mut recent, request.headers(), now)
        };
        let (session, credential) = match known {
            Some(known) => known,
            None => forwarder.auth.authenticate(request.headers()).await?,
        };
        shared.serves(&session);
        forwarder.forward(request, session, Some(credential), peer, now, &shared.alarm).await
    };
    match answered.await {
        Ok(mut answer) => {
            if answer.cut_short {
                shared.lingers.store(true, Ordering::Relaxed);
            }
            if answer.tunnel.is_some() {
                *shared.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = answer.tunnel;
            } else {
                answer.response.body_mut().tell_when_streaming(&shared.streams);
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
