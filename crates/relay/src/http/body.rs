//! Bodies: JSON, small, and in time.

use std::time::Duration;

use axum::extract::Request;
use couplet_protocol::Code;
use couplet_protocol::relay::BODY_MAX;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::problem::Failure;

/// How long a body may take, where the listener says nothing else.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a body may take on this connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(pub(crate) Duration);

/// Reads the whole body as JSON. What is wrong is not quoted: it may hold a credential.
pub(crate) async fn json<T: DeserializeOwned>(request: Request) -> Result<T, Failure> {
    let media = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Failure::new(Code::UnsupportedMediaType, "Send `content-type: application/json`."));
    }
    let patience = request.extensions().get::<Patience>().map_or(PATIENCE, |patience| patience.0);
    let whole = Limited::new(request.into_body(), BODY_MAX).collect();
    let body = tokio::time::timeout(patience, whole).await;
    let body =
        body.map_err(|_| Failure::new(Code::BodyTooSlow, "Send the body at once."))?.map_err(|error| {
            match error.downcast_ref::<LengthLimitError>() {
                Some(_) => Failure::new(Code::BodyTooLarge, format!("A relay takes {BODY_MAX} bytes.")),
                None => Failure::new(Code::MalformedBody, "The body broke off: send it again."),
            }
        })?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "A member is missing or of the wrong form",
            _ => "It is no JSON",
        };
        let at = (error.line(), error.column());
        Failure::new(
            Code::MalformedBody,
            format!("{what}, at line {}, column {}: see spec/protocol.md, 6.", at.0, at.1),
        )
    })
}
