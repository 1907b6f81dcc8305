//! Whom TLS trusts to be the relay of that name. Devices, and hosts at the devices' listener: whom the system's authorities
//! or the user's own vouch for. Hosts at their own listener: whom the relay's CA vouches for, and nobody else. The
//! verifiers are rustls' own, always. It protects what a relay knows; the session has keys of its own.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use super::failure::RelayFailure;

/// The most that is kept of a user's own authorities, in bytes of PEM.
const PEM_MAX: usize = 32 * 1024;

/// Certificates of authorities that a user trusts besides the system's, in PEM. One is enough, and there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayCa(Arc<str>);

/// Why a text names no authorities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayCaError {
    /// There is no certificate in it.
    #[error("it has no certificate in PEM")]
    None,
    /// One of them cannot be read.
    #[error("a certificate in it cannot be read: {0}")]
    Unreadable(String),
    /// It is longer than 32 KiB.
    #[error("it is too long for the certificates of one relay")]
    TooLong,
}

impl RelayCa {
    /// Reads one certificate or more; what stands between them is no matter.
    ///
    /// # Errors
    /// See [`RelayCaError`].
    pub fn parse(pem: &str) -> Result<Self, RelayCaError> {
        if pem.len() > PEM_MAX {
            return Err(RelayCaError::TooLong);
        }
        add(&mut RootCertStore::empty(), pem)?;
        Ok(RelayCa(pem.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_pem(&self) -> &str {
        &self.0
    }
}

/// The certificates of a text in PEM, one at least.
///
/// # Errors
/// There is none, or one of them is cut short.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, RelayCaError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|error| RelayCaError::Unreadable(error.to_string()))?;
    if all.is_empty() { Err(RelayCaError::None) } else { Ok(all) }
}

fn add(roots: &mut RootCertStore, pem: &str) -> Result<(), RelayCaError> {
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| RelayCaError::Unreadable(error.to_string()))?;
    }
    Ok(())
}

/// Who vouches for a relay's certificate. The texts are PEM.
#[derive(Clone, Copy, Debug)]
pub enum Authorities<'a> {
    /// The system's, and these.
    System(Option<&'a str>),
    /// These and nobody else.
    Only(&'a str),
}

/// Who this end is, for a listener that asks. Both are PEM.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate, and what leads from it to the listener's CA.
    pub certificate: &'a str,
    /// Its key: PKCS#8.
    pub key: &'a str,
}

/// TLS cannot be set up with what there is; the text says with what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsUnusable(pub String);

impl From<rustls::Error> for TlsUnusable {
    fn from(error: rustls::Error) -> Self {
        TlsUnusable(error.to_string())
    }
}

impl From<RelayCaError> for TlsUnusable {
    fn from(error: RelayCaError) -> Self {
        TlsUnusable(error.to_string())
    }
}

/// What TLS connections to a relay are made with: TLS 1.3 and 1.2, HTTP/1.1. It resumes sessions. Reading the system's
/// authorities blocks for a while.
///
/// # Errors
/// What is named cannot be used.
pub fn tls(authorities: Authorities<'_>, identity: Option<Identity<'_>>) -> Result<TlsConnector, TlsUnusable> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Authorities::System(extra) => {
            // Some of a system's are always of a kind that is not taken; that there are none shows at the handshake.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            extra.map_or(Ok(()), |pem| add(&mut roots, pem))?;
        }
        Authorities::Only(pem) => add(&mut roots, pem)?,
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { certificate, key }) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
            let key = key.map_err(|_| TlsUnusable("its key is none".to_owned()))?;
            builder.with_client_auth_cert(certificates(certificate)?, key)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The authorities that vouch for a relay's certificate: the system's, and these. Clones share what was read.
#[derive(Clone, Default)]
pub struct RelayTrust {
    extra: Option<RelayCa>,
    /// Read when a relay is needed for the first time: the system's are many, and most devices never see a relay.
    connector: Arc<OnceCell<TlsConnector>>,
}

impl RelayTrust {
    /// The system's, and these.
    #[must_use]
    pub fn new(extra: Option<RelayCa>) -> Self {
        RelayTrust { extra, connector: Arc::default() }
    }

    /// Whether it is the system's and exactly these.
    pub(crate) fn is_of(&self, extra: Option<&RelayCa>) -> bool {
        self.extra.as_ref() == extra
    }

    /// What TLS connections are made with.
    pub(super) async fn connector(&self) -> Result<TlsConnector, RelayFailure> {
        let load = || async {
            let extra = self.extra.clone();
            let load = move || tls(Authorities::System(extra.as_ref().map(RelayCa::as_pem)), None);
            let loaded = tokio::task::spawn_blocking(load).await.map_err(|_| RelayFailure::internal())?;
            loaded.map_err(|_| RelayFailure::internal())
        };
        self.connector.get_or_try_init(load).await.cloned()
    }
}

impl std::fmt::Debug for RelayTrust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayTrust").field("extra", &self.extra.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_certificate_names_nobody() {
        assert_eq!(RelayCa::parse(""), Err(RelayCaError::None));
        assert_eq!(
            RelayCa::parse("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            Err(RelayCaError::None)
        );
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(RelayCa::parse(broken), Err(RelayCaError::Unreadable(_))));
        assert_eq!(RelayCa::parse(&" ".repeat(PEM_MAX + 1)), Err(RelayCaError::TooLong));
    }
}
