//! `/api/pair/pairings`: the claims that wait for the owner.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use couplet_protocol::api::{ApproveRequest, PairingList};
use couplet_protocol::{Code, Problem};
use http::StatusCode;
use uuid::Uuid;

use super::caller::Owner;
use super::json::JsonOrEmpty;
use crate::pairing::Pairing;
use crate::problem::Failure;

type Id = Result<Path<Uuid>, PathRejection>;

fn id(id: Id) -> Result<Uuid, Failure> {
    id.map(|Path(id)| id).map_err(|_| {
        Failure::new(Code::NoSuchPairing, "A pairing's id is a UUID; GET /api/pair/pairings lists those that wait.")
    })
}

/// Lists the ceremony's open claims, oldest first.
#[utoipa::path(get, path = "/api/pair/pairings", tag = "pairing", security(("owner" = [])),
    responses((status = 200, body = PairingList), (status = 401, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn list(_: Owner, State(pairing): State<Pairing>) -> Result<axum::Json<PairingList>, Failure> {
    Ok(axum::Json(PairingList { pairings: pairing.core().pairings().await? }))
}

/// The owner says yes; to a device that shows a check code, with that code, and to no other with one. The third wrong one
/// turns it away.
#[utoipa::path(post, path = "/api/pair/pairings/{id}/approve", tag = "pairing", security(("owner" = [])),
    params(("id" = Uuid, Path)), request_body(content = Option<ApproveRequest>),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 410, body = Problem), (status = 422, body = Problem),
        (status = 503, body = Problem)))]
pub(super) async fn approve(
    _: Owner,
    State(pairing): State<Pairing>,
    path: Id,
    JsonOrEmpty(body): JsonOrEmpty<ApproveRequest>,
) -> Result<StatusCode, Failure> {
    pairing.core().approve(id(path)?, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The owner says no.
#[utoipa::path(post, path = "/api/pair/pairings/{id}/reject", tag = "pairing", security(("owner" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 410, body = Problem)))]
pub(super) async fn reject(_: Owner, State(pairing): State<Pairing>, path: Id) -> Result<StatusCode, Failure> {
    pairing.core().reject(id(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
