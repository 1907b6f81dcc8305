//! A host at a relay, as its owner and its devices see it: enrolment, the link, rooms, sessions.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use couplet_protocol::EnrollmentToken;
use couplet_protocol::api::{DeviceList, PairingList};
use couplet_protocol::frame::CloseCode;
use couplet_protocol::message::{Control, Grant};
use couplet_protocol::offer::{Endpoint, Offer};
use couplet_protocol::secret::RoomSecret;
use e2e::device::{Said, Sealed, Unsealed, get, keys};
use e2e::host::PATIENCE;
use e2e::pace::soon;
use e2e::program::program as start;
use e2e::relay::Credential;
use e2e::{Http2, Relay, Running, TestApp, TestDevice, TestHost, eventually, program};
use reqwest::Method;
use serde_json::{Value, json};

/// How soon what is revoked is over.
const SOON: Duration = Duration::from_secs(1);

async fn becomes(relay: &Relay, grant: &Grant, number: u32, wanted: u16) {
    let what = format!("room {number} answers with {wanted}");
    eventually(&what, PATIENCE, async || relay.status(grant, number).await == wanted).await;
}

/// Sends a request to the app and reads the beginning of the answer.
async fn uses_the_app(sealed: &mut Sealed) {
    sealed.send_data(&get("/echo", &[])).await;
    loop {
        match sealed.said().await {
            Said::Data(_) => return,
            Said::Control(Control::Endpoints { .. }) => {}
            other => panic!("no answer but {other:?}"),
        }
    }
}

async fn closed(sealed: &mut Sealed) -> Said {
    loop {
        match sealed.said().await {
            Said::Data(_) | Said::Control(Control::Endpoints { .. }) => {}
            end => return end,
        }
    }
}

async fn devices(host: &TestHost) -> DeviceList {
    host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await
}

fn run(args: &[&str], state_dir: &Path) -> (i32, String) {
    let mut command = program::couplet();
    command.args(args).arg("--state-dir").arg(state_dir).env("HOME", state_dir.parent().unwrap());
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn never_asks(setup: &mut e2e::host::Setup) {
    setup.env("COUPLET_APPROVE", "never");
}

/// A host of this relay with an app behind it, a device that is to pair, and a link for that.
async fn opening(relay: &Relay, app: &TestApp) -> (TestHost, TestDevice, String) {
    let serve = |setup: &mut e2e::host::Setup| {
        setup.app(app.url());
        never_asks(setup);
    };
    let host = relay.host(serve).await;
    let link = host.generate().await.link;
    (host, TestDevice::new("Phone"), link)
}

#[tokio::test]
async fn a_device_pairs_and_comes_back_through_the_relay() {
    let (relay, app) = (Relay::start().await, TestApp::start().await);
    let (host, device, link) = opening(&relay, &app).await;
    assert_eq!(host.ready()["relay"], relay.name());
    assert!(link.starts_with(&format!("HTTPS://LOCALHOST:{}/P#", relay.name().split_once(':').unwrap().1)), "{link}");
    let grant = relay.pair(&device, &link).await;
    let is_relay = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Relay(name) if name.as_str() == relay.name());
    assert!(is_relay(grant.endpoints.last().unwrap()), "{:?}", grant.endpoints);
    assert!(Offer::from_link(&link).unwrap().endpoints.iter().any(|e| matches!(e, Endpoint::Lan(_))), "and the LAN");

    // The offer's room went with the pairing; the device has its own.
    let (room, token) = Relay::room_of(&link);
    let late = relay.ask(room, &token).await;
    assert_eq!((late.status, &late.body["code"]), (410, &json!("CPL-1804")));
    let mut sealed = relay.come_back(&device, &link, &grant, 0).await;
    uses_the_app(&mut sealed).await;
    let opened = host.event("session.opened", |_| true).await;
    assert_eq!((&opened["path"], &opened["relay"]), (&json!("relay"), &json!(relay.name())));
    let listed = serde_json::to_value(devices(&host).await).unwrap();
    assert_eq!(listed["devices"][0]["session"], "relay", "{listed}");
    let table = String::from_utf8(host.command(&["devices"]).output().unwrap().stdout).unwrap();
    assert!(table.contains("now (relay)"), "{table}");
    drop(sealed);
    host.event("session.closed", |_| true).await;
    eventually("the path stays", PATIENCE, async || {
        let listed = serde_json::to_value(devices(&host).await).unwrap();
        listed["devices"][0]["session"].is_null() && listed["devices"][0]["path"] == "relay"
    })
    .await;

    // On the same network it comes as ever.
    let mut sealed = device.reconnect(host.pairing_url(), &keys(&link, &grant)).await.unwrap();
    uses_the_app(&mut sealed).await;
    host.event("session.opened", |event| event["path"] == "lan").await;
}

/// Apps let in more from nearby, and of a device that comes through a relay nobody but that relay says how near it is.
#[tokio::test]
async fn an_app_takes_nobody_who_comes_through_a_relay_for_near() {
    let (relay, app) = (Relay::start().await, TestApp::start().await);
    let (_host, device, link) = opening(&relay, &app).await;
    let grant = relay.pair(&device, &link).await;
    let http = Http2::over(relay.come_back(&device, &link, &grant, 0).await).await;
    let forged = [
        ("x-forwarded-for", "192.168.7.7"),
        ("x_forwarded_for", "192.168.7.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "192.168.7.7"),
        ("x-forwarded-port", "443"),
        ("forwarded", "for=192.168.7.7"),
        ("x-real-ip", "192.168.7.7"),
        ("x-couplet-device-name", "192.168.7.7"),
    ];
    for sent in [&forged[..], &forged[..1], &[]] {
        let answer = http.ask(Method::GET, "http://photos.example.test:81/echo", sent).await;
        assert_eq!(answer.status(), 200);
        let headers = app.last_request().headers;
        let told = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "host"].map(|name| &headers[name]);
        assert_eq!(told, ["unknown", "http", "photos.example.test:81", "photos.example.test:81"]);
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(headers["x-couplet-device-id"], *grant.device_id);
        let all = format!("{headers:?}");
        assert!(!all.contains("192.168.7.7") && !headers.contains_key("x-forwarded-port"), "{all}");
    }
}

#[tokio::test]
async fn an_open_session_is_told_where_the_host_is() {
    let relay = Relay::start().await;
    let host = relay.host(never_asks).await;
    let (device, link) = (TestDevice::new("Phone"), host.generate().await.link);
    let grant = relay.pair(&device, &link).await;
    let mut sealed = relay.come_back(&device, &link, &grant, 0).await;
    let list = loop {
        match sealed.said().await {
            Said::Control(Control::Endpoints { list, .. }) => break list,
            Said::Data(_) => {}
            other => panic!("no addresses but {other:?}"),
        }
    };
    assert!(list.iter().any(|e| matches!(e, Endpoint::Relay(_))), "{list:?}");
}

#[tokio::test]
async fn the_owner_is_asked_about_devices_that_come_through_the_relay() {
    let relay = Relay::start().await;
    let host = relay.host(|_| {}).await;
    let (near, far) = (TestDevice::new("Near"), TestDevice::new("Far"));
    let link = host.generate().await.link;
    near.pair(host.pairing_url(), &link).await;
    let link = host.generate().await.link;
    let mut sealed = relay.claim(&far, &link).await;
    let asked = host.event("approval.wanted", |_| true).await;
    assert_eq!((&asked["device_name"], &asked["relay"]), (&json!("Far"), &json!(relay.name())));
    assert_eq!((&asked["check_code"], &asked["network"]), (&json!(true), &json!("127.0.0.1")));
    let waiting: PairingList = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
    let [waiting] = &waiting.pairings[..] else { panic!("{waiting:?}") };
    assert_eq!(waiting.relay, Some(relay.name()));
    let body = json!({"check_code": sealed.check_code.show()});
    let path = format!("/api/pair/pairings/{}/approve", waiting.id);
    let answer = host.owner().post(&path).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 204, "{}", answer.text().await.unwrap());
    sealed.granted().await;
    sealed.send(&Control::Ack).await;
    assert_eq!(sealed.said().await, Said::Control(Control::Paired));
}

#[tokio::test]
async fn a_host_that_enrols_later_has_its_old_devices_at_the_relay() {
    let relay = Relay::start().await;
    let mut host = TestHost::start(never_asks).await;
    assert!(host.ready().get("relay").is_none());
    let (device, link) = (TestDevice::new("Phone"), host.generate().await.link);
    assert!(link.starts_with("COUPLET:"), "{link}");
    let (grant, sealed) = device.pair(host.pairing_url(), &link).await;
    drop(sealed);
    let (code, _, said) = relay.enroll(&relay.invite(), &host.state_dir());
    assert!(code == 0 && said.contains("restart couplet serve"), "{code}: {said}");
    host.restart().await;
    host.event("relay.connected", |_| true).await;
    drop(relay.come_back(&device, &link, &grant, 0).await);

    host.restart_with(|setup| {
        setup.arg("--no-relay");
    })
    .await;
    assert!(host.ready().get("relay").is_none());
    assert!(host.generate().await.link.starts_with("COUPLET:"));
}

#[tokio::test]
async fn what_cannot_be_enrolled_says_why_and_leaves_nothing() {
    let relay = Relay::start().await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("host");
    let refused = |said: (i32, String, String), parts: &[&str]| {
        assert_eq!(said.0, 1, "{}", said.2);
        assert!(parts.iter().all(|part| said.2.contains(part)), "{}", said.2);
        assert!(!state.join("relay.json").exists());
    };
    let token = relay.invite();
    refused(relay.enroll("otp_AAAA", &state), &["CPL-1809", "couplet relay invite"]);
    let mut other = EnrollmentToken::parse(&token).unwrap();
    other.ca[0] ^= 1;
    refused(relay.enroll(&other.to_text(), &state), &["CPL-1820", "not the one that the token names"]);
    // That one is used up: the relay could not know that the host would not believe it.
    refused(relay.enroll(&token, &state), &["CPL-1810"]);
    let (code, said) = run(&["enroll", &relay.invite()], &state);
    assert!(code == 1 && said.contains("CPL-1820") && said.contains("--relay-ca FILE"), "{said}");
    let mut gone = EnrollmentToken::parse(&token).unwrap();
    gone.relay = couplet_protocol::RelayName::parse("localhost:1").unwrap();
    refused(relay.enroll(&gone.to_text(), &state), &["CPL-1819", "couplet relay check localhost:1"]);
    let (code, said) = run(&["serve", "--relay", "--listen", "127.0.0.1:0"], &state);
    assert!(code == 1 && said.contains("CPL-1825") && said.contains("couplet enroll TOKEN"), "{said}");

    let (code, answer, said) = relay.enroll(&relay.invite(), &state);
    assert_eq!((code, answer.as_str()), (0, ""), "{said}");
    let file = state.join("relay.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(relay.run(&["hosts"]).1.lines().count() > 1);
    std::fs::write(&file, "{}").unwrap();
    let (code, said) = run(&["serve", "--listen", "127.0.0.1:0"], &state);
    assert!(code == 1 && said.contains("relay.json") && said.contains("--no-relay"), "{said}");
}

#[tokio::test]
async fn an_offers_room_ends_with_the_offer() {
    let relay = Relay::start().await;
    let host = relay.host(never_asks).await;
    let offer = host.generate().await;
    let (room, token) = Relay::room_of(&offer.link);
    assert_eq!(relay.ask(room, &token).await.status, 200, "it is there as soon as the code is");
    let path = format!("/api/pair/offers/{}", offer.offer_id);
    assert_eq!(host.owner().delete(&path).send().await.unwrap().status(), 204);
    eventually("the room of a withdrawn offer is gone", PATIENCE, async || relay.ask(room, &token).await.status == 410)
        .await;
    let body = json!({"ttl": 10, "link_ttl": 10});
    let offer: Value = host.owner().expect(Method::POST, "/api/pair/generate", 200, Some(body)).await;
    let (room, token) = Relay::room_of(offer["link"].as_str().unwrap());
    assert_eq!(relay.ask(room, &token).await.status, 200);
    host.event("offer.expired", |_| true).await;
    eventually("and that of an expired one", PATIENCE, async || relay.ask(room, &token).await.status == 410).await;
}

#[tokio::test]
async fn host_and_relay_may_restart_and_nobody_pairs_anew() {
    let mut relay = Relay::start().await;
    let mut host = relay.host(never_asks).await;
    let (device, link) = (TestDevice::new("Phone"), host.generate().await.link);
    let grant = relay.pair(&device, &link).await;

    relay.kill().await;
    host.event("relay.lost", |event| event["code"] == "CPL-1819").await;
    // While the relay is away the LAN is as ever, and what happens is told to it later.
    let (near, near_link) = (TestDevice::new("Near"), host.generate().await.link);
    let (near_grant, _) = near.pair(host.pairing_url(), &near_link).await;
    let connected = host.printed().matches("relay.connected").count();
    relay.restart().await;
    eventually("the link is back", PATIENCE, async || host.printed().matches("relay.connected").count() > connected)
        .await;
    drop(relay.come_back(&device, &link, &grant, 0).await);
    drop(relay.come_back(&near, &near_link, &near_grant, 0).await);

    // Revoked while no relay is there.
    relay.kill().await;
    let path = format!("/api/pair/devices/{}", near_grant.device_id);
    assert_eq!(host.owner().delete(&path).send().await.unwrap().status(), 204);
    host.kill().await;
    relay.restart().await;
    host.restart().await;
    host.event("relay.connected", |_| true).await;
    drop(relay.come_back(&device, &link, &grant, 0).await);
    assert_eq!(relay.status(&near_grant, 0).await, 401, "the room of the revoked device is gone");

    // A relay that stops in good order is come back to.
    let connected = host.printed().matches("relay.connected").count();
    relay.stop();
    relay.logged("drain").await;
    relay.restart().await;
    becomes(&relay, &grant, 0, 200).await;
    assert!(host.printed().matches("relay.connected").count() >= connected);
}

#[tokio::test]
async fn a_revoked_device_is_out_at_once() {
    let (relay, app) = (Relay::start().await, TestApp::start().await);
    let (host, device, link) = opening(&relay, &app).await;
    let grant = relay.pair(&device, &link).await;
    let mut sealed = relay.come_back(&device, &link, &grant, 0).await;
    uses_the_app(&mut sealed).await;
    let path = format!("/api/pair/devices/{}", grant.device_id);
    let began = Instant::now();
    assert_eq!(host.owner().delete(&path).send().await.unwrap().status(), 204);
    assert_eq!(closed(&mut sealed).await, Said::Closed(CloseCode::Revoked));
    becomes(&relay, &grant, 0, 401).await;
    let took = began.elapsed();
    assert!(took < soon(SOON), "{took:?}");
    // It needs a fresh code, and no more.
    let link = host.generate().await.link;
    let grant = relay.pair(&device, &link).await;
    uses_the_app(&mut relay.come_back(&device, &link, &grant, 0).await).await;
}

#[tokio::test]
async fn a_revoked_host_stops_asking_and_says_so() {
    let relay = Relay::start().await;
    let mut host = relay.host(never_asks).await;
    let (device, link) = (TestDevice::new("Phone"), host.generate().await.link);
    let grant = relay.pair(&device, &link).await;
    let mut sealed = relay.come_back(&device, &link, &grant, 0).await;
    let file = host.state_dir().join("relay.json");
    let enrolment: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let id = enrolment["host_id"].as_str().unwrap();
    assert_eq!(relay.run(&["hosts", "revoke", id, "--yes"]).0, 0);
    assert_eq!(closed(&mut sealed).await, Said::Gone);
    host.event("relay.refused", |event| event["code"] == "CPL-1811").await;
    assert!(host.logs().contains("couplet enroll TOKEN"), "{}", host.logs());
    // Everything else goes on, and the next start tries once more.
    device.reconnect(host.pairing_url(), &keys(&link, &grant)).await.unwrap();
    host.restart().await;
    host.event("relay.refused", |event| event["code"] == "CPL-1811").await;

    assert_eq!(relay.enroll(&relay.invite(), &host.state_dir()).0, 0);
    host.restart().await;
    host.event("relay.connected", |_| true).await;
    drop(relay.come_back(&device, &link, &grant, 0).await);
}

#[tokio::test]
async fn who_enrols_again_with_the_same_relay_stays_who_it_was_there() {
    let (relay, app) = (Relay::start().await, TestApp::start().await);
    let (mut host, device, link) = opening(&relay, &app).await;
    let grant = relay.pair(&device, &link).await;
    let file = host.state_dir().join("relay.json");
    let enrolment = || -> Value { serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap() };
    let before = enrolment();
    assert_eq!(relay.enroll(&relay.invite(), &host.state_dir()).0, 0);
    let after = enrolment();
    assert_eq!((&after["host_id"], &after["key"]), (&before["host_id"], &before["key"]));
    assert_ne!(after["certificate"], before["certificate"]);
    host.restart().await;
    host.event("relay.connected", |_| true).await;
    uses_the_app(&mut relay.come_back(&device, &link, &grant, 0).await).await;
}

#[tokio::test]
async fn a_renewal_does_not_undo_a_later_enrolment() {
    let (relay, other) = (Relay::start().await, Relay::start().await);
    let host = relay
        .host(|setup| {
            setup.movable_clock();
        })
        .await;
    let file = host.state_dir().join("relay.json");
    assert_eq!(other.enroll(&other.invite(), &host.state_dir()).0, 0);
    let enrolled = std::fs::read_to_string(&file).unwrap();
    host.set_clock("+5d");
    eventually("the certificate is renewed", PATIENCE, async || host.logs().contains("enrolled anew")).await;
    assert!(std::fs::read_to_string(&file).unwrap() == enrolled);
}

#[tokio::test]
async fn the_certificate_is_renewed_in_time_and_after_its_end() {
    let relay = Relay::start().await;
    let mut host = relay
        .host(|setup| {
            setup.movable_clock();
        })
        .await;
    let file = host.state_dir().join("relay.json");
    let certificate = || {
        let enrolment: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        enrolment["certificate"].as_str().unwrap().to_owned()
    };
    let first = certificate();
    host.set_clock("+5d");
    eventually("two thirds are over", PATIENCE, async || certificate() != first).await;
    let second = certificate();
    let connected = host.printed().matches("relay.connected").count();
    assert_eq!(connected, 1, "the owner hears nothing of it");
    host.stop().await;
    host.set_clock("+20d");
    host.restart().await;
    host.event("relay.connected", |_| true).await;
    assert!(certificate() != second, "by the key alone");
}

#[tokio::test]
async fn who_locks_a_room_keeps_its_device_out_of_no_other() {
    let relay = Relay::start().await;
    let mut host = relay.host(never_asks).await;
    let (device, link) = (TestDevice::new("Phone"), host.generate().await.link);
    let grant = relay.pair(&device, &link).await;
    let secret = grant.room_secret.as_ref().unwrap();
    let wrong = Credential::Secret(RoomSecret::new([9; 32]).relay_secret_hash().unwrap());
    let lock = async |number: u32| {
        let room = secret.room(number).unwrap();
        for status in [401, 401, 423] {
            assert_eq!(relay.ask(room, &wrong).await.status, status);
        }
    };
    assert_eq!((relay.status(&grant, 0).await, relay.status(&grant, 1).await), (200, 200));
    lock(0).await;
    assert_eq!(relay.status(&grant, 0).await, 423);
    host.restart().await;
    host.event("relay.connected", |_| true).await;
    let mut sealed = relay.come_back(&device, &link, &grant, 1).await;
    sealed.send_data(&get("/", &[])).await;
    sealed.said().await;
    // The lock made room for another one, and the first is not needed any more. No code is shown before the rooms are
    // right; who asks for one that is not there yet fails, and that counts.
    host.generate().await;
    becomes(&relay, &grant, 2, 200).await;
    lock(2).await;
    lock(1).await;
    eventually("the host hears of both", PATIENCE, async || host.logs().matches("its device has others").count() == 2)
        .await;
    host.generate().await;
    becomes(&relay, &grant, 3, 200).await;
    drop(relay.come_back(&device, &link, &grant, 3).await);
}

#[tokio::test]
async fn a_relay_that_lies_about_rooms_parts_no_device_from_its_host() {
    let relay = Relay::start().await;
    let host = relay.host(never_asks).await;
    let (device, link) = (TestDevice::new("Phone"), host.generate().await.link);
    let grant = relay.pair(&device, &link).await;
    let again = async |kept, opened| {
        let (initiator, m1) = device.hello_again(&keys(&link, &grant));
        let unsealed = Unsealed::open(host.pairing_url()).await;
        let answered = unsealed.shake_hands(initiator, m1).await.unwrap();
        let mut sealed = answered.come_by(kept, opened).confirm().await;
        sealed.send_data(&get("/", &[])).await;
        sealed.said().await;
        // An offer is not shown before the rooms are right.
        host.generate().await;
    };
    let statuses = async |numbers: [u32; 3]| {
        let mut statuses = Vec::new();
        for number in numbers {
            statuses.push(relay.status(&grant, number).await);
        }
        statuses
    };
    // It was led to believe that its sixth room opened. Whether or not it came to write that down, it finds one.
    again(0, 5).await;
    assert_eq!(statuses([0, 5, 6]).await, [200, 200, 200]);
    again(5, 5).await;
    assert_eq!(statuses([0, 5, 6]).await, [401, 200, 200]);
    // It was restored from a backup of long ago, and found its host on the local network.
    again(1, 1).await;
    assert_eq!(statuses([1, 2, 10]).await, [200, 200, 401]);
}

#[tokio::test]
async fn a_token_is_read_from_stdin_and_never_printed() {
    let relay = Relay::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), relay.invite()).unwrap();
    let mut bash = start("bash");
    let command = format!(
        "exec {} enroll - --json --relay-ca {} --state-dir host < token",
        program::couplet_path().display(),
        relay.ca().display()
    );
    bash.args(["-c", &command]).current_dir(folder.path()).env("HOME", folder.path());
    let mut running = Running::start(bash);
    let printed: Value = serde_json::from_str(running.succeeds(PATIENCE).await.trim()).unwrap();
    assert_eq!((&printed["relay"], &printed["restart"]), (&json!(relay.name()), &json!(false)));
    assert!(!running.written().contains("enr_"), "{}", running.written());
}
