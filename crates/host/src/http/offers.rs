//! `POST /api/pair/generate` and `/exchange`: the QR's one-time token.

use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use couplet_protocol::api::{ClaimAnswer, DeviceCredential, ExchangeRequest, GenerateAnswer, GenerateRequest};
use couplet_protocol::{ClaimToken, Code, DeviceName, PairToken, Problem};
use http::StatusCode;
use uuid::Uuid;

use super::caller::Owner;
use super::guard::{CheckedHost, Source};
use super::json::{Json, JsonOrEmpty, named};
use crate::pairing::{Claimant, Outcome, Pairing};
use crate::problem::Failure;

/// Opens an offer: a one-time pairing token with its URL, and the link of sealed sessions, for a QR code to carry. The
/// first grant of either uses up both.
#[utoipa::path(post, path = "/api/pair/generate", tag = "pairing", security(("owner" = [])),
    request_body(content = Option<GenerateRequest>),
    responses((status = 200, body = GenerateAnswer), (status = 401, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn generate(
    _: Owner,
    State(pairing): State<Pairing>,
    Extension(host): Extension<CheckedHost>,
    JsonOrEmpty(body): JsonOrEmpty<GenerateRequest>,
) -> Result<axum::Json<GenerateAnswer>, Failure> {
    let authority = pairing.core().offered_authority(&host.0);
    Ok(axum::Json(pairing.core().generate(body.ttl, body.link_ttl, &authority).await?))
}

/// Withdraws an offer that no device has claimed.
#[utoipa::path(delete, path = "/api/pair/offers/{id}", tag = "pairing", security(("owner" = [])),
    params(("id" = Uuid, Path, description = "the offer_id of generate")),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn withdraw(
    _: Owner,
    State(pairing): State<Pairing>,
    id: Result<Path<Uuid>, axum::extract::rejection::PathRejection>,
) -> Result<StatusCode, Failure> {
    let Path(id) = id.map_err(|_| Failure::new(Code::NoSuchPairing, "An offer's id is a UUID."))?;
    pairing.core().withdraw(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Exchanges a one-time token for a device's credential. 202 with a claim when the owner is asked: repeat the
/// request with the claim until it answers otherwise.
#[utoipa::path(post, path = "/api/pair/exchange", tag = "pairing", request_body = ExchangeRequest,
    responses((status = 200, body = DeviceCredential), (status = 202, body = ClaimAnswer),
        (status = 400, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 410, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem),
        (status = 503, body = Problem)))]
pub(super) async fn exchange(
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    body: Result<Json<ExchangeRequest>, Failure>,
) -> Result<Response, Failure> {
    let claim = body.as_ref().ok().and_then(|Json(body)| body.claim.as_deref());
    // What comes with a claim is counted when the claim is unknown.
    if claim.is_none() {
        pairing.core().admit(source.ip)?;
    }
    let Json(body) = body?;
    let (name, model) = named(&body.device_name, body.device_model.as_deref())?;
    let invalid =
        |_| Failure::new(Code::PairTokenInvalid, "Send the pair_token of the code: `otp_` and 22 characters.");
    let token = PairToken::parse(&body.pair_token).map_err(invalid)?;
    let claim = super::claim(body.claim.as_deref())?;
    let polling = claim.is_some();
    let claimant = Claimant { name, model, platform: None, source: source.ip, relay: None };
    let exchanged = pairing.core().exchange(&token, claim, claimant).await;
    Ok(match super::counted(&pairing, source, polling, exchanged)? {
        Outcome::Done(credential) => axum::Json::<DeviceCredential>(credential).into_response(),
        Outcome::Waiting { claim, expires_at, name } => waiting(claim, expires_at, &name),
    })
}

/// 202: the owner is asked.
pub(super) fn waiting(claim: ClaimToken, expires_at: crate::clock::Timestamp, name: &DeviceName) -> Response {
    let answer = ClaimAnswer {
        claim,
        expires_at: expires_at.to_rfc3339(),
        shown_as: name.to_string(),
        instructions: format!(
            "The host's owner is asked about {name:?}. Repeat the request with this claim every few seconds until the \
             answer is another.",
            name = name.as_str()
        ),
    };
    (StatusCode::ACCEPTED, axum::Json(answer)).into_response()
}
