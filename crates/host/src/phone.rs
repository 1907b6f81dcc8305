//! The phone's client, served by the host itself over TLS, under a name and with a certificate of its owner's: pages and
//! nothing else, so that who uses them trusts no relay for them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use couplet_phone::Phone;
use couplet_phone::certificate::{CertificateError, Shown, from_files};
use couplet_protocol::Code;
use http::Method;
use http::header::HOST;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, PHONE_PORT};
use crate::listen::{self, Place};
use crate::problem::Failure;
use crate::start::StartError;

/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// The client's listeners, bound.
#[derive(Debug)]
pub(crate) struct PhoneServer {
    listeners: Vec<TcpListener>,
    config: Config,
    shown: Arc<Shown>,
    tls: Arc<ServerConfig>,
    phone: Arc<Phone>,
}

impl PhoneServer {
    /// Binds what the owner has configured; none where that is nothing.
    pub(crate) fn bind(config: &Config) -> Result<Option<Self>, StartError> {
        if config.phone_name.is_empty() {
            return Ok(None);
        }
        let unusable = |error: &dyn std::fmt::Display| {
            let next =
                "Name a certificate that is good for these names now, and its key, both in PEM: phone_cert, phone_key.";
            StartError::new(Code::ConfigInvalid, format!("The phone's client cannot be served: {error}. {next}"))
        };
        let shown = Shown::new(read(config).map_err(|error| unusable(&error))?);
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| unusable(&error))?;
        let mut tls = builder.with_no_client_auth().with_cert_resolver(Arc::clone(&shown) as Arc<_>);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let place = match config.phone_listen.as_slice() {
            [] => Place::Default(PHONE_PORT),
            given => Place::Given(given.to_vec()),
        };
        let phone = Phone::new(&format!("https://{}", config.phone_name), config.phone_apps());
        let (tls, phone) = (Arc::new(tls), Arc::new(phone));
        Ok(Some(PhoneServer { listeners: place.bind()?, config: config.clone(), shown, tls, phone }))
    }

    /// Where browsers find it.
    pub(crate) fn url(&self) -> String {
        format!("https://{}/p", self.config.phone_name)
    }

    /// Serves until `stop` fires.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let PhoneServer { listeners, config, shown, tls, phone } = self;
        let app = Router::new().fallback(answer).with_state(phone);
        let serving = listeners.into_iter().map(|listener| {
            let tls = TlsAcceptor::from(Arc::clone(&tls));
            listen::serve_tls(listener, tls, app.clone(), config.limits.clone(), stop.clone())
        });
        let renewing = stop.run_until_cancelled(renew(&shown, &config));
        tokio::join!(futures_util::future::join_all(serving), renewing);
    }
}

/// The certificate, if it is for the client's own name and for every app's.
pub(crate) fn read(config: &Config) -> Result<CertifiedKey, CertificateError> {
    let own = config.phone_name.split(':').next().unwrap_or_default();
    let app = config.phone_apps().map(|domain| format!("any.{domain}"));
    let names: Vec<&str> = std::iter::once(own).chain(app.as_deref()).collect();
    from_files(&config.phone_cert, &config.phone_key, &names, Timestamp::now())
}

/// Shows a new certificate when its files have changed; one that cannot be used leaves the one before.
async fn renew(shown: &Shown, config: &Config) {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    let look = || -> [Option<SystemTime>; 2] { [modified(&config.phone_cert), modified(&config.phone_key)] };
    let mut seen = look();
    loop {
        tokio::time::sleep(LOOK).await;
        let files = look();
        if files == seen {
            continue;
        }
        seen = files;
        match read(config) {
            Ok(key) => {
                shown.exchange(key);
                tracing::info!(target: "couplet::host", "the phone's client has its new certificate");
            }
            Err(error) => tracing::warn!(target: "couplet::host", %error, "the phone's client keeps its certificate"),
        }
    }
}

async fn answer(State(phone): State<Arc<Phone>>, request: Request) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let (path, headers) = (request.uri().path(), request.headers());
    match (phone.is_app(host), request.method()) {
        (None | Some(true), method) if !matches!(*method, Method::GET | Method::HEAD) => {
            Failure::new(Code::MethodNotAllowed, "Use GET: these are pages.").into_response()
        }
        (Some(true), _) => phone.app(path, headers).map(Body::from),
        (Some(false), _) => {
            Failure::new(Code::HostNotAllowed, "Couplet's page makes the names of apps by itself: open the app there.")
                .into_response()
        }
        (None, _) => phone.client(path, headers).map(Body::from),
    }
}
