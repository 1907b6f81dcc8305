//! What a power cut leaves of the ceremony beyond the pairing and the revocation that `store.rs` cuts; and that every
//! point at which the host can be cut is cut at by a test.

use std::path::Path;

use couplet_protocol::api::DeviceList;
use e2e::TestHost;
use e2e::host::Setup;
use reqwest::Method;
use serde_json::{Value, json};

/// The owner has said yes, and the host dies while the device collects its credential: it can collect again, or it has
/// been paired, and is told so.
#[tokio::test]
async fn a_kill_while_an_approved_claim_is_collected_leaves_all_or_nothing() {
    for (point, committed) in [("pair.device_inserted", false), ("pair.before_commit", false), ("pair.committed", true)]
    {
        let mut host = TestHost::start(|setup: &mut Setup| {
            setup.arg("--approve").arg("always");
        })
        .await;
        let offer = host.generate().await;
        let mut body = json!({ "pair_token": offer.pair_token.expose(), "device_name": "iPad" });
        let claim: Value = host.anyone().expect(Method::POST, "/api/pair/exchange", 202, Some(body.clone())).await;
        body["claim"] = claim["claim"].clone();
        let approve = format!("/api/pair/pairings/{}/approve", offer.offer_id);
        assert_eq!(host.owner().post(&approve).send().await.unwrap().status(), 204);

        host.restart_with(|setup| {
            setup.failpoint(point);
        })
        .await;
        let request = host.anyone().post("/api/pair/exchange").json(&body);
        let cut_off = tokio::spawn(async move { request.send().await.is_err() });
        host.failpoint(point).await;
        host.kill().await;
        assert!(cut_off.await.unwrap(), "{point}: no answer came");
        host.without_failpoint();
        host.restart().await;

        let devices = async || {
            let list: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
            list.devices.len()
        };
        assert_eq!(devices().await, usize::from(committed), "{point}");
        let status = if committed { 410 } else { 200 };
        let _: Value = host.anyone().expect(Method::POST, "/api/pair/exchange", status, Some(body)).await;
        assert_eq!(devices().await, 1, "{point}");
    }
}

/// The Rust sources below the folder, as one text.
fn sources(folder: &Path) -> String {
    let (mut text, mut folders) = (String::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    text
}

#[test]
fn every_failpoint_is_one_at_which_a_test_kills_the_host() {
    let (host, tests) =
        (sources(&e2e::repository().join("crates/host/src")), sources(&e2e::repository().join("tests/tests")));
    let points = host.split("failpoint::reach(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0));
    let (tested, missed): (Vec<_>, Vec<_>) = points.partition(|point| tests.contains(&format!("\"{point}\"")));
    assert!(tested.len() >= 12 && missed.is_empty(), "{missed:?} of {tested:?}");
}
