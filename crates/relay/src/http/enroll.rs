//! `POST /enroll`: a host gets its certificate, by an enrolment token or because its key is known.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use couplet_protocol::relay::{EnrollRequest, Enrolled};
use couplet_protocol::secret::SecretText;
use couplet_protocol::{Code, EnrollmentToken};
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::authority;
use crate::host::HostId;
use crate::problem::Failure;
use crate::rate::Rates;
use crate::registry::RedeemError;
use crate::shared::Shared;
use crate::source::Source;

/// How many failures of one source count for nothing; one more does each time [`FORGIVEN`] has passed.
const FAILURES: u32 = 10;
const FORGIVEN: Duration = Duration::from_secs(6);
/// How long who has failed more often waits for others like it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who has failed to enrol too often. A source may be many, so that what is right still lets in; but those who may be
/// guessing are judged one after the other, and so take of the relay's store and processor as much as one of them does.
#[derive(Debug)]
pub(crate) struct Enrolments {
    failures: Rates<Source>,
    doubtful: Semaphore,
}

impl Enrolments {
    pub(crate) fn new() -> Self {
        Enrolments { failures: Rates::new(FAILURES, FORGIVEN), doubtful: Semaphore::new(1) }
    }

    /// Waits until a request of this source may be judged.
    async fn turn(&self, source: Source) -> Result<Option<SemaphorePermit<'_>>, Failure> {
        let wait = self.failures.wait(&source, Instant::now());
        if wait.is_zero() {
            return Ok(None);
        }
        let often = || Failure::new(Code::AskedTooOften, "Wait as long as Retry-After says.").retry_after(wait);
        let turn = tokio::time::timeout(PATIENCE, self.doubtful.acquire()).await;
        turn.ok().and_then(Result::ok).map(Some).ok_or_else(often)
    }

    fn failed(&self, source: Source) {
        // One that is spent already stays so.
        let _ = self.failures.spend(source, Instant::now());
    }
}

pub(crate) async fn enroll(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Failure> {
    let EnrollRequest { token, csr } = super::body::json(request).await?;
    let source = Source::of(peer.ip());
    let turn = shared.enrolments.turn(source).await?;
    let judged = judge(&shared, token.as_ref().map(SecretText::expose), &csr).await;
    drop(turn);
    let (request, host) = judged.inspect_err(|_| shared.enrolments.failed(source))?;
    let certificate = shared.authority.certify_host(&request, host, shared.clock.now()).map_err(Failure::internal)?;
    shared.metrics.enrolled.increment(1);
    tracing::info!(target: "couplet::relay", %host, renewed = token.is_none(), "host.certified");
    let ca = shared.authority.pem().to_owned();
    let answer = Enrolled { certificate, ca, hosts_url: shared.hosts_url(), host_id: host.to_string() };
    let mut response = Json(answer).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn judge(shared: &Shared, token: Option<&str>, csr: &str) -> Result<(authority::Request, HostId), Failure> {
    let request = authority::Request::parse(csr).map_err(|_| {
        Failure::new(Code::CsrInvalid, "Send a PKCS#10 request in PEM, signed with the host's own key.")
    })?;
    let host = admit(shared, token, &request).await?;
    Ok((request, host))
}

async fn admit(shared: &Shared, token: Option<&str>, request: &authority::Request) -> Result<HostId, Failure> {
    let invalid = || {
        let next = "Ask the relay's operator for a new one: `couplet relay invite`.";
        Failure::new(Code::EnrollmentInvalid, next)
    };
    let revoked =
        || Failure::new(Code::HostRevoked, "Ask the relay's operator. To come back, the host needs a new key.");
    let Some(token) = token else {
        if let Some(host) = shared.registry.known_host(request.key()).await? {
            return Ok(host);
        }
        // Who has the key is told: the host stops asking then.
        let is_revoked = shared.registry.is_key_revoked(request.key()).await?;
        return Err(if is_revoked { revoked() } else { invalid() });
    };
    let token = EnrollmentToken::parse(token).map_err(|_| invalid())?;
    shared.registry.redeem(&token.secret, request.key()).await.map_err(|error| match error {
        RedeemError::Invalid => invalid(),
        RedeemError::Used => {
            Failure::new(Code::EnrollmentUsed, "Ask the relay's operator for a new one: `couplet relay invite`.")
        }
        RedeemError::Revoked => revoked(),
        RedeemError::Fault(fault) => fault.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_fails_too_often_is_judged_after_others_like_it() {
        let enrolments = Enrolments::new();
        let source = |n: u8| Source::of([10, 0, 0, n].into());
        for _ in 0..FAILURES {
            assert!(enrolments.turn(source(1)).await.unwrap().is_none());
            enrolments.failed(source(1));
            enrolments.failed(source(2));
        }
        let held = enrolments.turn(source(1)).await.unwrap();
        assert!(held.is_some() && enrolments.turn(source(2)).await.is_err(), "one at a time");
        assert!(enrolments.turn(source(3)).await.unwrap().is_none(), "others wait for nobody");
        drop(held);
        assert!(enrolments.turn(source(2)).await.unwrap().is_some());
        tokio::time::advance(FORGIVEN).await;
        assert!(enrolments.turn(source(2)).await.unwrap().is_none());
    }
}
