//! The credential that a request's headers carry.

use couplet_protocol::credential::is_device_credential;
use couplet_protocol::{AdminToken, Code};
use http::{HeaderMap, HeaderName, header};
use subtle::ConstantTimeEq;

use crate::problem::Failure;

/// The header for devices whose app uses `Authorization` itself.
pub const COUPLET_TOKEN: HeaderName = HeaderName::from_static("couplet-token");

/// Which header carried the credential; the gateway removes that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialHeader {
    /// `Authorization: Bearer …`.
    Authorization,
    /// `Couplet-Token: …`.
    CoupletToken,
    /// `Signature: …`, with `Signature-Input` and `X-Device-Id`.
    Signature,
}

impl CredentialHeader {
    pub(super) fn name(self) -> HeaderName {
        match self {
            CredentialHeader::Authorization => header::AUTHORIZATION,
            CredentialHeader::CoupletToken => COUPLET_TOKEN,
            CredentialHeader::Signature => super::signed::SIGNATURE,
        }
    }
}

/// The credential of a request: `Couplet-Token` when it is there, else `Authorization: Bearer`.
pub(super) fn presented(headers: &HeaderMap) -> Result<(&str, CredentialHeader), Failure> {
    if let Some(token) = single(headers, &COUPLET_TOKEN)? {
        return device_credential(token).map(|token| (token, CredentialHeader::CoupletToken));
    }
    match single(headers, &header::AUTHORIZATION)?.and_then(bearer) {
        Some(token) => device_credential(token).map(|token| (token, CredentialHeader::Authorization)),
        None => Err(Failure::new(
            Code::DeviceRequired,
            "Send the device's credential as `Authorization: Bearer dev_…`, or as `Couplet-Token: dev_…` for apps \
             that use Authorization themselves. `couplet pair` on the host pairs a device.",
        )),
    }
}

/// The same text, when it has a device credential's form.
fn device_credential(token: &str) -> Result<&str, Failure> {
    if is_device_credential(token) {
        return Ok(token);
    }
    if token.starts_with("adm_") {
        let next = "Use a device's credential here: `couplet devices add NAME` makes one.";
        return Err(Failure::new(Code::OwnerIsNoDevice, next));
    }
    Err(unknown())
}

/// The token of an `Authorization: Bearer` value.
pub(crate) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The value of a header that may stand once.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::new(Code::DuplicateHeader, format!("Send {name} once.")));
    }
    // A value that is no visible ASCII is no credential, host or origin either.
    Ok(Some(value.to_str().unwrap_or_default()))
}

/// Whether this is the owner's token.
pub(crate) fn is_owner(headers: &HeaderMap, admin: &AdminToken) -> Result<bool, Failure> {
    let presented = single(headers, &header::AUTHORIZATION)?.and_then(bearer).unwrap_or_default();
    Ok(presented.as_bytes().ct_eq(admin.expose().as_bytes()).into())
}

pub(super) fn unknown() -> Failure {
    Failure::of_device(Code::DeviceUnknown)
}
