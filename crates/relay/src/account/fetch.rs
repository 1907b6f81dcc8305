//! Asking an identity provider for a document.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The largest document that is read, in bytes.
const LARGEST: usize = 256 * 1024;
/// How long a provider may take for one document.
const WAIT: Duration = Duration::from_secs(5);

/// The document could not be had. The cause is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

fn failed(error: impl std::fmt::Display) -> FetchError {
    FetchError(error.to_string())
}

/// What a [`Fetch`] answers, some time later.
pub type Fetched<'a> = Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send + 'a>>;

/// Gets a document by its URL, by HTTP or as a test wishes.
pub trait Fetch: Send + Sync + 'static {
    /// The document's bytes.
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a>;
}

/// Gets documents over TLS. Follows no redirect and uses no proxy: the URLs are those that the operator named, and what
/// they name.
pub struct Https(TlsConnector);

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Https")
    }
}

impl Https {
    /// Trusts the system's certificates, and those in `extra_ca` (PEM).
    ///
    /// # Errors
    /// The latter cannot be read.
    pub fn new(extra_ca: Option<&[u8]>) -> Result<Self, FetchError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for certificate in extra_ca.into_iter().flat_map(CertificateDer::pem_slice_iter) {
            roots.add(certificate.map_err(failed)?).map_err(failed)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Https(TlsConnector::from(Arc::new(config))))
    }

    async fn document(&self, url: &str) -> Result<Bytes, FetchError> {
        let uri: Uri = url.parse().map_err(failed)?;
        let host = host(&uri).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let socket = TcpStream::connect((host.as_str(), port)).await.map_err(failed)?;
        if !secure {
            return ask(socket, &uri).await;
        }
        let name = ServerName::try_from(host).map_err(failed)?;
        ask(self.0.connect(name, socket).await.map_err(failed)?, &uri).await
    }
}

impl Fetch for Https {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a> {
        Box::pin(async move {
            let document = tokio::time::timeout(WAIT, self.document(url)).await;
            let named = |error: FetchError| FetchError(format!("{url}: {error}"));
            document.map_err(failed).flatten().map_err(named)
        })
    }
}

/// One request on a connection of its own.
async fn ask(socket: impl AsyncRead + AsyncWrite + Unpin + Send, uri: &Uri) -> Result<Bytes, FetchError> {
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request = Request::get(path)
        .header("host", authority)
        .header("accept", "application/json")
        .header("user-agent", "couplet-relay")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(failed)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(failed)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError(format!("it answered {}", response.status())));
        }
        Ok(Limited::new(response.into_body(), LARGEST).collect().await.map_err(failed)?.to_bytes())
    };
    // The connection moves as long as its answer is awaited, and no longer.
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_matches(['[', ']'])
}

/// Whether it is an `https` URL.
pub(super) fn is_secure(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https"))
}

/// Whether a provider may be asked at this URL: by `https`, or on this machine, where tests have theirs.
pub(super) fn is_allowed(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let local = || host(&uri) == "localhost" || host(&uri).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let plain = !host(&uri).is_empty() && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    plain && (uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && local()))
}
