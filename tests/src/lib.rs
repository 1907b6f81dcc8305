//! Flows through the front door: real servers on port 0, real clients, everything stopped on drop.
//!
//! [`TestHost`] is the real `couplet serve`, [`TestApp`] an app for it to stand in front of. Programs are started
//! through [`program`] only, which holds them to the list in `scripts/install-deps`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: whatever goes wrong here fails the test that called it"
)]

pub mod app;
pub mod avahi;
pub mod browser;
pub mod by_pin;
pub mod canary;
pub mod dashboard;
pub mod device;
pub mod document;
pub mod git;
pub mod host;
pub mod http2;
pub mod internet;
pub mod jupyter;
pub mod kernel;
pub mod lab;
pub mod laptop;
pub mod machines;
pub mod network;
pub mod pace;
pub mod pattern;
pub mod picture;
pub mod plain;
pub mod problem;
pub mod program;
pub mod provider;
pub mod raw;
pub mod relay;
pub mod running;
pub mod sdk;
pub mod terminal;
pub mod upstream;
pub mod watch;
pub mod websocket;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use app::TestApp;
pub use avahi::Avahi;
pub use browser::Browser;
pub use dashboard::Dashboard;
pub use device::TestDevice;
pub use host::TestHost;
pub use http2::Http2;
pub use internet::Internet;
pub use jupyter::Jupyter;
pub use lab::Lab;
pub use laptop::{Forwarder, Laptop};
pub use machines::Machines;
pub use network::Network;
pub use program::program;
pub use provider::Provider;
pub use relay::Relay;
pub use running::Running;
pub use sdk::{Runtime, Stage, Way};
pub use terminal::Terminal;
pub use upstream::Upstream;
pub use watch::{Signer, TestKey, TestWatch};

/// The repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the repository")
}

/// Where this test's profile builds to: `target/debug`.
#[must_use]
pub fn build_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(2).expect("a test stands in target/<profile>/deps").to_owned()
}

/// A free port of 127.0.0.1, for programs that cannot take one by themselves, and for addresses at which nothing
/// listens yet. It is none of those that the kernel hands out, so that no other test is given it meanwhile.
#[must_use]
pub fn free_port() -> u16 {
    // Linux hands out 32768 to 60999.
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Tests in other processes begin elsewhere.
    let start = std::process::id().wrapping_mul(7919);
    let ports = (0..COUNT).map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
    let mut ports = ports.map(|port| u16::try_from(port).unwrap());
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a port is free")
}

/// Waits until `ready` says yes, asking it every 20 ms; panics with `what` when it never does.
pub async fn eventually(what: &str, timeout: Duration, mut ready: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !ready().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(timeout, asked).await.is_ok(), "waited {timeout:?} in vain: {what}");
}
