//! `/api/owner`: signing in to the dashboard, signing out, who is signed in, and how the host stands; `/api/qr`.
#![allow(unused_qualifications, reason = "utoipa writes them for query parameters")]

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Response};
use couplet_protocol::api::{
    LoginAnswer, LoginLinks, LoginRequest, OwnerSessionInfo, OwnerSessionList, OwnerStatus, QrAnswer, QrRequest,
};
use couplet_protocol::{Code, Problem};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;

use super::browser::called;
use super::caller::Owner;
use super::devices::Id;
use super::guard::{CheckedHost, Source};
use super::json::Json;
use crate::auth::single;
use crate::gateway::COOKIE;
use crate::logins::{OwnerSession, Visitor};
use crate::pairing::Pairing;
use crate::problem::Failure;
use crate::qr::Qr;

/// How long a browser keeps the cookie: longer than its session lasts, so that the host can say why that is over.
const COOKIE_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The longest text that a QR code is made of, in bytes.
const QR_MAX: usize = 1024;

/// How the host stands, for the dashboard.
#[utoipa::path(get, path = "/api/owner", tag = "owner", security(("owner" = [])),
    responses((status = 200, body = OwnerStatus), (status = 401, body = Problem)))]
pub(super) async fn status(owner: Owner, State(pairing): State<Pairing>) -> axum::Json<OwnerStatus> {
    let core = pairing.core();
    axum::Json(OwnerStatus {
        server_name: core.config().server_name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: core.now().to_rfc3339(),
        session_expires_at: owner.session.map(|session| session.expires_at().to_rfc3339()),
        relay: core.relay().status(),
    })
}

/// Makes a one-time link to the dashboard.
#[utoipa::path(post, path = "/api/owner/links", tag = "owner", security(("owner" = [])),
    responses((status = 200, body = LoginLinks), (status = 401, body = Problem)))]
pub(super) async fn link(
    _: Owner,
    State(pairing): State<Pairing>,
    Extension(host): Extension<CheckedHost>,
) -> axum::Json<LoginLinks> {
    axum::Json(pairing.core().login_links(Some(&host.0)))
}

/// Signs in with a one-time link's token: a cookie, and a key that the page sends beside it.
#[utoipa::path(post, path = "/api/owner/login", tag = "owner", request_body = LoginRequest,
    responses((status = 200, body = LoginAnswer), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 410, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn login(
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    Extension(host): Extension<CheckedHost>,
    headers: HeaderMap,
    body: Result<Json<LoginRequest>, Failure>,
) -> Result<Response, Failure> {
    pairing.core().admit(source.ip)?;
    let Json(body) = body?;
    let by_tls = single(&headers, &header::ORIGIN)?.is_some_and(|origin| origin.starts_with("https://"));
    let visitor = Visitor { address: source.ip, browser: called(&headers) };
    let opened = pairing.core().login(&body.token, (&host.0, by_tls), &visitor).await?;
    let answer = LoginAnswer { page_key: opened.page_key.clone(), expires_at: opened.expires_at.to_rfc3339() };
    let mut response = axum::Json(answer).into_response();
    let cookie = cookie(opened.cookie.expose(), COOKIE_KEPT.as_secs(), by_tls)?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Signs out. With the owner's token there is nothing to end.
#[utoipa::path(post, path = "/api/owner/logout", tag = "owner", security(("owner" = [])),
    responses((status = 204), (status = 401, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn logout(
    owner: Owner,
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
) -> Result<Response, Failure> {
    if let Some(session) = &owner.session {
        pairing.core().logout(session, source.ip).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie("", 0, false)?);
    Ok(response)
}

/// Lists the browsers that are signed in.
#[utoipa::path(get, path = "/api/owner/sessions", tag = "owner", security(("owner" = [])),
    responses((status = 200, body = OwnerSessionList), (status = 401, body = Problem)))]
pub(super) async fn sessions(owner: Owner, State(pairing): State<Pairing>) -> axum::Json<OwnerSessionList> {
    let current = owner.session.map(|session| session.id);
    let core = pairing.core();
    let info = |session: &OwnerSession| OwnerSessionInfo {
        id: session.id,
        browser: session.browser.clone(),
        network: session.address().to_string(),
        created_at: session.opened_at.to_rfc3339(),
        last_used: session.used_at().to_rfc3339(),
        expires_at: session.ends_at().to_rfc3339(),
        current: Some(session.id) == current,
    };
    axum::Json(OwnerSessionList { sessions: core.logins().sessions(core.now()).iter().map(|s| info(s)).collect() })
}

/// Which browsers are signed out.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// `true`: all but the one that asks.
    #[serde(default)]
    others: bool,
}

/// Signs out every browser, and ends the links that nobody has opened yet.
#[utoipa::path(delete, path = "/api/owner/sessions", tag = "owner", security(("owner" = [])), params(Which),
    responses((status = 204), (status = 400, body = Problem), (status = 401, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn logout_all(
    owner: Owner,
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<StatusCode, Failure> {
    let malformed = |_| Failure::new(Code::MalformedQuery, "Leave the query out, or send `others=true`.");
    let Query(which) = which.map_err(malformed)?;
    let stays = owner.session.filter(|_| which.others);
    pairing.core().logout_all(stays.as_deref(), source.ip).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Signs one browser out.
#[utoipa::path(delete, path = "/api/owner/sessions/{id}", tag = "owner", security(("owner" = [])),
    params(("id" = Uuid, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn logout_other(
    _: Owner,
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    id: Id,
) -> Result<StatusCode, Failure> {
    let id = id.map(|Path(id)| id).map_err(|_| no_such_session())?;
    pairing.core().logout_other(id, source.ip).await?.ok_or_else(no_such_session)?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_such_session() -> Failure {
    Failure::new(
        Code::NoSuchOwnerSession,
        "It may have ended already. `couplet dashboard --list` shows those that are open.",
    )
}

fn cookie(value: &str, seconds: u64, by_tls: bool) -> Result<HeaderValue, Failure> {
    let secure = if by_tls { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut value = HeaderValue::try_from(text).map_err(Failure::internal)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Makes a QR code, for a page to draw.
#[utoipa::path(post, path = "/api/qr", tag = "owner", security(("owner" = [])), request_body = QrRequest,
    responses((status = 200, body = QrAnswer), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn qr(_: Owner, Json(body): Json<QrRequest>) -> Result<axum::Json<QrAnswer>, Failure> {
    let wanted = || Failure::new(Code::MalformedBody, format!("Send a text of 1 to {QR_MAX} bytes."));
    if body.text.is_empty() || body.text.len() > QR_MAX {
        return Err(wanted());
    }
    let qr = Qr::new(&body.text).map_err(|_| wanted())?;
    Ok(axum::Json(QrAnswer { size: qr.width(), path: qr.path() }))
}
