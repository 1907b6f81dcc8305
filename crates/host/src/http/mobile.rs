//! `/mobile/pairing`: pairing by a PIN that the host shows, for devices without a camera.

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use couplet_protocol::api::{
    ApproveRequest, PinAccepted, PinPairingAnswer, PinPairingRequest, PinPending, PinRequestList, VerifyPinRequest,
};
use couplet_protocol::secret::SecretText;
use couplet_protocol::{ClaimToken, Code, DevicePlatform, Problem};
use http::StatusCode;

use super::caller::Owner;
use super::guard::{CheckedHost, Source};
use super::json::{Json, JsonOrEmpty, named};
use crate::pairing::{Claimant, Pairing, Verified};
use crate::problem::Failure;

/// How long a device's own key for its request is, in bytes.
const REQUEST_KEY_MIN: usize = 16;
const REQUEST_KEY_MAX: usize = 128;

type Name = Result<Path<String>, PathRejection>;

/// Asks to pair by PIN: the host shows digits to its owner, and the device's person types them there. The same request sent
/// again is the same one.
#[utoipa::path(post, path = "/mobile/pairing", tag = "mobile", request_body = PinPairingRequest,
    responses((status = 200, body = PinPairingAnswer), (status = 400, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn ask(
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    body: Result<Json<PinPairingRequest>, Failure>,
) -> Result<axum::Json<PinPairingAnswer>, Failure> {
    pairing.core().admit(source.ip)?;
    let Json(body) = body?;
    let (name, model) = named(&body.device_name, body.device_model.as_deref())?;
    let bad = |error| Failure::new(Code::DeviceNameInvalid, format!("Change platform: {error}."));
    let platform = body.platform.as_deref().map(DevicePlatform::parse).transpose().map_err(bad)?;
    let claimant = Claimant { name, model, platform, source: source.ip, relay: None };
    let is_key = |key: &SecretText| (REQUEST_KEY_MIN..=REQUEST_KEY_MAX).contains(&key.expose().len());
    if body.request_key.as_ref().is_some_and(|key| !is_key(key)) {
        let next = format!("Send a random request_key of {REQUEST_KEY_MIN} to {REQUEST_KEY_MAX} bytes, or none.");
        return Err(Failure::new(Code::MalformedBody, next));
    }
    Ok(axum::Json(pairing.core().request_pin(claimant, body.request_key.as_ref(), body.sealed).await?))
}

/// Sends the PIN; without one, asks whether the owner has said yes. The third wrong PIN ends the request. 200 is answered
/// once, to the address that asked: with a token, or with a link for a device that asked for a sealed session.
#[utoipa::path(post, path = "/mobile/pairing/{id}/verify", tag = "mobile",
    params(("id" = String, Path, description = "the id of the request")),
    request_body(content = Option<VerifyPinRequest>),
    responses((status = 200, body = PinAccepted), (status = 202, body = PinPending), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 410, body = Problem),
        (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn verify(
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    Extension(host): Extension<CheckedHost>,
    path: Name,
    JsonOrEmpty(body): JsonOrEmpty<VerifyPinRequest>,
) -> Result<Response, Failure> {
    // Asking for the owner's word is how a device waits, and is not counted, unless it asks about nothing.
    if body.pin.is_some() {
        pairing.core().admit(source.ip)?;
    }
    let id = path.ok().and_then(|Path(id)| ClaimToken::parse(&id).ok());
    let not_a_pin = || {
        Failure::new(Code::PinWrong, "A PIN is six digits, or eight for a sealed session. This one was not counted.")
    };
    let typed = body.pin.as_ref().map(|pin| pin.read().ok_or_else(not_a_pin)).transpose()?;
    let authority = pairing.core().offered_authority(&host.0);
    let verified = match id {
        Some(id) => pairing.core().verify_pin(&id, typed, (&authority, source.ip)).await,
        None => Err(unknown()),
    };
    match verified {
        Ok(Verified::Paired(credential)) => Ok(axum::Json(PinAccepted::Paired(credential)).into_response()),
        Ok(Verified::Link(link)) => Ok(axum::Json(PinAccepted::Link(link)).into_response()),
        Ok(Verified::Waits(until)) => {
            let instructions = "The host shows a PIN to its owner. Send it as `pin`, or repeat this request every few \
                                seconds until the answer is another.";
            let pending = PinPending { expires_at: until.to_rfc3339(), instructions: instructions.to_owned() };
            Ok((StatusCode::ACCEPTED, axum::Json(pending)).into_response())
        }
        Err(failure) if failure.code() == Code::NoSuchPairing && body.pin.is_none() => {
            pairing.core().admit(source.ip).and(Err(failure))
        }
        Err(failure) => Err(failure),
    }
}

/// The device takes its request back: it makes room for another one from its address.
#[utoipa::path(delete, path = "/mobile/pairing/{id}", tag = "mobile",
    params(("id" = String, Path, description = "the id of the request")),
    responses((status = 204), (status = 404, body = Problem), (status = 410, body = Problem),
        (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn withdraw(
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    path: Name,
) -> Result<StatusCode, Failure> {
    let withdrawn = match path.ok().and_then(|Path(id)| ClaimToken::parse(&id).ok()) {
        Some(id) => pairing.core().withdraw_pin(&id, source.ip).await,
        None => Err(unknown()),
    };
    match withdrawn {
        Err(failure) if failure.code() == Code::NoSuchPairing => pairing.core().admit(source.ip).and(Err(failure)),
        other => other.map(|()| StatusCode::NO_CONTENT),
    }
}

/// Lists the devices that ask to pair by PIN, each with its PIN and its number, oldest first.
#[utoipa::path(get, path = "/mobile/pairing", tag = "mobile", security(("owner" = [])),
    responses((status = 200, body = PinRequestList), (status = 401, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn list(_: Owner, State(pairing): State<Pairing>) -> Result<axum::Json<PinRequestList>, Failure> {
    Ok(axum::Json(PinRequestList { requests: pairing.core().pin_requests().await? }))
}

/// The owner says yes: the device is let in without the PIN; only, therefore, when it shows the number of the list, and
/// where another that waits has the same name, only with that number. `id` is that of the list, or the device's own.
#[utoipa::path(post, path = "/mobile/pairing/{id}/accept", tag = "mobile", security(("owner" = [])),
    params(("id" = String, Path)), request_body(content = Option<ApproveRequest>),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 410, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn accept(
    _: Owner,
    State(pairing): State<Pairing>,
    path: Name,
    JsonOrEmpty(body): JsonOrEmpty<ApproveRequest>,
) -> Result<StatusCode, Failure> {
    let id = pairing.core().pin_pairing(&name(path)).await?;
    pairing.core().approve(id, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The owner says no.
#[utoipa::path(post, path = "/mobile/pairing/{id}/reject", tag = "mobile", security(("owner" = [])),
    params(("id" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 410, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn reject(_: Owner, State(pairing): State<Pairing>, path: Name) -> Result<StatusCode, Failure> {
    let id = pairing.core().pin_pairing(&name(path)).await?;
    pairing.core().reject(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn unknown() -> Failure {
    Failure::new(Code::NoSuchPairing, "Send the id of the answer of POST /mobile/pairing as it was.")
}

fn name(path: Name) -> String {
    path.map(|Path(name)| name).unwrap_or_default()
}
