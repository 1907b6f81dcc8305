//! What the forwarder answers itself (RFC 9457).

use bytes::Bytes;
use couplet_client::{RequestError, State};
use couplet_protocol::{Code, Problem};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// Why a request was not forwarded, or has no answer of the app.
#[derive(Debug)]
pub(super) struct Refusal {
    code: Code,
    detail: String,
}

impl Refusal {
    /// `detail` says what to do next.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Refusal { code, detail: detail.into() }
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> Code {
        self.code
    }

    pub(super) fn answer(self) -> Response<Full<Bytes>> {
        let problem = Problem::new(self.code, self.detail);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut answer = Response::new(Full::from(body));
        *answer.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        let code = match &error {
            RequestError::NotConnected(State::Revoked | State::Expired) => Code::AccessOver,
            RequestError::NotConnected(_) if error.reason().is_some_and(couplet_client::Reason::is_wrong_key) => {
                Code::HostKeyDiffers
            }
            RequestError::NotConnected(_) => Code::HostUnreachable,
            RequestError::TooMany => Code::TooManyRequests,
            RequestError::Unsendable(_) | RequestError::Body(_) => Code::RequestNotForwardable,
            RequestError::NoUpgrades => Code::VersionsDiffer,
            RequestError::Broken(_) => Code::SessionLost,
        };
        let why = error.why().replace('\n', " ");
        Refusal::new(code, format!("{why}. {}", next_step(code)))
    }
}

fn next_step(code: Code) -> &'static str {
    match code {
        Code::AccessOver => "Ask the host's owner.",
        Code::HostKeyDiffers => "Do not go on before you know why: couplet explain CPL-1604.",
        Code::HostUnreachable => "It is tried again; see what couplet connect says.",
        Code::TooManyRequests => "Try again when others have ended.",
        Code::VersionsDiffer => "Update the host.",
        Code::SessionLost => "It may have been carried out: see before you try again.",
        _ => "Send it in another way.",
    }
}
