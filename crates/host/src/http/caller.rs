//! Who calls: the owner, or a device. Extractors for our handlers and for those of an app that uses the library.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRef, FromRequestParts, OptionalFromRequestParts, OriginalUri};
use couplet_protocol::Code;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, Uri, Version, header};

use super::guard::{CheckedHost, Source};
use crate::auth::{Asked, authority, invalid, is_owner, is_signed, single};
use crate::gateway::COOKIE;
use crate::logins::{Ending, OwnerSession};
use crate::net;
use crate::pairing::Pairing;
use crate::problem::Failure;
use crate::session::{Device, Session};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a page of the dashboard sends beside the session's cookie.
const COUPLET_PAGE: HeaderName = HeaderName::from_static("couplet-page");
/// That the owner has done something on the page since its last request that said so.
const COUPLET_USED: HeaderName = HeaderName::from_static("couplet-used");

/// Proof that the owner calls.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// The dashboard's session; none when it is the owner's token.
    pub(crate) session: Option<Arc<OwnerSession>>,
}

impl FromRequestParts<Pairing> for Owner {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, pairing: &Pairing) -> Result<Self, Failure> {
        let site = parts.headers.get(SEC_FETCH_SITE);
        if parts.method == Method::GET && site.is_some_and(|site| site != "same-origin" && site != "none") {
            return Err(Failure::new(Code::CrossSite, "Open the page yourself instead of following another site's."));
        }
        if is_owner(&parts.headers, pairing.core().admin())? {
            return Ok(Owner { session: None });
        }
        // A credential that is shown outright, and wrong, is not made good by a cookie.
        if !parts.headers.contains_key(header::AUTHORIZATION)
            && let Some(page_key) = single(&parts.headers, &COUPLET_PAGE)?
        {
            return browser(parts, pairing, page_key).map(|session| Owner { session: Some(session) });
        }
        Err(Failure::new(
            Code::OwnerRequired,
            "Use the `couplet` command on the host, or send `Authorization: Bearer` with the token that is in the \
             state folder's file admin-token.",
        ))
    }
}

/// The session of a page of the dashboard, which says whether its owner has used it since it asked last. What it changes, it asks for with its `Origin`, which the guard has checked.
fn browser(parts: &Parts, pairing: &Pairing, page_key: &str) -> Result<Arc<OwnerSession>, Failure> {
    if !parts.method.is_safe() && !parts.headers.contains_key(header::ORIGIN) {
        return Err(Failure::new(Code::OriginNotAllowed, "A session of the dashboard is for its own pages."));
    }
    let (core, now) = (pairing.core(), pairing.core().now());
    let asked = (parts.extensions.get::<CheckedHost>(), parts.extensions.get::<Source>());
    let (Some(CheckedHost(authority)), Some(source)) = asked else { return Err(over(Ending::Unknown)) };
    let mut found = Err(Ending::Unknown);
    // All of our name, as many as a head has room for: other servers of the same address can set some, and those of longer
    // paths come first.
    for cookie in cookies(&parts.headers) {
        match core.logins().session((cookie, page_key), (authority, source.ip), now) {
            Err(Ending::Unknown) => {}
            known => found = known,
        }
    }
    let session = found.map_err(over)?;
    if parts.headers.contains_key(&COUPLET_USED) {
        session.used(now);
    }
    Ok(session)
}

fn over(why: Ending) -> Failure {
    let why = match why {
        Ending::Unused => "Nobody has used it for an hour.",
        Ending::Old => "It has lasted for twelve hours.",
        Ending::SignedOut => "You have signed out in this browser.",
        Ending::Ended => {
            "The owner has signed this browser out, in another one or with `couplet dashboard --sign-out`."
        }
        Ending::Replaced => "More browsers have signed in than may be at once, and this was the oldest.",
        Ending::Unknown => {
            "This browser has its cookie no more, the host has started again or forgotten the session since, or the page was \
             opened at another address of the host."
        }
    };
    let next = "Sign in anew: run `couplet dashboard` on the host and open its link.";
    Failure::new(Code::OwnerSessionOver, format!("{why} {next}"))
}

/// The values of the cookies that have our name.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| name.trim() == COOKIE).map(|(_, value)| value.trim())
}

/// The authenticated device's session, for what goes on after the answer: [`Session::ended`] fires at revocation.
#[derive(Clone, Debug)]
pub struct DeviceSession(pub Arc<Session>);

impl<S> FromRequestParts<S> for DeviceSession
where
    S: Send + Sync,
    Pairing: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        if let Some(session) = parts.extensions.get::<DeviceSession>() {
            return Ok(session.clone());
        }
        let pairing = Pairing::from_ref(state);
        let session = authenticate(&pairing, parts).await?;
        parts.extensions.insert(session.clone());
        Ok(session)
    }
}

/// Authenticates a request and holds it to the device's scope.
pub(crate) async fn authenticate(pairing: &Pairing, parts: &Parts) -> Result<DeviceSession, Failure> {
    let auth = pairing.authenticator();
    let session = identify(pairing, parts).await?;
    let upgrade = parts.headers.contains_key(header::UPGRADE);
    session.permits(auth.now(), parts.method.as_str(), uri(parts).path(), upgrade).map_err(Failure::of_device)?;
    Ok(DeviceSession(session))
}

/// The device that the request's credential belongs to: a token, or a signature.
pub(crate) async fn identify(pairing: &Pairing, parts: &Parts) -> Result<Arc<Session>, Failure> {
    let auth = pairing.authenticator();
    if !is_signed(&parts.headers) {
        return Ok(auth.authenticate(&parts.headers).await?.0);
    }
    // A body is not at hand here, so none may come; nor may what is not signed follow an upgrade.
    if parts.version != Version::HTTP_11 || has_body(&parts.headers) || parts.headers.contains_key(header::UPGRADE) {
        return Err(invalid("Send a signed request here as HTTP/1.1, without a body and an upgrade."));
    }
    let uri = uri(parts);
    let asked = Asked {
        method: parts.method.as_str(),
        authority: signed_authority(pairing, parts)?,
        path: uri.path(),
        query: uri.query(),
        headers: &parts.headers,
    };
    let signed = auth.verify(&asked).await?;
    match signed.body.is_of_nothing() {
        true => Ok(signed.session),
        false => Err(invalid("The digest that is signed is not that of an empty body.")),
    }
}

fn uri(parts: &Parts) -> &Uri {
    parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0)
}

pub(super) fn has_body(headers: &HeaderMap) -> bool {
    let is_long = |length: &http::HeaderValue| length.as_bytes() != b"0";
    headers.contains_key(header::TRANSFER_ENCODING) || headers.get(header::CONTENT_LENGTH).is_some_and(is_long)
}

/// The authority that the request was signed for. Its port must be one that this API is served on: else a request that was
/// signed for an app behind the gateway would count here.
fn signed_authority(pairing: &Pairing, parts: &Parts) -> Result<String, Failure> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_canonical());
    let by_proxy = peer.is_some_and(|peer| net::within(&pairing.core().config().trusted_proxies, peer));
    if by_proxy && let Some(forwarded) = forwarded_authority(&parts.headers)? {
        return Ok(forwarded);
    }
    let named = parts.uri.authority().map(Authority::as_str);
    let host = named.or(single(&parts.headers, &header::HOST)?).unwrap_or_default();
    let is_here = |port| pairing.core().serves_port(port);
    let port = host.parse::<Authority>().ok().map(|authority| authority.port_u16().unwrap_or(80));
    match authority(host, 80) {
        Some(authority) if by_proxy || port.is_some_and(is_here) => Ok(authority),
        _ => Err(invalid("Call the host by its own address and port, and sign those.")),
    }
}

/// What a configured proxy says that its client asked for: the host, and by the scheme which port is its own.
pub(crate) fn forwarded_authority(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(host) = single(headers, &FORWARDED_HOST)? else { return Ok(None) };
    let is_https = single(headers, &FORWARDED_PROTO)?.is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    let named = authority(host, if is_https { 443 } else { 80 });
    named.map(Some).ok_or_else(|| invalid("The proxy's X-Forwarded-Host is no host."))
}

/// `Device` in a handler's arguments: a paired device calls, within its scope. `Option<Device>`: or somebody else,
/// whom the app's own login judges.
///
/// The router's state must give a [`Pairing`] (`FromRef`):
///
/// ```
/// use axum::{Router, extract::FromRef, routing::get};
/// use couplet_host::{Device, Pairing};
///
/// #[derive(Clone, FromRef)]
/// struct App { pairing: Pairing }
///
/// async fn hello(device: Device) -> String { device.device_name.to_string() }
///
/// let app: Router<App> = Router::new().route("/", get(hello));
/// ```
///
/// An app that forgot it does not compile:
///
/// ```compile_fail,E0277
/// use axum::{Router, extract::FromRef, routing::get};
/// use couplet_host::{Device, Pairing};
///
/// #[derive(Clone)]
/// struct App { pairing: Pairing }
///
/// async fn hello(device: Device) -> String { device.device_name.to_string() }
///
/// let app: Router<App> = Router::new().route("/", get(hello));
/// ```
impl<S> FromRequestParts<S> for Device
where
    S: Send + Sync,
    Pairing: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let DeviceSession(session) = <DeviceSession as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(session.device.clone())
    }
}

impl<S> OptionalFromRequestParts<S> for Device
where
    S: Send + Sync,
    Pairing: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Failure> {
        match <Device as FromRequestParts<S>>::from_request_parts(parts, state).await {
            Ok(device) => Ok(Some(device)),
            // Nobody of ours, or no longer: the app's own login decides.
            Err(failure) if failure.code().status() == 401 => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
