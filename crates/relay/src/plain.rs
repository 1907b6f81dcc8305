//! Listeners without TLS, for the operator alone: the private one, and the control socket. A few connections at a time, one
//! request each, and each in its time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::listener::http1;
use crate::tasks::Tasks;

/// How many connections of one listener are served at a time; others wait in the kernel.
const MOST: usize = 32;
/// How long one may take in all. What asks here asks again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Accepts until it is dropped. A request's head has `header` to come.
pub(crate) async fn serve<L: Listener>(mut listener: L, app: Router, tasks: Tasks, header: Duration) {
    let places = Arc::new(Semaphore::new(MOST));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, _) = listener.accept().await;
        let served = answer(stream, app.clone(), header);
        tasks.spawn(async move {
            let _place = place;
            let _ = tokio::time::timeout(PATIENCE, served).await;
        });
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, app: Router, header: Duration) {
    let service = service_fn(move |request: hyper::Request<Incoming>| app.clone().oneshot(request));
    let served = http1(header).keep_alive(false).serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(target: "couplet::relay", %error, "connection ended");
    }
}
