//! Signing in to the dashboard, over plain HTTP: what opens a session, what a session needs, and how it ends.

use couplet_protocol::Code;
use couplet_protocol::api::{
    AuditList, LoginAnswer, LoginLinks, OwnerSessionInfo, OwnerSessionList, OwnerStatus, QrAnswer,
};
use e2e::by_pin::Phone;
use e2e::host::{Caller, PATIENCE};
use e2e::program::couplet;
use e2e::raw::ask;
use e2e::{Running, Terminal, TestHost, problem};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The two secrets of a browser that is signed in.
struct Session {
    cookie: String,
    page_key: String,
}

impl Session {
    /// Sends both, as the dashboard's pages do.
    fn asks(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("cookie", &self.cookie).header("couplet-page", &self.page_key)
    }
}

/// The token of a new link.
async fn token(host: &TestHost) -> String {
    let links: LoginLinks = host.owner().expect(Method::POST, "/api/owner/links", 200, None).await;
    links.urls[0].split_once("/#login=").expect("the token stands where no server sees it").1.to_owned()
}

async fn login(host: &TestHost, token: &str) -> Response {
    host.anyone().post("/api/owner/login").json(&json!({ "token": token })).send().await.unwrap()
}

fn cookie(answer: &Response) -> String {
    answer.headers()["set-cookie"].to_str().unwrap().to_owned()
}

async fn signed_in(host: &TestHost) -> Session {
    session(login(host, &token(host).await).await).await
}

/// The session that an answer opens.
async fn session(answer: Response) -> Session {
    assert_eq!(answer.status(), 200);
    let cookie = cookie(&answer).split(';').next().unwrap().to_owned();
    let LoginAnswer { page_key, .. } = answer.json().await.unwrap();
    Session { cookie, page_key: page_key.expose().to_owned() }
}

/// Who is signed in, as this session or the owner's token is told.
async fn listed(host: &TestHost, session: Option<&Session>) -> Vec<OwnerSessionInfo> {
    let ask = |caller: Caller| caller.get("/api/owner/sessions");
    let asked = session.map_or_else(|| ask(host.owner()), |session| session.asks(ask(host.anyone())));
    asked.send().await.unwrap().json::<OwnerSessionList>().await.unwrap().sessions
}

/// Ends what this path names, as a page of this session does.
async fn ends(host: &TestHost, session: &Session, path: &str) -> Response {
    let ask = session.asks(host.anyone().delete(&format!("/api/owner/sessions{path}")));
    ask.header("origin", host.pairing_url()).send().await.unwrap()
}

/// Why a session is over, as its page is told.
async fn why(host: &TestHost, session: &Session) -> String {
    let answer = session.asks(host.anyone().get("/api/owner")).send().await.unwrap();
    let detail = problem::expect(answer, Code::OwnerSessionOver).await.detail;
    assert!(detail.ends_with("Sign in anew: run `couplet dashboard` on the host and open its link."), "{detail}");
    detail
}

async fn is_refused(request: RequestBuilder, code: Code) {
    problem::expect(request.send().await.unwrap(), code).await;
}

#[tokio::test]
async fn a_link_opens_one_session_that_is_the_owners() {
    let host = TestHost::start(|_| {}).await;
    let token = token(&host).await;
    is_refused(host.anyone().post("/api/owner/login").json(&json!({ "token": "log_guessed" })), Code::LoginLinkInvalid)
        .await;
    let answer = login(&host, &token).await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let set = cookie(&answer);
    for part in ["couplet_session=ses_", "; Path=/;", "; Max-Age=604800;", "; HttpOnly", "; SameSite=Strict"] {
        assert!(set.contains(part), "{part} in {set}");
    }
    assert!(!set.contains("Domain") && !set.contains("Secure"), "over plain HTTP, for this very host: {set}");
    problem::expect(login(&host, &token).await, Code::LoginLinkUsed).await;

    let session = signed_in(&host).await;
    let anyone = host.anyone();
    let status: OwnerStatus = session.asks(anyone.get("/api/owner")).send().await.unwrap().json().await.unwrap();
    assert!(status.session_expires_at.unwrap() > status.now && status.relay.is_none());
    let devices = session.asks(anyone.get("/api/pair/devices")).send().await.unwrap();
    assert_eq!(devices.status(), 200);
    let made = session.asks(anyone.post("/api/pair/generate")).header("origin", host.pairing_url());
    assert_eq!(made.send().await.unwrap().status(), 200);
    let audit: AuditList = host.owner().expect(Method::GET, "/api/audit", 200, None).await;
    let logins: Vec<_> = audit.entries.iter().filter(|entry| entry.action == "owner.login").collect();
    assert_eq!(logins.len(), 2);
    assert!(logins.iter().all(|entry| entry.actor == "owner" && entry.network.as_deref() == Some("127.0.0.1")));
}

#[tokio::test]
async fn neither_secret_opens_anything_without_the_other() {
    let host = TestHost::start(|_| {}).await;
    let (one, other) = (signed_in(&host).await, signed_in(&host).await);
    let ask = || host.anyone().get("/api/pair/devices");
    // The cookie is what a server at another port of this address is sent.
    is_refused(ask().header("cookie", &one.cookie), Code::OwnerRequired).await;
    is_refused(ask().header("couplet-page", &one.page_key), Code::OwnerSessionOver).await;
    is_refused(ask().header("cookie", &one.cookie).header("couplet-page", &other.page_key), Code::OwnerSessionOver)
        .await;
    // And what such a server sets stands in nobody's way.
    // As an app's page can, of longer paths, which browsers send first.
    let planted = "couplet_session=planted; ".repeat(20);
    let crowded = format!("{planted}a=1; {}", one.cookie);
    let answer = ask().header("cookie", crowded).header("couplet-page", &one.page_key).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    // A wrong token is not made good by a session.
    is_refused(one.asks(ask()).bearer_auth("adm_wrong"), Code::OwnerRequired).await;
}

#[tokio::test]
async fn a_session_is_for_its_own_pages() {
    let host = TestHost::start(|_| {}).await;
    let session = signed_in(&host).await;
    let device = host.add_device("Phone").await;
    let path = format!("/api/pair/devices/{}", device.device_id);
    let revoke = || session.asks(host.anyone().delete(&path));
    is_refused(revoke(), Code::OriginNotAllowed).await;
    let port = host.pairing_url().rsplit(':').next().unwrap();
    let gateway = "http://127.0.0.1:7879".to_owned();
    for origin in ["null".to_owned(), "https://evil.example".to_owned(), gateway, format!("http://localhost:{port}")] {
        is_refused(revoke().header("origin", origin), Code::OriginNotAllowed).await;
    }
    for site in ["cross-site", "same-site"] {
        let list = session.asks(host.anyone().get("/api/pair/devices")).header("sec-fetch-site", site);
        is_refused(list, Code::CrossSite).await;
    }
    assert_eq!(host.device(&device.device_token).get("/api/pair/me").send().await.unwrap().status(), 200);
    let answer =
        revoke().header("origin", host.pairing_url()).header("sec-fetch-site", "same-origin").send().await.unwrap();
    assert_eq!(answer.status(), 204);
}

#[tokio::test]
async fn nobody_signs_in_under_a_name_that_others_can_claim() {
    let host = TestHost::start(|setup| {
        setup.arg("--name").arg("nas").env("COUPLET_ALLOWED_HOSTS", "pair.example");
        setup.env("COUPLET_ALLOWED_ORIGINS", "https://pair.example");
    })
    .await;
    let port = host.pairing_url().rsplit(':').next().unwrap();
    let token = token(&host).await;
    let login = |scheme: &str, name: &str| {
        let origin = format!("{scheme}://{name}");
        let body = json!({ "token": token }).to_string();
        format!(
            "POST /api/owner/login HTTP/1.1\r\nHost: {name}\r\nOrigin: {origin}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )
    };
    for name in [format!("nas.local:{port}"), format!("pair.example:{port}"), "pair.example".to_owned()] {
        let answer = ask(host.pairing_url(), login("http", &name)).await;
        problem::expect_raw(&answer, Code::LoginNameUnsafe);
        assert_eq!(answer.header("set-cookie"), None);
    }
    // The page itself is there, and says so.
    let page = format!("GET / HTTP/1.1\r\nHost: nas.local:{port}\r\nConnection: close\r\n\r\n");
    assert_eq!(ask(host.pairing_url(), page).await.status, 200);

    // The refusal used nothing up; and a session counts under the name that it was opened under.
    let answer = ask(host.pairing_url(), login("https", "pair.example")).await;
    assert_eq!(answer.status, 200);
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap();
    let body: LoginAnswer = serde_json::from_slice(&answer.body).unwrap();
    let status = |name: &str| {
        format!(
            "GET /api/owner HTTP/1.1\r\nHost: {name}\r\nCookie: {cookie}\r\nCouplet-Page: {}\r\nConnection: close\r\n\r\n",
            body.page_key.expose()
        )
    };
    assert_eq!(ask(host.pairing_url(), status("pair.example")).await.status, 200);
    for name in [format!("nas.local:{port}"), format!("127.0.0.1:{port}"), "pair.example:80".to_owned()] {
        problem::expect_raw(&ask(host.pairing_url(), status(&name)).await, Code::OwnerSessionOver);
    }
}

#[tokio::test]
async fn the_owner_signs_every_browser_out() {
    let host = TestHost::start(|_| {}).await;
    let (one, other, unused) = (signed_in(&host).await, signed_in(&host).await, token(&host).await);
    let events = follow(&host, &other).await;
    let ended = host.owner().delete("/api/owner/sessions").send().await.unwrap();
    assert_eq!(ended.status(), 204);
    timeout(PATIENCE, events).await.expect("the events end").unwrap();
    for session in [one, other] {
        is_refused(session.asks(host.anyone().get("/api/owner")), Code::OwnerSessionOver).await;
    }
    let login = host.anyone().post("/api/owner/login").header("origin", host.pairing_url());
    is_refused(login.json(&json!({ "token": unused })), Code::LoginLinkInvalid).await;
}

#[tokio::test]
async fn the_owner_sees_which_browsers_are_signed_in() {
    let host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let fox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let login = host.anyone().post("/api/owner/login").header("user-agent", fox);
    let one = session(login.json(&json!({ "token": token(&host).await })).send().await.unwrap()).await;
    let told = host.event("owner.login", |_| true).await;
    assert_eq!(told["network"], json!("127.0.0.1"));
    host.set_clock("+1800");
    let other = signed_in(&host).await;
    // From where its page asks last; what the page asks for by itself is no use of it.
    let elsewhere = Phone::at(&host, [127, 0, 0, 9]);
    let asked = one.asks(elsewhere.http.get(format!("{}/api/owner", elsewhere.base))).send().await.unwrap();
    assert_eq!(asked.status(), 200);
    let by_token = listed(&host, None).await;
    assert!(by_token.iter().all(|session| !session.current), "{by_token:?}");
    assert_eq!(by_token[0].network, "127.0.0.9");
    let all = listed(&host, Some(&one)).await;
    let [first, second] = &all[..] else { panic!("{all:?}") };
    assert_eq!((first.current, first.browser.as_deref(), second.current), (true, Some("Firefox on Linux"), false));
    assert_eq!((second.browser.as_deref(), second.network.as_str()), (None, "127.0.0.1"), "it does not say");
    assert!(first.created_at == first.last_used && first.created_at < second.created_at, "{all:?}");
    assert!(first.expires_at < second.expires_at, "{all:?}");

    // Somebody uses it, and it is over no sooner than the other.
    host.set_clock("+1900");
    let used = one.asks(host.anyone().get("/api/owner")).header("couplet-used", "1").send().await.unwrap();
    assert_eq!(used.status(), 200);
    let all = listed(&host, Some(&one)).await;
    assert!(all[0].last_used > all[1].last_used && all[0].created_at < all[1].created_at, "{all:?}");
    host.set_clock("+5450");
    let left: Vec<_> = listed(&host, Some(&one)).await.iter().map(|session| session.id).collect();
    assert_eq!(left, [all[0].id], "nobody has used the other for an hour");
    assert!(why(&host, &other).await.starts_with("Nobody has used it for an hour."));
    is_refused(host.anyone().get("/api/owner/sessions"), Code::OwnerRequired).await;
}

#[tokio::test]
async fn the_owner_signs_one_browser_out_or_all_others() {
    let host = TestHost::start(|_| {}).await;
    let (here, there, third) = (signed_in(&host).await, signed_in(&host).await, signed_in(&host).await);
    let events = follow(&host, &there).await;
    let id = listed(&host, Some(&there)).await.into_iter().find(|session| session.current).unwrap().id;
    assert_eq!(ends(&host, &here, &format!("/{id}")).await.status(), 204);
    timeout(PATIENCE, events).await.expect("the events end").unwrap();
    host.event("owner.logout", |_| true).await;
    assert!(why(&host, &there).await.starts_with("The owner has signed this browser out"));
    for unknown in [id.to_string(), "00000000-0000-0000-0000-000000000000".to_owned(), "nonsense".to_owned()] {
        problem::expect(ends(&host, &here, &format!("/{unknown}")).await, Code::NoSuchOwnerSession).await;
    }
    // What is not understood ends nothing.
    for query in ["?others=maybe", "?other=true"] {
        problem::expect(ends(&host, &here, query).await, Code::MalformedQuery).await;
    }
    assert_eq!(listed(&host, Some(&here)).await.len(), 2);

    let unused = token(&host).await;
    assert_eq!(ends(&host, &here, "?others=true").await.status(), 204);
    assert!(why(&host, &third).await.starts_with("The owner has signed this browser out"));
    let left = listed(&host, Some(&here)).await;
    assert!(left.len() == 1 && left[0].current, "{left:?}");
    problem::expect(login(&host, &unused).await, Code::LoginLinkInvalid).await;
    let audit: AuditList = host.owner().expect(Method::GET, "/api/audit?action=owner", 200, None).await;
    let [others, other, ..] = &audit.entries[..] else { panic!("{audit:?}") };
    assert_eq!((others.action.as_str(), other.action.as_str()), ("owner.logout_others", "owner.logout_other"));
    assert_eq!(other.detail.as_deref(), Some("A browser at 127.0.0.1"));

    // With the owner's token nobody asks, so nobody stays.
    let answer = host.owner().delete("/api/owner/sessions?others=true").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), listed(&host, None).await.len()), (204, 0));
}

#[tokio::test]
async fn a_page_is_told_why_its_session_is_over() {
    let mut host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "100").movable_clock();
    })
    .await;
    let out = signed_in(&host).await;
    let logout = out.asks(host.anyone().post("/api/owner/logout")).header("origin", host.pairing_url());
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert!(why(&host, &out).await.starts_with("You have signed out in this browser."));
    let oldest = signed_in(&host).await;
    for _ in 0..16 {
        signed_in(&host).await;
    }
    assert!(why(&host, &oldest).await.starts_with("More browsers have signed in"));
    let session = signed_in(&host).await;
    for seconds in (3000..43_200).step_by(3000) {
        host.set_clock(&format!("+{seconds}"));
        let used = session.asks(host.anyone().get("/api/owner")).header("couplet-used", "1");
        assert_eq!(used.send().await.unwrap().status(), 200, "{seconds}");
    }
    host.set_clock("+43260");
    assert!(why(&host, &session).await.starts_with("It has lasted for twelve hours."));
    let session = signed_in(&host).await;
    host.restart().await;
    assert!(why(&host, &session).await.contains("the host has started again"));
}

#[tokio::test]
async fn behind_tls_the_cookie_is_for_tls_alone() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_ALLOWED_ORIGINS", "https://pair.example");
    })
    .await;
    let body = json!({ "token": token(&host).await });
    let login = host.anyone().post("/api/owner/login").header("origin", "https://pair.example").json(&body);
    assert!(cookie(&login.send().await.unwrap()).ends_with("; Secure"));
}

/// Follows the events with a session, from now until the host ends them.
async fn follow(host: &TestHost, session: &Session) -> JoinHandle<()> {
    let mut answer = session.asks(host.anyone().get("/api/pair/events")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    tokio::spawn(async move { while answer.chunk().await.unwrap().is_some() {} })
}

#[tokio::test]
async fn logout_ends_the_session_and_what_it_has_open() {
    let host = TestHost::start(|_| {}).await;
    let (session, other) = (signed_in(&host).await, signed_in(&host).await);
    let events = follow(&host, &session).await;
    let logout = || session.asks(host.anyone().post("/api/owner/logout")).header("origin", host.pairing_url());
    let answer = logout().send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert!(cookie(&answer).starts_with("couplet_session=; Path=/; Max-Age=0;"));
    timeout(PATIENCE, events).await.expect("the events end").unwrap();
    is_refused(logout(), Code::OwnerSessionOver).await;
    assert_eq!(other.asks(host.anyone().get("/api/owner")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn links_and_sessions_end_with_their_time_and_with_the_host() {
    let mut host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let late = token(&host).await;
    let session = signed_in(&host).await;
    let events = follow(&host, &session).await;
    host.set_clock("+601");
    problem::expect(login(&host, &late).await, Code::LoginLinkInvalid).await;
    assert_eq!(session.asks(host.anyone().get("/api/owner")).send().await.unwrap().status(), 200);
    // Used now and then, to its end.
    for seconds in (3000..43_200).step_by(3000) {
        host.set_clock(&format!("+{seconds}"));
        let used = session.asks(host.anyone().get("/api/owner")).header("couplet-used", "1");
        assert_eq!(used.send().await.unwrap().status(), 200, "{seconds}");
    }
    host.set_clock("+43260");
    is_refused(session.asks(host.anyone().get("/api/owner")), Code::OwnerSessionOver).await;
    timeout(PATIENCE, events).await.expect("the events end").unwrap();

    let session = signed_in(&host).await;
    host.restart().await;
    is_refused(session.asks(host.anyone().get("/api/owner")), Code::OwnerSessionOver).await;
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends_though_its_page_asks_and_listens() {
    let host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let session = signed_in(&host).await;
    let events = follow(&host, &session).await;
    let status = async || session.asks(host.anyone().get("/api/owner")).send().await.unwrap().status();
    for offset in ["+1800", "+3500"] {
        host.set_clock(offset);
        assert_eq!(status().await, 200, "{offset}");
    }
    host.set_clock("+3700");
    is_refused(session.asks(host.anyone().get("/api/owner")), Code::OwnerSessionOver).await;
    timeout(PATIENCE, events).await.expect("the events end").unwrap();
}

#[tokio::test]
async fn the_links_are_printed_for_the_owner_and_written_nowhere() {
    let mut host = TestHost::start(|setup| {
        setup.env("RUST_LOG", "trace");
    })
    .await;
    let printed = Running::start(host.command(&["dashboard"])).succeeds(PATIENCE).await;
    let url = printed.trim();
    let token = url.strip_prefix(&format!("{}/#login=", host.pairing_url())).expect("one link, and nothing else");
    let answer = login(&host, token).await;
    let cookie = cookie(&answer)["couplet_session=".len()..].split(';').next().unwrap().to_owned();
    let key = answer.json::<LoginAnswer>().await.unwrap().page_key.expose().to_owned();
    let json: LoginLinks =
        serde_json::from_str(&Running::start(host.command(&["dashboard", "--json"])).succeeds(PATIENCE).await).unwrap();
    assert_eq!(json.urls.len(), 1);
    host.stop().await;
    let files = std::fs::read_dir(host.state_dir()).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let written = [host.logs().into_bytes(), host.printed().into_bytes()].into_iter().chain(files);
    for bytes in written {
        let text = String::from_utf8_lossy(&bytes);
        for secret in [token, &cookie, &key] {
            assert!(!text.contains(secret) && !text.contains(&secret[4..]), "a secret is written down");
        }
    }
}

#[tokio::test]
async fn on_a_terminal_serve_shows_a_link() {
    let state = tempfile::tempdir().unwrap();
    let mut serve = couplet();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--state-dir", state.path().to_str().unwrap()]);
    let terminal = Terminal::start(&serve, 140, 30).await;
    let screen = terminal.shows("a link", PATIENCE, |screen| screen.has("#login=log_")).await;
    let text = screen.text();
    let line = text.lines().find(|line| line.trim_start().starts_with("dashboard")).expect("a line of its own");
    let (base, token) = line.split_whitespace().nth(1).unwrap().split_once("/#login=").unwrap();
    let login = Caller::new(base, None).post("/api/owner/login").json(&json!({ "token": token }));
    assert_eq!(login.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_page_takes_nothing_from_elsewhere_and_runs_nothing_inline() {
    let host = TestHost::start(|_| {}).await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/dashboard.js", "text/javascript; charset=utf-8"),
        ("/dashboard.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = host.anyone().get(path).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((answer.status().as_u16(), header("content-type").as_str()), (200, kind));
        assert_eq!(
            (header("cache-control").as_str(), header("x-content-type-options").as_str()),
            ("no-store", "nosniff")
        );
        assert_eq!(header("referrer-policy"), "no-referrer");
        let policy = header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
        let text = answer.text().await.unwrap();
        if path == "/" {
            assert!(!text.contains("<style") && !text.contains("style=") && !text.contains(" on"), "{text}");
            assert!(text.matches("<script").count() == 1 && text.contains("src=\"/dashboard.js\"></script>"), "{text}");
        }
        // The names of XML's languages are no addresses that anything is loaded from.
        let addresses = text.replace("http://www.w3.org/", "");
        assert!(!addresses.contains("http://") && !addresses.contains("https://"), "{path} names another origin");
    }
}

#[tokio::test]
async fn a_code_is_made_for_the_owner_of_what_fits_into_one() {
    let host = TestHost::start(|_| {}).await;
    let code: QrAnswer = host.owner().expect(Method::POST, "/api/qr", 200, Some(json!({ "text": "COUPLET:AE" }))).await;
    assert_eq!((code.size, &code.path[..12]), (21, "M0 0h7v1h-7z"));
    for text in [String::new(), "x".repeat(1025)] {
        is_refused(host.owner().post("/api/qr").json(&json!({ "text": text })), Code::MalformedBody).await;
    }
    let most: Value =
        host.owner().expect(Method::POST, "/api/qr", 200, Some(json!({ "text": "x".repeat(1024) }))).await;
    assert!(most["size"].as_u64().unwrap() > 100);
    is_refused(
        Caller::new(host.pairing_url(), None).post("/api/qr").json(&json!({ "text": "x" })),
        Code::OwnerRequired,
    )
    .await;
}
