//! `POST /enroll`: a host gets its certificate, by an enrolment token or because its key is known.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use couplet_protocol::relay::{EnrollRequest, Enrolled};
use couplet_protocol::{Code, EnrollmentToken};
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use zeroize::Zeroizing;

use crate::authority;
use crate::host::HostId;
use crate::problem::Failure;
use crate::registry::RedeemError;
use crate::shared::Shared;

pub(crate) async fn enroll(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Failure> {
    let EnrollRequest { token, csr } = super::body::json(request).await?;
    let token = token.map(Zeroizing::new);
    let request = authority::Request::parse(&csr).map_err(|_| {
        Failure::new(Code::CsrInvalid, "Send a PKCS#10 request in PEM, signed with the host's own key.")
    })?;
    let host = admit(&shared, token.as_deref().map(String::as_str), &request).await?;
    let certificate = shared.authority.certify_host(&request, host, shared.clock.now()).map_err(Failure::internal)?;
    shared.metrics.enrolled.increment(1);
    tracing::info!(target: "couplet::relay", %host, renewed = token.is_none(), "host.certified");
    let ca = shared.authority.pem().to_owned();
    let answer = Enrolled { certificate, ca, hosts_url: shared.hosts_url(), host_id: host.to_string() };
    let mut response = Json(answer).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
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
