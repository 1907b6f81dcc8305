//! One client's connection: HTTP/1.1 until it ends or upgrades.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use axum::response::IntoResponse;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::alarm::Alarm;
use super::answer::AnswerBody;
use super::client::{ClientStream, Fate};
use super::forward::Forwarder;
use super::headers::Peer;
use super::pool::BUFFER;
use super::request::ClientBody;
use super::signed;
use super::upgrade::Tunnel;
use crate::auth::{CredentialHeader, Recent, is_signed};
use crate::session::Session;

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
    fate: Arc<Fate>,
}

impl Shared {
    fn serves(&self, session: &Arc<Session>) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if !served.as_ref().is_some_and(|last| Arc::ptr_eq(last, session)) {
            *served = Some(session.clone());
            self.is_other.store(true, Ordering::Relaxed);
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

/// Tells the client's socket when the session of the device that is served ends, and wakes the connection's task.
#[derive(Default)]
struct Watch(Option<Pin<Box<WaitForCancellationFutureOwned>>>);

impl Watch {
    /// Turns to another device if it is one now. Ready if its session has ended already.
    fn poll(&mut self, shared: &Shared, cx: &mut Context<'_>) -> Poll<()> {
        if !shared.is_other.swap(false, Ordering::Relaxed) {
            return Poll::Pending;
        }
        let served = shared.served.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = &*served else { return Poll::Pending };
        let waker = Waker::from(Arc::new(Ended { fate: shared.fate.clone(), task: cx.waker().clone() }));
        let ended = self.0.insert(Box::pin(session.ended().clone().cancelled_owned()));
        ended.as_mut().poll(&mut Context::from_waker(&waker)).map(|()| waker.wake())
    }
}

/// What the end of a session wakes.
struct Ended {
    fate: Arc<Fate>,
    task: Waker,
}

impl Wake for Ended {
    fn wake(self: Arc<Self>) {
        self.fate.ended.store(true, Ordering::Release);
        self.task.wake_by_ref();
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
        .serve_connection(ClientStream::new(stream, shared.fate.clone()), service);

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
            ready!(watch.poll(&shared, cx));
        }
    })
    .await;
    // Whatever was not finished is reset when it is dropped.
    if result != Some(true) {
        return;
    }
    let parts = connection.into_parts();
    let tunnel = shared.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(tunnel) = tunnel else { return };
    let mut stream = TokioIo::new(parts.io);
    match cut.token.run_until_cancelled(tunnel.join(&mut stream, parts.read_buf)).await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::debug!(target: "couplet::gateway", %error, "an upgraded connection broke");
            stream.into_inner().reset();
        }
        None => stream.into_inner().reset(),
    }
}

async fn respond(
    forwarder: &Forwarder,
    shared: &Shared,
    peer: &Peer,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    shared.fate.streams.store(false, Ordering::Relaxed);
    let ended = shared.fate.ended.load(Ordering::Acquire);
    shared.fate.renewed.store(ended, Ordering::Relaxed);
    let had_body = !request.body().is_end_stream();
    let answered = async {
        let now = forwarder.auth.now();
        let known = {
            let mut recent = shared.recent.lock().unwrap_or_else(PoisonError::into_inner);
            forwarder.auth.cached_again(&mut recent, request.headers(), now)
        };
        let (session, credential) = match known {
            Some(known) => known,
            None if is_signed(request.headers()) => {
                let signed = signed::verified(&forwarder.auth, &request, peer).await?;
                let session = signed.session.clone();
                shared.serves(&session);
                let request = signed::whole(forwarder, request, &signed).await?;
                let credential = Some(CredentialHeader::Signature);
                return forwarder.forward(request, session, credential, peer, now, &shared.alarm).await;
            }
            None => forwarder.auth.authenticate(request.headers()).await?,
        };
        shared.serves(&session);
        let request = request.map(ClientBody::Stream);
        forwarder.forward(request, session, Some(credential), peer, now, &shared.alarm).await
    };
    match answered.await {
        Ok(mut answer) => {
            if answer.cut_short {
                shared.fate.lingers.store(true, Ordering::Relaxed);
            }
            if answer.tunnel.is_some() {
                *shared.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = answer.tunnel;
            } else {
                answer.response.body_mut().tell_when_streaming(&shared.fate.streams);
            }
            answer.response
        }
        Err(failure) => {
            // A refusal is ours to say, also that of a session that has just ended.
            shared.fate.renewed.store(true, Ordering::Relaxed);
            let mut response = failure.into_response().map(AnswerBody::ours);
            if had_body {
                shared.fate.lingers.store(true, Ordering::Relaxed);
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}
