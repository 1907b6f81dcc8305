//! `GET /api/audit`: who did what.
#![allow(unused_qualifications, reason = "utoipa writes them for query parameters")]

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use couplet_protocol::api::AuditList;
use couplet_protocol::{Code, Problem};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::caller::Owner;
use crate::clock::Timestamp;
use crate::pairing::Pairing;
use crate::problem::Failure;
use crate::store::audit::Which;

/// Which entries of the audit log.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only entries older than this one.
    before: Option<i64>,
    /// Only entries newer than this one.
    after: Option<i64>,
    /// Only entries of this time (RFC 3339) or later.
    since: Option<String>,
    /// Only this action, `device.revoked`, or its family, `device`.
    action: Option<String>,
    /// Only entries about this device.
    device: Option<Uuid>,
    /// At most so many; 500 when absent, and never more.
    limit: Option<u32>,
}

/// The audit log, newest first, 500 entries at a time.
#[utoipa::path(get, path = "/api/audit", tag = "owner", security(("owner" = [])), params(Wanted),
    responses((status = 200, body = AuditList), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 503, body = Problem)))]
pub(super) async fn audit(
    _: Owner,
    State(pairing): State<Pairing>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<axum::Json<AuditList>, Failure> {
    let malformed = |next: &str| Failure::new(Code::MalformedQuery, next);
    let Query(wanted) = wanted.map_err(|_| {
        malformed("Send `before=` or `after=` with an entry's id, `device=` with a device's, `limit=` with a number.")
    })?;
    let since = wanted.since.as_deref().map(Timestamp::parse_rfc3339).transpose();
    let since = since.map_err(|_| malformed("Send `since=` with a time as in 2027-01-31T12:00:00Z."))?;
    let Wanted { before, after, action, device, limit, .. } = wanted;
    let which = Which { before, after, since, action, device, limit };
    Ok(axum::Json(AuditList { entries: pairing.core().audit(which).await? }))
}
