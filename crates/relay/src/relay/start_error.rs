//! Why a relay does not start, and what to do then.

use std::path::Path;

use couplet_protocol::Code;

use super::STORE;
use crate::store::embedded::OpenError;
use crate::tls::TlsError;
use couplet_phone::certificate::CertificateError;

/// Why a relay could not start. Its text says what happened and what to do next.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} ({code}). {detail}", code.title())]
pub struct StartError {
    code: Code,
    detail: String,
}

impl StartError {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        StartError { code, detail: detail.into() }
    }

    /// What to do next.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The code, which `couplet explain` knows.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }
}

pub(super) fn unusable(folder: &Path, error: &std::io::Error) -> StartError {
    let next = format!("{}: {error}. Name a folder that this user can write: --state-dir DIR.", folder.display());
    StartError::new(Code::StateFolderUnusable, next)
}

pub(super) fn tls_error(error: &TlsError) -> StartError {
    let next = match error {
        TlsError::Files(CertificateError::OtherName(..)) => {
            "Start the relay under a name that the certificate has, --name NAME, or get one for this name."
        }
        TlsError::Files(CertificateError::Over(..)) => "No device would take it: renew it.",
        TlsError::Files(CertificateError::TooEarly(..)) => {
            "No device would take it yet. Is this machine's clock right?"
        }
        _ => "Name a certificate chain and its key, both in PEM: --tls-cert FILE --tls-key FILE.",
    };
    StartError::new(Code::ConfigInvalid, format!("The certificate cannot be used: {error}. {next}"))
}

pub(super) fn store_error(folder: &Path, error: &OpenError) -> StartError {
    let path = folder.join(STORE);
    let code = match error {
        OpenError::TooNew { .. } => Code::SchemaTooNew,
        OpenError::InUse => Code::AlreadyRunning,
        OpenError::Unreadable(_) => Code::StoreUnavailable,
        OpenError::Io(_) => Code::StateFolderUnusable,
    };
    let next = match error {
        OpenError::TooNew { .. } => "Nothing was changed. Start the newer version, or restore a backup.",
        OpenError::InUse => "Stop the other one, or give this one a folder of its own: --state-dir DIR.",
        OpenError::Unreadable(_) => "Check the disk, or restore a backup.",
        OpenError::Io(_) => "Name a folder that this user can write: --state-dir DIR.",
    };
    StartError::new(code, format!("{}: {error}. {next}", path.display()))
}
