//! Accounts: who a host's or a device's owner is, as an identity provider says (OpenID Connect Core 1.0 and Discovery 1.0).
//! Off unless the operator names a provider.
//!
//! The relay takes a signed token (JWT) of a provider on its list, meant for its audience, and asks the provider for
//! nothing but its keys. Who someone is, is issuer and subject together; the address is only shown.

mod fetch;
mod keys;
#[cfg(test)]
pub(crate) mod tests;
mod token;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::fetch::{Fetch, FetchError, Fetched, Https};
use self::keys::Keys;
use crate::clock::Clock;

/// Who someone is at an identity provider.
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

/// Why nobody is known by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The token is not one of a listed provider for this relay, or not valid now.
    #[error("the account token is not valid")]
    Invalid,
    /// It is, but its time is over.
    #[error("the account token has expired")]
    Expired,
    /// The provider's keys could not be had.
    #[error("the identity provider cannot be reached")]
    Unavailable,
}

/// An issuer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no issuer: it is an https URL without query and fragment, as its provider writes it")]
pub struct NotAnIssuer(String);

/// The providers that a relay believes.
pub struct Accounts {
    audience: String,
    issuers: Vec<Keys>,
    clock: Clock,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts")
    }
}

impl Accounts {
    /// Believes tokens of these issuers for this audience.
    ///
    /// # Errors
    /// An issuer is no `https` URL. `http` is taken for this machine only.
    pub fn new(issuers: &[String], audience: &str, fetch: Arc<dyn Fetch>, clock: Clock) -> Result<Self, NotAnIssuer> {
        let keys = |issuer: &String| {
            let usable = fetch::is_allowed(issuer) && !issuer.contains(['?', '#']);
            if usable { Ok(Keys::new(issuer, Arc::clone(&fetch))) } else { Err(NotAnIssuer(issuer.clone())) }
        };
        let issuers = issuers.iter().map(keys).collect::<Result<_, _>>()?;
        Ok(Accounts { audience: audience.to_owned(), issuers, clock })
    }

    /// Who the bearer of the token is.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub async fn verify(&self, token: &str) -> Result<Identity, AccountError> {
        let claimed = token::claimed(token)?;
        // An issuer that is not listed is asked nothing.
        let keys = self.issuers.iter().find(|keys| keys.issuer() == claimed.issuer).ok_or(AccountError::Invalid)?;
        let now = self.clock.now();
        let key = keys.find(&claimed, now).await?;
        token::verified(token, &claimed, &key, &self.audience, now)
    }
}
