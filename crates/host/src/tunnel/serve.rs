//! HTTP inside a session: HTTP/2 with prior knowledge, the device the client (spec/protocol.md, 5).
//!
//! A request is chosen an app, or the host itself, and goes the way that requests over plain HTTP go: the same rules for
//! headers and scopes, the same streams. Apps speak HTTP/1.1.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;

use axum::response::IntoResponse;
use couplet_client::sealed::SealedStream;
use couplet_protocol::Code;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::apps::Apps;
use super::device_api;
use super::upgrade::{Asked, Writer};
use crate::gateway::{AnswerBody, Peer};
use crate::pairing::Core;
use crate::problem::Failure;

/// The most requests under way at a time.
const STREAMS: u32 = 64;
/// The most bytes of a request's headers.
const HEADERS_MAX: u32 = 16 * 1024;
/// How many streams may be reset before the session is given up: RFC 9113, 10.5, and what was learnt since.
const RESETS: usize = 32;
/// How much of one request may be under way and unread, and of all of them together.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// How much of an answer may wait to be sent.
const SEND_BUFFER: usize = 64 * 1024;

/// What a session's requests share.
struct Shared {
    core: Core,
    device: Uuid,
    peer: Peer,
    /// Runs what outlives the answer of a request.
    tasks: Tasks,
}

/// Serves the device's requests until either end closes the session. Dropping the future stops all of them.
pub(super) async fn serve<S>(core: &Core, stream: SealedStream<S>, device: Uuid, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tasks = Tasks(CancellationToken::new());
    let _stopped_when_dropped = tasks.0.clone().drop_guard();
    let shared = Arc::new(Shared { core: core.clone(), device, peer, tasks: tasks.clone() });
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(respond(&shared, request).await) }
    });
    let connection = http2::Builder::new(tasks)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS_MAX)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .enable_connect_protocol()
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = Box::pin(connection).await {
        tracing::debug!(target: "couplet::session", %device, %error, "the session's HTTP ended");
    }
}

/// Tasks that end with their session.
#[derive(Clone)]
struct Tasks(CancellationToken);

tokio::task_local! {
    /// Where the writer of an upgraded stream goes, when the request at hand asks for an upgrade.
    static WRITER: Cell<Option<oneshot::Sender<Writer>>>;
}

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.0.clone().run_until_cancelled_owned(task));
    }
}

/// hyper's tasks: one for each request, and, out of that, one that writes to a stream which was upgraded. The latter
/// is not run here but handed over: whoever runs it sees a reset, and can bring one about by dropping it.
impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        match WRITER.try_with(Cell::take) {
            Ok(Some(upgrade)) => drop(upgrade.send(Box::pin(task))),
            Ok(None) | Err(_) => self.spawn(WRITER.scope(Cell::new(None), task)),
        }
    }
}

async fn respond(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<AnswerBody> {
    match answer(shared, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response().map(AnswerBody::ours),
    }
}

async fn answer(shared: &Arc<Shared>, mut request: Request<Incoming>) -> Result<Response<AnswerBody>, Failure> {
    let ended = || Failure::new(Code::DeviceUnknown, "Something about this device has changed: connect again.");
    let session = shared.core.auth().session_of(shared.device).ok_or_else(ended)?;
    let is_internal = |uri: &http::Uri| uri.host().is_some_and(|host| host.eq_ignore_ascii_case(device_api::AUTHORITY));
    if is_internal(request.uri()) {
        let answer = device_api::answer(&shared.core, &session, request.method(), request.uri().path()).await;
        return Ok(answer.map(AnswerBody::ours));
    }
    let apps: Arc<Apps> = shared.core.tunnels().apps();
    let gateway = apps.choose(request.headers_mut())?;
    let (sender, writer) = oneshot::channel();
    let asked = Asked::take(&mut request, writer)?;
    if asked.is_some() {
        let _ = WRITER.try_with(|slot| slot.set(Some(sender)));
    }
    let answer = gateway.forward(request, session, None, &shared.peer).await?;
    let Some(asked) = asked else { return Ok(answer.response) };
    let (response, switched) = asked.answered(answer)?;
    if let Some(switched) = switched {
        shared.tasks.spawn(switched.join());
    }
    Ok(response)
}
