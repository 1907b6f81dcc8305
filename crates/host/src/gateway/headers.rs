//! What of a message's head goes through, what is ours, and what belongs to one hop only.
//!
//! CGI and WSGI read `-` and `_` in names as one, so every name of ours is also guarded in its `_` spelling.

use std::net::IpAddr;

use bytes::Bytes;
use couplet_protocol::Code;
use couplet_protocol::credential::is_device_credential;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};

use super::pool::App;
use crate::auth::{CredentialHeader, SIGNATURE_HEADERS, bearer};
use crate::net;
use crate::problem::Failure;
use crate::session::{Session, overrides_request};

/// Our own cookie. It opens the dashboard, so no app may read or set it.
pub(crate) const COOKIE: &str = "couplet_session";

const DEVICE: [HeaderName; 3] = [
    HeaderName::from_static("x-couplet-device-id"),
    HeaderName::from_static("x-couplet-device-name"),
    HeaderName::from_static("x-couplet-device-model"),
];
const COUPLET_TOKEN: HeaderName = HeaderName::from_static("couplet-token");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Who sent a request over the network.
#[derive(Clone, Debug)]
pub struct Peer {
    address: HeaderValue,
    trusted: bool,
    /// The port of the listener that it came to.
    port: Option<u16>,
}

const UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");

impl Peer {
    /// A peer; `trusted` when it is a proxy whose `X-Forwarded-*` counts.
    #[must_use]
    pub fn new(ip: IpAddr, trusted: bool) -> Self {
        let text = Bytes::from(ip.to_canonical().to_string());
        Peer { address: HeaderValue::from_maybe_shared(text).unwrap_or(UNKNOWN), trusted, port: None }
    }

    /// The same, that came to this port of the gateway's.
    pub(super) fn at(self, port: Option<u16>) -> Self {
        Peer { port, ..self }
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }

    /// A device that came through a relay, whose word the address is. Apps let in more from nearby, so one that is not
    /// public is not handed on: they are told `unknown` (RFC 7239, 6.2).
    #[must_use]
    pub fn relayed(ip: IpAddr) -> Self {
        if net::is_public(ip) { Peer::new(ip, false) } else { Peer { address: UNKNOWN, trusted: false, port: None } }
    }
}

/// Which of the headers that concern us a message has: most have few, and a lookup costs more than this pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen(u16);

impl Seen {
    const CONNECTION: u16 = 1;
    const KEEP_ALIVE: u16 = 1 << 1;
    const PROXY_CONNECTION: u16 = 1 << 2;
    const TE: u16 = 1 << 3;
    const TRANSFER_ENCODING: u16 = 1 << 4;
    const UPGRADE: u16 = 1 << 5;
    const HOP_BY_HOP: u16 = (1 << 6) - 1;
    const COOKIE: u16 = 1 << 6;
    const SET_COOKIE: u16 = 1 << 7;
    const EXPECT: u16 = 1 << 8;

    pub(super) fn of(headers: &HeaderMap) -> Self {
        Seen(headers.keys().fold(0, |seen, name| {
            seen | match name.as_str() {
                "connection" => Self::CONNECTION,
                "keep-alive" => Self::KEEP_ALIVE,
                "proxy-connection" => Self::PROXY_CONNECTION,
                "te" => Self::TE,
                "transfer-encoding" => Self::TRANSFER_ENCODING,
                "upgrade" => Self::UPGRADE,
                "cookie" => Self::COOKIE,
                "set-cookie" => Self::SET_COOKIE,
                "expect" => Self::EXPECT,
                _ => 0,
            }
        }))
    }

    fn any(self, of: u16) -> bool {
        self.0 & of != 0
    }

    /// Whether the body is framed as something other than plain `chunked`, which would be lost on the way.
    pub(super) fn has_unknown_coding(self, headers: &HeaderMap) -> bool {
        self.any(Self::TRANSFER_ENCODING) && {
            let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
            codings.next().is_some_and(|only| !only.as_bytes().eq_ignore_ascii_case(b"chunked"))
                || codings.next().is_some()
        }
    }

    /// Whether the client waits to be told to send the body.
    pub(super) fn expects_continue(self, headers: &HeaderMap) -> bool {
        let continues = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        self.any(Self::EXPECT) && headers.get(header::EXPECT).is_some_and(continues)
    }
}

/// The protocol that the client wants to switch to, when it may: `Connection: upgrade` with a protocol named.
///
/// A switch to another spelling of HTTP would carry requests past the authentication, so those are left out.
pub(super) fn upgrade(seen: Seen, version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    if !seen.any(Seen::UPGRADE) {
        return None;
    }
    let protocol = headers.get(header::UPGRADE)?;
    let http = |p: &str| {
        let name = p.split('/').next().unwrap_or(p).trim();
        ["h2c", "h2", "h3", "http", "tls"].iter().any(|h| name.eq_ignore_ascii_case(h))
    };
    let once = headers.get_all(header::UPGRADE).iter().nth(1).is_none();
    let wanted = version == Version::HTTP_11
        && once
        && tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
        && protocol.to_str().is_ok_and(|list| !list.split(',').any(http));
    wanted.then(|| protocol.clone())
}

/// The request target in origin form, its bytes unchanged, and the host that it names.
///
/// # Errors
/// The request cannot be forwarded without changing its meaning.
pub(super) fn target<B>(request: &Request<B>) -> Result<Option<Authority>, Failure> {
    let (method, uri, headers, version) = (request.method(), request.uri(), request.headers(), request.version());
    if *method == Method::CONNECT {
        return Err(unforwardable("This is no forward proxy: send a request with a path instead of CONNECT."));
    }
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err(Failure::new(Code::DuplicateHeader, "Send one Host header."));
    }
    if uri.scheme().is_some_and(|s| *s != http::uri::Scheme::HTTP && *s != http::uri::Scheme::HTTPS) {
        return Err(unforwardable("Send an http:// target, or the path alone."));
    }
    let path = uri.path();
    if !(path.starts_with('/') || path == "*" && *method == Method::OPTIONS) {
        return Err(unforwardable("The request target must begin with /."));
    }
    match (uri.authority(), headers.get(header::HOST)) {
        (Some(authority), _) if !authority.as_str().contains('@') => Ok(Some(authority.clone())),
        (Some(_), _) => Err(unforwardable("Leave user names out of the request target.")),
        (None, Some(host)) if host.as_bytes().iter().all(|b| is_host_byte(*b)) => Ok(None),
        (None, Some(_)) => Err(unforwardable("The Host header is no host name.")),
        (None, None) if version == Version::HTTP_10 => Ok(None),
        (None, None) => Err(unforwardable("Send a Host header.")),
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:[]%".contains(&byte)
}

/// Leaves scheme and authority out: the app is a server, not a proxy.
pub(super) fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/")));
    Uri::from_parts(parts).unwrap_or_default()
}

fn unforwardable(detail: &str) -> Failure {
    Failure::new(Code::RequestNotForwardable, detail)
}

/// What a request's headers are rewritten for.
pub(super) struct Rewrite<'a> {
    pub(super) seen: Seen,
    pub(super) session: &'a Session,
    pub(super) credential: Option<CredentialHeader>,
    pub(super) peer: &'a Peer,
    /// The host that the request target names, which outranks the `Host` header.
    pub(super) authority: Option<Authority>,
    pub(super) app: &'a App,
    pub(super) upgrade: Option<HeaderValue>,
    pub(super) chunked: bool,
    pub(super) continues: bool,
}

/// Makes a client's headers those that the app gets.
pub(super) fn rewrite_request(headers: &mut HeaderMap, rewrite: Rewrite<'_>) {
    let seen = rewrite.seen;
    let trailers =
        seen.any(Seen::TE) && tokens(headers, &header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    remove_hop_by_hop(seen, headers);
    remove_reserved(headers, rewrite.peer.trusted, &rewrite.app.headers);
    // Authorization is the app's own when the credential came in the other header, unless it is one of ours too.
    let is_ours = |value: &HeaderValue| value.to_str().ok().and_then(bearer).is_some_and(is_credential);
    if rewrite.credential == Some(CredentialHeader::Authorization)
        || headers.get(header::AUTHORIZATION).is_some_and(is_ours)
    {
        headers.remove(header::AUTHORIZATION);
    }
    let is_signed = rewrite.credential == Some(CredentialHeader::Signature);
    if is_signed {
        // With the body's trailers, which are not signed and are dropped.
        SIGNATURE_HEADERS.iter().chain([&header::TRAILER]).for_each(|name| drop(headers.remove(name)));
    }
    // Anybody on the way can add what a signature does not cover.
    if is_signed || !rewrite.session.scope.is_unlimited() {
        let found: Vec<_> = headers.keys().filter(|name| overrides_request(name.as_str())).cloned().collect();
        found.iter().for_each(|name| drop(headers.remove(name)));
    }
    if seen.any(Seen::COOKIE) {
        remove_our_cookie(headers);
    }
    if seen.any(Seen::EXPECT) && !rewrite.continues {
        headers.remove(header::EXPECT);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if rewrite.chunked {
        // Said aloud because hyper takes a GET of unknown length to have no body.
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(protocol) = rewrite.upgrade {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let named = rewrite.authority.and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    if let Some(host) = named {
        headers.insert(header::HOST, host);
    }
    // A client of HTTP/1.0 may name none.
    let host = headers.entry(header::HOST).or_insert_with(|| rewrite.app.host.clone()).clone();
    set_forwarded(headers, rewrite.peer, host);
    for (name, value) in DEVICE.into_iter().zip(&rewrite.session.headers) {
        if !value.is_empty() {
            headers.insert(name, value.clone());
        }
    }
    for (name, value) in &rewrite.app.headers {
        headers.insert(name.clone(), value.clone());
    }
}

fn set_forwarded(headers: &mut HeaderMap, peer: &Peer, host: HeaderValue) {
    if !peer.trusted {
        headers.insert(FORWARDED_FOR, peer.address.clone());
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
        headers.insert(FORWARDED_HOST, host);
        return;
    }
    let mut chain = join(headers, &FORWARDED_FOR, b", ").unwrap_or_default();
    if !chain.is_empty() {
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.address.as_bytes());
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(chain)) {
        headers.insert(FORWARDED_FOR, value);
    }
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    headers.entry(FORWARDED_HOST).or_insert(host);
}

/// Makes an app's headers those that the client gets.
///
/// `names_protocol`: its status is one that says, in `Upgrade`, which protocol to use.
pub(super) fn rewrite_response(seen: Seen, headers: &mut HeaderMap, names_protocol: bool) {
    let upgrade = if names_protocol { headers.get(header::UPGRADE).cloned() } else { None };
    remove_hop_by_hop(seen, headers);
    if let Some(protocol) = upgrade {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let ours = |value: &HeaderValue| is_our_cookie(value.as_bytes());
    if seen.any(Seen::SET_COOKIE) && headers.get_all(header::SET_COOKIE).iter().any(ours) {
        let kept: Vec<_> = headers.get_all(header::SET_COOKIE).iter().filter(|v| !ours(v)).cloned().collect();
        headers.remove(header::SET_COOKIE);
        for value in kept {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

/// Removes what only we may say from a request's trailers.
pub(super) fn clean_trailers(trailers: &mut HeaderMap, configured: &[(HeaderName, HeaderValue)]) {
    remove_reserved(trailers, false, configured);
    trailers.remove(header::AUTHORIZATION);
    trailers.remove(header::COOKIE);
}

/// RFC 9110, 7.6.1: what `Connection` names, and what never goes beyond one hop.
fn remove_hop_by_hop(seen: Seen, headers: &mut HeaderMap) {
    if !seen.any(Seen::HOP_BY_HOP) {
        return;
    }
    if seen.any(Seen::CONNECTION) {
        // These two say nothing about another header, and are all that most messages name.
        let plain = |token: &str| token.eq_ignore_ascii_case("keep-alive") || token.eq_ignore_ascii_case("close");
        let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
            .filter(|token| !plain(token))
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            // A sender may not name these; obeying it would change what is asked, or of whom.
            .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for (bit, name) in [
        (Seen::CONNECTION, header::CONNECTION),
        (Seen::KEEP_ALIVE, KEEP_ALIVE),
        (Seen::PROXY_CONNECTION, PROXY_CONNECTION),
        (Seen::TE, header::TE),
        (Seen::TRANSFER_ENCODING, header::TRANSFER_ENCODING),
        (Seen::UPGRADE, header::UPGRADE),
    ] {
        if seen.any(bit) {
            headers.remove(name);
        }
    }
}

/// Removes names that only we, or for `X-Forwarded-*` only a trusted proxy, may say.
fn remove_reserved(headers: &mut HeaderMap, trusted: bool, configured: &[(HeaderName, HeaderValue)]) {
    let reserved = |name: &&HeaderName| is_reserved(name.as_str(), trusted, configured);
    // Almost always there is none, and then nothing is allocated.
    let found: Vec<HeaderName> = headers.keys().filter(reserved).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

fn is_reserved(name: &str, trusted: bool, configured: &[(HeaderName, HeaderValue)]) -> bool {
    let spelled_otherwise = name.contains('_');
    match name.as_bytes().first() {
        Some(b'x') => {
            starts_alike(name, "x-couplet-")
                || (!trusted || spelled_otherwise) && (starts_alike(name, "x-forwarded-") || alike(name, "x-real-ip"))
                || configured.iter().any(|(ours, _)| alike(name, ours.as_str()))
        }
        Some(b'c') if alike(name, COUPLET_TOKEN.as_str()) => true,
        Some(b'f') if !trusted && name == "forwarded" => true,
        _ => configured.iter().any(|(ours, _)| alike(name, ours.as_str())),
    }
}

/// Whether two names are one to an app that reads every character but letters and digits alike, as CGI and its heirs
/// do. Names in a `HeaderMap` are lower case already.
fn alike(name: &str, ours: &str) -> bool {
    name.len() == ours.len() && starts_alike(name, ours)
}

fn starts_alike(name: &str, prefix: &str) -> bool {
    let plain = |b: u8| if b.is_ascii_alphanumeric() { b } else { b'-' };
    name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(|(a, b)| plain(a) == plain(b))
}

/// Whether it has the form of a credential that we issue.
fn is_credential(token: &str) -> bool {
    is_device_credential(token) || token.starts_with("adm_")
}

fn is_our_cookie(pair: &[u8]) -> bool {
    let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(COOKIE.as_bytes())
}

/// Takes our cookie out and, as HTTP/2 may have split the header, makes it one line.
fn remove_our_cookie(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::COOKIE).iter();
    let Some(first) = values.next() else { return };
    let one = values.next().is_none();
    if one && !first.as_bytes().split(|b| *b == b';').any(is_our_cookie) {
        return;
    }
    let joined = join(headers, &header::COOKIE, b"; ").unwrap_or_default();
    let kept: Vec<&[u8]> = joined.split(|b| *b == b';').filter(|pair| !is_our_cookie(pair)).collect();
    let kept = kept.join(&b';');
    let kept = kept.trim_ascii();
    match HeaderValue::from_bytes(kept) {
        Ok(value) if !kept.is_empty() => drop(headers.insert(header::COOKIE, value)),
        _ => drop(headers.remove(header::COOKIE)),
    }
}

fn join(headers: &HeaderMap, name: &HeaderName, separator: &[u8]) -> Option<Vec<u8>> {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    (!values.is_empty()).then(|| values.join(separator))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn a_relay_makes_nobody_a_neighbour() {
        let seen_as = |text: &str| Peer::relayed(text.parse().unwrap()).address;
        assert_eq!(seen_as("192.0.2.1"), "192.0.2.1");
        for text in ["127.0.0.1", "192.168.1.2", "::1", "::ffff:10.0.0.1", "0.0.0.0"] {
            assert_eq!(seen_as(text), "unknown", "{text}");
        }
    }

    #[test]
    fn every_spelling_of_our_names_is_reserved() {
        for name in
            ["x-couplet-device-id", "x_couplet_device_id", "x-couplet_anything", "couplet_token", "x_forwarded_for"]
        {
            assert!(is_reserved(name, true, &[]), "{name}");
        }
        for name in ["x-forwarded-for", "x-forwarded-port", "forwarded", "x-real-ip"] {
            assert!(is_reserved(name, false, &[]) && !is_reserved(name, true, &[]), "{name}");
        }
        let configured = [(HeaderName::from_static("app-secret"), HeaderValue::from_static("s"))];
        assert!(is_reserved("app_secret", false, &configured));
        for name in ["x-couplet", "x-coupletx", "accept", "x-forwarded", "cookie", "couplet-tokens"] {
            assert!(!is_reserved(name, false, &configured), "{name}");
        }
    }

    #[test]
    fn our_cookie_is_taken_out_wherever_it_stands() {
        for (sent, kept) in [
            ("couplet_session=a", None),
            ("a=1; couplet_session=x; b=2", Some("a=1; b=2")),
            ("couplet_session=x;b=2", Some("b=2")),
            ("b=2; Couplet_Session =x", Some("b=2")),
            ("b=couplet_session", Some("b=couplet_session")),
        ] {
            let mut headers = map(&[("cookie", sent)]);
            remove_our_cookie(&mut headers);
            assert_eq!(headers.get("cookie").map(|v| v.to_str().unwrap()), kept, "{sent}");
        }
        let mut split = map(&[("cookie", "a=1"), ("cookie", "couplet_session=x"), ("cookie", "b=2")]);
        remove_our_cookie(&mut split);
        assert_eq!(split.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn connection_cannot_name_host_or_length_away() {
        let mut headers =
            map(&[("connection", "Host, content-length, x-a, close"), ("host", "h"), ("x-a", "1"), ("x-b", "1")]);
        remove_hop_by_hop(Seen::of(&headers), &mut headers);
        assert_eq!(headers, map(&[("host", "h"), ("x-b", "1")]));
    }

    #[test]
    fn an_upgrade_that_is_http_again_is_none() {
        let with = |protocol| map(&[("connection", "keep-alive, Upgrade"), ("upgrade", protocol)]);
        let from = |version, headers: HeaderMap| upgrade(Seen::of(&headers), version, &headers);
        assert!(from(Version::HTTP_11, with("websocket")).is_some());
        assert!(from(Version::HTTP_10, with("websocket")).is_none());
        assert!(from(Version::HTTP_11, map(&[("upgrade", "websocket")])).is_none());
        for protocol in ["h2c", "websocket, H2C", "HTTP/2.0", "TLS/1.2"] {
            assert!(from(Version::HTTP_11, with(protocol)).is_none(), "{protocol}");
        }
    }
}
