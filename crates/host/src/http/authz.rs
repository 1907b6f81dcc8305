//! `GET /api/pair/authz`: forward-auth for people who have a proxy already.

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use couplet_protocol::{Code, Problem};
use http::{HeaderMap, HeaderName, StatusCode, Uri, header};

use super::guard::Source;
use crate::auth::single;
use crate::pairing::Pairing;
use crate::problem::Failure;
use crate::session::{DEVICE_HEADERS, overrides_request};

const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Judges the request that a proxy describes: 204 with who the device is, or the refusal that the proxy passes on.
/// What is asked for counts only from configured proxies; without it, only a device without limits passes.
#[utoipa::path(get, path = "/api/pair/authz", tag = "devices", security(("device" = [])),
    params(("x-forwarded-method" = Option<String>, Header), ("x-forwarded-uri" = Option<String>, Header)),
    responses((status = 204, headers(("x-couplet-device-id" = String), ("x-couplet-device-name" = String),
        ("x-couplet-device-model" = String))), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn authz(
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let auth = pairing.authenticator();
    let (session, _) = auth.authenticate(&headers).await?;
    let asked = if source.by_proxy { described(&headers)? } else { None };
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
    if !session.scope.is_unlimited() && headers.keys().any(|name| overrides_request(name.as_str())) {
        let next = "Leave X-HTTP-Method-Override, X-Original-URL and their kin out: this device is limited.";
        return Err(Failure::new(Code::PathAmbiguous, next));
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    for (name, value) in DEVICE_HEADERS.iter().zip(&session.headers) {
        response.headers_mut().insert(name, value.clone());
    }
    Ok(response)
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
