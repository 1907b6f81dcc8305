//! Host and laptop that share no network, or stop sharing one, and a relay that both can reach.

use std::time::{Duration, Instant};

use e2e::canary::{ANSWERED, UPSTREAM};
use e2e::host::PATIENCE;
use e2e::pace::soon;
use e2e::{Forwarder, Internet, Running, canary, eventually};

/// How soon a device is back after it has noticed that its way is gone.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn who_shares_no_network_pairs_by_the_link_and_goes_on_through_restarts() {
    let mut internet = Internet::apart("apart", &[UPSTREAM]).await;
    let _app = canary::start(&internet.machines).await;
    // The host listens there, and no port of it is open to anybody outside.
    assert!(internet.host_answers(internet.machines.near()).await);
    assert!(!internet.host_answers(internet.network()).await);
    let mut forwarder = internet.pair().await;
    assert!(canary::works(&internet.machines).await);
    let listed = Running::start(internet.machines.owner(&["devices", "--json"])).succeeds(PATIENCE).await;
    assert!(listed.contains("relay"), "{listed}");

    let mut download = canary::curl(&internet.machines, "/endless");
    download.wait_for_line(PATIENCE, |line| line == ANSWERED).await;
    internet.kill_relay().await;
    forwarder.state("offline").await;
    assert!(!download.wait(PATIENCE).await.success(), "a part must not look whole");
    internet.start_relay().await;
    forwarder.state("relay").await;
    assert!(canary::works(&internet.machines).await);

    internet.machines.kill_host().await;
    forwarder.state("offline").await;
    internet.machines.serve(&[UPSTREAM]).await;
    forwarder.state("relay").await;
    assert!(canary::works(&internet.machines).await);

    forwarder.stop().await;
    let mut again = Forwarder::ready(internet.machines.connect(&[])).await;
    again.state("relay").await;
    assert!(canary::works(&internet.machines).await);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_local_network_is_back_over_the_relay() {
    let mut internet = Internet::new("leave").await;
    internet.start_relay().await;
    internet.enroll().await;
    internet.machines.serve(&[UPSTREAM]).await;
    let _app = canary::start(&internet.machines).await;
    let mut forwarder = internet.machines.pair_with(|args| internet.connect(args)).await;
    forwarder.state("direct").await;
    assert!(canary::works(&internet.machines).await);

    internet.part().await;
    forwarder.state("offline").await;
    let noticed = Instant::now();
    forwarder.state("relay").await;
    let took = noticed.elapsed();
    assert!(took < soon(SOON), "it took {took:?}");
    assert!(canary::works(&internet.machines).await);
    forwarder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_from_wifi_to_a_mobile_network_is_back_over_the_relay_and_at_home_directly() {
    let mut internet = Internet::new("roam").await;
    internet.subscribe().await;
    internet.start_relay().await;
    internet.enroll().await;
    internet.machines.serve(&[UPSTREAM]).await;
    let _app = canary::start(&internet.machines).await;
    let mut forwarder = internet.machines.pair_with(|args| internet.connect(args)).await;
    forwarder.state("direct").await;
    for (home, path) in [(false, "relay"), (true, "direct"), (false, "relay")] {
        let mut download = canary::curl(&internet.machines, "/endless");
        download.wait_for_line(PATIENCE, |line| line == ANSWERED).await;
        if home {
            internet.come_home().await;
        } else {
            internet.leave_home().await;
        }
        let offline = forwarder.state("offline").await;
        let noticed = Instant::now();
        assert!(offline["reason"].as_str().unwrap().contains("another network"), "{offline}");
        // Who asks meanwhile waits, and is answered.
        let works = canary::works(&internet.machines);
        let back = async {
            // At home the relay may be faster than a network that has just come up; then it is left for that.
            let state = forwarder.online().await;
            let took = noticed.elapsed();
            if state["state"] != path {
                assert!(home, "{state}");
                forwarder.state(path).await;
            }
            took
        };
        let (works, took) = tokio::join!(works, back);
        assert!(works && took < soon(SOON), "it took {took:?}");
        assert!(!download.wait(PATIENCE).await.success(), "what ran before has an end, and no part looks whole");
    }
    forwarder.stop().await;
}

/// The cable comes back, and nothing else of the laptop's network changes: no address, no route.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_a_relay_comes_near_by_itself_and_loses_nothing() {
    let mut internet = Internet::new("near").await;
    internet.start_relay().await;
    internet.enroll().await;
    internet.machines.serve(&[UPSTREAM]).await;
    let _app = canary::start(&internet.machines).await;
    let mut forwarder = internet.machines.pair_with(|args| internet.connect(args)).await;
    forwarder.state("direct").await;
    internet.block().await;
    forwarder.stop().await;
    let mut forwarder = Forwarder::ready(internet.machines.connect(&[])).await;
    forwarder.state("relay").await;
    let mut download = canary::curl(&internet.machines, "/endless");
    download.wait_for_line(PATIENCE, |line| line == ANSWERED).await;
    internet.unblock().await;
    forwarder.state("direct").await;
    assert!(canary::works(&internet.machines).await);
    let sockets = internet.connections_of_host().await;
    assert!(sockets > 1, "what ran over the relay goes on there: {sockets}");
    assert!(!download.has_ended(), "{}", download.written());
    download.signal("TERM");
    download.wait(PATIENCE).await;
    eventually("the session over the relay has an end", PATIENCE, async || internet.connections_of_host().await == 1)
        .await;
    assert!(!forwarder.running.stdout.text().contains("offline"), "{}", forwarder.running.written());
    assert!(canary::works(&internet.machines).await);
    forwarder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_into_another_network_does_not_keep_to_what_the_relay_asked_for() {
    let mut internet = Internet::apart("moves", &[UPSTREAM]).await;
    let _app = canary::start(&internet.machines).await;
    let mut forwarder = internet.pair().await;
    // The relay does not know the host any more, nor the laptop's rooms: then it is left alone for a minute.
    let hosts = internet.hosts().await;
    internet.revoke(hosts["hosts"][0]["host_id"].as_str().unwrap()).await;
    let is_refused = |line: &str| line.contains("CPL-1801");
    forwarder.running.wait_for_line(PATIENCE, is_refused).await;
    internet.machines.kill_host().await;
    internet.enroll().await;
    internet.machines.serve(&[UPSTREAM]).await;
    internet.machines.host().wait_for_line(PATIENCE, |line| line.contains("relay.connected")).await;

    let far = internet.machines.far();
    far.ip("address add 10.77.2.3/24 dev wan0").await;
    far.ip("route replace default via 10.77.2.1 src 10.77.2.3").await;
    let moved = Instant::now();
    forwarder.state("relay").await;
    let took = moved.elapsed();
    // It looks once a second.
    assert!(took < soon(SOON) + Duration::from_secs(1), "it took {took:?}");
    assert!(canary::works(&internet.machines).await);
    forwarder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_cuts_what_runs_over_the_relay() {
    let internet = Internet::apart("far", &[UPSTREAM]).await;
    let _app = canary::start(&internet.machines).await;
    let mut forwarder = internet.pair().await;
    let mut download = canary::curl(&internet.machines, "/endless");
    download.wait_for_line(PATIENCE, |line| line == ANSWERED).await;
    Running::start(internet.machines.owner(&["devices", "revoke", "Laptop", "--yes"])).succeeds(PATIENCE).await;
    let revoked = Instant::now();
    assert!(!download.wait(PATIENCE).await.success());
    let took = revoked.elapsed();
    assert!(took < soon(Duration::from_secs(1)), "it took {took:?}");
    assert_eq!(forwarder.running.wait(PATIENCE).await.code(), Some(4), "{}", forwarder.running.written());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_the_relay_revokes_is_cut_off_and_says_so() {
    let mut internet = Internet::apart("evicted", &[UPSTREAM]).await;
    let _app = canary::start(&internet.machines).await;
    let mut forwarder = internet.pair().await;
    let hosts = internet.hosts().await;
    let id = hosts["hosts"][0]["host_id"].as_str().unwrap().to_owned();
    internet.revoke(&id).await;
    forwarder.state("offline").await;
    let host = internet.machines.host();
    eventually("the host says so", PATIENCE, async || host.stderr.text().contains("CPL-1811")).await;
    assert!(internet.relay().stderr.text().contains("revoked"));
    forwarder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_waits_has_one_connection_and_a_session_has_one_more() {
    let internet = Internet::apart("idle", &[UPSTREAM]).await;
    let _app = canary::start(&internet.machines).await;
    let settles_at = async |wanted: usize| {
        eventually(&format!("{wanted} connections to the relay"), PATIENCE, async || {
            internet.connections_of_host().await == wanted
        })
        .await;
    };
    settles_at(1).await;
    let forwarder = internet.pair().await;
    settles_at(2).await;
    assert!(canary::works(&internet.machines).await);
    forwarder.stop().await;
    settles_at(1).await;
}
