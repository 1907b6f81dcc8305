//! Accounts: who a host's or a device's owner is, as an identity provider says. Off unless the operator names one.

use serde::{Deserialize, Serialize};

/// Who someone is at an identity provider. The two names make the identity; the address is only shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `email`, to tell people which of their accounts it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl Identity {
    /// Whether it is the same person: the address does not count.
    #[must_use]
    pub fn is(&self, other: &Identity) -> bool {
        self.issuer == other.issuer && self.subject == other.subject
    }
}
