//! Asking an identity provider for a document.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Url;

/// The largest document that is read, in bytes.
const LARGEST: usize = 256 * 1024;
/// How long a provider may take for one document.
const WAIT: Duration = Duration::from_secs(5);

/// The document could not be had. The cause is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

/// Gets a document by its URL, by HTTP or as a test wishes.
pub trait Fetch: Send + Sync + 'static {
    /// The document's bytes.
    fn fetch<'a>(&'a self, url: &'a str) -> Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send + 'a>>;
}

/// Gets documents over TLS. Follows no redirect and uses no proxy: the URLs are those that the operator named, and what
/// they name.
#[derive(Debug)]
pub struct Https(reqwest::Client);

impl Https {
    /// Trusts the system's certificates, and those in `extra_ca` (PEM).
    ///
    /// # Errors
    /// They cannot be read.
    pub fn new(extra_ca: Option<&[u8]>) -> Result<Self, FetchError> {
        let failed = |error: reqwest::Error| FetchError(error.to_string());
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(WAIT)
            .user_agent("couplet-relay");
        if let Some(pem) = extra_ca {
            client = client.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem).map_err(failed)?);
        }
        client.build().map(Https).map_err(failed)
    }
}

impl Fetch for Https {
    fn fetch<'a>(&'a self, url: &'a str) -> Pin<Box<dyn Future<Output = Result<Bytes, FetchError>> + Send + 'a>> {
        Box::pin(async move {
            let failed = |error: reqwest::Error| FetchError(error.to_string());
            let sent = self.0.get(url).header("accept", "application/json").send().await;
            let mut response = sent.map_err(failed)?;
            if response.status() != reqwest::StatusCode::OK {
                return Err(FetchError(format!("{url} answered {}", response.status())));
            }
            let mut document = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                if document.len() + chunk.len() > LARGEST {
                    return Err(FetchError(format!("{url} is larger than {LARGEST} bytes")));
                }
                document.extend_from_slice(&chunk);
            }
            Ok(document.freeze())
        })
    }
}

/// Whether a provider may be asked at this URL: by `https`, or on this machine, where tests have theirs.
pub(super) fn is_allowed(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let local = || {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    let plain = url.username().is_empty() && url.password().is_none() && url.host_str().is_some();
    plain && (url.scheme() == "https" || (url.scheme() == "http" && local()))
}
