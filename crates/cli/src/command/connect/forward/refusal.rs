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
        Refusal::new(code, format!("{why}. {}", next_step(&error, code)))
    }
}

fn next_step(error: &RequestError, code: Code) -> &'static str {
    match error {
        RequestError::NotConnected(_) if code == Code::AccessOver => "Ask the host's owner.",
        RequestError::NotConnected(_) if code == Code::HostKeyDiffers => {
            "Do not go on before you know why: couplet explain CPL-1604."
        }
        RequestError::NotConnected(_) => "It is tried again; see what couplet connect says.",
        RequestError::TooMany => "Try again when others have ended.",
        RequestError::Unsendable(_) => "Send fewer or shorter headers, or a shorter path.",
        RequestError::NoUpgrades => "Update the host.",
        RequestError::Broken(_) => "It may have been carried out: see before you try again.",
        RequestError::Body(_) => {
            "Send the request again, with its whole body; the app may have seen a part of this one."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_can_be_done_about_it() {
        for (error, next) in [
            (RequestError::Body("it ended early".into()), "whole body"),
            (RequestError::Unsendable("a header is too long".into()), "shorter headers"),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.code, Code::RequestNotForwardable);
            assert!(refusal.detail.contains(next), "{}", refusal.detail);
        }
    }
}
