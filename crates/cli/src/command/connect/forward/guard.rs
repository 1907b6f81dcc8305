//! Which requests are forwarded. What listens on this machine's loopback acts for this device, and a browser lets any
//! web page call it: so a request must call the forwarder by its own address, which no page of others can have, and must
//! not come from a page of another site.

use std::net::SocketAddr;

use couplet_protocol::Code;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, Method, Uri, header, uri};

use super::super::place::Place;
use super::refusal::Refusal;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// What the forwarder is called.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Names {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Whether it goes by `localhost`, too. Not where the address is the app's own: cookies go by names, and that one
    /// would be shared by all.
    pub(super) localhost: bool,
}

impl Names {
    /// Those of what listens there.
    ///
    /// # Errors
    /// The system does not say where it listens.
    pub(in super::super) fn of(place: &Place) -> std::io::Result<Self> {
        Ok(Names { address: place.listener.local_addr()?, localhost: place.is_localhost })
    }

    /// Where programs find it.
    pub(in super::super) fn url(self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether a `Host` is one of them, with the port: no web page can have such a name, whatever DNS says.
    fn hold(self, name: &str) -> bool {
        let port = self.address.port();
        let is = |own: &str| {
            let rest = name.get(..own.len()).filter(|host| host.eq_ignore_ascii_case(own)).map(|_| &name[own.len()..]);
            rest.is_some_and(|rest| {
                rest.strip_prefix(':').map_or(rest.is_empty() && port == 80, |is| is == port.to_string())
            })
        };
        let ip = match self.address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        };
        is(&ip) || self.localhost && is("localhost")
    }

    fn told(self) -> String {
        let also = if self.localhost { format!(" or http://localhost:{}", self.address.port()) } else { String::new() };
        format!("It is at {}{also}, and goes by no other name.", self.url())
    }
}

/// The request's target for the app: the authority is the `Host` that the program sent, the rest is as it came.
pub(super) fn check(head: &Parts, names: Names) -> Result<Uri, Refusal> {
    let authority = authority(head, names)?;
    same_site(head, &authority)?;
    if head.method == Method::CONNECT {
        return Err(unforwardable("This is no forward proxy: send a request with a path instead of CONNECT."));
    }
    // A coding besides chunked would be lost on the way.
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(unforwardable("Send the body with Content-Length, or chunked and nothing else."));
    }
    let path = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    if !(path.as_str().starts_with('/') || path == "*" && head.method == Method::OPTIONS) {
        return Err(unforwardable("The request target must begin with /."));
    }
    let mut parts = uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| unforwardable("The request target cannot be read."))
}

/// `Host`, or the target's own host, which outranks it (RFC 9112, 3.2.2): both must be ours.
fn authority(head: &Parts, names: Names) -> Result<Authority, Refusal> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::new(Code::DuplicateHeader, "Send one Host header."));
    }
    let text = host.map(|host| host.to_str().unwrap_or_default());
    let named = [head.uri.authority().map(Authority::as_str), text];
    if named.iter().flatten().any(|name| !names.hold(name)) || named == [None, None] {
        return Err(Refusal::new(Code::HostNotAllowed, names.told()));
    }
    let chosen = named.iter().flatten().next().and_then(|name| Authority::try_from(*name).ok());
    chosen.ok_or_else(|| unforwardable("The Host header is no host name."))
}

/// Refuses what a page of another site sends: all but opening a page, which shows nothing to the other site.
///
/// `Sec-Fetch-Site` cannot be forged by a page. Old browsers do not send it, and some not with WebSockets: then
/// `Origin` counts. Other programs send neither.
fn same_site(head: &Parts, authority: &Authority) -> Result<(), Refusal> {
    let only = |name: &HeaderName| {
        let mut values = head.headers.get_all(name).iter();
        let first = values.next().map(http::HeaderValue::as_bytes);
        // Two would be a trick.
        if values.next().is_some() { Some(&b"several"[..]) } else { first }
    };
    let is_foreign = match only(&SEC_FETCH_SITE) {
        Some(b"same-origin" | b"none") => false,
        Some(_) => true,
        None => only(&header::ORIGIN).is_some_and(|origin| !is_origin(origin, authority)),
    };
    let opens_page = head.method == Method::GET
        && only(&SEC_FETCH_MODE) == Some(b"navigate")
        && only(&SEC_FETCH_DEST) == Some(b"document");
    match is_foreign && !opens_page {
        true => Err(Refusal::new(Code::ForeignPage, "Open the address itself; pages of other sites cannot use it.")),
        false => Ok(()),
    }
}

fn is_origin(origin: &[u8], authority: &Authority) -> bool {
    let host = origin.strip_prefix(b"http://").unwrap_or_default();
    // Browsers leave the usual port out, in both.
    let bare = authority.as_str().strip_suffix(":80").unwrap_or(authority.as_str());
    host.eq_ignore_ascii_case(authority.as_str().as_bytes()) || host.eq_ignore_ascii_case(bare.as_bytes())
}

/// Removes the headers that `Connection` names: they end here (RFC 9110, 7.6.1). The fixed ones the client removes.
pub(super) fn remove_nominated(headers: &mut HeaderMap) {
    let named = |value: &http::HeaderValue| -> Vec<HeaderName> {
        let tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok()).collect()
    };
    let nominated: Vec<HeaderName> = headers.get_all(header::CONNECTION).iter().flat_map(named).collect();
    for name in nominated {
        // `Connection: te` is how trailers are asked for, and what becomes of it is the client's to say.
        if name != header::TE {
            headers.remove(name);
        }
    }
}

fn unforwardable(detail: &str) -> Refusal {
    Refusal::new(Code::RequestNotForwardable, detail)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(target: &str, headers: &[(&str, &str)]) -> Result<Uri, Code> {
        checked_at(Names { address: "127.0.0.1:7890".parse().unwrap(), localhost: true }, target, headers)
    }

    fn checked_at(names: Names, target: &str, headers: &[(&str, &str)]) -> Result<Uri, Code> {
        let (method, target) = target.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&head, names).map_err(|refusal| refusal.code())
    }

    #[test]
    fn the_host_is_this_machine_and_reaches_the_app_as_sent() {
        for host in ["127.0.0.1:7890", "localhost:7890", "LocalHost:7890"] {
            let target = checked("GET /a?b=c", &[("host", host)]).unwrap();
            assert_eq!(target.to_string(), format!("http://{host}/a?b=c"));
        }
        let target = checked("GET http://localhost:7890/x", &[("host", "127.0.0.1:7890")]).unwrap();
        assert_eq!(target.authority().unwrap(), "localhost:7890");
        assert_eq!(checked("OPTIONS *", &[("host", "localhost:7890")]).unwrap().path(), "*");
    }

    #[test]
    fn an_apps_own_address_is_its_only_name() {
        let status = |at: &str, localhost, host| {
            let names = Names { address: at.parse().unwrap(), localhost };
            checked_at(names, "GET /", &[("host", host)]).map(drop)
        };
        let own = "127.70.1.2:7890";
        assert_eq!(status(own, false, own), Ok(()));
        for host in
            ["localhost:7890", "127.0.0.1:7890", "127.70.1.3:7890", "127.70.1.2:7891", "127.70.1.2", "[::1]:7890"]
        {
            assert_eq!(status(own, false, host), Err(Code::HostNotAllowed), "{host}");
        }
        assert_eq!(status("[::1]:7890", true, "[::1]:7890"), Ok(()));
        assert_eq!(status("[::1]:7890", true, "127.0.0.1:7890"), Err(Code::HostNotAllowed));
        assert_eq!(status("127.0.0.1:80", true, "localhost"), Ok(()));
        assert_eq!(status("127.0.0.1:80", true, "127.0.0.1:80"), Ok(()));
    }

    #[test]
    fn every_other_name_is_misdirected() {
        for host in [
            "",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1:78900",
            "127.0.0.2:7890",
            "evil.example:7890",
            "localhost",
            "localhost.:7890",
            "localhost.evil.example:7890",
            "user@127.0.0.1:7890",
            "couplet.internal",
            "[::1]",
            "[::1]:7890",
            "é.0.0.1:7890",
            "127.0.0.1:07890",
            "127.0.0.1:",
            "127.0.0.1:7890:7890",
            "127.1:7890",
            "[::ffff:127.0.0.1]:7890",
        ] {
            assert_eq!(checked("GET /", &[("host", host)]), Err(Code::HostNotAllowed), "{host}");
        }
        assert_eq!(checked("GET /", &[]), Err(Code::HostNotAllowed));
        let named = [("host", "localhost:7890")];
        assert_eq!(checked("GET http://evil.example/", &named), Err(Code::HostNotAllowed));
        let two = [("host", "localhost:7890"), ("host", "localhost:7890")];
        assert_eq!(checked("GET /", &two), Err(Code::DuplicateHeader));
        assert_eq!(checked("CONNECT localhost:7890", &named), Err(Code::RequestNotForwardable));
        let coded = [("host", "localhost:7890"), ("transfer-encoding", "gzip, chunked")];
        assert_eq!(checked("POST /", &coded), Err(Code::RequestNotForwardable));
    }

    #[test]
    fn pages_of_other_sites_may_open_a_page_and_nothing_else() {
        const HOST: (&str, &str) = ("host", "localhost:7890");
        let fetch = |method: &str, site, mode, dest| {
            let headers = [HOST, ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
            checked(&format!("{method} /"), &headers).map(drop)
        };
        for site in ["same-origin", "none"] {
            assert_eq!(fetch("POST", site, "cors", "empty"), Ok(()));
        }
        for site in ["same-site", "cross-site", "Same-Origin", ""] {
            assert_eq!(fetch("GET", site, "navigate", "document"), Ok(()), "{site}");
            for (method, mode, dest) in [
                ("POST", "navigate", "document"),
                ("HEAD", "navigate", "document"),
                ("GET", "navigate", "iframe"),
                ("GET", "no-cors", "image"),
                ("GET", "cors", "empty"),
                ("GET", "websocket", "websocket"),
            ] {
                assert_eq!(fetch(method, site, mode, dest), Err(Code::ForeignPage), "{site} {method} {mode} {dest}");
            }
        }
        let twice = [HOST, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")];
        assert_eq!(checked("GET /", &twice), Err(Code::ForeignPage));
    }

    #[test]
    fn without_sec_fetch_site_the_origin_counts() {
        let from = |origin| checked("GET /ws", &[("host", "localhost:7890"), ("origin", origin)]).map(drop);
        assert_eq!(from("http://localhost:7890"), Ok(()));
        for origin in ["http://evil.example", "null", "", "http://localhost:7891", "https://localhost:7890"] {
            assert_eq!(from(origin), Err(Code::ForeignPage), "{origin}");
        }
    }

    #[test]
    fn headers_that_connection_names_end_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "x-hop, TE ,close"), ("x-hop", "1"), ("te", "trailers"), ("x-end", "2")] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        remove_nominated(&mut headers);
        assert!(!headers.contains_key("x-hop") && headers.contains_key("te") && headers.contains_key("x-end"));
    }
}
