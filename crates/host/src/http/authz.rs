//! `GET /api/pair/authz`: forward-auth for people who have a proxy already.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use couplet_protocol::{Code, Problem};
use http::{HeaderMap, HeaderName, StatusCode, Uri, header};

use super::caller::{forwarded_authority, has_body};
use super::guard::Source;
use crate::auth::{Asked, Authenticator, invalid, is_signed, single};
use crate::pairing::Pairing;
use crate::problem::Failure;
use crate::session::{DEVICE_HEADERS, Session, overrides_request};

const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Judges the request that a proxy describes: 204 with who the device is, or the refusal that the proxy passes on.
/// What is asked for counts only from configured proxies; without it, only a device without limits passes.
#[utoipa::path(get, path = "/api/pair/authz", tag = "devices",
    security(("device" = []), ("watch" = [])),
    params(("x-forwarded-method" = Option<String>, Header), ("x-forwarded-uri" = Option<String>, Header),
        ("x-forwarded-host" = Option<String>, Header), ("x-forwarded-proto" = Option<String>, Header)),
    responses((status = 204, headers(("x-couplet-device-id" = String), ("x-couplet-device-name" = String),
        ("x-couplet-device-model" = String))), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn authz(
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let auth = pairing.authenticator();
    let asked = || if source.by_proxy { described(&headers) } else { Ok(None) };
    let is_signed = is_signed(&headers);
    let (session, asked) = if is_signed {
        let asked = asked()?;
        (signed(auth, asked.as_ref(), &headers).await?, asked)
    } else {
        (auth.authenticate(&headers).await?.0, asked()?)
    };
    let verdict = match asked {
        Some((method, path)) => session.permits(auth.now(), method, path.path(), is_upgrade(&headers)),
        // Nobody whose word counts says what is asked for: only a device without limits needs no such word.
        None if session.scope.is_unlimited() => session.is_live(auth.now()),
        None => {
            let next = "This device is limited, and the proxy does not say what is asked for: set X-Forwarded-Method \
                        and X-Forwarded-Uri there and name it in `trusted_proxies`, or use the gateway's address.";
            return Err(Failure::new(Code::GatewayRequired, next));
        }
    };
    verdict.map_err(Failure::of_device)?;
    if (is_signed || !session.scope.is_unlimited()) && headers.keys().any(|name| overrides_request(name.as_str())) {
        let next = "Leave X-HTTP-Method-Override, X-Original-URL and their kin out: this device is limited, or signs requests.";
        return Err(Failure::new(Code::PathAmbiguous, next));
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    for (name, value) in DEVICE_HEADERS.iter().zip(&session.headers) {
        response.headers_mut().insert(name, value.clone());
    }
    Ok(response)
}

/// Judges a signed request by what the proxy says of it. The body goes past us, so there must be none: by the method, and by
/// the digest.
async fn signed(
    auth: &Authenticator,
    asked: Option<&(&str, Uri)>,
    headers: &HeaderMap,
) -> Result<Arc<Session>, Failure> {
    let unsaid = || {
        let next = "A signed request is judged here only if a proxy that is named in `trusted_proxies` says what is asked for: \
                    X-Forwarded-Method, -Host and -Uri. Otherwise use the gateway's address.";
        Failure::new(Code::GatewayRequired, next)
    };
    let (method, uri) = asked.ok_or_else(unsaid)?;
    let authority = forwarded_authority(headers)?.ok_or_else(unsaid)?;
    let is_bodiless = ["GET", "HEAD", "OPTIONS"].contains(method) && !has_body(headers);
    if !is_bodiless || is_upgrade(headers) {
        let next = "Behind this proxy a signed request has no body: use GET, HEAD or OPTIONS, and no WebSocket. The gateway's \
                    address takes the others.";
        return Err(Failure::new(Code::GatewayRequired, next));
    }
    let asked = Asked { method, authority, path: uri.path(), query: uri.query(), headers };
    let signed = auth.verify(&asked).await?;
    match signed.body.is_of_nothing() {
        true => Ok(signed.session),
        false => Err(invalid("The digest that is signed is not that of an empty body.")),
    }
}

fn described(headers: &HeaderMap) -> Result<Option<(&str, Uri)>, Failure> {
    let (Some(method), Some(uri)) = (single(headers, &FORWARDED_METHOD)?, single(headers, &FORWARDED_URI)?) else {
        return Ok(None);
    };
    // A `#` would be cut off here and reach the app; an absolute URI would name another host.
    if uri.contains('#') || !uri.starts_with('/') {
        return Err(Failure::of_device(Code::PathAmbiguous));
    }
    let uri = uri.parse().map_err(|_| Failure::of_device(Code::PathAmbiguous))?;
    Ok(Some((method, uri)))
}

/// Proxies drop `Upgrade` on the way here, but a WebSocket's own headers come through.
fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        || headers.contains_key(header::SEC_WEBSOCKET_KEY)
        || headers.contains_key(header::SEC_WEBSOCKET_VERSION)
}
