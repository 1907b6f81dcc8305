//! TLS of the two listeners: rustls with its own verifiers, TLS 1.2 and 1.3, HTTP/1.1 and nothing else.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use couplet_protocol::RelayName;
use jiff::Timestamp;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::authority::Authority;

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{0} cannot be read: {1}")]
    Unreadable(String, rustls::pki_types::pem::Error),
    #[error("{0} does not begin with a certificate")]
    Malformed(String),
    #[error("{0} is for other names than {1}")]
    OtherName(String, String),
    #[error("{0} is good from {1} on only")]
    TooEarly(String, Timestamp),
    #[error("{0} was good until {1}")]
    Over(String, Timestamp),
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

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The certificate and key in these files (PEM), if devices that call this name can take it now.
pub(crate) fn from_files(certificate: &Path, key: &Path, host: &str, now: Timestamp) -> Result<CertifiedKey, TlsError> {
    let unreadable = |path: &Path| {
        let path = path.display().to_string();
        move |error| TlsError::Unreadable(path, error)
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(unreadable(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    usable(&chain, &certificate.display().to_string(), host, now)?;
    // Refuses a key of another certificate.
    Ok(CertifiedKey::from_der(chain, key, &provider())?)
}

/// Whether the chain's own certificate is for this name and this time (RFC 5280, 4.1.2.5). Who issued it, each device judges
/// for itself.
fn usable(chain: &[CertificateDer<'_>], file: &str, host: &str, now: Timestamp) -> Result<(), TlsError> {
    let malformed = || TlsError::Malformed(file.to_owned());
    let own = chain.first().ok_or_else(malformed)?;
    let parsed = ParsedCertificate::try_from(own).map_err(|_| malformed())?;
    let server = ServerName::try_from(host).map_err(|_| malformed())?;
    verify_server_name(&parsed, &server).map_err(|_| TlsError::OtherName(file.to_owned(), host.to_owned()))?;
    let (_, read) = x509_parser::parse_x509_certificate(own).map_err(|_| malformed())?;
    let second = |at: x509_parser::time::ASN1Time| Timestamp::from_second(at.timestamp()).map_err(|_| malformed());
    let (from, until) = (second(read.validity().not_before)?, second(read.validity().not_after)?);
    match now {
        _ if now < from => Err(TlsError::TooEarly(file.to_owned(), from)),
        _ if now > until => Err(TlsError::Over(file.to_owned(), until)),
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::after;

    #[test]
    fn a_certificate_for_another_name_or_another_time_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
        let now: Timestamp = "2026-11-26T08:00:00Z".parse().unwrap();
        let made = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["relay.example".to_owned(), "192.0.2.7".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2026, 11, 1), rcgen::date_time_ymd(2026, 12, 1));
        std::fs::write(&certificate, params.self_signed(&made).unwrap().pem()).unwrap();
        std::fs::write(&key, made.serialize_pem()).unwrap();
        let read = |name: &str, now| from_files(&certificate, &key, name, now);
        for name in ["relay.example", "192.0.2.7"] {
            assert!(read(name, now).is_ok(), "{name}");
        }
        for name in ["other.example", "a.relay.example", "192.0.2.8"] {
            assert!(matches!(read(name, now), Err(TlsError::OtherName(..))), "{name}");
        }
        let (before, behind) =
            (after(now, Duration::ZERO) - Duration::from_secs(30 * 86400), after(now, Duration::from_secs(30 * 86400)));
        assert!(matches!(read("relay.example", before), Err(TlsError::TooEarly(..))));
        assert!(matches!(read("relay.example", behind), Err(TlsError::Over(..))));
        std::fs::write(&certificate, "").unwrap();
        assert!(matches!(read("relay.example", now), Err(TlsError::Malformed(_))));
    }
}
