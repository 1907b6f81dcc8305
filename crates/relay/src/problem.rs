//! The one error shape: a [`Failure`] becomes an RFC 9457 answer. The cause of a 5xx goes to the log only.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use couplet_protocol::relay::Addresses;
use couplet_protocol::{Code, Problem};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::account::AccountError;
use crate::record::Fault;

/// Why a request was refused: the code, what to do next, and for our own faults the cause.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    detail: String,
    retry_after: Option<u64>,
    cause: Option<String>,
    addresses: Option<Addresses>,
}

impl Failure {
    /// A refusal whose `detail` tells the caller what to do next.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Failure { code, detail: detail.into(), retry_after: None, cause: None, addresses: None }
    }

    /// Asks the caller to come back then, in whole seconds.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        self
    }

    /// Says whose account is whose.
    pub(crate) fn of_accounts(mut self, addresses: Addresses) -> Self {
        self.addresses = Some(addresses);
        self
    }

    /// Records, for the log only, what went wrong.
    pub(crate) fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// A fault of ours: the caller gets a fixed text, the log the cause.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        Failure::new(Code::Internal, "Try again. If it stays so, the relay's operator finds the cause in its log.")
            .because(cause)
    }
}

/// A problem with its further members.
#[derive(Serialize)]
struct Said {
    #[serde(flatten)]
    problem: Problem,
    #[serde(flatten)]
    addresses: Option<Addresses>,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::new(Code::StoreUnavailable, "Try again in a moment.")
            .retry_after(Duration::from_secs(1))
            .because(fault)
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Invalid => Failure::new(Code::AccountInvalid, "Sign in again, and send the new token."),
            AccountError::Expired => Failure::new(Code::AccountExpired, "Send a newer token."),
            AccountError::Unavailable => {
                let wait = Duration::from_secs(5);
                Failure::new(Code::AccountsUnavailable, "Try again in a moment.").retry_after(wait).because(error)
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let mut problem = Problem::new(self.code, self.detail);
        if status >= 500 && self.cause.is_some() {
            let id = uuid::Uuid::new_v4().simple().to_string();
            tracing::error!(target: "couplet::relay", code = %self.code, request_id = %id,
                cause = self.cause.as_deref().unwrap_or("-"), "{}", self.code.title());
            problem.request_id = Some(id);
        }
        let mut response = Response::new(Body::from(
            serde_json::to_vec(&Said { problem, addresses: self.addresses }).unwrap_or_default(),
        ));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
