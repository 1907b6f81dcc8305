//! Certificates that a relay does not take, and clocks that differ, as a host's owner and a device's user meet them.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use couplet_protocol::Offer;
use couplet_protocol::offer::{Endpoint, LinkForm};
use e2e::host::{PATIENCE, with_wrong_clock};
use e2e::{Laptop, Relay, Running, TestHost, eventually};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType, date_time_ymd};
use serde_json::{Value, json};

/// The enrolment in a state folder.
fn enrolment(state_dir: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(state_dir.join("relay.json")).unwrap()).unwrap()
}

/// Changes it.
fn enrolled_as(state_dir: &Path, change: impl FnOnce(&mut Value)) {
    let mut enrolment = enrolment(state_dir);
    change(&mut enrolment);
    std::fs::write(state_dir.join("relay.json"), enrolment.to_string()).unwrap();
}

/// A certificate for the host of this enrolment, and its key.
fn certificate(enrolment: &Value, change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    let host = format!("couplet:host:{}", enrolment["host_id"].as_str().unwrap());
    params.subject_alt_names = vec![SanType::URI(host.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    (params, KeyPair::from_pem(enrolment["key"].as_str().unwrap()).unwrap())
}

/// What the relay's CA, which has its key in this folder, would have given.
fn issued(ca: &Path, (params, key): (CertificateParams, KeyPair)) -> String {
    let pem = |name| std::fs::read_to_string(ca.with_file_name(name)).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&pem("ca.pem"), KeyPair::from_pem(&pem("ca.key")).unwrap()).unwrap();
    params.signed_by(&key, &issuer).unwrap().pem()
}

async fn start(state_dir: &Path, clock: Option<&str>) -> TestHost {
    let state_dir = state_dir.to_owned();
    let clock = clock.map(str::to_owned);
    TestHost::start(|setup| {
        setup.state_dir(state_dir).env("COUPLET_APPROVE", "never");
        if let Some(clock) = clock {
            setup.clock(&clock);
        }
    })
    .await
}

#[tokio::test]
async fn a_host_with_a_certificate_that_is_not_taken_gets_another_by_its_key() {
    let (relay, other) = (Relay::start().await, Relay::start().await);
    let state_dir = relay.enrolled();
    let good = enrolment(&state_dir);
    let expired = issued(&relay.ca(), certificate(&good, end_six_hours_ago));
    let (params, key) = certificate(&good, |_| {});
    let cases = [
        ("expired, as its host knows", expired.clone(), None),
        ("expired, where its host's clock is late", expired, Some("-12h")),
        ("of another CA", issued(&other.ca(), certificate(&good, |_| {})), None),
        ("self-made with the same name", params.self_signed(&key).unwrap().pem(), None),
        ("a server's", issued(&relay.ca(), certificate(&good, server)), None),
    ];
    for (what, bad, clock) in cases {
        enrolled_as(&state_dir, |enrolment| enrolment["certificate"] = bad.clone().into());
        let mut host = start(&state_dir, clock).await;
        host.event("relay.connected", |_| true).await;
        let now = enrolment(&state_dir);
        assert!(now["certificate"] != json!(bad) && now["key"] == good["key"], "{what}");
        assert!(host.logs().contains("is renewed"), "{what}: {}", host.logs());
        host.kill().await;
    }
}

/// A clock that is half a day late says that it is good.
fn end_six_hours_ago(params: &mut CertificateParams) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    params.not_after = date_time_ymd(1970, 1, 1) + (now - Duration::from_secs(6 * 3600));
}

fn server(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
}

#[tokio::test]
async fn a_host_that_its_relay_does_not_know_is_told_to_enrol_anew() {
    let (mut relay, other) = (Relay::start().await, Relay::start().await);
    // What another relay gave is worth nothing here.
    let state_dir = relay.enrolled();
    let foreign = enrolment(&other.enrolled());
    enrolled_as(&state_dir, |enrolment| {
        for name in ["certificate", "key", "host_id"] {
            enrolment[name] = foreign[name].clone();
        }
    });
    let mut host = start(&state_dir, None).await;
    host.event("relay.lost", |event| event["code"] == "CPL-1809").await;
    eventually("and how", PATIENCE, async || host.logs().contains("couplet enroll TOKEN")).await;
    host.kill().await;
    assert_eq!(relay.enroll(&relay.invite(), &state_dir).0, 0);
    let mut host = start(&state_dir, None).await;
    host.event("relay.connected", |_| true).await;

    // A relay with another CA of its own is another relay.
    relay.set_up_anew().await;
    host.event("relay.lost", |event| event["code"] == "CPL-1820").await;
    let logs = host.logs();
    assert!(logs.contains("couplet enroll TOKEN"), "{logs}");
    host.kill().await;
    assert_eq!(relay.enroll(&relay.invite(), &state_dir).0, 0);
    start(&state_dir, None).await.event("relay.connected", |_| true).await;
}

/// `couplet connect` with a clock that is wrong: exit code and what it says.
async fn connect(laptop: &Laptop, args: &[&str], folder: &Path, offset: &str) -> Running {
    let mut command = laptop.command(args);
    with_wrong_clock(&mut command, folder, offset);
    Running::start(command)
}

#[tokio::test]
async fn a_clock_that_is_five_minutes_wrong_keeps_nobody_out_and_is_named() {
    let relay = Relay::start().await;
    let ca = relay.ca().to_str().unwrap().to_owned();
    for (offset, which) in [("-5m", "behind"), ("+5m", "ahead of")] {
        let is_named = |said: &str| {
            let by = |seconds: u32| said.contains(&format!("this machine's clock is {seconds} s {which} the relay's"));
            (298..=302).any(by)
        };
        let host = start(&relay.enrolled(), Some(offset)).await;
        host.event("relay.connected", |_| true).await;
        eventually("the host says so", PATIENCE, async || is_named(&host.logs())).await;
        assert!(host.logs().contains("CPL-1822") && host.logs().contains("timedatectl"), "{}", host.logs());

        // The device's is wrong the other way, so that the two are ten minutes apart.
        let folder = tempfile::tempdir().unwrap();
        let laptop = Laptop::new();
        let link = through_the_relay(&host.generate().await.link);
        let args = [&*link, "--name", "Laptop", "--relay-ca", &ca, "--json", "--listen", "127.0.0.1:0"];
        let (other, other_way) = if offset == "-5m" { ("+5m", "ahead of") } else { ("-5m", "behind") };
        let paired = connect(&laptop, &args, folder.path(), other).await;
        paired.wait_for_line(PATIENCE, |line| line.contains("\"device.paired\"")).await;
        host.event("session.opened", |_| true).await;
        // What fails, fails with a word on the clock.
        let mut late = connect(&Laptop::new(), &args, folder.path(), other).await;
        assert!(!late.wait(PATIENCE).await.success());
        let said = late.written();
        let by = |seconds: u32| said.contains(&format!("clock is {seconds} s {other_way} the relay's"));
        assert!(said.contains("CPL-1804") && (298..=302).any(by), "{said}");
    }
}

#[tokio::test]
async fn a_clock_that_is_days_wrong_is_what_is_wrong() {
    let relay = Relay::start().await;
    let (ca, state_dir) = (relay.ca(), relay.enrolled());
    let link = {
        let mut host = start(&state_dir, None).await;
        host.event("relay.connected", |_| true).await;
        let link = through_the_relay(&host.generate().await.link);
        host.kill().await;
        link
    };
    let host = start(&state_dir, Some("-3d")).await;
    host.event("relay.lost", |event| event["code"] == "CPL-1822").await;
    let is_whole = |said: &str| {
        // The certificate begins a day before it was made.
        let by = said.split("is not valid for another ").nth(1).and_then(|said| said.split(' ').next());
        let by = by.and_then(|by| by.parse::<u32>().ok()).unwrap_or_default();
        (172_700..=172_800).contains(&by) && said.contains("CPL-1822") && said.contains("timedatectl")
    };
    eventually("the host says so", PATIENCE, async || is_whole(&host.logs())).await;
    let folder = tempfile::tempdir().unwrap();
    let args = [&*link, "--relay-ca", ca.to_str().unwrap()];
    let mut device = connect(&Laptop::new(), &args, folder.path(), "-3d").await;
    assert!(!device.wait(PATIENCE).await.success());
    assert!(is_whole(&device.written()), "{}", device.written());
}

/// The same link for somebody who is elsewhere.
fn through_the_relay(link: &str) -> String {
    let mut offer = Offer::from_link(link).unwrap();
    offer.endpoints.retain(|endpoint| matches!(endpoint, Endpoint::Relay(_)));
    offer.to_link(LinkForm::Web)
}
