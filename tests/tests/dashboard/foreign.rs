//! Pages of others in the browser that has the dashboard open: of another site, of another port of the host, of an app
//! behind the gateway. They get nothing and change nothing, and no app is sent the dashboard's cookie.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Html;
use couplet_protocol::api::AuditList;
use e2e::host::PATIENCE;
use e2e::{Browser, Dashboard, Forwarder, Laptop, Running, Signer, TestHost};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A web server of somebody else's, which remembers the cookies that it is sent.
struct Foreign {
    port: u16,
    cookies: Arc<Mutex<Vec<Option<String>>>>,
    server: JoinHandle<()>,
}

impl Foreign {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cookies = Arc::new(Mutex::new(Vec::new()));
        let page = async |State(seen): State<Arc<Mutex<Vec<Option<String>>>>>, request: Request| {
            let cookie = request.headers().get("cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
            seen.lock().unwrap().push(cookie);
            Html("<!doctype html><title>Free cats</title><body>cats")
        };
        let routes = Router::new().fallback(page).with_state(Arc::clone(&cookies));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Foreign { port, cookies, server }
    }

    /// The cookies of the requests since the last call.
    fn cookies(&self) -> Vec<Option<String>> {
        std::mem::take(&mut self.cookies.lock().unwrap())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Asks each route for what its method is, in each way that a page has; returns what it could read, and how often it
/// tried.
const ATTEMPTS: &str = "
    const frame = name => document.body.appendChild(Object.assign(document.createElement('iframe'), { name }));
    const tried = [], read = [];
    const attempt = (url, init) => tried.push(fetch(url, { credentials: 'include', ...init })
        .then(answer => answer.type === 'opaque' || read.push(`${init.method} ${url}`), () => {}));
    for (const [method, path] of argument.routes) {
        const url = argument.base + path;
        const body = method === 'GET' ? undefined : '{}';
        attempt(url, { method, body, headers: { 'content-type': 'application/json' } });
        attempt(url, { method, body, headers: { 'couplet-page': 'pag_guess' } });
        if (method === 'GET' || method === 'POST') {
            attempt(url, { method, body });
            attempt(url, { method, body, mode: 'no-cors' });
            frame(method + path);
            const form = Object.assign(document.createElement('form'), { method, action: url, target: method + path });
            document.body.appendChild(form).submit();
        }
        if (method === 'GET') tried.push(new Promise(done => {
            const image = Object.assign(new Image(), { src: url });
            image.onload = () => done(read.push(`image ${url}`));
            image.onerror = done;
        }));
    }
    tried.push(new Promise(done => {
        const events = new EventSource(argument.base + '/api/pair/events', { withCredentials: true });
        events.onopen = () => done(read.push('events'));
        events.onerror = () => done(events.close());
    }));
    tried.push(new Promise(done => {
        const socket = new WebSocket(argument.base.replace('http', 'ws') + '/api/pair/tunnel');
        socket.onopen = () => done(read.push('tunnel'));
        socket.onerror = done;
    }));
    await Promise.all(tried);
    if (document.cookie.includes('couplet')) read.push(document.cookie);
    if (localStorage.length > 0) read.push('the key of the page');
    return { read, tried: tried.length };";

/// A laptop that is let in by its check code, and the app at its own address there.
async fn laptop(host: &TestHost, laptop: &Laptop) -> Forwarder {
    let link = host.generate().await.link;
    let running = Running::start(laptop.command(&[&link, "--json", "--listen", "127.0.0.1:0"]));
    let line = running.wait_for_line(PATIENCE, |line| line.contains("check_code")).await;
    let code = serde_json::from_str::<Value>(&line).unwrap()["check_code"].take();
    let path = format!("/api/pair/pairings/{}/approve", waiting(host).await);
    let answer = host.owner().post(&path).json(&json!({ "check_code": code })).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let mut forwarder = Forwarder::ready(running).await;
    forwarder.state("direct").await;
    forwarder
}

/// The id of the claim that waits.
async fn waiting(host: &TestHost) -> String {
    let list: Value = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
    let waits = list["pairings"].as_array().unwrap().iter().find(|pairing| pairing["state"] == "approval");
    waits.expect("one waits")["id"].as_str().unwrap().to_owned()
}

/// What a page could have changed: everything that is written down, which is all that changes anything.
async fn standing(host: &TestHost) -> (usize, String) {
    let audit: AuditList = host.owner().expect(Method::GET, "/api/audit", 200, None).await;
    let pairings: Value = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
    (audit.entries.len(), pairings.to_string())
}

/// A watch that is paired, by its owner's yes.
async fn watch(host: &TestHost) -> String {
    let (key, info) = (Signer::start().key(), e2e::watch::pairing_info(host).await);
    let mut body = key.registration(&info.nonce, "Watch");
    let waits: Value = host.anyone().expect(Method::POST, "/watch/devices", 202, Some(body.clone())).await;
    let approve = format!("/api/pair/pairings/{}/approve", info.offer_id);
    assert!(host.owner().post(&approve).send().await.unwrap().status().is_success());
    body["claim"] = waits["claim"].clone();
    let paired: Value = host.anyone().expect(Method::POST, "/watch/devices", 200, Some(body)).await;
    paired["device_id"].as_str().unwrap().to_owned()
}

/// What is for everyone, and tells nothing of this host that a page could not know.
const PUBLIC: [&str; 4] = ["/health", "/livez", "/readyz", "/api/openapi.json"];

/// Every route that there is, with what it names filled in: what is there, and waits for such a request.
async fn routes(host: &TestHost, device: &str) -> Vec<Value> {
    let document: Value = host.anyone().expect(Method::GET, "/api/openapi.json", 200, None).await;
    let (waiting, offer) = (waiting(host).await, host.generate().await.offer_id.to_string());
    let watch = watch(host).await;
    let asked = host.anyone().post("/mobile/pairing").json(&json!({ "device_name": "By PIN" })).send().await.unwrap();
    assert_eq!(asked.status(), 200);
    let list: Value = host.owner().expect(Method::GET, "/mobile/pairing", 200, None).await;
    let pin = list["requests"][0]["id"].as_str().unwrap().to_owned();
    let paths = document["paths"].as_object().unwrap().iter();
    let each = paths.flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (path, method)));
    each.map(|(path, method)| {
        let id = match path.as_str() {
            path if path.contains("/pairings/") => &waiting,
            path if path.contains("/offers/") => &offer,
            path if path.starts_with("/watch/") => &watch,
            path if path.starts_with("/mobile/") => &pin,
            _ => device,
        };
        json!([method.to_uppercase(), path.replace("{id}", id)])
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_have_nothing_of_it_and_no_app_its_cookie() {
    let foreign = Foreign::start().await;
    let host = TestHost::start(|setup| {
        setup.app(format!("http://127.0.0.1:{}", foreign.port)).env("COUPLET_APPROVE", "always");
        setup.env("COUPLET_LIMITS__CLAIM_SECONDS", "600");
    })
    .await;
    let (phone, home) = (host.add_device("Phone").await, Laptop::new());
    let forwarder = laptop(&host, &home).await;
    let offer = host.generate().await;
    let token = offer.qr_url.split_once("?pair=").unwrap().1;
    let body = json!({ "pair_token": token, "device_name": "Tablet" });
    assert_eq!(host.anyone().post("/api/pair/exchange").json(&body).send().await.unwrap().status(), 202);
    let browser = Browser::start(|setup| {
        setup.name("evil.example").watch();
    })
    .await;
    let dashboard = Dashboard::open_in(&host, browser).await;
    dashboard.says("Tablet").await;

    let routes = routes(&host, &phone.device_id.to_string()).await;
    for (method, begin, end) in [
        ("DELETE", "/api/owner/sessions", ""),
        ("POST", "/mobile/pairing/", "/accept"),
        ("POST", "/mobile/pairing/", "/reject"),
        ("POST", "/mobile/pairing/", "/verify"),
        ("GET", "/mobile/pairing", ""),
    ] {
        let named = |path: &str| path.starts_with(begin) && path.ends_with(end) && !path.contains('{');
        let is_there = |route: &Value| route[0] == method && named(route[1].as_str().unwrap());
        assert!(routes.iter().any(is_there), "{method} {begin}…{end} is tried");
    }
    let before = standing(&host).await;
    // How often each path was answered with each status, since the browser began.
    let answered = async || -> BTreeMap<(String, u64), usize> {
        let mut counted = BTreeMap::new();
        for (url, status) in dashboard.browser.answers().await {
            if let Some(path) = url.strip_prefix(host.pairing_url()) {
                // A form without fields asks with an empty query.
                *counted.entry((path.trim_end_matches('?').to_owned(), status)).or_default() += 1;
            }
        }
        counted
    };
    let at = |name: &str| format!("http://{name}:{}", foreign.port);
    let app = forwarder.url().to_owned();
    for site in [at("evil.example"), at("127.0.0.1"), at("localhost"), app.clone()] {
        foreign.cookies();
        dashboard.browser.open(&site).await;
        let earlier = answered().await;
        dashboard.says("cats").await;
        let cookies = foreign.cookies();
        let outcome = dashboard.browser.run(ATTEMPTS, json!({ "base": host.pairing_url(), "routes": routes })).await;
        assert_eq!(outcome["read"], json!([]), "{site}");
        assert!(outcome["tried"].as_u64().unwrap() > 50, "{outcome}");
        assert_eq!(standing(&host).await, before, "{site}");
        // Each was refused for who asks, before anything of it was looked at, and none was done.
        let later = answered().await;
        let new = later.iter().filter(|(answer, count)| earlier.get(*answer).is_none_or(|before| before < *count));
        let new: BTreeSet<(&str, u64)> = new.map(|((path, status), _)| (path.as_str(), *status)).collect();
        for route in &routes {
            let path = route[1].as_str().unwrap();
            let refused = new.iter().any(|(of, status)| *of == path && [401, 403, 421].contains(status));
            assert!(refused || PUBLIC.contains(&path), "{site}: {route} was not refused");
        }
        let done: Vec<_> = new.iter().filter(|(path, status)| *status < 400 && !PUBLIC.contains(path)).collect();
        assert!(done.is_empty(), "{site}: {done:?}");
        // A browser sends cookies to every port of an address; through the gateway, ours does not arrive.
        let sent = cookies.iter().any(|cookie| cookie.as_deref().is_some_and(|sent| sent.contains("couplet_session=")));
        assert_eq!(sent, site == at("127.0.0.1"), "{site}: {cookies:?}");
        if site == at("127.0.0.1") {
            // And what a server without Couplet before it may see opens nothing.
            let stolen = cookies.into_iter().flatten().next().unwrap();
            let answer = host.anyone().get("/api/pair/devices").header("cookie", stolen).send().await.unwrap();
            assert_eq!(answer.status(), 401);
        }
    }
    // The session is as it was, and so is the device.
    dashboard.browser.open(host.pairing_url()).await;
    dashboard.says("Tablet").await;
    assert_eq!(host.device(&phone.device_token).get("/api/pair/me").send().await.unwrap().status(), 200);
}
