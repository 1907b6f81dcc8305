//! Git over HTTP through `couplet connect`: a program that knows nothing of Couplet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

use std::path::Path;
use std::time::Duration;

use e2e::git::{self, GitServer, git};
use e2e::{Laptop, Running, TestHost, pattern};

/// Git in the background: its server is in this very process.
async fn remote(folder: &Path, args: &[&str]) {
    let mut command = git::command(folder);
    command.args(args);
    Running::start(command).succeeds(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn git_clones_and_pushes() {
    let server = GitServer::start().await;
    let host = TestHost::start(|setup| {
        setup.app(server.url());
    })
    .await;
    let laptop = Laptop::new();
    let forwarder = laptop.pair(&host).await;
    let work = tempfile::tempdir().unwrap();
    let url = format!("{}/project.git", forwarder.url());
    remote(work.path(), &["clone", "--quiet", &url, "first"]).await;
    let first = work.path().join("first");
    git(&first, &["switch", "--quiet", "-c", "main"]);
    // More than fits Git's buffer for a POST: it is sent chunked.
    let large: Vec<u8> = (0..80).flat_map(|at| pattern::chunk(at * 65_521 + at, 65_521).to_vec()).collect();
    std::fs::write(first.join("large"), &large).unwrap();
    git(&first, &["add", "large"]);
    git(&first, &["commit", "--quiet", "-m", "Add something large"]);
    remote(&first, &["push", "--quiet", "origin", "main"]).await;
    assert_eq!(git(&server.project(), &["rev-parse", "main"]), git(&first, &["rev-parse", "HEAD"]));

    remote(work.path(), &["clone", "--quiet", &url, "second"]).await;
    assert!(std::fs::read(work.path().join("second/large")).unwrap() == large);
    git(&first, &["commit", "--quiet", "--allow-empty", "-m", "Go on"]);
    remote(&first, &["push", "--quiet"]).await;
    let second = work.path().join("second");
    remote(&second, &["pull", "--quiet"]).await;
    assert_eq!(git(&second, &["rev-parse", "HEAD"]), git(&first, &["rev-parse", "HEAD"]));
}
