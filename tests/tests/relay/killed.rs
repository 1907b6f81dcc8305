//! A relay that is killed at each step of a pairing through it: afterwards either nobody is paired, or both are.

use std::pin::pin;
use std::time::Duration;

use e2e::host::PATIENCE;
use e2e::{Forwarder, Internet, Running, eventually};
use futures_util::future::join_all;
use serde_json::Value;

/// So many relays, each with its host, are killed side by side.
const LANES: usize = 4;
/// How long a pairing may take that is begun again whenever it fails.
const LONG: Duration = Duration::from_secs(60);

/// What became of a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The relay was not killed.
    Untouched,
    /// Both ends say that they are paired.
    Paired,
    /// The device says that it is not, and its link is used up.
    Unpaired,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_at_any_step_of_a_pairing_leaves_nobody_half_paired() {
    let ends = join_all((0..LANES).map(sweep)).await.concat();
    assert!(ends.len() > 60, "a pairing has more steps than {}", ends.len());
    // Nobody can know of a grant that is under way when the relay dies whether it arrived; of whatever else is.
    let lost = ends.iter().filter(|end| **end == End::Unpaired).count();
    assert!(lost <= 2 * LANES, "{lost} of {} links came to nothing", ends.len());
}

/// Pairs again and again, the relay being killed at another step each time, until it lives to the end. What became of
/// each of the pairings before.
async fn sweep(lane: usize) -> Vec<End> {
    let mut internet = Internet::new(&format!("kill{lane}")).await;
    internet.part().await;
    // Whoever is not there answers at once that it is not.
    internet.machines.far().ip("route add unreachable 10.77.1.0/24").await;
    internet.machines.set_clock("+0");
    let mut relay = internet.another_relay(None).await;
    internet.enroll().await;
    relay.kill().await;
    let mut ends = Vec::new();
    loop {
        let end = pair(&mut internet, 1 + lane + LANES * ends.len()).await;
        if end == End::Untouched {
            return ends;
        }
        ends.push(end);
    }
}

/// Pairs a new laptop with the host, which is started, at a relay that is killed at this step and started again.
async fn pair(internet: &mut Internet, step: usize) -> End {
    let mut relay = internet.another_relay(Some(step)).await;
    internet.machines.replace_laptop();
    internet.machines.serve_unasked(&["--approve", "never"]).await;
    let end = {
        let internet = &*internet;
        let mut use_link = pin!(use_link(internet));
        tokio::select! {
            end = &mut use_link => {
                assert_eq!(end, End::Paired, "undisturbed, it pairs");
                relay.kill().await;
                End::Untouched
            }
            _ = relay.wait(LONG) => {
                relay = internet.another_relay(None).await;
                use_link.await
            }
        }
    };
    if end == End::Untouched {
        relay = internet.another_relay(None).await;
    }
    if end == End::Unpaired {
        expire(internet).await;
    } else {
        agree(internet, step).await;
    }
    internet.machines.kill_host().await;
    relay.kill().await;
    end
}

/// Does what a person does who has scanned the code, until it is settled.
async fn use_link(internet: &Internet) -> End {
    let (_pair, link) = internet.machines.link().await;
    let mut tries = Vec::new();
    let mut target = vec![&*link, "--name", "Laptop"];
    while tries.len() < 20 {
        let mut connect = internet.connect(&target);
        let is_there = |line: &str| line.contains("\"state\":\"relay\"");
        if connect.stdout.wait_for(LONG, is_there).await.is_some() {
            connect.signal("TERM");
            connect.wait(PATIENCE).await;
            return End::Paired;
        }
        let status = connect.wait(PATIENCE).await;
        let said = connect.written();
        let is_known = !known(internet).await.is_empty();
        if is_known {
            target.clear();
        } else if ["CPL-1203", "CPL-1804"].iter().any(|used| said.contains(used)) {
            return End::Unpaired;
        }
        tries.push(format!("{status}\n{said}"));
    }
    panic!("it was never settled: {tries:#?}");
}

/// What the laptop says of its hosts.
async fn known(internet: &Internet) -> Vec<Value> {
    let listed = Running::start(internet.machines.device(&["--list", "--json"])).succeeds(PATIENCE).await;
    serde_json::from_str::<Value>(&listed).unwrap()["hosts"].as_array().unwrap().clone()
}

/// What the host says of its devices that are not revoked.
async fn devices(internet: &Internet) -> Vec<Value> {
    let listed = Running::start(internet.machines.owner(&["devices", "--json"])).succeeds(PATIENCE).await;
    let mut listed = serde_json::from_str::<Value>(&listed).unwrap()["devices"].as_array().unwrap().clone();
    listed.retain(|device| device["revoked_at"].is_null());
    listed
}

/// Both sides say the same of each other, and the device comes back.
async fn agree(internet: &Internet, step: usize) {
    let (known, devices) = tokio::join!(known(internet), devices(internet));
    let ([host], [device]) = (&known[..], &devices[..]) else { panic!("step {step}: {known:?}, {devices:?}") };
    assert_eq!(host["device_id"], device["device_id"], "step {step}");
    assert!(host["paired_at"].is_string() && device["last_seen"].is_string(), "step {step}: {host}, {device}");
    let mut forwarder = Forwarder::ready(internet.connect(&[])).await;
    forwarder.state("relay").await;
    let id = device["device_id"].as_str().unwrap();
    Running::start(internet.machines.owner(&["devices", "revoke", id, "--yes"])).succeeds(PATIENCE).await;
    assert_eq!(forwarder.running.wait(PATIENCE).await.code(), Some(4), "{}", forwarder.running.written());
}

/// What the host granted was lost with the relay. It cannot know that, so it waits for the device's first use, and takes
/// it back when there is none.
async fn expire(internet: &Internet) {
    assert!(devices(internet).await.iter().all(|device| device["last_seen"].is_null()));
    internet.machines.set_clock("+601");
    eventually("the grant that nobody has is taken back", PATIENCE, async || devices(internet).await.is_empty()).await;
    internet.machines.set_clock("+0");
}
