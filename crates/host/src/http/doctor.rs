//! `GET /api/doctor`: what stands in the way of pairing and use.
#![allow(unused_qualifications, reason = "utoipa writes them for query parameters")]

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use couplet_protocol::api::{DoctorReport, Part};
use couplet_protocol::{Code, Problem};
use serde::Deserialize;
use utoipa::IntoParams;

use super::caller::Owner;
use crate::pairing::Pairing;
use crate::problem::Failure;

/// What to look at.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Only {
    /// This part alone; all of them when absent.
    #[param(inline)]
    only: Option<Part>,
}

/// Looks at everything that could stand in the way of pairing and use: folder, database, disk, ports, addresses, firewall,
/// apps, relay, certificates, clock. It may take some seconds: the apps and the relay are asked.
#[utoipa::path(get, path = "/api/doctor", tag = "owner", security(("owner" = [])), params(Only),
    responses((status = 200, body = DoctorReport), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn doctor(
    _: Owner,
    State(pairing): State<Pairing>,
    only: Result<Query<Only>, QueryRejection>,
) -> Result<axum::Json<DoctorReport>, Failure> {
    let names = || Part::ALL.map(Part::name).join(", ");
    let wanted = |_| Failure::new(Code::MalformedQuery, format!("Send `only=` with one of {}, or nothing.", names()));
    let Query(Only { only }) = only.map_err(wanted)?;
    Ok(axum::Json(pairing.core().examine(only).await))
}
