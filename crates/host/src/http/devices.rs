//! `/api/pair/devices` for the owner, `/api/pair/me` for the device itself.
#![allow(unused_qualifications, reason = "utoipa writes them for query parameters")]

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use couplet_protocol::api::{
    AddDeviceRequest, AppInfo, DeviceCredential, DeviceInfo, DeviceKind, DeviceList, MeAnswer, UpdateDeviceRequest,
};
use couplet_protocol::{Code, Problem, Scope};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::caller::{Owner, identify};
use super::json::{Json, named};
use crate::clock::Timestamp;
use crate::pairing::{Core, Pairing};
use crate::problem::Failure;
use crate::session::Session;
use crate::store::audit::Actor;
use crate::store::devices::Change;

/// Which devices are listed.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// `active`: only those that are not revoked.
    #[param(inline)]
    state: Option<DeviceState>,
}

/// A device's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum DeviceState {
    /// Not revoked.
    Active,
}

pub(super) type Id = Result<Path<Uuid>, PathRejection>;

pub(super) fn id(id: Id) -> Result<Uuid, Failure> {
    id.map(|Path(id)| id)
        .map_err(|_| Failure::new(Code::NoSuchDevice, "A device's id is a UUID; `couplet devices` lists them."))
}

/// Lists the devices, newest first; revoked ones for 30 days.
#[utoipa::path(get, path = "/api/pair/devices", tag = "devices", security(("owner" = [])), params(Filter),
    responses((status = 200, body = DeviceList), (status = 401, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn list(
    _: Owner,
    State(pairing): State<Pairing>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<axum::Json<DeviceList>, Failure> {
    let Query(filter) =
        filter.map_err(|_| Failure::new(Code::MalformedQuery, "Leave the query out, or send `state=active`."))?;
    let devices = pairing.core().devices(filter.state == Some(DeviceState::Active)).await?;
    Ok(axum::Json(DeviceList { devices }))
}

/// Makes a device with a credential, shown this once: the bearer pre-fill.
#[utoipa::path(post, path = "/api/pair/devices", tag = "devices", security(("owner" = [])),
    request_body = AddDeviceRequest,
    responses((status = 200, body = DeviceCredential), (status = 401, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn add(
    _: Owner,
    State(pairing): State<Pairing>,
    Json(body): Json<AddDeviceRequest>,
) -> Result<axum::Json<DeviceCredential>, Failure> {
    let (name, _) = named(&body.device_name, None)?;
    let kind = body.kind.unwrap_or(DeviceKind::Bearer);
    if kind == DeviceKind::Watch {
        let next = "A watch has no token but a key of its own: GET /watch/pairing-info begins its pairing.";
        return Err(Failure::new(Code::MalformedBody, next));
    }
    let credential = pairing.core().add_device(name, kind).await?;
    Ok(axum::Json(credential))
}

/// Renames a device, restricts what it may do, or sets when its access ends.
#[utoipa::path(patch, path = "/api/pair/devices/{id}", tag = "devices", security(("owner" = [])),
    params(("id" = Uuid, Path)), request_body = UpdateDeviceRequest,
    responses((status = 200, body = DeviceInfo), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn update(
    _: Owner,
    State(pairing): State<Pairing>,
    path: Id,
    Json(body): Json<UpdateDeviceRequest>,
) -> Result<axum::Json<DeviceInfo>, Failure> {
    let id = id(path)?;
    let name = body.device_name.map(|name| named(&name, None)).transpose()?.map(|(name, _)| name);
    let invalid = |next: String| Failure::new(Code::ScopeInvalid, next);
    let scope =
        body.scope.map(Scope::checked).transpose().map_err(|error| invalid(format!("Change the scope: {error}.")))?;
    let parse = |end: String| {
        Timestamp::parse_rfc3339(&end)
            .map_err(|_| invalid("Write expires_at as RFC 3339, as in 2027-01-31T18:00:00Z, or null.".to_owned()))
    };
    let expires_at = body.expires_at.map(|end| end.map(parse).transpose()).transpose()?;
    if expires_at.flatten().is_some_and(|end| end <= pairing.authenticator().now()) {
        return Err(invalid(
            "Write an expires_at that is still to come; to end access now, revoke the device.".to_owned(),
        ));
    }
    Ok(axum::Json(pairing.core().update(id, Change { name, scope, expires_at }).await?))
}

/// Revokes a device: its credential is dead at once, and what it has open ends.
#[utoipa::path(delete, path = "/api/pair/devices/{id}", tag = "devices", security(("owner" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn revoke(_: Owner, State(pairing): State<Pairing>, path: Id) -> Result<StatusCode, Failure> {
    pairing.core().revoke(id(path)?, Actor::Owner).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells a device who it is here.
#[utoipa::path(get, path = "/api/pair/me", tag = "devices", security(("device" = []), ("watch" = [])),
    responses((status = 200, body = MeAnswer), (status = 401, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn me(State(pairing): State<Pairing>, parts: Parts) -> Result<axum::Json<MeAnswer>, Failure> {
    let session = own_session(&pairing, &parts).await?;
    Ok(axum::Json(me_of(pairing.core(), &session)))
}

/// What a device is told of itself.
pub(crate) fn me_of(core: &Core, session: &Session) -> MeAnswer {
    MeAnswer {
        device_id: session.device.device_id,
        device_name: session.device.device_name.clone(),
        device_model: session.device.device_model.clone(),
        scope: session.scope.clone(),
        expires_at: session.expires_at.map(Timestamp::to_rfc3339),
        server_name: core.config().server_name.clone(),
        apps: core.tunnels().app_names().into_iter().map(|name| AppInfo { name }).collect(),
    }
}

/// Unpairs the device that calls.
#[utoipa::path(delete, path = "/api/pair/me", tag = "devices", security(("device" = []), ("watch" = [])),
    responses((status = 204), (status = 401, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn unpair(State(pairing): State<Pairing>, parts: Parts) -> Result<StatusCode, Failure> {
    let session = own_session(&pairing, &parts).await?;
    pairing.core().revoke(session.device.device_id, Actor::Device).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The device that calls about itself. Its scope limits what it does in the apps, not this.
pub(super) async fn own_session(pairing: &Pairing, parts: &Parts) -> Result<Arc<Session>, Failure> {
    let session = identify(pairing, parts).await?;
    match session.is_live(pairing.authenticator().now()) {
        Ok(()) => Ok(session),
        Err(code) => Err(Failure::of_device(code)),
    }
}
