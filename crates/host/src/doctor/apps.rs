//! The apps behind the gateway: whether they answer, and whether what they answer leads a device anywhere.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use couplet_protocol::Code;
use couplet_protocol::api::{Finding, Part};
use futures_util::future::join_all;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::http::{Answer, Trouble, fetch};
use super::{Patient, failed, ok, skipped, warning};
use crate::config::Upstream;
use crate::listen::Place;
use crate::net;

const PART: Part = Part::Apps;
/// How many redirects within the app are followed.
const HOPS: usize = 3;
/// How much of a path is shown, in characters.
const SHOWN: usize = 80;
/// The longest that connecting may take here, whatever the setting says.
const CONNECT: Duration = Duration::from_secs(5);

pub(super) async fn look(patient: Patient<'_>) -> Vec<Finding> {
    let upstreams = match patient.config.checked() {
        Ok(upstreams) => upstreams,
        Err(error) => {
            let finding = failed(PART, "The settings cannot be used").because(format!("{error}."));
            return vec![finding.run("couplet config show --origin").see(Code::ConfigInvalid)];
        }
    };
    if upstreams.is_empty() {
        let finding = skipped(PART, "No app is behind the gateway");
        return vec![finding.then("Name one: couplet serve http://127.0.0.1:3000.").run("couplet serve --help")];
    }
    join_all((0..).zip(&upstreams).map(|(number, upstream)| one(patient, number, upstream))).await
}

async fn one(patient: Patient<'_>, number: u16, upstream: &Upstream) -> Finding {
    let host = called(patient, number, upstream);
    let within = Duration::from_secs(patient.config.limits.upstream_connect_seconds).min(CONNECT);
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/html, */*"));
    headers.extend(upstream.headers.iter().cloned());
    let mut path = "/".to_owned();
    for _ in 0..=HOPS {
        match fetch(&upstream.authority, &host, &path, headers.clone(), within).await {
            Err(trouble) => return no_answer(upstream, &trouble),
            Ok(answer) => match Leads::of(&answer, &host, &path) {
                Leads::On(next) => path = next,
                Leads::Home(to) => return home(upstream, &host, &to),
                Leads::Nowhere | Leads::Elsewhere => return answered(upstream, answer.status),
            },
        }
    }
    let found = format!("{} redirects again and again, last to {}", named(upstream), shown(&path));
    let cause = "Behind a gateway it may miss a header that tells how it is called.";
    warning(PART, found).about(&upstream.name).because(cause).run(curl(upstream))
}

/// A path as it is shown: what follows the `?` may be a secret of the app, and may be long.
fn shown(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.chars().take(SHOWN).collect()
}

/// How a device calls the app: what the gateway hands on as `Host`.
fn called(patient: Patient<'_>, number: u16, upstream: &Upstream) -> String {
    let bound = match patient.core {
        Some(core) => core.addresses().apps.into_iter().find(|(name, _)| *name == upstream.name).map(|(_, at)| at),
        None => Some(Place::of_app(patient.config, number).addresses()),
    };
    let first = bound.and_then(|bound| net::reachable(&bound).first().copied()).filter(|at| at.port() != 0);
    first.map_or_else(|| upstream.authority.clone(), |at: SocketAddr| at.to_string())
}

fn named(upstream: &Upstream) -> String {
    format!("The app {:?} at {}", upstream.name, upstream.authority)
}

fn curl(upstream: &Upstream) -> String {
    format!("curl -v http://{}/", upstream.authority)
}

fn no_answer(upstream: &Upstream, trouble: &Trouble) -> Finding {
    let named = named(upstream);
    let finding = match trouble {
        Trouble::Connect(error) => failed(PART, format!("{named} does not answer"))
            .because(format!("No connection: {error}."))
            .then("Start it; or is its address another one? In a container it must publish its port to 127.0.0.1.")
            .see(Code::UpstreamDown),
        Trouble::Silent => failed(PART, format!("{named} takes the connection and says nothing for 5 s"))
            .because("It is busy, hangs, or waits for TLS: the gateway speaks plain HTTP with apps.")
            .then("Look at its log.")
            .see(Code::UpstreamSlow),
        Trouble::Broken(error) => failed(PART, format!("{named} answers what is no HTTP, or breaks off"))
            .because(format!("{error}. An app that wants TLS does so: the gateway speaks plain HTTP with apps."))
            .then("Look at its log.")
            .see(Code::UpstreamBroken),
    };
    finding.about(&upstream.name).run(curl(upstream))
}

fn answered(upstream: &Upstream, status: StatusCode) -> Finding {
    let found = format!("{} answers, with status {}", named(upstream), status.as_u16());
    let finding = match status.is_server_error() {
        true => warning(PART, found).because("It fails by itself.").then("Look at its log.").run(curl(upstream)),
        false => ok(PART, found),
    };
    finding.about(&upstream.name)
}

fn home(upstream: &Upstream, host: &str, to: &str) -> Finding {
    let finding = failed(PART, format!("{} sends devices to {to}", named(upstream)));
    let cause = "On a device that is the device itself, where nothing answers. The app makes its addresses of a setting of its \
                 own, not of the Host header that the request came with.";
    let next = "Tell the app under which address it is called (often named base URL, root URL or public URL), or to trust the \
                headers Host and X-Forwarded-Host.";
    finding
        .about(&upstream.name)
        .because(cause)
        .then(next)
        .run(format!("curl -sI -H 'Host: {host}' http://{}/", upstream.authority))
        .see(Code::UpstreamLocal)
}

/// Where a redirect leads.
#[derive(Debug, PartialEq, Eq)]
enum Leads {
    /// There is none.
    Nowhere,
    /// To another path of the app.
    On(String),
    /// To whoever follows it.
    Home(String),
    /// To another server.
    Elsewhere,
}

impl Leads {
    fn of(answer: &Answer, host: &str, path: &str) -> Self {
        let to = answer.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
        let (true, Some(to)) = (answer.status.is_redirection(), to) else { return Leads::Nowhere };
        Self::to(to, host, path)
    }

    fn to(to: &str, host: &str, path: &str) -> Self {
        // RFC 3986, 4.2: with two slashes another server is named.
        let absolute = if to.starts_with("//") { format!("http:{to}") } else { to.to_owned() };
        match absolute.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned().map(|authority| (uri, authority))) {
            Some((uri, authority)) if authority.as_str().eq_ignore_ascii_case(host) => {
                Leads::On(uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string))
            }
            Some((_, authority)) if is_of_whoever_asks(&authority) => Leads::Home(format!("http://{authority}")),
            Some(_) => Leads::Elsewhere,
            None if to.starts_with('/') => Leads::On(to.to_owned()),
            None => Leads::On(format!("{}/{to}", path.rsplit_once('/').map_or("", |(folder, _)| folder))),
        }
    }
}

/// Whether a name or address means the machine that uses it.
fn is_of_whoever_asks(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let is_name = host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
    is_name || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_without_what_may_be_a_secret() {
        assert_eq!(shown("/login?token=canary"), "/login");
        assert_eq!(shown("/a#canary"), "/a");
        assert_eq!(shown(&"/é".repeat(100)).chars().count(), SHOWN);
    }

    #[test]
    fn a_redirect_leads_on_home_or_elsewhere() {
        let host = "192.168.1.42:7879";
        let to = |text: &str| Leads::to(text, host, "/a/b?c");
        for (text, path) in [
            ("/login", "/login"),
            ("login?next=%2F", "/a/login?next=%2F"),
            ("http://192.168.1.42:7879/lab?", "/lab?"),
            ("//192.168.1.42:7879", "/"),
        ] {
            assert_eq!(to(text), Leads::On(path.to_owned()), "{text}");
        }
        for text in [
            "http://localhost:3000/login",
            "https://LOCALHOST/",
            "http://127.0.0.1:3000",
            "//[::1]:3000/x",
            "http://app.localhost/",
            "http://0.0.0.0:3000/",
        ] {
            assert!(matches!(to(text), Leads::Home(_)), "{text}");
        }
        assert_eq!(to("https://login.example/"), Leads::Elsewhere);
        // A host on loopback alone is called so: that its app says the same is right.
        assert_eq!(Leads::to("http://127.0.0.1:7879/x", "127.0.0.1:7879", "/"), Leads::On("/x".to_owned()));
    }
}
