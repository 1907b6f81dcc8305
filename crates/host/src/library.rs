//! Couplet inside an axum app: a layer that lets paired devices in, and a server that the routes can rely on.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse, Response};
use couplet_protocol::Code;
use couplet_protocol::api::Health;
use http_body_util::{BodyExt, Limited};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceExt};

use crate::http::caller::{DeviceSession, authenticate};
use crate::listen;
use crate::net::Addresses;
use crate::pairing::Pairing;
use crate::problem::Failure;
use crate::start::{self, StartError};

impl Pairing {
    /// A layer that lets a request through when a paired device sends it, within its scope; others get 401 or 403.
    /// Behind it, `Device` and [`DeviceSession`] are at hand, and an answer that is still being sent when the device
    /// is revoked breaks off. What a handler goes on with after its answer, a WebSocket say, it must end itself when
    /// `DeviceSession.0.ended()` fires.
    #[must_use]
    pub fn require_device(&self) -> RequireDevice {
        RequireDevice { pairing: self.clone() }
    }

    /// Serves the app, which must hold [`Pairing::routes`], until `stop` fires.
    ///
    /// # Errors
    /// At once, when the pairing routes do not answer in the app: they were not merged, or lie under a layer or a
    /// nest that hides them. Also when the listener has no address.
    pub async fn serve(&self, listener: TcpListener, app: Router, stop: CancellationToken) -> Result<(), StartError> {
        let address = listener.local_addr().map_err(|error| {
            StartError::new(Code::AddressUnusable, format!("The listener has no address: {error}."))
        })?;
        self.core().set_addresses(Addresses { pairing: vec![address], apps: Vec::new() });
        probe(app.clone()).await?;
        start::announce(&self.core().config().state_dir, &[address])?;
        let told = async {
            stop.cancelled().await;
            // What never ends by itself ends now, so that the rest can.
            self.core().stopping().cancel();
        };
        tokio::join!(listen::serve(listener, app, self.core().config().limits.clone(), stop.clone()), told);
        let _ = tokio::time::timeout(listen::DRAIN, self.core().tunnels().wait()).await;
        let _ = self.flush().await;
        start::withdraw(&self.core().config().state_dir);
        Ok(())
    }
}

/// Asks the app, before anyone else can, whether the pairing routes are in it.
async fn probe(app: Router) -> Result<(), StartError> {
    let missing = || {
        StartError::new(
            Code::ConfigInvalid,
            "The pairing routes do not answer at /health: merge `pairing.routes()` into the app that is served, at its root.",
        )
    };
    let peer = ConnectInfo(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let request = Request::get("/health").header("host", "localhost").extension(peer).body(Body::empty());
    let request = request.map_err(|_| missing())?;
    let response = app.oneshot(request).await.map_err(|never| match never {})?;
    let body = Limited::new(response.into_body(), 64 * 1024).collect().await.map_err(|_| missing())?.to_bytes();
    serde_json::from_slice::<Health>(&body).map(drop).map_err(|_| missing())
}

/// The layer of [`Pairing::require_device`].
#[derive(Clone, Debug)]
pub struct RequireDevice {
    pairing: Pairing,
}

/// The service of [`RequireDevice`].
#[derive(Clone, Debug)]
pub struct RequireDeviceService<S> {
    pairing: Pairing,
    inner: S,
}

impl<S> Layer<S> for RequireDevice {
    type Service = RequireDeviceService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireDeviceService { pairing: self.pairing.clone(), inner }
    }
}

impl<S> Service<Request> for RequireDeviceService<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let pairing = self.pairing.clone();
        // The clone may not be ready; the one that was polled is.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let DeviceSession(session) = match authenticate(&pairing, &parts).await {
                Ok(session) => session,
                Err(failure) => return Ok(failure.into_response()),
            };
            parts.extensions.insert(DeviceSession(session.clone()));
            let answer = inner.call(Request::from_parts(parts, body));
            match session.ended().run_until_cancelled(answer).await {
                Some(answer) => {
                    Ok(answer?.map(|body| Body::new(crate::until::Until::new(body, session.ended().clone()))))
                }
                None => Ok(Failure::of_device(Code::DeviceUnknown).into_response()),
            }
        })
    }
}
