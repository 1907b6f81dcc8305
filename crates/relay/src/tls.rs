//! TLS of the two listeners: rustls with its own verifiers, TLS 1.2 and 1.3, HTTP/1.1 and nothing else.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use couplet_protocol::RelayName;
use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::authority::Authority;

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{0} cannot be read: {1}")]
    Unreadable(String, rustls::pki_types::pem::Error),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    #[error(transparent)]
    Issue(#[from] rcgen::Error),
    #[error(transparent)]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The certificate of a listener, which may be exchanged while it runs.
pub(crate) struct Shown(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl Shown {
    pub(crate) fn new(key: CertifiedKey) -> Arc<Self> {
        Arc::new(Shown(RwLock::new(Arc::new(key))))
    }

    /// Shows this one from the next handshake on.
    pub(crate) fn exchange(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The certificate and key in these files (PEM).
pub(crate) fn from_files(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let unreadable = |path: &Path| {
        let path = path.display().to_string();
        move |error| TlsError::Unreadable(path, error)
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(unreadable(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    // Refuses a key of another certificate.
    Ok(CertifiedKey::from_der(chain, key, &provider())?)
}

/// A new certificate of the relay's own CA.
pub(crate) fn issued(authority: &Authority, names: &[&RelayName], now: Timestamp) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = authority.certify_listener(names, now)?;
    Ok(CertifiedKey::from_der(chain, key, &provider())?)
}

/// The devices' listener.
pub(crate) fn for_devices(shown: Arc<Shown>) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider())).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(shown);
    // A device that comes back saves a round of public-key work; nothing is kept for it here.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(Arc::new(settled(config)))
}

/// The hosts' listener: whoever has no certificate of this CA, in time and for a client, does not get beyond the
/// handshake. Nothing is resumed, so that each connection is judged anew.
pub(crate) fn for_hosts(shown: Arc<Shown>, authority: &Authority) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(shown);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(settled(config)))
}

fn settled(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}
