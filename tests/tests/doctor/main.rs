//! `couplet doctor`: each check is made to fail for real, and passes on a healthy host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod relay;
mod store;

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use couplet_protocol::Code;
use couplet_protocol::api::{DoctorReport, Finding, FindingState};
use e2e::host::PATIENCE;
use e2e::program::{couplet, program};
use e2e::{Network, Running, TestApp, TestHost, problem};
use reqwest::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// What `--json` says; its exit code must be that of the report.
async fn looked(mut command: Command) -> DoctorReport {
    command.arg("--json");
    let (code, out, err) = Running::start(command).ended(PATIENCE).await;
    let report: DoctorReport = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert_eq!((code, err.as_str()), (i32::from(!report.ok), ""), "{out}");
    report
}

/// The parts of a running host.
async fn of(host: &TestHost, parts: &[&str]) -> DoctorReport {
    let report = looked(host.command(&doctor(parts))).await;
    assert!(report.running);
    report
}

fn doctor<'a>(parts: &[&'a str]) -> Vec<&'a str> {
    std::iter::once("doctor").chain(parts.iter().flat_map(|part| ["--only", part])).collect()
}

/// The same where no host runs.
async fn at(state_dir: &Path, args: &[&str]) -> DoctorReport {
    let mut command = couplet();
    command.arg("doctor").args(args).arg("--state-dir").arg(state_dir);
    command.env("HOME", state_dir).env("XDG_CONFIG_HOME", state_dir);
    let report = looked(command).await;
    assert!(!report.running);
    report
}

/// The one finding in this state that has this in its text.
fn one<'a>(report: &'a DoctorReport, state: FindingState, part: &str) -> &'a Finding {
    let found: Vec<_> = report.findings.iter().filter(|f| f.state == state && f.found.contains(part)).collect();
    assert_eq!(found.len(), 1, "{part:?} in {report:#?}");
    found[0]
}

/// A failure, which must say why, what mends it, and where to read on.
fn failure<'a>(report: &'a DoctorReport, part: &str, code: Code) -> &'a Finding {
    let found = one(report, FindingState::Failed, part);
    assert!(!report.ok);
    assert_eq!(found.code.as_deref(), Some(code.to_string().as_str()), "{found:?}");
    assert!(found.cause.is_some() && (found.next.is_some() || found.command.is_some()), "{found:?}");
    found
}

fn all_well(report: &DoctorReport) {
    let wrong = |finding: &&Finding| matches!(finding.state, FindingState::Failed | FindingState::Warning);
    let wrong: Vec<_> = report.findings.iter().filter(wrong).collect();
    assert!(report.ok && wrong.is_empty(), "{wrong:#?}");
}

/// Does what a finding says. The tests are root already.
async fn mend(finding: &Finding) {
    let command = finding.command.as_deref().expect("a command mends it");
    let mut bash = program("bash");
    bash.args(["-euc", command.strip_prefix("sudo ").unwrap_or(command)]);
    Running::start(bash).succeeds(PATIENCE).await;
}

/// A server that answers every path alike.
async fn app(answer: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, answer).await.unwrap() });
    format!("http://{address}")
}

/// A server that says these bytes to whoever comes, and then nothing.
async fn mute(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(bytes).await.unwrap();
            kept.push(stream);
        }
    });
    format!("http://{address}")
}

/// `couplet` in a network of its own, with the state in a folder.
fn within(network: &Network, folder: &Path, args: &[&str]) -> Command {
    let mut command = couplet();
    command.args(args).arg("--state-dir").arg(folder.join("state"));
    command.env("HOME", folder).env("XDG_CONFIG_HOME", folder);
    network.within(&command)
}

async fn serve(network: &Network, folder: &Path, args: &[&str]) -> Running {
    let args = [&["serve", "--json", "--no-input"], args].concat();
    let running = Running::start(within(network, folder, &args));
    running.wait_for_line(PATIENCE, |line| line.contains("\"ready\"")).await;
    running
}

#[tokio::test]
async fn a_healthy_host_passes_before_it_runs_and_while_it_does() {
    let (network, folder) = (Network::with_lan("healthy").await, tempfile::tempdir().unwrap());
    let listener = network.listen();
    let upstream = format!("photos=http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(|| async { "hi" }))).await });

    let report = looked(within(&network, folder.path(), &["doctor", &upstream])).await;
    all_well(&report);
    assert!(!report.running);
    one(&report, FindingState::Ok, "192.168.77.5:7878 is free for pairing");
    one(&report, FindingState::Ok, "192.168.77.5:7879 is free for the app \"photos\"");
    assert!(!folder.path().join("state").exists(), "nothing is changed by looking");

    let _host = serve(&network, folder.path(), &[&upstream]).await;
    let report = looked(within(&network, folder.path(), &["doctor"])).await;
    all_well(&report);
    assert!(report.running);
    one(&report, FindingState::Ok, "192.168.77.5:7878 answers for pairing");
    one(&report, FindingState::Ok, "192.168.77.5:7879 answers for the app \"photos\"");
    one(&report, FindingState::Ok, "An offer names 192.168.77.5:7878");
    one(&report, FindingState::Ok, "answers, with status 200");
    one(&report, FindingState::Ok, "opens and is whole");

    let (code, out, err) = Running::start(within(&network, folder.path(), &["doctor"])).ended(PATIENCE).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("\nNothing stands in the way.\n") && !out.contains('\u{1b}'), "{out}");
    let states = ["ok    ", "skip  "];
    assert!(out.lines().rev().skip(2).all(|line| states.iter().any(|state| line.starts_with(state))), "{out}");
}

#[tokio::test]
async fn the_owner_has_it_over_http_and_nobody_asks_for_what_there_is_not() {
    let host = TestHost::start(|_| {}).await;
    let report: DoctorReport = host.owner().expect(Method::GET, "/api/doctor", 200, None).await;
    let parts: Vec<&str> = report.findings.iter().map(|finding| finding.part.name()).collect();
    for part in ["host", "folder", "database", "disk", "ports", "addresses", "firewall", "apps", "relay", "clock"] {
        assert!(parts.contains(&part), "{part}: {parts:?}");
    }
    let report: DoctorReport = host.owner().expect(Method::GET, "/api/doctor?only=disk", 200, None).await;
    assert!(report.ok && report.findings.iter().all(|finding| finding.part.name() == "disk"));
    let answer = host.owner().get("/api/doctor?only=everything").send().await.unwrap();
    assert!(problem::expect(answer, Code::MalformedQuery).await.detail.contains("addresses"));
    let (code, _, said) = Running::start(host.command(&["doctor", "--only", "everything"])).ended(PATIENCE).await;
    assert!(code == 2 && said.contains("addresses"), "{said}");
}

#[tokio::test]
async fn a_port_that_another_program_has_is_named_with_who_listens() {
    // In a network of its own, where nobody else takes the port once it is free.
    let (network, folder) = (Network::new("taken").await, tempfile::tempdir().unwrap());
    let other = network.listen();
    let taken = other.local_addr().unwrap();
    let listening = async |at: &str| {
        let report = looked(within(&network, folder.path(), &["doctor", "--only", "ports", "--listen", at])).await;
        assert!(!report.running);
        report
    };
    let report = listening(&taken.to_string()).await;
    let found = failure(&report, &format!("{taken} is taken"), Code::PortInUse);
    assert!(found.command.as_ref().unwrap().contains(&format!(":{}", taken.port())), "{found:?}");
    let report = listening("192.0.2.1:7878").await;
    failure(&report, "192.0.2.1:7878", Code::AddressUnusable);
    drop(other);
    all_well(&listening(&taken.to_string()).await);
}

#[tokio::test]
async fn a_running_hosts_lost_and_taken_addresses_are_seen() {
    let (network, folder) = (Network::with_lan("lost").await, tempfile::tempdir().unwrap());
    let given = ["--listen", "192.168.77.5:7878", "--listen", "127.0.0.1:7878"];
    let mut host = serve(&network, folder.path(), &given).await;
    let looking = doctor(&["ports"]);
    all_well(&looked(within(&network, folder.path(), &looking)).await);
    network.ip("address del 192.168.77.5/24 dev lan0").await;
    let report = looked(within(&network, folder.path(), &looking)).await;
    failure(&report, "Nothing answers at 192.168.77.5:7878", Code::AddressUnusable);
    host.kill().await;

    // A host on its default addresses takes each that comes, unless another program was there first.
    network.ip("address add 192.168.77.5/24 dev lan0").await;
    let allow = "echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind";
    Running::start(network.exec("bash".as_ref(), &["-euc", allow])).succeeds(PATIENCE).await;
    let second = tempfile::tempdir().unwrap();
    let _other = serve(&network, second.path(), &["--listen", "192.168.77.6:7878"]).await;
    let _host = serve(&network, folder.path(), &[]).await;
    all_well(&looked(within(&network, folder.path(), &looking)).await);
    network.ip("address add 192.168.77.6/24 dev lan0").await;
    let report = looked(within(&network, folder.path(), &looking)).await;
    let found = failure(&report, "192.168.77.6:7878 is taken", Code::PortInUse);
    assert!(found.command.as_ref().unwrap().contains(":7878"), "{found:?}");
}

#[tokio::test]
async fn addresses_that_no_phone_reaches_are_a_failure_unless_devices_come_another_way() {
    let host = TestHost::start(|_| {}).await;
    let report = of(&host, &["addresses"]).await;
    let found = failure(&report, "only this machine can reach", Code::AddressesLocal);
    assert!(found.cause.as_ref().unwrap().contains("`listen`"), "{found:?}");
    let proxied = TestHost::start(|setup| {
        setup.env("COUPLET_TRUSTED_PROXIES", "127.0.0.1/32");
    })
    .await;
    one(&of(&proxied, &["addresses"]).await, FindingState::Warning, "a proxy of `trusted_proxies`");

    // A machine that has joined no network, and one whose only network is one of containers.
    let (network, folder) = (Network::new("alone").await, tempfile::tempdir().unwrap());
    let looking = doctor(&["addresses"]);
    let report = looked(within(&network, folder.path(), &looking)).await;
    let found = failure(&report, "only this machine can reach", Code::AddressesLocal);
    assert!(found.cause.as_ref().unwrap().contains("No network"), "{found:?}");
    network.ip("link add docker0 type bridge").await;
    network.ip("address add 172.17.0.1/16 dev docker0").await;
    network.ip("link add in0 type veth peer name out0").await;
    network.ip("link set in0 master docker0").await;
    for link in ["docker0", "in0", "out0"] {
        network.ip(&format!("link set {link} up")).await;
    }
    let report = looked(within(&network, folder.path(), &looking)).await;
    one(&report, FindingState::Warning, "bridge for containers");
}

#[tokio::test]
async fn a_firewall_that_lets_no_device_in_is_seen_and_the_command_opens_it() {
    let (network, folder) = (Network::with_lan("firewall").await, tempfile::tempdir().unwrap());
    let nft = async |rule: &str| {
        let nft = network.exec("nft".as_ref(), &[rule]);
        Running::start(nft).succeeds(PATIENCE).await;
    };
    let looking = doctor(&["firewall"]);
    all_well(&looked(within(&network, folder.path(), &looking)).await);
    nft("add table inet filter").await;
    nft("add chain inet filter input { type filter hook input priority 0 ; policy drop ; }").await;
    nft("add rule inet filter input ct state established,related accept").await;
    nft("add rule inet filter input iifname lo accept").await;
    nft("add rule inet filter input tcp dport 22 accept").await;
    let report = looked(within(&network, folder.path(), &looking)).await;
    assert!(report.ok, "a hint is no failure");
    let found = one(&report, FindingState::Warning, "none names the port 7878");
    let command = found.command.as_deref().unwrap().strip_prefix("sudo ").unwrap();
    Running::start(network.exec("bash".as_ref(), &["-euc", command])).succeeds(PATIENCE).await;
    all_well(&looked(within(&network, folder.path(), &looking)).await);
}

#[tokio::test]
async fn apps_that_do_not_answer_as_they_should_are_told_apart() {
    let well = TestApp::start().await;
    let on = Router::new().route("/", get(|| async { Redirect::to("/login") }));
    let on = on.route("/login", get(|| async { Redirect::to("http://localhost:3000/login") }));
    let to_home = app(on).await;
    let to_login = Router::new().route("/", get(|| async { Redirect::to("https://login.example/") }));
    let to_login = app(to_login).await;
    let failing = app(Router::new().route("/", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))).await;
    let around = app(Router::new().fallback(async || Redirect::to("/again?token=canary"))).await;
    let (silent, odd) = (mute(b"").await, mute(b"SSH-2.0-OpenSSH_9.2\r\n").await);
    let down = format!("http://127.0.0.1:{}", e2e::free_port());
    let named = [("well", well.url()), ("home", to_home), ("away", to_login), ("failing", failing)];
    let named = named.into_iter().chain([("silent", silent), ("odd", odd), ("down", down), ("around", around)]);
    let apps: Vec<String> = named.map(|(name, url)| format!("{name}={url}")).collect();
    let host = TestHost::start(|setup| {
        for app in &apps {
            setup.app(app);
        }
    })
    .await;
    let report = of(&host, &["apps"]).await;
    let about = |name: &str| report.findings.iter().find(|finding| finding.subject.as_deref() == Some(name)).unwrap();
    assert_eq!([about("well").state, about("away").state], [FindingState::Ok, FindingState::Ok], "{report:#?}");
    assert_eq!([about("failing").state, about("around").state], [FindingState::Warning, FindingState::Warning]);
    assert!(!format!("{report:?}").contains("canary"), "{report:#?}");
    for (name, code) in [
        ("down", Code::UpstreamDown),
        ("silent", Code::UpstreamSlow),
        ("odd", Code::UpstreamBroken),
        ("home", Code::UpstreamLocal),
    ] {
        let found = failure(&report, &about(name).found.clone(), code);
        assert!(found.command.as_ref().unwrap().starts_with("curl "), "{found:?}");
    }
    assert!(about("home").found.contains("http://localhost:3000"), "{:?}", about("home"));
    // It is asked as a device would ask.
    let seen = well.last_request();
    let gateway = host.gateway_url("well").trim_start_matches("http://");
    assert_eq!(seen.headers["host"], gateway);
}

#[tokio::test]
async fn secrets_that_others_can_read_are_named_and_the_command_closes_them() {
    let host = TestHost::start(|_| {}).await;
    all_well(&of(&host, &["folder"]).await);
    let folder = host.state_dir();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.join("host.key"), Permissions::from_mode(0o644)).unwrap();
    let report = of(&host, &["folder"]).await;
    let key = failure(&report, "host.key (its mode is 0644)", Code::StateFolderUnusable);
    mend(key).await;
    let report = of(&host, &["folder"]).await;
    mend(failure(&report, "its mode is 0755", Code::StateFolderUnusable)).await;
    all_well(&of(&host, &["folder"]).await);
    fs::remove_file(folder.join("host.key")).unwrap();
    failure(&of(&host, &["folder"]).await, "host.key is gone", Code::StateFolderUnusable);
}

#[tokio::test]
async fn a_folder_of_somebody_else_and_secrets_that_are_none_are_named() {
    let mut host = TestHost::start(|_| {}).await;
    host.stop().await;
    let folder = host.state_dir();
    std::os::unix::fs::chown(&folder, Some(12345), None).unwrap();
    let report = at(&folder, &["--only", "folder"]).await;
    mend(failure(&report, "belongs to user 12345", Code::StateFolderUnusable)).await;
    all_well(&at(&folder, &["--only", "folder"]).await);
    fs::write(folder.join("admin-token"), "adm_canary\n").unwrap();
    let report = at(&folder, &["--only", "folder"]).await;
    let found = failure(&report, "admin-token cannot be used", Code::StateFolderUnusable);
    assert!(!format!("{found:?}").contains("canary"), "{found:?}");
}

#[tokio::test]
async fn a_host_that_holds_the_folder_and_does_not_answer_is_a_failure() {
    let mut host = TestHost::start(|_| {}).await;
    host.stop().await;
    let lock = fs::File::open(host.state_dir().join("lock")).unwrap();
    lock.lock().unwrap();
    let report = at(&host.state_dir(), &["--only", "host"]).await;
    failure(&report, "does not answer", Code::HostNotRunning);
}
