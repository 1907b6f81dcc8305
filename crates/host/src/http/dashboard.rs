//! The dashboard's page: four files that say nothing of this host, so anyone may read them. What they show, they ask
//! for as the owner.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, HeaderValue, header};

use crate::pairing::Pairing;

/// No script, style or request but to this origin; nothing inline; no frame around it; no string becomes a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// The `Cross-Origin-Resource-Policy` header: pages elsewhere cannot take these files in.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A file of `packages/dashboard/dist`, which is committed: building the host needs no npm.
macro_rules! file {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packages/dashboard/dist/", $name))
    };
}

/// `GET /` and what it loads.
pub(super) fn routes() -> Router<Pairing> {
    let file = |content_type, text| get(async move || answer(content_type, text));
    Router::new()
        .route("/", file("text/html; charset=utf-8", file!("index.html")))
        .route("/dashboard.js", file("text/javascript; charset=utf-8", file!("dashboard.js")))
        .route("/dashboard.css", file("text/css; charset=utf-8", file!("dashboard.css")))
        .route("/icon.svg", file("image/svg+xml", file!("icon.svg")))
}

fn answer(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    ];
    (headers, text).into_response()
}
