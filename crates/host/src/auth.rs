//! Stand-in for device authentication: a fixed table of tokens.

use std::collections::HashMap;
use std::sync::Arc;

use couplet_protocol::Code;
use http::{HeaderMap, header};

use crate::clock::{Clock, Timestamp};
use crate::problem::Failure;
use crate::session::Session;

/// Which header carried the credential and must be removed before forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialHeader {
    /// `Authorization`.
    Authorization,
    /// `Couplet-Token`.
    CoupletToken,
}

/// Finds out which device a request comes from.
#[derive(Clone, Debug)]
pub struct Authenticator(Arc<(HashMap<String, Arc<Session>>, Clock)>);

impl Authenticator {
    /// Knows these tokens.
    #[must_use]
    pub fn fixed(sessions: impl IntoIterator<Item = (String, Arc<Session>)>) -> Self {
        Authenticator(Arc::new((sessions.into_iter().collect(), Clock::starting_at(Timestamp::from_millis(0)))))
    }

    /// Answered from memory. `None`: use [`Authenticator::authenticate`].
    #[must_use]
    pub fn cached(&self, headers: &HeaderMap) -> Option<(Arc<Session>, CredentialHeader)> {
        let (token, which) = match headers.get("couplet-token") {
            Some(token) => (token.to_str().ok()?, CredentialHeader::CoupletToken),
            None => {
                let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
                (value.strip_prefix("Bearer ")?, CredentialHeader::Authorization)
            }
        };
        let session = self.0.0.get(token)?;
        session.seen(self.now());
        Some((session.clone(), which))
    }

    /// The full check.
    ///
    /// # Errors
    /// No device's credential.
    #[allow(clippy::unused_async)]
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<(Arc<Session>, CredentialHeader), Failure> {
        self.cached(headers).ok_or_else(|| Failure::new(Code::DeviceRequired, "Pair this device, then send its token."))
    }

    /// The host's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.1.now()
    }
}
