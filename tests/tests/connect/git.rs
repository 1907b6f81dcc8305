//! Git over HTTP through `couplet connect`: a program that knows nothing of Couplet.

use std::path::Path;
use std::time::Duration;

use e2e::git::{self, GitServer, git};
use e2e::{Laptop, Machines, Running, TestHost, pattern};

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

/// On two machines: a clone, and after the cable was out and in again a push by the same pairing.
#[tokio::test]
async fn git_goes_on_after_the_cable_was_out() {
    let mut machines = Machines::new("git").await;
    let server = GitServer::start_at(machines.near().listen());
    machines.serve(&[&server.url()]).await;
    let mut forwarder = machines.pair().await;
    let work = tempfile::tempdir().unwrap();
    let remote = async |folder: &Path, args: &[&str]| {
        let mut command = git::command(folder);
        command.args(args);
        Running::start(machines.far().within(&command)).succeeds(Duration::from_secs(60)).await;
    };
    remote(work.path(), &["clone", "--quiet", "http://127.0.0.1:7890/project.git", "clone"]).await;
    let clone = work.path().join("clone");
    git(&clone, &["switch", "--quiet", "-c", "main"]);
    git(&clone, &["commit", "--quiet", "--allow-empty", "-m", "Begin"]);
    remote(&clone, &["push", "--quiet", "origin", "main"]).await;

    machines.cut().await;
    git(&clone, &["commit", "--quiet", "--allow-empty", "-m", "Go on"]);
    let mut push = git::command(&clone);
    push.args(["push", "--quiet", "origin", "main"]);
    let pushed = Running::start(machines.far().within(&push)).wait(Duration::from_secs(60)).await;
    assert!(!pushed.success(), "nothing passes");
    machines.mend().await;
    forwarder.state("direct").await;
    remote(&clone, &["push", "--quiet", "origin", "main"]).await;
    assert_eq!(git(&server.project(), &["rev-parse", "main"]), git(&clone, &["rev-parse", "HEAD"]));
}
