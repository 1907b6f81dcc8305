//! A provider's keys: found by discovery, kept for a while, asked for again when a token names one that is not known.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::AccountError;
use super::fetch::{Fetch, FetchError, is_allowed, is_secure};
use super::token::Claimed;
use crate::clock::after;

/// After this time keys are asked for again, so that one that was withdrawn stops counting.
const FRESH: Duration = Duration::from_secs(3600);
/// So long keys are used whose provider does not answer.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// A provider is asked once in this time, whatever tokens come.
const PAUSE: Duration = Duration::from_secs(60);
/// How many keys of a provider are kept.
const KEYS: usize = 64;

/// The keys of one issuer.
pub(super) struct Keys {
    issuer: String,
    fetch: Arc<dyn Fetch>,
    known: Mutex<Known>,
    /// Held while the provider is asked; when that began the last time.
    asking: tokio::sync::Mutex<Option<Timestamp>>,
}

#[derive(Default)]
struct Known {
    keys: Vec<Jwk>,
    had_at: Option<Timestamp>,
    asked_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// A key set, whose unknown kinds of keys are passed over.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

impl Keys {
    pub(super) fn new(issuer: &str, fetch: Arc<dyn Fetch>) -> Self {
        Keys { issuer: issuer.to_owned(), fetch, known: Mutex::default(), asking: Default::default() }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key that the token claims to be signed with.
    pub(super) async fn find(&self, claimed: &Claimed, now: Timestamp) -> Result<Jwk, AccountError> {
        if let Some(answer) = self.known().answer(claimed, now) {
            return answer;
        }
        // Who comes while the provider is asked waits for that answer; whose key is known has it already.
        let mut began_at = self.asking.lock().await;
        if let Some(answer) = self.known().answer(claimed, now) {
            return answer;
        }
        // Also when the one who asked has gone, and nobody has had the answer.
        if began_at.is_none_or(|began| now >= after(began, PAUSE)) {
            *began_at = Some(now);
            let asked = self.ask().await;
            let mut known = self.known();
            known.asked_at = Some(now);
            match asked {
                Ok(keys) => (known.keys, known.had_at) = (keys, Some(now)),
                Err(error) => {
                    tracing::warn!(target: "couplet::relay", issuer = self.issuer, %error, "no keys from the identity provider");
                }
            }
        }
        self.known().judge(claimed, now)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self) -> Result<Vec<Jwk>, FetchError> {
        let at = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let discovery: Discovery = self.document(&at).await?;
        // Discovery 1.0, 4.3: another issuer's document is not this one's.
        if discovery.issuer != self.issuer || !is_allowed(&discovery.jwks_uri) {
            return Err(FetchError(format!("{at} names another issuer, or no https URL for its keys")));
        }
        // Nor does a provider elsewhere have the relay ask this machine.
        if is_secure(&self.issuer) && !is_secure(&discovery.jwks_uri) {
            return Err(FetchError(format!("{at} names no https URL for its keys")));
        }
        let set: KeySet = self.document(&discovery.jwks_uri).await?;
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        Ok(keys.filter(is_for_signatures).take(KEYS).collect())
    }

    async fn document<T: DeserializeOwned>(&self, url: &str) -> Result<T, FetchError> {
        let bytes = self.fetch.fetch(url).await?;
        serde_json::from_slice(&bytes).map_err(|_| FetchError(format!("{url} is not the JSON that it should be")))
    }
}

fn is_for_signatures(key: &Jwk) -> bool {
    key.is_supported() && key.common.public_key_use.as_ref().is_none_or(|r#use| *r#use == PublicKeyUse::Signature)
}

impl Known {
    /// What can be said without asking the provider.
    fn answer(&self, claimed: &Claimed, now: Timestamp) -> Option<Result<Jwk, AccountError>> {
        let key = self.find(claimed).filter(|_| self.is_younger(FRESH, now));
        let lately = self.asked_at.is_some_and(|asked| now < after(asked, PAUSE));
        key.map(Ok).or_else(|| lately.then(|| self.judge(claimed, now)))
    }

    fn judge(&self, claimed: &Claimed, now: Timestamp) -> Result<Jwk, AccountError> {
        if !self.is_younger(STALE, now) {
            return Err(AccountError::Unavailable);
        }
        self.find(claimed).ok_or(AccountError::Invalid)
    }

    /// By the token's key id; a token without one means the only key.
    fn find(&self, claimed: &Claimed) -> Option<Jwk> {
        match &claimed.key_id {
            Some(id) => self.keys.iter().find(|key| key.common.key_id.as_ref() == Some(id)).cloned(),
            None => match self.keys.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
        }
    }

    fn is_younger(&self, age: Duration, now: Timestamp) -> bool {
        self.had_at.is_some_and(|had| now < after(had, age))
    }
}
