//! `/api/owner`: signing in to the dashboard, signing out, and how the host stands; `/api/qr`.

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use couplet_protocol::api::{LoginAnswer, LoginLinks, LoginRequest, OwnerStatus, QrAnswer, QrRequest};
use couplet_protocol::{Code, Problem};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::caller::Owner;
use super::guard::{CheckedHost, Source};
use super::json::Json;
use crate::auth::single;
use crate::gateway::COOKIE;
use crate::logins::SESSION;
use crate::pairing::Pairing;
use crate::problem::Failure;
use crate::qr::Qr;

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
    let opened = pairing.core().login(&body.token, (&host.0, by_tls), source.ip).await?;
    let answer = LoginAnswer { page_key: opened.page_key.clone(), expires_at: opened.expires_at.to_rfc3339() };
    let mut response = axum::Json(answer).into_response();
    let cookie = cookie(opened.cookie.expose(), SESSION.as_secs(), by_tls)?;
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

/// Signs out every browser, and ends the links that nobody has opened yet.
#[utoipa::path(delete, path = "/api/owner/sessions", tag = "owner", security(("owner" = [])),
    responses((status = 204), (status = 401, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn logout_all(
    _: Owner,
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
) -> Result<StatusCode, Failure> {
    pairing.core().logout_all(source.ip).await?;
    Ok(StatusCode::NO_CONTENT)
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
