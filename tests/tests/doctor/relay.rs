//! Clock, relay and certificates; and how it is shown.

use std::fs;

use couplet_protocol::Code;
use couplet_protocol::api::FindingState;
use e2e::host::{PATIENCE, with_wrong_clock};
use e2e::program::couplet;
use e2e::{Relay, Terminal, TestHost};

use super::{all_well, at, doctor, failure, looked, mute, of, one};

#[tokio::test]
async fn a_clock_that_differs_from_the_relays_is_a_failure() {
    let relay = Relay::start().await;
    let host = relay.host(|setup| {
        setup.movable_clock();
    });
    let mut host = host.await;
    let report = of(&host, &["clock"]).await;
    assert!(report.ok, "{report:#?}");
    one(&report, FindingState::Ok, "from that of localhost");

    host.set_clock("+10m");
    let report = of(&host, &["clock"]).await;
    let found = failure(&report, "ahead of the relay's", Code::ClockDiffers);
    assert!(found.command.as_ref().unwrap().contains("timedatectl set-ntp true"), "{found:?}");
    // Back again: the host goes on by its own clock, which never runs backwards.
    host.set_clock("+0");
    let report = of(&host, &["clock"]).await;
    one(&report, FindingState::Warning, "was set back by");
    host.restart().await;
    all_well(&of(&host, &["clock"]).await);
}

#[tokio::test]
async fn what_stands_between_host_and_relay_is_said() {
    let mut relay = Relay::start().await;
    let host = relay.host(|_| {}).await;
    let report = of(&host, &["relay"]).await;
    all_well(&report);
    for part in ["answers devices", "knows this host", "The link to localhost"] {
        one(&report, FindingState::Ok, part);
    }
    let (code, hosts, said) = relay.run(&["hosts", "--json"]);
    assert_eq!(code, 0, "{said}");
    let hosts: serde_json::Value = serde_json::from_str(&hosts).unwrap();
    let other = relay.enrolled();

    relay.kill().await;
    host.event("relay.lost", |_| true).await;
    let report = of(&host, &["relay"]).await;
    for part in ["Devices that are elsewhere", "listener for hosts", "The link to localhost"] {
        let found = failure(&report, part, Code::RelayUnreachable);
        assert!(found.command.as_ref().unwrap().starts_with("couplet relay check localhost"), "{found:?}");
    }
    failure(&at(&other, &["--only", "relay"]).await, "listener for hosts", Code::RelayUnreachable);

    relay.restart().await;
    let id = hosts["hosts"][0]["host_id"].as_str().unwrap();
    let (code, _, said) = relay.run(&["hosts", "revoke", id, "--yes"]);
    assert_eq!(code, 0, "{said}");
    host.event("relay.refused", |_| true).await;
    let report = of(&host, &["relay"]).await;
    let found = failure(&report, "refuses this host", Code::HostRevoked);
    assert_eq!(found.command.as_deref(), Some("couplet enroll TOKEN"));
    all_well(&at(&other, &["--only", "relay"]).await);

    let empty = tempfile::tempdir().unwrap();
    failure(&at(empty.path(), &["--only", "relay", "--relay"]).await, "enrolled with none", Code::NotEnrolled);
    fs::write(other.join("relay.json"), "{}").unwrap();
    let report = at(&other, &["--only", "relay"]).await;
    failure(&report, "cannot be used", Code::StateFolderUnusable);
}

#[tokio::test]
async fn a_certificate_that_ended_or_is_late_is_said() {
    let relay = Relay::start().await;
    let state_dir = relay.enrolled();
    let looking = async |offset: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = couplet();
        command.args(doctor(&["certificates"])).arg("--state-dir").arg(&state_dir);
        command.env("HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
        with_wrong_clock(&mut command, folder.path(), offset);
        looked(command).await
    };
    let report = looking("+0").await;
    all_well(&report);
    one(&report, FindingState::Ok, "lasts until");
    one(&looking("+6d").await, FindingState::Warning, "is not renewed yet");
    let report = looking("+8d").await;
    let found = failure(&report, "This host's certificate for localhost", Code::HostCertificateOver);
    assert_eq!(found.command.as_deref(), Some("couplet serve"));
}

#[tokio::test]
async fn on_a_terminal_each_part_is_shown_as_it_comes_and_words_say_how_it_stands() {
    let silent = mute(b"").await;
    let host = TestHost::start(|setup| {
        setup.app(silent);
    })
    .await;
    let looking = host.command(&["doctor", "--only", "disk", "--only", "apps"]);
    let terminal = Terminal::start(&looking, 100, 30).await;
    terminal.shows("what is being looked at", PATIENCE, |screen| screen.has("…     apps …")).await;
    let (code, left) = terminal.end(PATIENCE).await;
    assert_eq!(code, 1, "{left}");
    assert!(left.contains("ok    disk") && left.contains("FAIL  apps") && left.contains("failed."), "{left}");
    assert!(left.contains("couplet explain CPL-1502") && !left.contains("apps …"), "{left}");
}
