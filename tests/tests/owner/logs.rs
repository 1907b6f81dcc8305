//! What is logged, and what never is.

use couplet_protocol::Offer;
use couplet_protocol::message::Control;
use couplet_protocol::offer::LinkForm;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use e2e::device::{Said, get, keys};
use e2e::watch::pairing_info;
use e2e::{Signer, TestApp, TestDevice, TestHost};
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

/// Everything that the host leaves behind, once it is stopped: by name.
async fn places(host: &mut TestHost) -> Vec<(String, Vec<u8>)> {
    let command_line = std::fs::read(format!("/proc/{}/cmdline", host.pid())).unwrap();
    host.stop().await;
    let mut places = vec![
        ("log".to_owned(), host.logs().into_bytes()),
        ("stdout".to_owned(), host.printed().into_bytes()),
        ("ps".to_owned(), command_line),
    ];
    for entry in std::fs::read_dir(host.state_dir()).unwrap() {
        let path = entry.unwrap().path();
        if !matches!(path.file_name().unwrap().to_str(), Some("admin-token" | "host.key")) {
            places.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    assert!(places.iter().any(|(name, bytes)| name == "log" && bytes.len() > 1000), "the log was really on");
    assert!(places.iter().any(|(name, _)| name.ends_with("couplet.db")));
    places
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

    // A watch's nonce pairs whoever has it, as long as it lives.
    let info = pairing_info(&host).await;
    let mut registration = Signer::start().key().registration(&info.nonce, "Watch");
    let claim: Value = host.anyone().expect(Method::POST, "/watch/devices", 202, Some(registration.clone())).await;
    registration["claim"] = claim["claim"].clone();
    let approve = format!("/api/pair/pairings/{}/approve", info.offer_id);
    assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 204);
    let _: Value = host.anyone().expect(Method::POST, "/watch/devices", 200, Some(registration)).await;
    secrets.extend([info.nonce, claim["claim"].as_str().unwrap().to_owned()]);

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

    let places = places(&mut host).await;
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

/// How a secret of bytes may have been written, in a log or anywhere: as it is, in hex, as text, as a list.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let list = format!("{secret:?}");
    let list = list.trim_matches(['[', ']']).as_bytes().to_vec();
    let hex = HEXLOWER.encode(secret);
    let url = BASE64URL_NOPAD.encode(secret);
    // The last letter of base64 depends on what follows.
    let text = BASE64.encode(secret).trim_end_matches('=').to_owned();
    let (url, text) = (url[..url.len() - 1].into(), text[..text.len() - 1].into());
    vec![secret.to_vec(), list, hex.to_uppercase().into(), hex.into(), url, text]
}

/// The same for sealed sessions: keys, links, codes, and what is said in them.
#[tokio::test]
async fn no_secret_of_a_sealed_session_is_ever_logged() {
    let app = TestApp::start().await;
    let mut host = TestHost::start(|setup| {
        setup.app(app.url()).env("RUST_LOG", "trace").arg("--approve").arg("always");
    })
    .await;
    let key_file = std::fs::read_to_string(host.state_dir().join("host.key")).unwrap();
    let host_key = BASE64URL_NOPAD.decode(key_file.trim().as_bytes()).unwrap();
    let (answer, device) = (host.generate().await, TestDevice::new("iPad"));
    let offer = Offer::from_link(&answer.link).unwrap();

    // Wrong uses first: each path has its chance to say too much.
    let unknown = Offer { host_key: device.key.public(), ..offer.clone() };
    let _ = device.claim(host.pairing_url(), &unknown.to_link(LinkForm::App)).await;
    let gone = device.claim(host.pairing_url(), &answer.link).await.unwrap();
    host.event("approval.wanted", |_| true).await;
    drop(gone);
    host.event("offer.released", |_| true).await;
    let mut sealed = device.claim(host.pairing_url(), &answer.link).await.unwrap();
    let is_asked_again = async || host.printed().matches("approval.wanted").count() == 2;
    e2e::eventually("the owner is asked again", e2e::host::PATIENCE, is_asked_again).await;
    let code = sealed.check_code.show();
    let approve = format!("/api/pair/pairings/{}/approve", answer.offer_id);
    for typed in ["000 001", &code] {
        let _ = host.owner().post(&approve).json(&json!({ "check_code": typed })).send().await.unwrap();
    }
    let grant = sealed.granted().await;
    sealed.send(&Control::Ack).await;
    assert_eq!(sealed.said().await, Said::Control(Control::Paired));
    sealed
        .send_data(&get("/echo/the-path-of-a-sealed-request", &[("x-canary", "the-header-of-a-sealed-request")]))
        .await;
    assert!(matches!(sealed.said().await, Said::Data(_)));
    e2e::eventually("the app is asked", e2e::host::PATIENCE, async || !app.requests().is_empty()).await;
    sealed.send_raw(vec![0x11; 300]).await;
    host.event("session.closed", |_| true).await;
    let thief = TestDevice::new("iPad");
    let _ = thief.reconnect(host.pairing_url(), &keys(&answer.link, &grant)).await;
    let late = device.reconnect(host.pairing_url(), &keys(&answer.link, &grant)).await.unwrap();
    drop(late);

    let link = answer.link.split_once(':').unwrap().1.to_owned();
    let mut secrets = vec![
        ("the link", vec![link.to_lowercase().into_bytes(), link.into_bytes()]),
        ("the offer's secret", forms(offer.secret.expose())),
        ("the device's key", forms(device.key.expose())),
        ("the host's key", forms(&host_key)),
        ("the device's token", vec![grant.device_token[4..].as_bytes().to_vec()]),
        ("the check code", vec![code.clone().into_bytes(), format!("\"{}\"", code.replace(' ', "")).into_bytes()]),
        ("the path", vec![b"the-path-of-a-sealed-request".to_vec()]),
        ("the header", vec![b"the-header-of-a-sealed-request".to_vec()]),
    ];
    let mut places = places(&mut host).await;
    let find = |places: &[(String, Vec<u8>)], secrets: &[(&str, Vec<Vec<u8>>)]| {
        for (what, forms) in secrets {
            for (name, bytes) in places {
                let found = forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form));
                assert!(!found, "{what} is in {name}");
            }
        }
    };
    find(&places, &secrets);
    // The host keeps the PSKs, and in its database alone: an offer's while it is open, and then as long as the
    // database's log has the page.
    secrets.push(("the pairing's PSK", forms(grant.psk.expose())));
    secrets.push(("the offer's PSK", forms(offer.keys().unwrap().psk.expose())));
    let kept = grant.psk.expose();
    let in_database = places.iter().filter(|(name, _)| name.contains("couplet.db"));
    let found = in_database.filter(|(_, bytes)| bytes.windows(kept.len()).any(|window| window == kept)).count();
    assert!(found > 0, "the search finds what is there");
    places.retain(|(name, _)| !name.contains("couplet.db"));
    find(&places, &secrets);
}
