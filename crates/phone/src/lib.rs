//! The phone's web client (`packages/phone/dist`), as answers to requests: the client's pages on their own origin, and on the
//! origin of each app the few files that join it to them (ARCHITECTURE.md, "Inside the phone's client").

pub mod certificate;
mod files;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY};
use http::header::{LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use self::files::{File, Folder};

/// How long the label of an app's origin is: 128 bits and more, in base32.
const LABEL: usize = 26;

/// Whether apps can be shown below this domain by who is called by these names, `name[:port]`.
///
/// # Errors
/// Says what to write instead.
pub fn check_apps_domain<'a>(domain: &str, own: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let is_label = |label: &str| {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    if domain.len() > 200 || !domain.contains('.') || !domain.split('.').all(is_label) {
        let next = "write it as apps.relay.example, in small letters, without a port and without *";
        return Err(format!("{domain:?} cannot be used: {next}"));
    }
    // Else a label could be the server's own name, and its pages those of an app.
    for name in own {
        let host = name.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if host.strip_suffix(domain).is_some_and(|above| above.is_empty() || above.ends_with('.')) {
            return Err(format!("{host} must not be below {domain}: take a domain beside or below it"));
        }
    }
    Ok(())
}

/// The client of one server.
#[derive(Debug)]
pub struct Phone {
    client: Site,
    /// The apps' origins; without a domain for them none is shown.
    apps: Option<Apps>,
}

/// What is served on one kind of origin.
#[derive(Debug)]
struct Site {
    folder: Folder,
    config: File,
    policy: HeaderValue,
}

#[derive(Debug)]
struct Apps {
    domain: String,
    site: Site,
}

impl Phone {
    /// The client on this origin, `https://name[:port]`, with apps one label below `apps_domain`, on the same port.
    /// Where either is no name, the pages may load nothing.
    #[must_use]
    pub fn new(client: &str, apps_domain: Option<&str>) -> Self {
        let port = client.rsplit_once(':').map_or("", |(_, port)| if port.starts_with('/') { "" } else { port });
        let colon = if port.is_empty() { "" } else { ":" };
        let origins = apps_domain.map(|domain| format!("https://*.{domain}{colon}{port}"));
        let frames = origins.as_deref().unwrap_or("'none'");
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
             media-src 'self' blob:; connect-src 'self' https: wss:; frame-src {frames}; worker-src 'self'; \
             manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        );
        let own = Site::new(Folder::client(), &serde_json::json!({ "apps": origins }), &policy);
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; \
             frame-ancestors {client}; base-uri 'none'; form-action 'none'"
        );
        let site = || Site::new(Folder::app(), &serde_json::json!({ "client": client }), &policy);
        let apps = apps_domain.map(|domain| Apps { domain: domain.to_ascii_lowercase(), site: site() });
        Phone { client: own, apps }
    }

    /// Whether this `Host` is the origin of an app, which nothing else of the server may answer on; of none where it is
    /// below the apps' domain, and no client made it.
    #[must_use]
    pub fn is_app(&self, host: &str) -> Option<bool> {
        let domain = &self.apps.as_ref()?.domain;
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
        // The same name, written in full (RFC 1034, 3.1): an origin of its own for a browser.
        let name = name.strip_suffix('.').unwrap_or(&name);
        let label = name.strip_suffix(domain.as_str())?;
        let label = if label.is_empty() { label } else { label.strip_suffix('.')? };
        let is_made = label.len() == LABEL && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
        Some(is_made)
    }

    /// `GET` of this path, `/p` or below, on the client's origin.
    #[must_use]
    pub fn client(&self, path: &str, headers: &HeaderMap) -> Response<Bytes> {
        let site = &self.client;
        let name = match path {
            // A link is read by a camera, in capitals, and typed by people. Browsers keep what stands behind `#`.
            "/P" | "/P/" | "/p/" => return moved("/p"),
            "/p" => "index.html",
            _ => path.strip_prefix("/p/").unwrap_or_default(),
        };
        let mut answer = match site.find(name) {
            Some(file) => file.answer(headers),
            None => empty(StatusCode::NOT_FOUND),
        };
        let more = answer.headers_mut();
        more.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
        more.insert("permissions-policy", HeaderValue::from_static("camera=(self)"));
        if name == "worker.js" {
            more.insert(WORKER_SCOPE, HeaderValue::from_static("/p"));
        }
        site.guard(answer)
    }

    /// `GET` of this path on an app's origin: what is not the client's own is the app's, and comes through its worker, so
    /// here it is a page that says so.
    #[must_use]
    pub fn app(&self, path: &str, headers: &HeaderMap) -> Response<Bytes> {
        let Some(Apps { site, .. }) = &self.apps else { return empty(StatusCode::MISDIRECTED_REQUEST) };
        let name = match path.strip_prefix("/.couplet/") {
            Some("keeper") => "keeper.html",
            // Pages have no names of their own there.
            Some(name) if !name.ends_with(".html") => name,
            _ => "",
        };
        let mut answer = match (site.find(name), site.find("stray.html")) {
            (Some(file), _) => file.answer(headers),
            (None, Some(stray)) => {
                let mut answer = stray.answer(&HeaderMap::new());
                *answer.status_mut() = StatusCode::NOT_FOUND;
                answer
            }
            (None, None) => empty(StatusCode::NOT_FOUND),
        };
        if name == "worker.js" {
            answer.headers_mut().insert(WORKER_SCOPE, HeaderValue::from_static("/"));
        }
        site.guard(answer)
    }
}

/// How far above its own folder a service worker may reach (Service Workers, "Service-Worker-Allowed").
const WORKER_SCOPE: HeaderName = HeaderName::from_static("service-worker-allowed");

impl Site {
    fn new(folder: Folder, config: &serde_json::Value, policy: &str) -> Self {
        let config = File::new("application/json", Bytes::from(config.to_string()));
        let policy = HeaderValue::from_str(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
        Site { folder, config, policy }
    }

    fn find(&self, name: &str) -> Option<&File> {
        if name == "config.json" { Some(&self.config) } else { self.folder.find(name) }
    }

    fn guard(&self, mut answer: Response<Bytes>) -> Response<Bytes> {
        let headers = answer.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        // Apps and client are of one site: they need not share a process (HTML, 7.1.1).
        headers.insert("origin-agent-cluster", HeaderValue::from_static("?1"));
        answer
    }
}

impl File {
    fn answer(&self, headers: &HeaderMap) -> Response<Bytes> {
        let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known == self.tag());
        let mut answer = if known { empty(StatusCode::NOT_MODIFIED) } else { Response::new(self.bytes()) };
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(ETAG, self.tag().clone());
        answer
    }
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = status;
    answer
}

fn moved(to: &'static str) -> Response<Bytes> {
    let mut answer = empty(StatusCode::PERMANENT_REDIRECT);
    answer.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELLED: &str = "abcdefghijklmnopqrstuvwxyz.apps.example:8442";

    fn phone() -> Phone {
        Phone::new("https://relay.example:8442", Some("apps.example"))
    }

    fn policy(answer: &Response<Bytes>) -> &str {
        answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap()
    }

    #[test]
    fn an_origin_is_an_apps_by_its_label_alone() {
        let phone = phone();
        assert_eq!(phone.is_app(LABELLED), Some(true));
        assert_eq!(phone.is_app(&LABELLED.to_ascii_uppercase()), Some(true));
        assert_eq!(phone.is_app(&LABELLED.replace(":8442", ".:8442")), Some(true));
        for other in ["x.apps.example", "apps.example", "a.abcdefghijklmnopqrstuvwxyz.apps.example", ".apps.example"] {
            assert_eq!(phone.is_app(other), Some(false), "{other}");
        }
        for other in ["relay.example:8442", "xapps.example", "apps.example.org", "", ":", "é.example"] {
            assert_eq!(phone.is_app(other), None, "{other}");
        }
        assert_eq!(Phone::new("https://relay.example", None).is_app(LABELLED), None);
    }

    #[test]
    fn each_origin_has_its_own_files_and_nothing_of_the_other() {
        let (phone, none) = (phone(), HeaderMap::new());
        let page = phone.client("/p", &none);
        assert!(page.status() == StatusCode::OK && page.headers()[CONTENT_TYPE] == "text/html; charset=utf-8");
        assert!(policy(&page).contains("frame-src https://*.apps.example:8442;"), "{}", policy(&page));
        for path in ["/P", "/P/", "/p/"] {
            assert_eq!(phone.client(path, &none).headers()[LOCATION], "/p");
        }
        assert_eq!(phone.client("/p/worker.js", &none).headers()[&WORKER_SCOPE], "/p");
        let config = phone.client("/p/config.json", &none);
        assert_eq!(config.body().as_ref(), br#"{"apps":"https://*.apps.example:8442"}"#);
        for path in ["/p/keeper.js", "/p/../p", "/p/index.html/", "/pair", "/p/stray.html"] {
            assert_eq!(phone.client(path, &none).status(), StatusCode::NOT_FOUND, "{path}");
        }
        let keeper = phone.app("/.couplet/keeper", &none);
        assert_eq!(keeper.status(), StatusCode::OK);
        assert!(policy(&keeper).contains("frame-ancestors https://relay.example:8442;"), "{}", policy(&keeper));
        assert_eq!(phone.app("/.couplet/worker.js", &none).headers()[&WORKER_SCOPE], "/");
        let config = phone.app("/.couplet/config.json", &none);
        assert_eq!(config.body().as_ref(), br#"{"client":"https://relay.example:8442"}"#);
        for path in
            ["/", "/index.html", "/.couplet/", "/.couplet/phone.js", "/.couplet/keeper.html", "/p", "/worker.js"]
        {
            let stray = phone.app(path, &none);
            assert_eq!(stray.status(), StatusCode::NOT_FOUND, "{path}");
            assert!(!stray.headers().contains_key(&WORKER_SCOPE) && !stray.body().is_empty(), "{path}");
        }
        let relayless = Phone::new("https://relay.example", None).client("/p/config.json", &none);
        assert_eq!(relayless.body().as_ref(), br#"{"apps":null}"#);
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let (phone, mut headers) = (phone(), HeaderMap::new());
        let first = phone.client("/p/phone.js", &headers);
        assert!(first.status() == StatusCode::OK && !first.body().is_empty());
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        let second = phone.client("/p/phone.js", &headers);
        assert!(second.status() == StatusCode::NOT_MODIFIED && second.body().is_empty());
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("\"0\""));
        assert_eq!(phone.client("/p/phone.js", &headers).status(), StatusCode::OK);
    }
}
