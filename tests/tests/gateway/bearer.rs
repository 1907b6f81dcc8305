//! `GET /pair`: a credential in a URL for editors, agents and second shells.

use std::collections::HashSet;

use couplet_protocol::Code;
use couplet_protocol::api::{DeviceKind, DeviceList, MeAnswer, PairUrlAnswer, PairingList};
use e2e::program::couplet_path;
use e2e::{Browser, Network, Running, TestApp, TestHost, problem};
use reqwest::Method;
use serde_json::{Value, json};

async fn pair(host: &TestHost) -> PairUrlAnswer {
    host.owner().expect(Method::GET, "/pair", 200, None).await
}

async fn me(host: &TestHost, token: &str) -> u16 {
    host.device(token).get("/api/pair/me").send().await.unwrap().status().as_u16()
}

async fn devices(host: &TestHost) -> DeviceList {
    host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await
}

#[tokio::test]
async fn pair_answers_url_token_and_instructions() {
    let host = TestHost::start(|_| {}).await;
    let answer = host.owner().get("/pair").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["cache-control"]), (200, &"no-store".parse().unwrap()));
    let answer: PairUrlAnswer = answer.json().await.unwrap();
    assert_eq!(answer.url, format!("{}/pair?token={}", host.pairing_url(), answer.token));
    assert!(answer.instructions.contains("Authorization: Bearer"), "{}", answer.instructions);
}

#[tokio::test]
async fn pair_credentials_are_128_bits_of_hex() {
    let host = TestHost::start(|_| {}).await;
    let token = pair(&host).await.token;
    assert_eq!(token.len(), 32);
    assert!(token.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{token}");
}

/// The flaw that the source tells of: its first tokens followed from the time and the process id.
#[tokio::test]
async fn back_to_back_tokens_diverge() {
    let mut host = TestHost::start(|_| {}).await;
    let mut tokens = Vec::new();
    for round in 0..2 {
        for _ in 0..24 {
            tokens.push(pair(&host).await.token);
        }
        if round == 0 {
            host.restart().await;
        }
    }
    assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), tokens.len());
    let bits = |token: &str| u128::from_str_radix(token, 16).unwrap();
    for pair in tokens.windows(2) {
        let differing = (bits(&pair[0]) ^ bits(&pair[1])).count_ones();
        // 128 fair coins: outside 24..=104 once in 10^12 pairs.
        assert!((24..=104).contains(&differing), "{pair:?} differ in {differing} bits");
    }
    for position in 0..32 {
        let digits: HashSet<u8> = tokens.iter().map(|token| token.as_bytes()[position]).collect();
        assert!(digits.len() >= 6, "position {position} hardly changes: {digits:?}");
    }
}

#[tokio::test]
async fn the_url_follows_the_host_header() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_ALLOWED_HOSTS", "nas.home.test");
    })
    .await;
    let answer = host.owner().get("/pair").header("host", "nas.home.test:7878").send().await.unwrap();
    let answer: PairUrlAnswer = answer.json().await.unwrap();
    assert!(answer.url.starts_with("http://nas.home.test:7878/pair?token="), "{}", answer.url);
    let foreign = host.owner().get("/pair").header("host", "evil.test:7878").send().await.unwrap();
    assert_eq!(foreign.status(), 421);
}

#[tokio::test]
async fn asked_at_localhost_it_offers_the_lan_address() {
    let network = Network::with_lan("bearer").await;
    let state = tempfile::tempdir().unwrap();
    let serve = network.exec(
        couplet_path().as_os_str(),
        &["serve", "--json", "--no-input", "--name", "nas", "--state-dir", state.path().to_str().unwrap()],
    );
    let host = Running::start(serve);
    let ready: Value = serde_json::from_str(&host.wait_for_line(e2e::host::PATIENCE, |_| true).await).unwrap();
    assert_eq!(ready["pairing"][0], "http://192.168.77.5:7878", "the first address is one that a phone can reach");
    let admin = std::fs::read_to_string(state.path().join("admin-token")).unwrap();
    let header = format!("Authorization: Bearer {}", admin.trim());
    for name in ["localhost", "127.0.0.1", "[::1]"] {
        let url = format!("http://{name}:7878/pair");
        let curl = network.exec("curl".as_ref(), &["-sS", "--fail", "-H", &header, &url]);
        let answer: PairUrlAnswer =
            serde_json::from_str(&Running::start(curl).succeeds(e2e::host::PATIENCE).await).unwrap();
        assert!(answer.url.starts_with("http://192.168.77.5:7878/pair?token="), "{}", answer.url);
    }
    let curl = network.exec(
        "curl".as_ref(),
        &["-sS", "--fail", "-X", "POST", "-H", &header, "http://localhost:7878/api/pair/generate"],
    );
    let offer: Value = serde_json::from_str(&Running::start(curl).succeeds(e2e::host::PATIENCE).await).unwrap();
    assert!(offer["qr_url"].as_str().unwrap().starts_with("couplet://192.168.77.5:7878?pair=otp_"));
}

#[tokio::test]
async fn an_address_that_goes_and_comes_back_is_offered_again() {
    let network = Network::with_lan("back").await;
    let state = tempfile::tempdir().unwrap();
    let mut serve = network.exec(
        couplet_path().as_os_str(),
        &["serve", "--json", "--no-input", "--state-dir", state.path().to_str().unwrap()],
    );
    // Each question issues a credential.
    serve.env("COUPLET_LIMITS__MAX_DEVICES", "10000");
    let host = Running::start(serve);
    host.wait_for_line(e2e::host::PATIENCE, |_| true).await;
    let admin = std::fs::read_to_string(state.path().join("admin-token")).unwrap();
    let header = format!("Authorization: Bearer {}", admin.trim());
    let offered = async || {
        let url = "http://localhost:7878/pair";
        let curl = network.exec("curl".as_ref(), &["-sS", "--fail", "-H", &header, url]);
        let answer = Running::start(curl).succeeds(e2e::host::PATIENCE).await;
        serde_json::from_str::<PairUrlAnswer>(&answer).unwrap().url
    };
    assert!(offered().await.starts_with("http://192.168.77.5:7878/"));
    network.ip("address delete 192.168.77.5/24 dev lan0").await;
    let patience = e2e::host::PATIENCE;
    e2e::eventually("the address is no longer offered", patience, async || {
        offered().await.starts_with("http://127.0.0.1:7878/")
    })
    .await;
    network.ip("address add 192.168.77.5/24 dev lan0").await;
    e2e::eventually("the address is offered again", patience, async || {
        offered().await.starts_with("http://192.168.77.5:7878/")
    })
    .await;
    let curl = network.exec("curl".as_ref(), &["-sS", "--fail", "http://192.168.77.5:7878/livez"]);
    assert_eq!(Running::start(curl).succeeds(patience).await, "ok\n");
}

#[tokio::test]
async fn a_head_issues_nothing() {
    let host = TestHost::start(|_| {}).await;
    let head = host.owner().request(Method::HEAD, "/pair").send().await.unwrap();
    assert_eq!(head.status(), 405);
    assert_eq!(devices(&host).await.devices.len(), 0);
}

#[tokio::test]
async fn each_get_issues_one_credential() {
    let host = TestHost::start(|_| {}).await;
    let (first, second) = (pair(&host).await, pair(&host).await);
    assert_ne!(first.token, second.token);
    assert_eq!(devices(&host).await.devices.len(), 2);
    assert_eq!((me(&host, &first.token).await, me(&host, &second.token).await), (200, 200));
}

#[tokio::test]
async fn each_credential_is_a_device_of_its_own() {
    let host = TestHost::start(|_| {}).await;
    let (first, second) = (pair(&host).await, pair(&host).await);
    let answer: MeAnswer = host.device(&first.token).expect(Method::GET, "/api/pair/me", 200, None).await;
    assert_eq!(me(&host, &second.token).await, 200);
    let path = format!("/api/pair/devices/{}", answer.device_id);
    assert_eq!(host.owner().delete(&path).send().await.unwrap().status(), 204);
    assert_eq!((me(&host, &first.token).await, me(&host, &second.token).await), (401, 200));
}

#[tokio::test]
async fn an_editor_pairs_by_url_alone() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    // The URL is all that the person types into the editor.
    let url = pair(&host).await.url;
    let (_, token) = url.split_once("/pair?token=").unwrap();
    let hello = host.through_gateway("app", Some(token)).get("/").send().await.unwrap();
    assert_eq!(hello.text().await.unwrap(), "hello\n");
    let paired = host.event("device.paired", |_| true).await;
    assert!(paired["device_name"].as_str().unwrap().starts_with("Client "), "{paired}");
    assert_eq!(devices(&host).await.devices[0].kind, DeviceKind::Bearer);
}

#[tokio::test]
async fn a_pair_credential_opens_every_later_request() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let token = pair(&host).await.token;
    let through = host.through_gateway("app", Some(&token));
    for _ in 0..3 {
        assert_eq!(through.get("/").send().await.unwrap().status(), 200);
    }
    assert_eq!(me(&host, &token).await, 200);
    let mut other = token.clone();
    other.replace_range(31.., if token.ends_with('0') { "1" } else { "0" });
    assert_eq!(me(&host, &other).await, 401, "one digit off");
}

#[tokio::test]
async fn a_device_token_opens_every_later_request() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let device = host.pair_device("iPad").await;
    let through = host.through_gateway("app", Some(&device.device_token));
    for _ in 0..3 {
        assert_eq!(through.get("/").send().await.unwrap().status(), 200);
    }
    assert_eq!(host.through_gateway("app", None).get("/").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn malformed_credentials_are_401() {
    let host = TestHost::start(|_| {}).await;
    let device = host.pair_device("iPad").await;
    let token = device.device_token;
    for value in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Basic {token}"),
        token.clone(),
        format!("Bearer {}", token.to_uppercase()),
        format!("Bearer {token}x"),
        format!("Bearer {}", &token[..35]),
        "Bearer dev_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        format!("Bearer {}", "a".repeat(32)),
    ] {
        let answer = host.anyone().get("/api/pair/me").header("authorization", &value).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{value:?}");
        assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    }
    let fine = host.anyone().get("/api/pair/me").header("authorization", format!("bearer {token}"));
    assert_eq!(fine.send().await.unwrap().status(), 200, "the scheme's case does not count");
}

#[tokio::test]
async fn an_unused_credential_ends_after_ten_minutes() {
    let mut host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let (used, unused) = (pair(&host).await, pair(&host).await);
    host.set_clock("+590");
    assert_eq!(me(&host, &used.token).await, 200);
    host.set_clock("+601");
    assert_eq!(me(&host, &unused.token).await, 401);
    host.event("offer.expired", |_| true).await;
    assert_eq!(devices(&host).await.devices.len(), 1, "what nobody used is gone");
    host.set_clock("+400d");
    host.restart().await;
    assert_eq!((me(&host, &used.token).await, me(&host, &unused.token).await), (200, 401));
}

#[tokio::test]
async fn a_pair_credential_outlives_a_restart() {
    let mut host = TestHost::start(|_| {}).await;
    let (used, unused) = (pair(&host).await, pair(&host).await);
    assert_eq!(me(&host, &used.token).await, 200);
    host.restart().await;
    assert_eq!((me(&host, &used.token).await, me(&host, &unused.token).await), (200, 200));
}

#[tokio::test]
async fn the_owner_prefills_a_credential() {
    let host = TestHost::start(|_| {}).await;
    let device = host.add_device("Desktop app").await;
    let list = devices(&host).await.devices;
    assert_eq!((list[0].device_name.as_str(), list[0].kind), ("Desktop app", DeviceKind::Bearer));
    assert_eq!(me(&host, &device.device_token).await, 200);
    for name in ["", "a\0b"] {
        let body = Some(json!({ "device_name": name }));
        let _: Value = host.owner().expect(Method::POST, "/api/pair/devices", 422, body).await;
    }
}

#[tokio::test]
async fn owner_and_device_credentials_stand_side_by_side() {
    let host = TestHost::start(|_| {}).await;
    let device = host.pair_device("iPad").await;
    assert_eq!(host.device(&device.device_token).get("/api/pair/devices").send().await.unwrap().status(), 401);
    assert_eq!(host.owner().get("/api/pair/me").send().await.unwrap().status(), 401);
    // An app that uses Authorization itself: the device's credential stands in its own header.
    let both = host.owner().get("/api/pair/me").header("couplet-token", &device.device_token);
    assert_eq!(both.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_url_opens_as_a_page_with_instructions() {
    let host = TestHost::start(|_| {}).await;
    let url = pair(&host).await.url;
    let page = reqwest::get(&url).await.unwrap();
    assert_eq!(page.status(), 200);
    let headers = page.headers().clone();
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert_eq!(
        (&headers["cache-control"], &headers["referrer-policy"]),
        (&"no-store".parse().unwrap(), &"no-referrer".parse().unwrap())
    );
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(!headers.contains_key("set-cookie"));
    let page = page.text().await.unwrap();
    assert!(page.contains("Authorization: Bearer") && page.contains("<h1>"), "{page}");
    // Looking uses nothing up, and what is no token is not shown.
    let (_, token) = url.split_once("token=").unwrap();
    let hostile = host.anyone().get("/pair?token=%3Cscript%3E").send().await.unwrap().text().await.unwrap();
    assert!(!hostile.contains("script"), "{hostile}");
    assert_eq!(me(&host, token).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_opens_the_url_is_led_on_to_pairing() {
    let host = TestHost::start(|_| {}).await;
    let url = pair(&host).await.url;
    let phone = Browser::start(|setup| {
        setup.phone().watch();
    })
    .await;
    phone.open(&url).await;
    phone.says("Pair a client with this host").await;
    phone.says(&format!("http://{}", host.pairing_url().strip_prefix("http://").unwrap())).await;
    assert_eq!(phone.evaluate("document.documentElement.scrollWidth > innerWidth").await, json!(false));
    phone.screenshot("pair-url-phone").await;
    // It is copied from the page, as it says.
    let token = phone.evaluate("document.querySelector('li code').innerText").await.as_str().unwrap().to_owned();
    assert_eq!(me(&host, &token).await, 200);
    assert_eq!(devices(&host).await.devices.len(), 1);
    let answers = phone.answers().await;
    let others: Vec<_> = answers.iter().filter(|(url, _)| !url.starts_with(host.pairing_url())).collect();
    assert!(others.iter().all(|(url, _)| !url.starts_with("http")), "it asks its host alone: {others:?}");
}

#[tokio::test]
async fn the_open_door_asks_the_owner() {
    let host = TestHost::start(|setup| {
        setup.arg("--lan-pairing").arg("open").arg("--approve").arg("never");
    })
    .await;
    let asked: Value = host.anyone().expect(Method::GET, "/pair", 202, None).await;
    let claim = asked["claim"].as_str().unwrap();
    assert!(asked["shown_as"].as_str().unwrap().starts_with("Client "), "the person can say which is theirs: {asked}");
    let poll = async || {
        let answer = host.anyone().get("/pair").header("couplet-claim", claim).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(poll().await.0, 202);
    let waiting: PairingList = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
    assert_eq!(waiting.pairings[0].network.as_deref(), Some("127.0.0.1"));
    let approve = format!("/api/pair/pairings/{}/approve", waiting.pairings[0].id);
    assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 204);
    let (status, answer) = poll().await;
    assert_eq!(status, 200);
    assert_eq!(poll().await.0, 410, "once");
    assert_eq!(me(&host, answer["token"].as_str().unwrap()).await, 200);

    let _: Value = host.anyone().expect(Method::GET, "/pair", 202, None).await;
    let waiting: PairingList = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
    let reject = format!("/api/pair/pairings/{}/reject", waiting.pairings[0].id);
    assert_eq!(host.owner().post(&reject).send().await.unwrap().status(), 204);
}

/// A page that someone looks at must not knock at the door: as a picture or a frame, or as a page of another site.
#[tokio::test]
async fn the_open_door_is_not_for_what_web_pages_embed() {
    let host = TestHost::start(|setup| {
        setup.arg("--lan-pairing").arg("open");
    })
    .await;
    for headers in [
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")][..],
        &[("sec-fetch-site", "same-site"), ("sec-fetch-dest", "empty")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "image")],
        &[("sec-fetch-site", "none"), ("sec-fetch-dest", "iframe")],
        &[("sec-fetch-site", "none"), ("sec-fetch-dest", "document"), ("sec-purpose", "prefetch;prerender")],
        &[("accept", "image/avif,image/webp,image/png,*/*;q=0.8")],
    ] {
        let mut request = host.anyone().get("/pair");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        problem::expect(request.send().await.unwrap(), Code::CrossSite).await;
    }
    let waiting: PairingList = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
    assert!(waiting.pairings.is_empty(), "the owner is not asked");
    // A person who types the address, and a program.
    for headers in [&[("sec-fetch-site", "none"), ("sec-fetch-dest", "document"), ("accept", "text/html,*/*")][..], &[]]
    {
        let mut request = host.anyone().get("/pair");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        assert_eq!(request.send().await.unwrap().status(), 202);
    }
}

#[tokio::test]
async fn the_open_door_is_limited_for_each_source() {
    let host = TestHost::start(|setup| {
        setup.arg("--lan-pairing").arg("open");
    })
    .await;
    // Three may wait at once, and the owner's own doors stay open whatever waits there.
    for status in [202, 202, 202, 409, 409, 409, 409, 409, 409, 409, 429] {
        let _: Value = host.anyone().expect(Method::GET, "/pair", status, None).await;
    }
    let waiting: PairingList = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
    let names: HashSet<_> = waiting.pairings.iter().map(|pairing| pairing.device_name.clone()).collect();
    assert_eq!(names.len(), 3, "the owner can tell them apart");
    let _: PairUrlAnswer = host.owner().expect(Method::GET, "/pair", 200, None).await;
}
