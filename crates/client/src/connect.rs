//! A connection to a host: one task keeps a session open, and everything else goes through it.

mod keep;
mod session;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::frame::CloseCode;
use couplet_protocol::message::Control;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::credentials::HostId;
use crate::error::{ConnectError, RequestError};
use crate::http::{Body, Failed, Http, Upgrade};
use crate::relay::RelayAccount;
use crate::sealed::{Link, SealedStream};
use crate::state::State;
use crate::store::CredentialStore;
use crate::unblock;

/// How long a request waits for a session, and for room in it.
const WAIT: Duration = Duration::from_secs(10);
/// How long closing may take.
const CLOSE: Duration = Duration::from_millis(1500);

/// A connection to a host. It opens a session by itself, and a new one whenever that ends. Dropping it stops it.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    task: AbortOnDropHandle<()>,
}

/// What the task and its owner share.
#[derive(Debug)]
struct Shared {
    host: HostId,
    state: watch::Sender<State>,
    live: watch::Sender<Option<Live>>,
    /// Somebody wants a session: no reason to wait long.
    wanted: Notify,
    /// The owner wants no more sessions.
    closing: CancellationToken,
}

/// An open session.
#[derive(Clone, Debug)]
struct Live {
    number: u64,
    http: Http,
    link: Link,
}

impl Client {
    /// Connects with a paired host, now and from now on. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// There are no credentials for this host, or they cannot be read. That it cannot be reached is no error but a
    /// [`State`].
    pub async fn connect(host: HostId, store: Arc<dyn CredentialStore>) -> Result<Self, ConnectError> {
        Self::connect_as(host, store, None).await
    }

    /// The same, and one relay with accounts is told who the owner is.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_as(
        host: HostId,
        store: Arc<dyn CredentialStore>,
        account: Option<RelayAccount>,
    ) -> Result<Self, ConnectError> {
        let (from, id) = (store.clone(), host.clone());
        let candidates = unblock(move || from.load(&id)).await?;
        if candidates.is_empty() {
            return Err(ConnectError::Unknown(host));
        }
        let (state, live) = (watch::Sender::new(State::Connecting), watch::Sender::new(None));
        let shared = Arc::new(Shared { host, state, live, wanted: Notify::new(), closing: CancellationToken::new() });
        let task = tokio::spawn(keep::Keeper::new(shared.clone(), store, candidates, account).run());
        Ok(Client { shared, task: AbortOnDropHandle::new(task) })
    }

    /// A client over a session that is open already, as [`SealedStream::new`] gives it, and over no other: when that
    /// ends, so does the client. `state` is what it counts as until then. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The session is over.
    pub async fn over<S>(
        host: HostId,
        (stream, link, heard): (SealedStream<S>, Link, mpsc::Receiver<Box<Control>>),
        state: State,
    ) -> Result<Self, RequestError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let opened = crate::http::open(stream).await;
        let (http, driver) = opened.map_err(|error| RequestError::Broken(error.to_string()))?;
        let live = watch::Sender::new(Some(Live { number: 1, http, link: link.clone() }));
        let state = watch::Sender::new(state);
        let shared = Arc::new(Shared { host, state, live, wanted: Notify::new(), closing: CancellationToken::new() });
        let task = tokio::spawn(keep::once(shared.clone(), driver, link, heard));
        Ok(Client { shared, task: AbortOnDropHandle::new(task) })
    }

    /// Which host it is.
    #[must_use]
    pub fn host(&self) -> &HostId {
        &self.shared.host
    }

    /// How things stand, now and later.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Sends a request and returns the head of its answer; the bodies stream, both ways. Its target names the host
    /// that the app shall see, as in `http://localhost:8888/lab`; the header `couplet-app` names the app, else it is
    /// the first.
    ///
    /// Waits up to ten seconds for a session. A request that may have reached the host is never sent again.
    ///
    /// # Errors
    /// See [`RequestError`]. What the app answers, errors included, is an answer.
    pub async fn request<B>(&self, request: Request<B>) -> Result<Response<Body>, RequestError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Display,
    {
        let mut request = request;
        let mut wait = Wait::new();
        loop {
            let live = wait.live(&self.shared).await?;
            match live.http.request(request, WAIT).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Error(error)) => return Err(error),
                Err(Failed::Unsent(unsent)) => request = unsent,
            }
        }
    }

    /// Asks for an upgrade to `protocol`: `websocket`, or another.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn upgrade(&self, request: Request<()>, protocol: &str) -> Result<Upgrade, RequestError> {
        let mut request = request;
        let mut wait = Wait::new();
        loop {
            let live = wait.live(&self.shared).await?;
            match live.http.upgrade(request, protocol, WAIT).await {
                Ok(upgrade) => return Ok(upgrade),
                Err(Failed::Error(error)) => return Err(error),
                Err(Failed::Unsent(unsent)) => request = unsent,
            }
        }
    }

    /// Closes the session and tells the host, for at most a second and a half. Whatever is under way breaks off, and no
    /// other session is opened.
    pub async fn close(&self) {
        let live = self.shared.live.borrow().clone();
        self.shared.closing.cancel();
        if let Some(live) = live {
            live.link.close(CloseCode::Leaving);
            let _ = timeout(CLOSE, live.link.ended()).await;
        }
        self.task.abort();
    }
}

/// One request's patience.
struct Wait {
    until: Instant,
    /// The session that turned out to be over.
    used: Option<u64>,
}

impl Wait {
    fn new() -> Self {
        Wait { until: Instant::now() + WAIT, used: None }
    }

    /// The open session, or the next one.
    async fn live(&mut self, shared: &Shared) -> Result<Live, RequestError> {
        let (mut live, mut state) = (shared.live.subscribe(), shared.state.subscribe());
        let used = self.used;
        let is_new = |live: &Option<Live>| live.as_ref().is_some_and(|live| Some(live.number) != used);
        if !is_new(&live.borrow()) {
            shared.wanted.notify_one();
        }
        let found = async {
            tokio::select! {
                biased;
                live = live.wait_for(is_new) => live.ok().and_then(|live| live.clone()),
                _ = state.wait_for(State::is_final) => None,
            }
        };
        match timeout_at(self.until, found).await {
            Ok(Some(live)) => {
                self.used = Some(live.number);
                Ok(live)
            }
            Ok(None) | Err(_) => Err(RequestError::NotConnected(shared.state.borrow().clone())),
        }
    }
}
