//! Pairing by PIN: a device asks, the host shows six digits, and they are typed on the device; or the owner answers.

use couplet_protocol::api::{AuditList, DeviceCredential, DeviceKind, DeviceList, MeAnswer, PairingList};
use couplet_protocol::message::Control;
use e2e::by_pin::{Phone, accept, answer, logged, many, other, refused, request, requests};
use e2e::device::Said;
use e2e::host::PATIENCE;
use e2e::program::couplet_path;
use e2e::{Running, Terminal, TestApp, TestDevice, TestHost};
use reqwest::Method;
use serde_json::{Value, json};

async fn devices(host: &TestHost) -> DeviceList {
    host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await
}

#[tokio::test]
async fn the_pin_that_the_host_shows_pairs_the_device_that_sends_it() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let phone = Phone::new(&host);
    let (status, asked) = phone.ask_as("iPad").await;
    assert_eq!((status, asked.as_object().unwrap().len()), (200, 3), "an id, a number and an end, no PIN: {asked}");
    let id = asked["id"].as_str().unwrap();
    assert_eq!(data_encoding::BASE64URL_NOPAD.decode(&id.as_bytes()[4..]).unwrap().len(), 16, "128 bits: {id}");
    let end = asked["expires_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!((295..=300).contains(&end.duration_since(jiff::Timestamp::now()).as_secs()), "{asked}");

    // The host tells its owner, and nobody else.
    let event = host.event("approval.wanted", |event| event["door"] == "pin").await;
    let shown = request(&host, "iPad").await;
    let pin = shown.pin.expose();
    assert_eq!((&event["pairing_id"], &event["match_number"]), (&json!(shown.id), &asked["match_number"]));
    assert_eq!(asked["match_number"], shown.match_number.to_string());
    assert!(event.get("pin").is_none(), "lines for programs end in a service's log: {event}");
    assert_eq!((shown.device_model.as_deref(), shown.network.as_deref()), (Some("iPad16,3"), Some("127.0.0.1")));
    assert!(pin.len() == 6 && pin.bytes().all(|byte| byte.is_ascii_digit()), "{pin}");
    assert_eq!(host.anyone().get("/mobile/pairing").send().await.unwrap().status(), 401);
    assert_eq!(phone.poll(id).await.0, 202, "nothing is decided");

    let (status, paired) = phone.send(id, &pin).await;
    assert_eq!(status, 200, "{paired}");
    let credential: DeviceCredential = serde_json::from_value(paired).unwrap();
    assert!(credential.device_token.starts_with("dev_"));
    let me: MeAnswer = host.device(&credential.device_token).expect(Method::GET, "/api/pair/me", 200, None).await;
    assert_eq!((me.device_name.as_str(), me.device_id), ("iPad", credential.device_id));
    let through = host.through_gateway("app", Some(&credential.device_token));
    assert_eq!(through.get("/").send().await.unwrap().status(), 200);

    // The same rows as by every other door.
    let event = host.event("device.paired", |event| event["door"] == "pin").await;
    assert_eq!(event["pairing_id"], json!(shown.id));
    let list = devices(&host).await.devices;
    assert_eq!((list.len(), list[0].kind, list[0].device_id), (1, DeviceKind::Mobile, credential.device_id));
    let audit: AuditList = host.owner().expect(Method::GET, "/api/audit", 200, None).await;
    let of_it = audit.entries.iter().rev().filter(|entry| entry.pairing_id == Some(shown.id));
    let actions: Vec<_> = of_it.map(|entry| (entry.action.as_str(), entry.actor.as_str())).collect();
    assert_eq!(actions, [("pairing.approved", "device"), ("device.paired", "device")], "{audit:?}");
    assert!(requests(&host).await.is_empty());
    refused(phone.send(id, &pin).await, 410, "CPL-1217");
    host.revoke(&credential).await;
    assert_eq!(through.get("/").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn the_owner_accepts_and_the_device_collects_its_token_once() {
    let host = TestHost::start(many).await;
    let phone = Phone::new(&host);
    let id = phone.ask("iPad").await;
    let shown = request(&host, "iPad").await;
    // Only the owner's word counts.
    for path in [format!("/mobile/pairing/{}/accept", shown.id), format!("/mobile/pairing/{id}/accept")] {
        assert_eq!(host.anyone().post(&path).send().await.unwrap().status(), 401, "{path}");
    }
    let (status, pending) = phone.poll(&id).await;
    assert!(status == 202 && pending["instructions"].is_string(), "{pending}");
    assert_eq!(answer(&host, &shown.id.to_string(), "accept").await, 204);
    assert!(requests(&host).await.is_empty(), "it waits for nobody any more");
    assert_eq!(answer(&host, &shown.id.to_string(), "accept").await, 409);
    assert_eq!(answer(&host, &shown.id.to_string(), "reject").await, 409);
    assert_eq!(phone.ask("iPad").await, id, "the same request, which the device may have lost");

    let (status, paired) = phone.poll(&id).await;
    assert_eq!(status, 200, "{paired}");
    let token = paired["device_token"].as_str().unwrap();
    assert_eq!(host.device(token).get("/api/pair/me").send().await.unwrap().status(), 200);
    refused(phone.poll(&id).await, 410, "CPL-1217");

    // By the device's own name for it, and by the command line.
    let id = phone.ask("Phone").await;
    assert_eq!(answer(&host, &id, "accept").await, 204);
    assert_eq!(phone.poll(&id).await.0, 200);
    let id = phone.ask("Tablet").await;
    let mut approve = Running::start(host.command(&["approve", "--no-input"]));
    let (code, stdout, stderr) = approve.ended(PATIENCE).await;
    assert_eq!(code, 2, "it names nobody");
    let listed = format!("{stdout}{stderr}");
    assert!(listed.contains("Tablet") && listed.contains(&request(&host, "Tablet").await.pin.show()), "{listed}");
    Running::start(host.command(&["approve", "Tablet"])).succeeds(PATIENCE).await;
    assert_eq!(phone.poll(&id).await.0, 200);
    assert_eq!(devices(&host).await.devices.len(), 3);
    for unknown in ["0190a8f0-0000-7000-8000-000000000000", "clm_AAAAAAAAAAAAAAAAAAAAAA", "x", "%00"] {
        assert_eq!(answer(&host, unknown, "accept").await, 404, "{unknown}");
        refused(phone.poll(unknown).await, 404, "CPL-1211");
    }
}

#[tokio::test]
async fn the_owner_rejects_and_the_device_is_told() {
    let host = TestHost::start(many).await;
    let phone = Phone::new(&host);
    let id = phone.ask("iPad").await;
    let shown = request(&host, "iPad").await;
    assert_eq!(answer(&host, &shown.id.to_string(), "reject").await, 204);
    assert_eq!(answer(&host, &shown.id.to_string(), "reject").await, 409);
    host.event("pairing.rejected", |event| event["pairing_id"] == json!(shown.id)).await;
    refused(phone.poll(&id).await, 410, "CPL-1228");
    refused(phone.send(&id, &shown.pin.expose()).await, 410, "CPL-1228");

    // Its address waits a minute, others do not.
    refused(phone.ask_as("iPad").await, 429, "CPL-1234");
    let phone = Phone::at(&host, [127, 0, 0, 2]);
    let id = phone.ask("iPad").await;
    Running::start(host.command(&["reject", "iPad"])).succeeds(PATIENCE).await;
    refused(phone.poll(&id).await, 410, "CPL-1228");
    assert!(devices(&host).await.devices.is_empty() && requests(&host).await.is_empty());
}

#[tokio::test]
async fn the_third_wrong_pin_ends_the_request() {
    let host = TestHost::start(many).await;
    let phone = Phone::new(&host);
    let id = phone.ask("iPad").await;
    let shown = request(&host, "iPad").await;
    let (right, wrong) = (shown.pin.expose(), other(&shown.pin.expose()));
    for nonsense in ["", "12345", "1234567", "abcdef", "１２３４５６"] {
        refused(phone.send(&id, nonsense).await, 400, "CPL-1226");
    }
    refused(phone.send(&id, &wrong).await, 400, "CPL-1226");
    // Asking again does not give three more.
    assert_eq!(phone.ask("iPad").await, id);
    assert_eq!(request(&host, "iPad").await.pin, shown.pin);
    refused(phone.send(&id, &wrong).await, 400, "CPL-1226");
    refused(phone.send(&id, &wrong).await, 410, "CPL-1227");
    refused(phone.send(&id, &right).await, 410, "CPL-1229");
    refused(phone.poll(&id).await, 410, "CPL-1229");
    let ended = host.event("offer.expired", |event| event["pairing_id"] == json!(shown.id)).await;
    assert_eq!(ended["code"], "CPL-1227", "{ended}");
    assert_eq!(answer(&host, &shown.id.to_string(), "accept").await, 409, "nor by the owner's hand");
    assert_eq!(
        logged(&host).await,
        ["offer.expired three wrong PINs", "pin.wrong iPad", "pin.wrong iPad", "pin.wrong iPad"]
    );
    assert!(devices(&host).await.devices.is_empty());

    // A new one has a new PIN, and works.
    let id = phone.ask("iPad").await;
    let pin = request(&host, "iPad").await.pin.show();
    assert_eq!(phone.send(&id, &pin).await.0, 200, "as people write it: {pin}");
}

#[tokio::test]
async fn a_source_has_one_request_and_a_newer_one_takes_nobodys_place() {
    let host = TestHost::start(|setup| {
        many(setup);
        setup.env("COUPLET_LIMITS__MAX_CLAIMS", "3");
    })
    .await;
    let (phone, neighbour) = (Phone::at(&host, [127, 0, 0, 2]), Phone::at(&host, [127, 0, 0, 3]));
    let id = phone.ask("iPad").await;
    let shown = request(&host, "iPad").await;
    for _ in 0..3 {
        assert_eq!(phone.ask("iPad").await, id);
    }
    // Whoever calls itself otherwise at the same address, or the same at another, is another one.
    let (status, problem) = phone.ask_as("My iPad").await;
    assert!(!problem.to_string().contains("iPad"), "nobody is told who else asks: {problem}");
    refused((status, problem), 409, "CPL-1230");
    let newer = neighbour.ask("Tablet").await;
    assert_ne!(newer, id);
    let waiting = requests(&host).await;
    assert_eq!((waiting.len(), waiting[0].id, &waiting[0].pin), (2, shown.id, &shown.pin), "the first stays the first");

    // Each has its own PIN, and the owner's word is for the one that it names.
    if waiting[1].pin != shown.pin {
        refused(neighbour.send(&newer, &shown.pin.expose()).await, 400, "CPL-1226");
    }
    assert_eq!(answer(&host, &shown.id.to_string(), "accept").await, 204);
    assert_eq!((phone.poll(&id).await.0, neighbour.poll(&newer).await.0), (200, 202));

    // All in all there is room for so many.
    for last in [4, 5] {
        Phone::at(&host, [127, 0, 0, last]).ask("another").await;
    }
    refused(Phone::at(&host, [127, 0, 0, 6]).ask_as("one too many").await, 409, "CPL-1206");
    // Which closes no other door.
    host.pair_device("By the code").await;
    assert_eq!(neighbour.send(&newer, &waiting[1].pin.expose()).await.0, 200);
    Phone::at(&host, [127, 0, 0, 6]).ask("has room now").await;
}

#[tokio::test]
async fn a_request_ends_after_five_minutes() {
    let host = TestHost::start(|setup| {
        many(setup);
        setup.movable_clock();
    })
    .await;
    let phone = Phone::new(&host);
    let id = phone.ask("iPad").await;
    let shown = request(&host, "iPad").await;
    host.set_clock("+290");
    assert_eq!(phone.poll(&id).await.0, 202);
    host.set_clock("+301");
    refused(phone.send(&id, &shown.pin.expose()).await, 410, "CPL-1229");
    let ended = host.event("offer.expired", |event| event["pairing_id"] == json!(shown.id)).await;
    assert_eq!(ended["code"], "CPL-1229", "{ended}");
    refused(phone.poll(&id).await, 410, "CPL-1229");
    assert!(requests(&host).await.is_empty());
    assert_ne!(phone.ask("iPad").await, id);

    // The owner's yes does not wait for ever either.
    let accepted = request(&host, "iPad").await.id.to_string();
    assert_eq!(answer(&host, &accepted, "accept").await, 204);
    host.set_clock("+700");
    host.event("offer.expired", |event| event["pairing_id"] == json!(accepted)).await;
    assert!(devices(&host).await.devices.is_empty());
}

#[tokio::test]
async fn after_a_restart_a_yes_still_counts_and_a_pin_does_not() {
    let mut host = TestHost::start(many).await;
    let (first, second) = (Phone::at(&host, [127, 0, 0, 2]), Phone::at(&host, [127, 0, 0, 3]));
    let (accepted, pending) = (first.ask("Accepted").await, second.ask("Pending").await);
    let pin = request(&host, "Pending").await.pin.expose();
    let pairing = request(&host, "Accepted").await.id.to_string();
    assert_eq!(answer(&host, &pairing, "accept").await, 204);
    host.restart().await;
    let (first, second) = (Phone::at(&host, [127, 0, 0, 2]), Phone::at(&host, [127, 0, 0, 3]));
    refused(second.send(&pending, &pin).await, 410, "CPL-1229");
    assert_eq!(first.poll(&accepted).await.0, 200);
    let id = second.ask("Pending").await;
    assert_eq!(second.send(&id, &request(&host, "Pending").await.pin.expose()).await.0, 200);
    assert_eq!(devices(&host).await.devices.len(), 2);
}

/// The power goes while a device asks, or while it is paired: there is a device or there is none, and it can go on.
#[tokio::test]
async fn a_kill_leaves_all_or_nothing() {
    for point in ["pin.before_commit", "pin.before_pairing"] {
        let mut host = TestHost::start(|setup| {
            setup.failpoint(point);
        })
        .await;
        let phone = Phone::new(&host);
        let asking = phone.http.post(format!("{}/mobile/pairing", phone.base)).json(&json!({ "device_name": "iPad" }));
        if point == "pin.before_commit" {
            let cut_off = tokio::spawn(async move { asking.send().await.is_err() });
            host.failpoint(point).await;
            host.kill().await;
            assert!(cut_off.await.unwrap());
        } else {
            let id: Value = asking.send().await.unwrap().json().await.unwrap();
            let url = format!("{}/mobile/pairing/{}/verify", phone.base, id["id"].as_str().unwrap());
            let pin = request(&host, "iPad").await.pin.expose();
            let verify = phone.http.post(url).json(&json!({ "pin": pin }));
            let cut_off = tokio::spawn(async move { verify.send().await.is_err() });
            host.failpoint(point).await;
            host.kill().await;
            assert!(cut_off.await.unwrap());
        }
        host.without_failpoint();
        host.restart().await;
        assert!(devices(&host).await.devices.is_empty() && requests(&host).await.is_empty(), "{point}");
        let phone = Phone::new(&host);
        let id = phone.ask("iPad").await;
        assert_eq!(phone.send(&id, &request(&host, "iPad").await.pin.expose()).await.0, 200);
        assert_eq!(devices(&host).await.devices.len(), 1, "{point}");
    }
}

#[tokio::test]
async fn twenty_that_send_the_pin_at_once_are_one_device() {
    let host = TestHost::start(many).await;
    let phone = Phone::new(&host);
    let id = phone.ask("iPad").await;
    let pin = request(&host, "iPad").await.pin.expose();
    let tries = (0..20).map(|_| phone.send(&id, &pin));
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|(status, _)| matches!(status, 200 | 410)), "{answers:?}");
    assert_eq!(devices(&host).await.devices.len(), 1);
}

#[tokio::test]
async fn asking_and_guessing_have_their_pace() {
    let host = TestHost::start(|_| {}).await;
    let phone = Phone::at(&host, [127, 0, 0, 2]);
    for _ in 0..10 {
        phone.ask("iPad").await;
    }
    refused(phone.ask_as("iPad").await, 429, "CPL-1207");
    // Nor may it guess which requests there are.
    refused(phone.poll("clm_AAAAAAAAAAAAAAAAAAAAAA").await, 429, "CPL-1207");
}

/// What a device is given is settled when it asks, not by who sends the PIN.
#[tokio::test]
async fn a_request_for_a_sealed_session_never_becomes_a_token() {
    let host = TestHost::start(many).await;
    let phone = Phone::new(&host);
    let asks = |sealed: bool| json!({ "device_name": "Laptop", "sealed": sealed });
    let (_, asked) = phone.post("/mobile/pairing", &asks(true)).await;
    // Nor is the same device without it the same request.
    refused(phone.post("/mobile/pairing", &asks(false)).await, 409, "CPL-1230");
    let shown = request(&host, "Laptop").await;
    for body in [json!({ "pin": shown.pin.expose(), "sealed": false }), json!({ "pin": shown.pin.expose() })] {
        let (status, given) = phone.verify(asked["id"].as_str().unwrap(), &body).await;
        assert!(given.get("device_token").is_none() && matches!(status, 200 | 410), "{status} {given}");
    }
    assert!(devices(&host).await.devices.is_empty());

    // One that did not ask for it says so to its owner.
    let id = phone.ask("iPad").await;
    let shown = request(&host, "iPad").await;
    assert!(!shown.sealed);
    assert_eq!(answer(&host, &id, "accept").await, 204);
    assert!(phone.poll(&id).await.1["device_token"].is_string());
}

/// All of a network may count as one source: the id that collects a credential is told to the one that asked.
#[tokio::test]
async fn nobody_is_given_the_id_of_another() {
    let host = TestHost::start(many).await;
    // One source, as the limits count: eight places.
    let phone = Phone::at(&host, [127, 9, 9, 1]);
    let id = phone.ask("iPad").await;
    for last in 2..9 {
        assert_ne!(Phone::at(&host, [127, 9, 9, last]).ask("iPad").await, id, "a request of its own");
    }
    let (status, problem) = Phone::at(&host, [127, 9, 9, 9]).ask_as("iPad").await;
    assert!(!problem.to_string().contains("iPad") && !problem.to_string().contains(&id), "{problem}");
    refused((status, problem), 409, "CPL-1230");
    let number = request(&host, "iPad").await.match_number;
    assert_eq!(accept(&host, &id, &json!({ "match_number": number })).await.0, 204);
    assert_eq!(phone.poll(&id).await.0, 200);

    // Who shares even the address has not the key.
    let phone = Phone::at(&host, [127, 0, 0, 4]);
    let keyed = |key: &str| json!({ "device_name": "iPad", "request_key": key });
    let (status, asked) = phone.post("/mobile/pairing", &keyed("0123456789abcdef")).await;
    assert_eq!(status, 200, "{asked}");
    let (_, again) = phone.post("/mobile/pairing", &keyed("0123456789abcdef")).await;
    assert_eq!(again["id"], asked["id"]);
    refused(phone.post("/mobile/pairing", &keyed("0123456789abcdeF")).await, 409, "CPL-1230");
    refused(phone.post("/mobile/pairing", &json!({ "device_name": "iPad" })).await, 409, "CPL-1230");
    refused(phone.post("/mobile/pairing", &keyed("short")).await, 400, "CPL-1001");
}

#[tokio::test]
async fn a_device_with_sealed_sessions_is_given_a_link_that_asks_for_its_check_code() {
    let mut host = TestHost::start(many).await;
    let mut phone = Phone::new(&host);
    for accepted in [false, true] {
        let (_, asked) = phone.post("/mobile/pairing", &json!({ "device_name": "Laptop", "sealed": true })).await;
        let id = asked["id"].as_str().unwrap().to_owned();
        let shown = request(&host, "Laptop").await;
        assert!(shown.sealed);
        let event = host.event("approval.wanted", |event| event["pairing_id"] == json!(shown.id)).await;
        assert_eq!(event["sealed"], true);
        let mut body = json!({});
        if accepted {
            assert_eq!(answer(&host, &shown.id.to_string(), "accept").await, 204);
            // A yes outlives the host's process, and so does what it was for.
            host.restart().await;
            phone = Phone::new(&host);
        } else {
            body["pin"] = json!(shown.pin.expose());
        }
        // Who has overheard the id, at another address, knows of no request.
        let eavesdropper = Phone::at(&host, [127, 9, 9, 9]);
        refused(eavesdropper.verify(&id, &body).await, 404, "CPL-1211");
        let withdrawn = eavesdropper.http.delete(format!("{}/mobile/pairing/{id}", eavesdropper.base)).send().await;
        assert_eq!(withdrawn.unwrap().status().as_u16(), 404);
        let (status, given) = phone.verify(&id, &body).await;
        assert_eq!((status, given.as_object().unwrap().len()), (200, 2), "a link and its end, no token: {given}");
        refused(phone.verify(&id, &body).await, 410, "CPL-1217");
        let link = given["link"].as_str().unwrap();
        let asks = async || {
            let list: PairingList = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
            list.pairings.iter().any(|pairing| pairing.id == shown.id && pairing.check_code)
        };

        // Plain HTTP carried the link. Who read it there and claims it first is not in, nor when it comes back.
        for _ in 0..2 {
            let thief = TestDevice::new("Owner's own").claim(host.pairing_url(), link).await.unwrap();
            e2e::eventually("the owner is asked", PATIENCE, asks).await;
            drop(thief);
            e2e::eventually("the link is free again", PATIENCE, async || !asks().await).await;
            assert_eq!(devices(&host).await.devices.len(), usize::from(accepted));
        }
        let mut session = TestDevice::new("Another name").claim(host.pairing_url(), link).await.unwrap();
        e2e::eventually("the owner is asked", PATIENCE, asks).await;
        let code = json!({ "check_code": session.check_code.show() });
        let approve = host.owner().post(&format!("/api/pair/pairings/{}/approve", shown.id)).json(&code);
        assert_eq!(approve.send().await.unwrap().status(), 204);
        session.granted().await;
        session.send(&Control::Ack).await;
        assert_eq!(session.said().await, Said::Control(Control::Paired));
        let event = host.event("device.paired", |event| event["pairing_id"] == json!(shown.id)).await;
        assert_eq!(event["device_name"], "Laptop", "as what it asked");
    }
    assert_eq!(devices(&host).await.devices.len(), 2);
}

#[tokio::test]
async fn the_terminals_of_the_host_show_the_pin() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = e2e::program::couplet();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--state-dir"]).arg(folder.path().join("state"));
    serve.env("HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
    assert!(couplet_path().is_file());
    let terminal = Terminal::start(&serve, 110, 40).await;
    let screen = terminal.shows("the banner", PATIENCE, |screen| screen.has("Next, in another terminal")).await;
    let base = screen.word("http://127.0.0.1:").unwrap();
    let phone = Phone { http: reqwest::Client::builder().no_proxy().build().unwrap(), base };

    let id = phone.ask("iPad").await;
    let screen = terminal.shows("the PIN", PATIENCE, |screen| screen.has("asks to pair. Type ")).await;
    let text = screen.text();
    assert!(text.split_whitespace().collect::<Vec<_>>().join(" ").contains("without encryption"), "{text}");
    let at = text.find("Type ").unwrap() + "Type ".len();
    let (status, paired) = phone.send(&id, &text[at..at + 7]).await;
    assert_eq!(status, 200, "{text}\n{paired}");

    // `couplet pair`, too, whose owner waits for a device: it is this one.
    let mut pair = e2e::program::couplet();
    pair.args(["pair", "--state-dir"]).arg(folder.path().join("state")).env("HOME", folder.path());
    let pairing = Terminal::start(&pair, 90, 30).await;
    pairing.shows("the code", PATIENCE, |screen| screen.has("Token expires in")).await;
    let id = phone.ask("Laptop").await;
    let screen = pairing.shows("the PIN", PATIENCE, |screen| screen.has("on the device at 127.0.0.1 that shows")).await;
    assert!(screen.text().contains('▀'), "the code stays: {}", screen.text());
    let text = screen.text();
    assert!(text.contains("unencrypted"), "{text}");
    let at = text.find("Type ").unwrap() + "Type ".len();
    assert_eq!(phone.send(&id, &text[at..at + 7]).await.0, 200, "{text}");
    let (code, left) = pairing.end(PATIENCE).await;
    assert!(code == 0 && left.contains("Paired with Laptop"), "{code}: {left}");
}

/// What the log is for is not to let its reader in: neither the id that collects a credential nor the PIN is there.
#[tokio::test]
async fn neither_the_id_nor_the_pin_is_logged_or_kept() {
    let mut host = TestHost::start(|setup| {
        many(setup);
        setup.env("RUST_LOG", "trace");
    })
    .await;
    let mut ids = Vec::new();
    for (last, end) in (1..).zip(["pin", "wrong", "reject", "wait"]) {
        let phone = Phone::at(&host, [127, 0, 0, last]);
        let id = phone.ask(end).await;
        let shown = request(&host, end).await;
        match end {
            "pin" => assert_eq!(phone.send(&id, &shown.pin.expose()).await.0, 200),
            "wrong" => {
                for _ in 0..3 {
                    phone.send(&id, &other(&shown.pin.expose())).await;
                }
            }
            "reject" => assert_eq!(answer(&host, &id, "reject").await, 204),
            _ => assert_eq!(phone.poll(&id).await.0, 202),
        }
        refused(phone.verify("clm_AAAAAAAAAAAAAAAAAAAAAA", &json!({})).await, 404, "CPL-1211");
        ids.push((id[4..].to_owned(), shown.pin));
    }
    host.stop().await;
    let logs = host.logs();
    assert!(logs.contains("/mobile/pairing/…/verify"), "the log was really on");
    let files = std::fs::read_dir(host.state_dir()).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let files: Vec<Vec<u8>> = files.collect();
    for (id, pin) in &ids {
        assert!(!logs.contains(id.as_str()) && !host.printed().contains(id.as_str()), "{id}");
        for form in [format!("\"{}\"", pin.expose()), pin.show(), format!("pin={}", pin.expose())] {
            assert!(!logs.contains(&form), "{form}");
            assert!(!files.iter().any(|bytes| bytes.windows(form.len()).any(|w| w == form.as_bytes())), "{form}");
        }
        assert!(!files.iter().any(|bytes| bytes.windows(id.len()).any(|w| w == id.as_bytes())), "{id}");
    }
}
