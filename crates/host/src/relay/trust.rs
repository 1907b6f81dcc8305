//! Whom TLS trusts: at the devices' listener the system's roots and what the owner named, at the hosts' listener the
//! relay's own CA and nothing else. rustls' own verifiers, always.

use std::sync::Arc;

use couplet_protocol::Code;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use crate::start::StartError;

/// TLS cannot be set up with what there is; the text says with what.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unusable(pub(super) String);

impl From<rustls::Error> for Unusable {
    fn from(error: rustls::Error) -> Self {
        Unusable(error.to_string())
    }
}

/// The devices' listener: a certificate like any other's. `extra` is PEM.
pub(super) fn devices(extra: Option<&str>) -> Result<Arc<ClientConfig>, Unusable> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in extra.map(certificates).transpose()?.into_iter().flatten() {
        roots.add(certificate)?;
    }
    Ok(done(builder()?.with_root_certificates(roots).with_no_client_auth()))
}

/// The hosts' listener, where this host shows who it is.
pub(super) fn hosts(ca: &str, certificate: &str, key: &str) -> Result<Arc<ClientConfig>, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate)?;
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Unusable("its key is none".to_owned()))?;
    let builder = builder()?.with_root_certificates(roots);
    Ok(done(builder.with_client_auth_cert(certificates(certificate)?, key)?))
}

/// The certificates of a PEM file, one at least.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(Unusable("it holds no certificate in PEM".to_owned())),
    }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Unusable> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?)
}

fn done(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The file of `--relay-ca`.
pub(super) fn read(path: &std::path::Path) -> Result<String, StartError> {
    let wrong = |error: String| {
        let next = format!("--relay-ca {}: {error}. Name a file with certificates in PEM.", path.display());
        StartError::new(Code::ConfigInvalid, next)
    };
    let pem = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    certificates(&pem).map_err(|error| wrong(error.to_string()))?;
    Ok(pem)
}
