//! What every request of the pairing listener must pass before a handler sees it: where it comes from, under which
//! name it was asked for, which page sent it, and what it carries.

use std::net::{IpAddr, SocketAddr};

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use couplet_protocol::Code;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::auth::{COUPLET_TOKEN, single};
use crate::config::Config;
use crate::net;
use crate::pairing::Pairing;
use crate::problem::Failure;

/// The largest body of the pairing API, in bytes.
pub(crate) const BODY_MAX: usize = 64 * 1024;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where a request comes from: the peer, or the client that a configured proxy speaks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) ip: IpAddr,
    /// Whether the peer is a configured proxy, whose `X-Forwarded-*` counts.
    pub(crate) by_proxy: bool,
}

/// The name that a request was asked for under, checked.
#[derive(Clone, Debug)]
pub(crate) struct CheckedHost(pub(crate) Authority);

/// The middleware.
pub(crate) async fn guard(State(pairing): State<Pairing>, request: Request, next: Next) -> Response {
    let asked = (request.method().clone(), loggable(request.uri().path()));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let response = answer(&pairing, request, next).await;
    let (status, (method, path)) = (response.status().as_u16(), asked);
    // The path only: what stands behind it may be a credential.
    if status >= 400 {
        tracing::debug!(target: "couplet::http", ?peer, %method, path, status, "refused");
    }
    response
}

/// The path as the log may have it: what stands in it behind a request by PIN collects that one's credential.
fn loggable(path: &str) -> String {
    const REQUESTS: &str = "/mobile/pairing/";
    match path.strip_prefix(REQUESTS) {
        Some(rest) => format!("{REQUESTS}…{}", rest.find('/').map_or("", |end| &rest[end..])),
        None => path.to_owned(),
    }
}

async fn answer(pairing: &Pairing, request: Request, next: Next) -> Response {
    match admit(pairing, request).await {
        Ok(request) => {
            let mut response = next.run(request).await;
            let headers = response.headers_mut();
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
            response
        }
        Err(failure) => failure.into_response(),
    }
}

async fn admit(pairing: &Pairing, mut request: Request) -> Result<Request, Failure> {
    let config = pairing.core().config();
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE, header::ORIGIN, COUPLET_TOKEN, header::CONTENT_LENGTH] {
        single(request.headers(), &name)?;
    }
    let source = source(&request, config)?;
    let host = host(&request, pairing)?;
    origin(request.headers(), &host, config)?;
    request.extensions_mut().insert(source);
    request.extensions_mut().insert(host);
    body(request, config).await
}

/// The peer must be private, and so must be whom a configured proxy speaks for.
fn source(request: &Request, config: &Config) -> Result<Source, Failure> {
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() else {
        return Err(Failure::internal("no peer address: serve the routes with Pairing::serve"));
    };
    let peer = peer.ip().to_canonical();
    let by_proxy = net::within(&config.trusted_proxies, peer);
    // A client that a proxy names in no readable way may be anyone.
    let ip = if by_proxy { forwarded_for(request.headers(), config).unwrap_or(Some(peer)) } else { Some(peer) };
    let allowed = |ip| net::is_private(ip) || net::within(&config.trusted_networks, ip);
    if let Some(ip) = ip.filter(|ip| allowed(*ip))
        && (by_proxy || allowed(peer))
    {
        return Ok(Source { ip, by_proxy });
    }
    Err(Failure::new(
        Code::PeerNotPrivate,
        "Pairing is for the local network. Join it, or let the owner name your network in `trusted_networks`.",
    ))
}

/// The rightmost address of `X-Forwarded-For` that is not a configured proxy's: what stands further left is the
/// client's own word. `Some(None)` when nobody can read it.
fn forwarded_for(headers: &HeaderMap, config: &Config) -> Option<Option<IpAddr>> {
    let values: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().map(|v| v.to_str().unwrap_or_default()).collect();
    let mut hops = values.iter().flat_map(|value| value.split(',')).rev().map(|hop| hop.trim().parse::<IpAddr>().ok());
    hops.find(|hop| hop.is_none_or(|ip| !net::within(&config.trusted_proxies, ip)))
}

/// `Host` must name this host: one of its addresses, `localhost`, its `.local` name or a configured name. A web
/// page that points its own name at this machine (DNS rebinding) is refused here.
fn host(request: &Request, pairing: &Pairing) -> Result<CheckedHost, Failure> {
    let refused = || {
        Failure::new(
            Code::HostNotAllowed,
            "Use one of the addresses that `couplet serve` shows, or let the owner add this name to `allowed_hosts`.",
        )
    };
    let named: Option<Authority> = single(request.headers(), &header::HOST)?.and_then(|host| host.parse().ok());
    let authority = match (request.uri().authority(), named) {
        (Some(target), Some(named)) if *target == named => named,
        (None, Some(named)) => named,
        _ => return Err(refused()),
    };
    if authority.as_str().contains('@') {
        return Err(refused());
    }
    let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let config = pairing.core().config();
    let allowed = match name.parse::<IpAddr>() {
        Ok(ip) => pairing.core().is_own(ip) || config.allowed_hosts.iter().any(|h| h.eq_ignore_ascii_case(&name)),
        Err(_) => {
            name == "localhost"
                || config.allowed_hosts.iter().any(|h| h.eq_ignore_ascii_case(&name))
                || name.strip_suffix(".local").is_some_and(|n| n.eq_ignore_ascii_case(&config.server_name))
        }
    };
    if allowed { Ok(CheckedHost(authority)) } else { Err(refused()) }
}

/// A page may call only when it is ours: the origin that this very request was asked for under, or a configured
/// one, exactly. A gateway's origin has another port, so an app's pages are refused.
fn origin(headers: &HeaderMap, host: &CheckedHost, config: &Config) -> Result<(), Failure> {
    let Some(origin) = single(headers, &header::ORIGIN)? else { return Ok(()) };
    let own = origin.strip_prefix("http://").is_some_and(|o| o.eq_ignore_ascii_case(host.0.as_str()));
    if own || config.allowed_origins.iter().any(|allowed| allowed == origin) {
        return Ok(());
    }
    Err(Failure::new(
        Code::OriginNotAllowed,
        "Web pages of other origins may not call this API. The owner can add one to `allowed_origins`.",
    ))
}

/// Bodies come as JSON, at most [`BODY_MAX`] bytes, in time. The handler gets them whole.
async fn body(request: Request, config: &Config) -> Result<Request, Failure> {
    let (parts, body) = request.into_parts();
    if http_body::Body::is_end_stream(&body) {
        return Ok(Request::from_parts(parts, body));
    }
    let too_large = || Failure::new(Code::BodyTooLarge, format!("Send at most {BODY_MAX} bytes."));
    if http_body::Body::size_hint(&body).lower() > BODY_MAX as u64 {
        return Err(too_large());
    }
    let json = is_json(&parts.headers)?;
    let read = Limited::new(body, BODY_MAX).collect();
    let bytes: Bytes = match tokio::time::timeout(config.limits.body_timeout(), read).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(Failure::new(Code::MalformedBody, "The body broke off. Send it again.")),
        Err(_) => {
            let next = format!("Send the whole body within {} seconds.", config.limits.body_seconds);
            return Err(Failure::new(Code::BodyTooSlow, next));
        }
    };
    if !json && !bytes.is_empty() {
        return Err(Failure::new(Code::UnsupportedMediaType, "Send the body with `Content-Type: application/json`."));
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

fn is_json(headers: &HeaderMap) -> Result<bool, Failure> {
    let essence = single(headers, &header::CONTENT_TYPE)?.and_then(|value| value.split(';').next());
    Ok(essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json")))
}
