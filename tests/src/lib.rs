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
pub mod browser;
pub mod device;
pub mod document;
pub mod git;
pub mod host;
pub mod jupyter;
pub mod kernel;
pub mod laptop;
pub mod machines;
pub mod network;
pub mod pattern;
pub mod picture;
pub mod problem;
pub mod program;
pub mod raw;
pub mod running;
pub mod terminal;
pub mod websocket;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use app::TestApp;
pub use browser::Browser;
pub use device::TestDevice;
pub use host::TestHost;
pub use jupyter::Jupyter;
pub use laptop::{Forwarder, Laptop};
pub use machines::Machines;
pub use network::Network;
pub use program::program;
pub use running::Running;
pub use terminal::Terminal;

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

/// A free port of 127.0.0.1, for programs that cannot take one by themselves. Another may take it in between;
/// what can listen on port 0 should.
#[must_use]
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
