//! A token: what it claims, and whether that is so (RFC 7519; RFC 8725 for what to beware of).

use std::time::Duration;

use couplet_protocol::relay::ACCOUNT_MAX;
use jiff::Timestamp;
use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::{AccountError, Identity};
use crate::clock::after;

/// How far the clocks of provider and relay may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// The longest subject (Core 1.0, 2) and address, in bytes.
const NAME_MAX: usize = 255;

/// What signs: public keys only. A provider's public key is no secret, so nothing symmetric.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What a token says before anything of it is believed.
pub(super) struct Claimed {
    pub(super) issuer: String,
    pub(super) key_id: Option<String>,
    algorithm: Algorithm,
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    email: Option<String>,
    email_verified: Option<bool>,
}

/// Reads what says where to look for the key.
pub(super) fn claimed(token: &str) -> Result<Claimed, AccountError> {
    if token.len() > ACCOUNT_MAX {
        return Err(AccountError::Invalid);
    }
    let header = decode_header(token).map_err(|_| AccountError::Invalid)?;
    // `crit` names what must be understood, and none of it is.
    if header.crit.is_some() || !ALGORITHMS.contains(&header.alg) {
        return Err(AccountError::Invalid);
    }
    let claims = insecure_decode::<Issuer>(token).map_err(|_| AccountError::Invalid)?.claims;
    Ok(Claimed { issuer: claims.iss, key_id: header.kid, algorithm: header.alg })
}

/// Checks signature, issuer, audience and times; the times by the relay's clock.
pub(super) fn verified(
    token: &str,
    claimed: &Claimed,
    key: &Jwk,
    audience: &str,
    now: Timestamp,
) -> Result<Identity, AccountError> {
    let mut wanted = Validation::new(claimed.algorithm);
    wanted.set_audience(&[audience]);
    wanted.set_issuer(&[&claimed.issuer]);
    wanted.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
    (wanted.validate_exp, wanted.validate_nbf) = (false, false);
    let for_another = key.common.key_algorithm.is_some_and(|own| own.to_string() != format!("{:?}", claimed.algorithm));
    if for_another {
        return Err(AccountError::Invalid);
    }
    let key = DecodingKey::from_jwk(key).map_err(|_| AccountError::Invalid)?;
    let claims: Claims = decode(token, &key, &wanted).map_err(|_| AccountError::Invalid)?.claims;
    if claims.is_over(now) {
        return Err(AccountError::Expired);
    }
    if !claims.has_begun(now) || claims.sub.is_empty() || claims.sub.len() > NAME_MAX {
        return Err(AccountError::Invalid);
    }
    Ok(Identity { email: claims.shown_email(), issuer: claims.iss, subject: claims.sub })
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

impl Claims {
    /// What is no number is over.
    fn is_over(&self, now: Timestamp) -> bool {
        let still = self.exp > seconds(now) - LEEWAY.as_secs_f64();
        !still
    }

    fn has_begun(&self, now: Timestamp) -> bool {
        let soon = seconds(after(now, LEEWAY));
        [self.nbf, self.iat].into_iter().all(|time| time.is_none_or(|time| time <= soon))
    }

    /// The address, unless the provider doubts it or it could not be shown.
    fn shown_email(&self) -> Option<String> {
        let email = self.email.as_ref().filter(|_| self.email_verified != Some(false))?;
        let fits = email.len() <= NAME_MAX && email.contains('@') && email.chars().all(|c| !c.is_control());
        fits.then(|| email.clone())
    }
}
