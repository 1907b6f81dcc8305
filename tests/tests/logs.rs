//! What is logged, and what never is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use e2e::{TestApp, TestHost};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_generated_url_is_logged_without_its_token() {
    let mut host = TestHost::start(|setup| {
        setup.env("RUST_LOG", "couplet::pairing=info");
    })
    .await;
    let answer: Value = host.owner().expect(Method::GET, "/pair", 200, None).await;
    host.stop().await;
    let logs = host.logs();
    let line = logs.lines().find(|line| line.contains("pairing.url.generated")).expect("the event is logged");
    let port = host.pairing_url().rsplit(':').next().unwrap();
    assert!(line.contains("INFO couplet::pairing: pairing.url.generated host="), "{line}");
    assert!(line.contains("127.0.0.1") && line.contains(port) && line.contains("token_len=32"), "{line}");
    assert!(!logs.contains(answer["token"].as_str().unwrap()));
}

#[tokio::test]
async fn pairing_events_have_the_documented_target() {
    let mut host = TestHost::start(|setup| {
        setup.env("RUST_LOG", "info");
    })
    .await;
    let device = host.pair_device("iPad").await;
    host.revoke(&device).await;
    host.stop().await;
    let logs = host.logs();
    for event in ["offer.created", "offer.claimed", "device.paired", "device.revoked"] {
        let line = logs.lines().find(|line| line.contains(event)).unwrap_or_else(|| panic!("{event}: {logs}"));
        assert!(line.contains("couplet::pairing:"), "{line}");
    }
}

#[tokio::test]
async fn rust_log_selects_pairing_events() {
    for (filter, expected) in [("couplet::pairing=info", true), ("couplet::pairing=warn", false), ("off", false)] {
        let mut host = TestHost::start(|setup| {
            setup.env("RUST_LOG", filter);
        })
        .await;
        host.pair_device("iPad").await;
        host.stop().await;
        assert_eq!(host.logs().contains("device.paired"), expected, "{filter}");
    }
}

/// Every flow with the most talkative log: no secret is in the log, on stdout, in the database or in `ps`.
#[tokio::test]
async fn no_secret_is_ever_logged() {
    let app = TestApp::start().await;
    let mut host = TestHost::start(|setup| {
        setup.app(app.url()).env("RUST_LOG", "trace").arg("--approve").arg("always");
    })
    .await;
    let admin = host.admin_token();
    let mut secrets = vec![admin.clone()];

    let offer = host.generate().await;
    secrets.push(offer.pair_token.expose().to_owned());
    let mut body = json!({ "pair_token": offer.pair_token.expose(), "device_name": "iPad" });
    let claim: Value = host.anyone().expect(Method::POST, "/api/pair/exchange", 202, Some(body.clone())).await;
    secrets.push(claim["claim"].as_str().unwrap().to_owned());
    body["claim"] = claim["claim"].clone();
    let approve = format!("/api/pair/pairings/{}/approve", offer.offer_id);
    assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 204);
    let device: Value = host.anyone().expect(Method::POST, "/api/pair/exchange", 200, Some(body.clone())).await;
    let device_token = device["device_token"].as_str().unwrap().to_owned();
    secrets.push(device_token.clone());

    let added = host.add_device("Editor").await;
    secrets.push(added.device_token.clone());
    let asked: Value = host.owner().expect(Method::GET, "/pair", 202, None).await;
    let url_claim = asked["claim"].as_str().unwrap().to_owned();
    let waiting: Value = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
    let approve = format!("/api/pair/pairings/{}/approve", waiting["pairings"][0]["id"].as_str().unwrap());
    assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 204);
    let issued = host.owner().get("/pair").header("couplet-claim", &url_claim).send().await.unwrap();
    let issued: Value = issued.json().await.unwrap();
    let bearer = issued["token"].as_str().unwrap().to_owned();
    secrets.extend([url_claim, bearer.clone()]);

    // Right and wrong uses of them: each path has its chance to say too much.
    let page = host.anyone().get(&format!("/pair?token={bearer}")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let _ = host.anyone().post("/api/pair/exchange").json(&body).send().await.unwrap();
    let _ = host.anyone().post("/api/pair/exchange").body(body.to_string()).send().await.unwrap();
    for token in [&device_token, &bearer, &added.device_token, &admin] {
        let _ = host.device(token).get("/api/pair/me").send().await.unwrap();
        let through = host.through_gateway("app", Some(token));
        let _ = through.get("/echo").send().await.unwrap();
        let _ = through.post("/echo").header("couplet-token", token.as_str()).send().await.unwrap();
    }
    drop(app);
    let down = host.through_gateway("app", Some(&device_token)).get("/").send().await.unwrap();
    assert_eq!(down.status(), 502);
    assert_eq!(host.device(&device_token).delete("/api/pair/me").send().await.unwrap().status(), 204);

    let command_line = std::fs::read(format!("/proc/{}/cmdline", host.pid())).unwrap();
    host.stop().await;
    let mut places = vec![
        ("log".to_owned(), host.logs().into_bytes()),
        ("stdout".to_owned(), host.printed().into_bytes()),
        ("ps".to_owned(), command_line),
    ];
    for entry in std::fs::read_dir(host.state_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != "admin-token" {
            places.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    assert!(places.iter().any(|(name, bytes)| name == "log" && bytes.len() > 1000), "the log was really on");
    assert!(places.iter().any(|(name, _)| name.ends_with("couplet.db")));
    for secret in &secrets {
        // The prefix is no secret; what follows is.
        let random = secret.rsplit_once('_').filter(|(prefix, _)| prefix.len() == 3).map_or(&secret[..], |(_, r)| r);
        let random = if random.len() >= 16 { random } else { &secret[4..] };
        for (name, bytes) in &places {
            let found = bytes.windows(random.len()).any(|window| window == random.as_bytes());
            assert!(!found, "{}… is in {name}", &secret[..8]);
        }
    }
}
