//! What a phone's browser shows that has opened a pairing link.

use axum::response::{Html, IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};

/// No script: the link's secret is in its fragment, and nothing here reads it.
const LINK: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>Couplet</title>\
<h1>This is a pairing link</h1>\
<p>Open it in an app that knows Couplet. On a computer, copy the whole link and run \
<code>couplet connect</code> with it.</p>\
<p>It is a secret, good for one device and for a few minutes.</p></html>\n";

/// `GET /p`.
pub(super) async fn link() -> Response {
    let mut response = Html(LINK).into_response();
    let policy = "default-src 'none'; style-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
