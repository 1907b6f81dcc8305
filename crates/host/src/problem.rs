//! The one error shape: a [`Failure`] becomes an RFC 9457 answer. The cause of a 5xx goes to the log only.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use couplet_protocol::{Code, Problem};
use http::{HeaderName, HeaderValue, header};

/// Why a request was refused: the code, what to do next, and for our own faults the cause.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    detail: String,
    retry_after: Option<u64>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
    cause: Option<String>,
}

impl Failure {
    /// A refusal whose `detail` tells the caller what to do next.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Failure { code, detail: detail.into(), retry_after: None, header: None, cause: None }
    }

    /// A refusal of a device, worded alike wherever it knocks.
    pub(crate) fn of_device(code: Code) -> Self {
        let next = match code {
            Code::DeviceUnknown => {
                "Pair the device again: run `couplet pair` on the host and scan the new code. Its old credential does \
                 not come back."
            }
            Code::DeviceExpired => "Ask the owner for more time: `couplet devices scope`.",
            Code::MethodOutOfScope => "Use GET, HEAD or OPTIONS, or ask the owner for more: `couplet devices scope`.",
            Code::PathOutOfScope => "Use a path within its scope, or ask the owner for more: `couplet devices scope`.",
            Code::PathAmbiguous => "Send the path without `%`, `\\`, `;`, empty, `.` or `..` segments.",
            _ => "Ask the owner: `couplet devices` shows what the device may do.",
        };
        Failure::new(code, next)
    }

    /// Asks the caller to come back in so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// Records, for the log only, what went wrong.
    #[must_use]
    pub fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// A fault of ours: the caller gets a fixed text, the log the cause.
    #[must_use]
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Failure::new(Code::Internal, "Try again. If it stays so, look at the host's log under the request id.")
            .because(cause)
    }

    /// What went wrong, for the log.
    pub(crate) fn cause(&self) -> &str {
        self.cause.as_deref().unwrap_or_default()
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}). {}", self.code.title(), self.code, self.detail)?;
        self.cause.as_ref().map_or(Ok(()), |cause| write!(f, " Cause: {cause}"))
    }
}

impl std::error::Error for Failure {}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let mut problem = Problem::new(self.code, self.detail);
        if status >= 500 {
            let id = crate::random::uuid().simple().to_string();
            tracing::error!(target: "couplet::http", code = %self.code, request_id = %id,
                cause = self.cause.as_deref().unwrap_or("-"), "{}", self.code.title());
            problem.request_id = Some(id);
        }
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"couplet\""));
        }
        if let Some((name, value)) = self.header.map(|header| *header) {
            headers.insert(name, value);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
