//! The TypeScript SDK against the real host, app and relay: one suite, `tests/sdk/scenarios.js`, in Node.js and in Chromium,
//! over the local network and through the relay.

use e2e::{Runtime, Stage, Way};

/// One device's life, each act in a process or page of its own.
async fn a_devices_life(runtime: Runtime, way: Way) {
    let mut stage = Stage::set(runtime, way).await;
    if runtime == Runtime::Node && way == Way::Relay {
        stage.play("untrusted").await;
    }
    for act in ["rejected", "pair", "come_back"] {
        stage.play(act).await;
    }
    // Only browsers hold keys, and have windows that know of each other: in Node.js keys are files.
    let own: &[&str] = match runtime {
        Runtime::Chromium => &["keys", "database", "tabs"],
        Runtime::Node => &["programs"],
    };
    for act in own.iter().chain(&["stream", "sockets", "restarts", "revoked", "forget"]) {
        stage.play(act).await;
    }
    if runtime == Runtime::Chromium {
        stage.play("cleared").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_node_over_the_local_network() {
    a_devices_life(Runtime::Node, Way::Lan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_node_through_the_relay() {
    a_devices_life(Runtime::Node, Way::Relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_chromium_over_the_local_network() {
    a_devices_life(Runtime::Chromium, Way::Lan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_chromium_through_the_relay() {
    a_devices_life(Runtime::Chromium, Way::Relay).await;
}
