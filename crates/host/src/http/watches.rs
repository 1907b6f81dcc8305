//! `/watch/…`: watches, which pair with a key and sign every request with it.

use axum::extract::{Extension, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use couplet_protocol::api::{
    ClaimAnswer, DeviceKind, DeviceList, Door, RegisterWatchRequest, WatchPaired, WatchPairingInfo,
};
use couplet_protocol::signature::{Nonce, Proof, VerifyingKey};
use couplet_protocol::{Code, DevicePlatform, Problem};
use http::request::Parts;
use http::{Method, StatusCode};

use super::caller::Owner;
use super::devices::{Id, id, own_session};
use super::guard::{CheckedHost, Source};
use super::json::{Json, named};
use super::offers::waiting;
use super::pair_url::is_embedded;
use crate::clock::Timestamp;
use crate::config::LanPairing;
use crate::pairing::{Claimant, Outcome, Pairing};
use crate::problem::Failure;
use crate::store::audit::Actor;

/// Begins a watch's pairing: a nonce for it to sign, and what a QR code carries. With `lan_pairing = "open"` for anyone,
/// and the owner approves.
#[utoipa::path(get, path = "/watch/pairing-info", tag = "watches", security(("owner" = []), ()),
    responses((status = 200, body = WatchPairingInfo), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn pairing_info(
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    Extension(host): Extension<CheckedHost>,
    request: Request,
) -> Result<axum::Json<WatchPairingInfo>, Failure> {
    let (mut parts, _) = request.into_parts();
    if parts.method != Method::GET {
        return Err(Failure::new(Code::MethodNotAllowed, "Each GET makes a nonce; a HEAD would lose it."));
    }
    let door = match Owner::from_request_parts(&mut parts, &pairing).await {
        Ok(_) => Door::Watch,
        Err(failure) if failure.code() != Code::OwnerRequired => return Err(failure),
        Err(_) if is_embedded(&parts.headers) => {
            return Err(Failure::new(Code::CrossSite, "Open this address yourself, or fetch it with your client."));
        }
        Err(_) if pairing.core().config().lan_pairing == LanPairing::Open => {
            pairing.core().admit(source.ip)?;
            Door::WatchLan
        }
        Err(failure) => return Err(failure),
    };
    let authority = pairing.core().offered_authority(&host.0);
    Ok(axum::Json(pairing.core().watch_nonce(door, source.ip, &authority).await?))
}

/// Registers a watch by its public key and its signature over the nonce. 202 with a claim when the owner is asked: repeat
/// the request with the claim until it answers otherwise.
#[utoipa::path(post, path = "/watch/devices", tag = "watches", request_body = RegisterWatchRequest,
    responses((status = 200, body = WatchPaired), (status = 202, body = ClaimAnswer), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 410, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem),
        (status = 503, body = Problem)))]
pub(super) async fn register(
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    body: Result<Json<RegisterWatchRequest>, Failure>,
) -> Result<Response, Failure> {
    let claim = body.as_ref().ok().and_then(|Json(body)| body.claim.as_deref());
    // What comes with a claim is counted when the claim is unknown.
    if claim.is_none() {
        pairing.core().admit(source.ip)?;
    }
    let Json(body) = body?;
    let claim = super::claim(body.claim.as_deref())?;
    let claimant = claimant(&body, source)?;
    let polling = claim.is_some();
    let proven = proven(&body, (!polling).then(|| pairing.authenticator().now()));
    // A made-up claim must not have signatures verified at no cost.
    if polling && proven.is_err() {
        pairing.core().admit(source.ip)?;
    }
    let (nonce, key) = proven?;
    let registered = pairing.core().register_watch(nonce, key, claim, claimant).await;
    Ok(match super::counted(&pairing, source, polling, registered)? {
        Outcome::Done(paired) => axum::Json(paired).into_response(),
        Outcome::Waiting { claim, expires_at, name } => waiting(claim, expires_at, &name),
    })
}

fn claimant(body: &RegisterWatchRequest, source: Source) -> Result<Claimant, Failure> {
    let (name, model) = named(&body.device_name, body.device_model.as_deref())?;
    let bad = |error| Failure::new(Code::DeviceNameInvalid, format!("Change platform: {error}."));
    let platform = body.platform.as_deref().map(DevicePlatform::parse).transpose().map_err(bad)?;
    Ok(Claimant { name, model, platform, source: source.ip, relay: None })
}

/// The nonce, and the key that has signed it. Held to the clock, when there is one: a claim may wait longer than a nonce.
fn proven(body: &RegisterWatchRequest, now: Option<Timestamp>) -> Result<(Nonce, VerifyingKey), Failure> {
    let bad_key = |error| Failure::new(Code::WatchKeyInvalid, format!("This is {error}."));
    let key = VerifyingKey::try_from(&body.public_key).map_err(bad_key)?;
    let bad_nonce = |error| Failure::new(Code::WatchNonceInvalid, format!("Send the nonce as it was: {error}."));
    let nonce = Nonce::parse(&body.nonce).map_err(bad_nonce)?;
    if let Some(now) = now {
        nonce.within(u64::try_from(now.millis()).unwrap_or_default()).map_err(skewed)?;
    }
    let next = "Sign the nonce's 32 characters as they are, with ECDSA, SHA-256 and the key that you send; the signature is DER, \
                or r and s of 32 bytes each, in base64.";
    let bad = |_| Failure::new(Code::WatchSignatureInvalid, next);
    Proof::parse(&body.signature).and_then(|proof| proof.verify(&key, &nonce)).map_err(bad)?;
    Ok((nonce, key))
}

fn skewed(ahead: i64) -> Failure {
    let (seconds, way) = (ahead.unsigned_abs() / 1000, if ahead < 0 { "behind" } else { "ahead of" });
    let next = format!(
        "The nonce's time is {seconds} seconds {way} the host's clock, and 60 are the most. Ask for a new nonce (GET \
         /watch/pairing-info); if a new one is refused as well, look at the clocks of the watch, its phone and the host."
    );
    Failure::new(Code::WatchNonceInvalid, next)
}

/// Lists the watches, active and revoked, newest first; revoked ones for 30 days.
#[utoipa::path(get, path = "/watch/devices", tag = "watches", security(("owner" = [])),
    responses((status = 200, body = DeviceList), (status = 401, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn list(_: Owner, State(pairing): State<Pairing>) -> Result<axum::Json<DeviceList>, Failure> {
    let mut devices = pairing.core().devices(false).await?;
    devices.retain(|device| device.kind == DeviceKind::Watch);
    Ok(axum::Json(DeviceList { devices }))
}

/// Revokes a watch: its signatures are not accepted any more, and what it has open ends.
#[utoipa::path(post, path = "/watch/devices/{id}/revoke", tag = "watches", security(("owner" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn revoke(_: Owner, State(pairing): State<Pairing>, path: Id) -> Result<StatusCode, Failure> {
    let id = id(path)?;
    let devices = pairing.core().devices(true).await?;
    if !devices.iter().any(|device| device.device_id == id && device.kind == DeviceKind::Watch) {
        let next = "GET /watch/devices lists the watches and their ids; a revoked one stays revoked.";
        return Err(Failure::new(Code::NoSuchDevice, next));
    }
    pairing.core().revoke(id, Actor::Owner).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether this request is signed by this watch: 204, or 401 with the reason.
#[utoipa::path(get, path = "/watch/devices/{id}/verify", tag = "watches", security(("watch" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem),
        (status = 503, body = Problem)))]
pub(super) async fn verify(State(pairing): State<Pairing>, path: Id, parts: Parts) -> Result<StatusCode, Failure> {
    let id = id(path)?;
    let session = own_session(&pairing, &parts).await?;
    if session.device.device_id == id && session.signing_key().is_some() {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(crate::auth::invalid("Another device sent this than the one in the path, or a device that does not sign."))
}
