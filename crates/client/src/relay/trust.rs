//! Which relays a device trusts to be the one of that name: those with a certificate that the system's authorities or
//! the user's own vouch for. It protects what a relay knows; the session has keys of its own.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
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
        let mut roots = RootCertStore::empty();
        add(&mut roots, pem)?;
        if roots.is_empty() { Err(RelayCaError::None) } else { Ok(RelayCa(pem.into())) }
    }

    /// The text.
    #[must_use]
    pub fn as_pem(&self) -> &str {
        &self.0
    }
}

fn add(roots: &mut RootCertStore, pem: &str) -> Result<(), RelayCaError> {
    let unreadable = |error: &dyn std::fmt::Display| RelayCaError::Unreadable(error.to_string());
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    Ok(())
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

    /// What TLS connections are made with; it resumes sessions.
    pub(super) async fn connector(&self) -> Result<TlsConnector, RelayFailure> {
        let load = || async {
            let extra = self.extra.clone();
            let loaded = tokio::task::spawn_blocking(move || config(extra.as_ref())).await;
            loaded.map_err(|_| RelayFailure::internal())?.map(|config| TlsConnector::from(Arc::new(config)))
        };
        self.connector.get_or_try_init(load).await.cloned()
    }
}

/// The verifier is rustls' own, with TLS 1.3 and 1.2.
fn config(extra: Option<&RelayCa>) -> Result<ClientConfig, RelayFailure> {
    let mut roots = RootCertStore::empty();
    // Some of a system's are always of a kind that is not taken; that there are none shows at the handshake.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(RelayCa(pem)) = extra {
        add(&mut roots, pem).map_err(|_| RelayFailure::internal())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.map_err(|_| RelayFailure::internal())?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
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
