//! The forwarder: HTTP/1.1 for programs of this machine, HTTP/2 through the session to the app.

mod guard;
mod refusal;
mod socket;
#[cfg(test)]
mod tests;
mod upgrade;

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use couplet_client::{Body, Client, Upgrade, Upgraded};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(super) use self::guard::Names;
use self::refusal::Refusal;
use self::socket::Socket;

/// The most connections at a time. More wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long a program may take to send a request's head, and leave a connection idle.
const HEAD: Duration = Duration::from_secs(60);
/// How much of a connection is read ahead, in bytes.
const BUFFER: usize = 64 * 1024;
/// How long to wait when the system has no more sockets.
const NO_SOCKETS: Duration = Duration::from_millis(100);

/// Names the app to the host. Ours to set.
const APP: HeaderName = HeaderName::from_static("couplet-app");

/// An answer's body: the app's, or ours.
type Reply = Either<Body, Full<Bytes>>;

/// The stream of an upgrade, from its request to its connection.
type Switched = Mutex<Option<Upgraded>>;

/// Hands what programs of this machine ask on to the host.
pub(super) struct Forwarder {
    client: Arc<Client>,
    app: Option<HeaderValue>,
    names: Names,
}

impl Forwarder {
    /// A forwarder to this app, or the host's first, that programs call by these names.
    pub(super) fn new(client: Arc<Client>, app: Option<HeaderValue>, names: Names) -> Self {
        Forwarder { client, app, names }
    }

    /// Serves everyone who connects, until it is dropped; then everything breaks off.
    pub(super) async fn run(self, listener: TcpListener) {
        let forwarder = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            if connections.len() >= CONNECTIONS {
                connections.join_next().await;
                continue;
            }
            match listener.accept().await {
                Ok((stream, _)) => drop(connections.spawn(serve(forwarder.clone(), stream))),
                Err(_) => tokio::time::sleep(NO_SOCKETS).await,
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>, switched: &Switched) -> Response<Reply> {
        let answered = self.forward(request, switched).await;
        let mut answer = answered.unwrap_or_else(|refusal| refusal.answer().map(Either::Right));
        *answer.version_mut() = Version::HTTP_11;
        answer
    }

    async fn forward(&self, request: Request<Incoming>, switched: &Switched) -> Result<Response<Reply>, Refusal> {
        let (mut head, body) = request.into_parts();
        let target = guard::check(&head, self.names)?;
        let upgrade = upgrade::wanted(&head, &body)?;
        guard::remove_nominated(&mut head.headers);
        head.uri = target;
        head.headers.remove(APP);
        if let Some(app) = &self.app {
            head.headers.insert(APP, app.clone());
        }
        match upgrade {
            Some(wanted) => self.switch(head, &wanted, switched).await,
            None => Ok(self.client.request(Request::from_parts(head, body)).await?.map(Either::Left)),
        }
    }

    async fn switch(
        &self,
        mut head: Parts,
        wanted: &upgrade::Wanted,
        switched: &Switched,
    ) -> Result<Response<Reply>, Refusal> {
        // It belongs to the connection with this program (RFC 8441, 5); the host makes another for the app's.
        head.headers.remove(header::SEC_WEBSOCKET_KEY);
        match self.client.upgrade(Request::from_parts(head, ()), &wanted.protocol).await? {
            Upgrade::Refused(answer) => Ok(answer.map(Either::Left)),
            Upgrade::Switched(mut answer, stream) => {
                *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                wanted.complete(answer.headers_mut());
                *switched.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
                Ok(answer.map(|()| Either::Right(Full::default())))
            }
        }
    }
}

/// Serves one connection to its end. Whatever is not finished then is reset, so that a part is not taken for the whole.
async fn serve(forwarder: Arc<Forwarder>, stream: TcpStream) {
    // Small messages must not wait for each other; that it cannot be set does no harm.
    let _ = stream.set_nodelay(true);
    let switched = Arc::new(Switched::default());
    let service = {
        let switched = switched.clone();
        service_fn(move |request| {
            let (forwarder, switched) = (forwarder.clone(), switched.clone());
            Box::pin(async move { Ok::<_, Infallible>(forwarder.answer(request, &switched).await) })
        })
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Socket::new(stream)), service);
    if poll_fn(|cx| connection.poll_without_shutdown(cx)).await.is_err() {
        return;
    }
    let parts = connection.into_parts();
    let mut socket = parts.io.into_inner();
    let stream = switched.lock().unwrap_or_else(PoisonError::into_inner).take();
    let joined = match stream {
        Some(stream) => upgrade::join(stream, parts.read_buf, &mut socket).await,
        None => Ok(()),
    };
    if joined.is_ok() {
        socket.finish().await;
    }
}
