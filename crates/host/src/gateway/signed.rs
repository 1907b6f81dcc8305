//! Requests that their device has signed, as watches do (spec/protocol.md, 8).
//!
//! The head is judged, and its nonce spent, before a byte of the body is read. The body is then read whole and held to its
//! digest before the app gets any of it: an app could not take back what it did with a half of it.

use couplet_protocol::Code;
use couplet_protocol::signature::BODY_MAX;
use http::uri::Authority;
use http::{Request, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::forward::{Forwarder, refusal};
use super::headers::{self, Peer};
use super::request::ClientBody;
use crate::auth::{Asked, Authenticator, Signed, authority, invalid, single};
use crate::http::caller::forwarded_authority;
use crate::problem::Failure;

/// The device that signed the request for this very app.
pub(super) async fn verified(
    auth: &Authenticator,
    request: &Request<Incoming>,
    peer: &Peer,
) -> Result<Signed, Failure> {
    let asked = Asked {
        method: request.method().as_str(),
        authority: signed_authority(request, peer)?,
        path: request.uri().path(),
        query: request.uri().query(),
        headers: request.headers(),
    };
    let signed = auth.verify(&asked).await?;
    signed.session.permits(auth.now(), asked.method, asked.path, false).map_err(refusal)?;
    Ok(signed)
}

/// The authority that was signed. Its port must be this gateway's: who intercepts a request could bring it to another
/// app's else.
fn signed_authority(request: &Request<Incoming>, peer: &Peer) -> Result<String, Failure> {
    let target = headers::target(request)?;
    if peer.is_trusted()
        && let Some(forwarded) = forwarded_authority(request.headers())?
    {
        return Ok(forwarded);
    }
    let host = match &target {
        Some(target) => target.as_str(),
        None => single(request.headers(), &header::HOST)?.unwrap_or_default(),
    };
    let port = host.parse::<Authority>().ok().map(|authority| authority.port_u16().unwrap_or(80));
    match authority(host, 80) {
        Some(authority) if peer.is_trusted() || port == peer.port() => Ok(authority),
        Some(_) => {
            Err(invalid("Call the app by its gateway's own port, and sign that: another port is another app's."))
        }
        None => Err(invalid("Send a Host header, and sign it.")),
    }
}

/// The request with its whole body, if that is what was signed. Trailers are not, and are dropped.
pub(super) async fn whole(
    forwarder: &Forwarder,
    request: Request<Incoming>,
    signed: &Signed,
) -> Result<Request<ClientBody>, Failure> {
    let (parts, body) = request.into_parts();
    let differs = || invalid("The body is another one than Content-Digest says.");
    if body.is_end_stream() {
        // Nothing to wait for a place for.
        return match signed.body.is_of_nothing() {
            true => Ok(Request::from_parts(parts, ClientBody::Stream(body))),
            false => Err(differs()),
        };
    }
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(too_large());
    }
    let read = async {
        let place = forwarder.auth.place_for_body().await?;
        let read = Limited::new(body, BODY_MAX).collect().await;
        Ok::<_, Failure>((read.map_err(broken)?.to_bytes(), place))
    };
    let read = tokio::select! {
        biased;
        read = timeout(forwarder.body_within, read) => read,
        () = signed.session.ended().cancelled() => return Err(refusal(Code::DeviceUnknown)),
    };
    let too_slow = |_| Failure::new(Code::BodyTooSlow, "The request's body did not arrive in time. Sign it anew.");
    let (bytes, place) = read.map_err(too_slow)??;
    match signed.body.is_of(&bytes) {
        true => Ok(Request::from_parts(parts, ClientBody::Whole { bytes, _place: place })),
        false => Err(differs()),
    }
}

fn broken(error: Box<dyn std::error::Error + Send + Sync>) -> Failure {
    if error.is::<LengthLimitError>() {
        return too_large();
    }
    Failure::new(Code::RequestNotForwardable, "The request's body broke off or is not framed rightly.")
}

fn too_large() -> Failure {
    let next = format!("Send at most {BODY_MAX} bytes with a signature; a token or a sealed session takes more.");
    Failure::new(Code::SignedBodyTooLarge, next)
}
