//! Certificates of those who serve browsers: read from their owner's files, checked, and exchanged while they are shown.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Why a certificate is not shown.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(String, rustls::pki_types::pem::Error),
    /// There is none in it.
    #[error("{0} does not begin with a certificate")]
    Malformed(String),
    /// It is not for this name.
    #[error("{0} is for other names than {1}")]
    OtherName(String, String),
    /// It is not good yet.
    #[error("{0} is good from {1} on only")]
    TooEarly(String, Timestamp),
    /// It is not good any more.
    #[error("{0} was good until {1}")]
    Over(String, Timestamp),
    /// The key is of another certificate, or of a kind that is not taken.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The certificate of a listener, which may be exchanged while it runs.
pub struct Shown(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl Shown {
    /// Shows this one.
    #[must_use]
    pub fn new(key: CertifiedKey) -> Arc<Self> {
        Arc::new(Shown(RwLock::new(Arc::new(key))))
    }

    /// Shows this one from the next handshake on.
    pub fn exchange(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The certificate and key in these files (PEM), if browsers and devices that call these names can take it now.
///
/// # Errors
/// They cannot be read, do not belong together, or are for another name or another time.
pub fn from_files(
    certificate: &Path,
    key: &Path,
    hosts: &[&str],
    now: Timestamp,
) -> Result<CertifiedKey, CertificateError> {
    let unreadable = |path: &Path| {
        let path = path.display().to_string();
        move |error| CertificateError::Unreadable(path, error)
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(unreadable(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    for host in hosts {
        usable(&chain, &certificate.display().to_string(), host, now)?;
    }
    // Refuses a key of another certificate.
    Ok(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?)
}

/// Whether the chain's own certificate is for this name and this time (RFC 5280, 4.1.2.5). Who issued it, each device judges
/// for itself.
fn usable(chain: &[CertificateDer<'_>], file: &str, host: &str, now: Timestamp) -> Result<(), CertificateError> {
    let malformed = || CertificateError::Malformed(file.to_owned());
    let own = chain.first().ok_or_else(malformed)?;
    let parsed = ParsedCertificate::try_from(own).map_err(|_| malformed())?;
    let server = ServerName::try_from(host).map_err(|_| malformed())?;
    verify_server_name(&parsed, &server).map_err(|_| CertificateError::OtherName(file.to_owned(), host.to_owned()))?;
    let (from, until) = validity(own).ok_or_else(malformed)?;
    match now {
        _ if now < from => Err(CertificateError::TooEarly(file.to_owned(), from)),
        _ if now > until => Err(CertificateError::Over(file.to_owned(), until)),
        _ => Ok(()),
    }
}

/// From when to when it is good (RFC 5280, 4.1.2.5).
fn validity(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let second = |at: x509_parser::time::ASN1Time| Timestamp::from_second(at.timestamp()).ok();
    Some((second(read.validity().not_before)?, second(read.validity().not_after)?))
}

/// Until when this certificate is good.
#[must_use]
pub fn until(key: &CertifiedKey) -> Option<Timestamp> {
    Some(validity(key.cert.first()?)?.1)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

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
        let read = |name: &str, now| from_files(&certificate, &key, &[name], now);
        for name in ["relay.example", "192.0.2.7"] {
            assert!(read(name, now).is_ok(), "{name}");
        }
        for name in ["other.example", "a.relay.example", "192.0.2.8"] {
            assert!(matches!(read(name, now), Err(CertificateError::OtherName(..))), "{name}");
        }
        let month = SignedDuration::from_hours(30 * 24);
        let (before, behind) = (now - month, now + month);
        assert!(matches!(read("relay.example", before), Err(CertificateError::TooEarly(..))));
        assert!(matches!(read("relay.example", behind), Err(CertificateError::Over(..))));
        std::fs::write(&certificate, "").unwrap();
        assert!(matches!(read("relay.example", now), Err(CertificateError::Malformed(_))));
    }
}
