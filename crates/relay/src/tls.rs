//! TLS of the two listeners: rustls with its own verifiers, TLS 1.2 and 1.3, HTTP/1.1 and nothing else.

use std::sync::Arc;

use couplet_phone::certificate::{CertificateError, Shown};
use couplet_protocol::RelayName;
use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::authority::Authority;

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(transparent)]
    Files(#[from] CertificateError),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    #[error(transparent)]
    Issue(#[from] rcgen::Error),
    #[error(transparent)]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The devices' listener's certificate by the name that is called: the apps' have one of their own where it is given.
#[derive(Debug)]
pub(crate) struct ByName {
    pub(crate) devices: Arc<Shown>,
    /// The domain of the apps, with a dot before it.
    pub(crate) apps: Option<(String, Arc<Shown>)>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let called = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        match &self.apps {
            Some((domain, apps)) if called.ends_with(domain.as_str()) => apps.resolve(hello),
            _ => self.devices.resolve(hello),
        }
    }
}

/// A new certificate of the relay's own CA.
pub(crate) fn issued(
    authority: &Authority,
    names: &[&RelayName],
    apps: Option<&str>,
    now: Timestamp,
) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = authority.certify_listener(names, apps, now)?;
    Ok(CertifiedKey::from_der(chain, key, &provider())?)
}

/// The devices' listener.
pub(crate) fn for_devices(shown: Arc<ByName>) -> Result<Arc<ServerConfig>, TlsError> {
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
