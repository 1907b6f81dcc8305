//! `couplet connect`: how a machine becomes a device, and what it keeps.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use couplet_protocol::api::{DeviceKind, DeviceList};
use e2e::host::PATIENCE;
use e2e::{Forwarder, Laptop, Running, TestApp, TestHost, free_port, program};
use reqwest::Method;
use serde_json::Value;

async fn host(app: &TestApp, approve: &str, args: &[&str]) -> TestHost {
    TestHost::start(|setup| {
        setup.app(app.url()).arg("--approve").arg(approve).env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "1000");
        for arg in args {
            setup.arg(*arg);
        }
    })
    .await
}

async fn hello(forwarder: &Forwarder) -> String {
    forwarder.caller().get("/").send().await.unwrap().text().await.unwrap()
}

fn check_code(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line["check_code"].as_str()?.to_owned()).filter(|_| line["event"] == "check_code")
}

#[tokio::test]
async fn the_owner_types_the_code_that_the_laptop_shows() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let host = host(&app, "always", &[]).await;
    let link = host.generate().await.link;
    let arguments = [&*link, "--name", "Anna's laptop", "--json", "--listen", "127.0.0.1:0"];
    let pairing = Running::start(laptop.command(&arguments));
    let line = pairing.wait_for_line(PATIENCE, |line| check_code(line).is_some()).await;
    let code = check_code(&line).unwrap();
    let told = format!("Type {code} on the host: couplet approve 'Anna'\\''s laptop'");
    pairing.wait_for_error_line(PATIENCE, |line| line == told).await;
    assert!(!laptop.folder().exists(), "nothing is kept before the grant");

    let wrong = if code == "000 000" { "000 001" } else { "000 000" };
    let mut refused = Running::start(host.command(&["approve", "Anna's laptop", wrong]));
    assert_eq!(refused.wait(PATIENCE).await.code(), Some(1), "{}", refused.written());
    Running::start(host.command(&["approve", "Anna's laptop", &code])).succeeds(PATIENCE).await;

    let mut forwarder = Forwarder::ready(pairing).await;
    forwarder.state("direct").await;
    assert_eq!(hello(&forwarder).await, "hello\n");
    let devices: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    let device = &devices.devices[0];
    assert_eq!((device.device_name.as_str(), device.kind), ("Anna's laptop", DeviceKind::Desktop));
    assert_eq!(
        (device.device_id.to_string(), device.platform.as_ref().unwrap().as_str()),
        (forwarder.device_id(), "Linux")
    );

    // What it keeps is for this user's eyes only, and none of it is printed.
    let files: Vec<_> = std::fs::read_dir(laptop.folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    for (path, mode) in [(laptop.folder(), 0o700), (files[0].clone(), 0o600)] {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
    let secrets: Vec<&str> =
        ["device_key", "psk", "device_token"].iter().filter_map(|key| kept[*key].as_str()).collect();
    assert_eq!(secrets.len(), 3, "{kept:?}");
    let written = [forwarder.running.written(), host.logs(), host.printed()].concat();
    assert!(secrets.iter().all(|secret| !written.contains(secret)), "a secret was printed");
    forwarder.stop().await;

    // From now on without a link.
    let again = laptop.connect(&[]).await;
    assert_eq!(hello(&again).await, "hello\n");
    again.stop().await;
}

#[tokio::test]
async fn a_laptop_that_is_turned_away_is_told_and_keeps_nothing() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let host = host(&app, "always", &[]).await;
    let mut pairing = Running::start(laptop.command(&[&host.generate().await.link, "--name", "Eve"]));
    pairing.wait_for_error_line(PATIENCE, |line| line.starts_with("Type ")).await;
    Running::start(host.command(&["reject", "Eve"])).succeeds(PATIENCE).await;
    assert_eq!(pairing.wait(PATIENCE).await.code(), Some(4), "{}", pairing.written());
    pairing.wait_for_error_line(PATIENCE, |line| line.contains("CPL-1208")).await;
    assert!(!laptop.folder().exists());
    assert_eq!(laptop.run(&["--list", "--json"]).await, (0, "{\"hosts\":[]}\n".to_owned(), String::new()));
}

#[tokio::test]
async fn a_link_can_come_from_stdin_and_works_once() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let host = host(&app, "never", &[]).await;
    let link = host.generate().await.link;
    let mut bash = program("bash");
    let script = "printf '%s\\n' \"$LINK\" | \"$COUPLET\" connect - --json --listen 127.0.0.1:0";
    bash.args(["-c", script]).env("COUPLET", program::couplet_path()).env("LINK", link.to_lowercase());
    laptop.at_home(&mut bash);
    let forwarder = Forwarder::ready(Running::start(bash)).await;
    assert_eq!(hello(&forwarder).await, "hello\n");

    let (code, stdout, stderr) = Laptop::new().run(&[&link]).await;
    assert!(code == 1 && stdout.is_empty() && stderr.contains("CPL-1203"), "{code} {stderr}");
    for (link, expected) in [("COUPLET:AEBA", "CPL-1605"), ("couplet://127.0.0.1:1?pair=otp_x", "CPL-1605")] {
        let (code, stdout, stderr) = Laptop::new().run(&[link]).await;
        assert!(code == 1 && stdout.is_empty() && stderr.contains(expected), "{code} {stderr}");
        assert!(!stderr.contains("otp_x"), "{stderr}");
    }
}

#[tokio::test]
async fn hosts_are_listed_named_and_forgotten() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let (code, _, stderr) = laptop.run(&[]).await;
    assert!(code == 1 && stderr.contains("CPL-1608"), "{stderr}");
    let [one, two] =
        [host(&app, "never", &["--name", "Attic"]).await, host(&app, "never", &["--name", "Basement"]).await];
    for host in [&one, &two] {
        let forwarder = laptop.pair(host).await;
        assert_eq!(hello(&forwarder).await, "hello\n");
        forwarder.stop().await;
    }
    let (code, stdout, stderr) = laptop.run(&[]).await;
    assert!(
        code == 2 && stdout.is_empty() && stderr.contains("Attic") && stderr.contains("Basement"),
        "{code} {stderr}"
    );
    let (code, stdout, _) = laptop.run(&["--list", "--json"]).await;
    let listed: Value = serde_json::from_str(&stdout).unwrap();
    let names: Vec<&Value> = listed["hosts"].as_array().unwrap().iter().map(|host| &host["host"]).collect();
    assert_eq!((code, names), (0, vec![&"Attic".into(), &"Basement".into()]));
    let id = listed["hosts"][1]["host_id"].as_str().unwrap();
    let (_, table, _) = laptop.run(&["--list"]).await;
    assert!(table.contains(id) && table.contains("Attic") && table.starts_with("NAME"), "{table}");

    for (wanted, name) in [("attic", "Attic"), (&id[..6], "Basement")] {
        let forwarder = laptop.connect(&[wanted]).await;
        assert_eq!((&forwarder.line()["host"], hello(&forwarder).await.as_str()), (&name.into(), "hello\n"));
        forwarder.stop().await;
    }
    let (code, _, stderr) = laptop.run(&["cellar"]).await;
    assert!(code == 1 && stderr.contains("CPL-1608") && stderr.contains("Attic"), "{stderr}");
    assert_eq!(laptop.run(&["--forget", "attic"]).await.0, 0);
    let forwarder = laptop.connect(&[]).await;
    assert_eq!(forwarder.line()["host"], "Basement");
    forwarder.stop().await;
    assert_eq!(laptop.run(&["attic"]).await.0, 1);
}

/// Someone else has the host's address now, or the host was set up anew: nothing is sent to it.
#[tokio::test]
async fn another_host_key_is_refused_and_both_fingerprints_are_shown() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let address = format!("127.0.0.1:{}", free_port());
    let mut first = host(&app, "never", &["--listen", &address]).await;
    laptop.pair(&first).await.stop().await;
    first.stop().await;
    let second = host(&app, "never", &["--listen", &address]).await;

    let mut forwarder = laptop.connect(&[]).await;
    let offline = forwarder.state("offline").await;
    assert!(offline["reason"].as_str().unwrap().contains(&address), "{offline}");
    assert!(app.requests().is_empty());
    forwarder.stop().await;

    let (code, _, stderr) = laptop.run(&[&second.generate().await.link]).await;
    assert!(code == 1 && stderr.contains("CPL-1604"), "{code} {stderr}");
    let (_, stdout, _) = laptop.run(&["--list", "--json"]).await;
    let known: Value = serde_json::from_str(&stdout).unwrap();
    let id = known["hosts"][0]["host_id"].as_str().unwrap();
    assert!(stderr.contains(&id.to_uppercase()) && stderr.contains("offered: "), "{stderr}");
    let meant = laptop.connect(&[&second.generate().await.link, "--another-host"]).await;
    assert_eq!(hello(&meant).await, "hello\n");
    meant.stop().await;
    let (_, stdout, _) = laptop.run(&["--list", "--json"]).await;
    let known: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(known["hosts"].as_array().unwrap().len(), 2, "the first one's credentials are kept");
}

/// docs/service.md: what a backup must hold.
#[tokio::test]
async fn a_host_that_has_its_key_and_database_again_is_the_same_to_its_devices() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let address = format!("127.0.0.1:{}", free_port());
    let mut host = host(&app, "never", &["--listen", &address]).await;
    laptop.pair(&host).await.stop().await;
    let (backup, folder) = (tempfile::tempdir().unwrap(), host.state_dir());
    let copy = |name: &str, from: &Path, to: &Path| std::fs::copy(from.join(name), to.join(name)).unwrap();
    copy("host.key", &folder, backup.path());
    let mut sqlite = program("sqlite3");
    sqlite.arg(folder.join("couplet.db")).arg(format!(".backup '{}'", backup.path().join("couplet.db").display()));
    Running::start(sqlite).succeeds(PATIENCE).await;
    let mut restore = async |files: &[&str]| {
        host.stop().await;
        for file in std::fs::read_dir(&folder).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        for file in files {
            copy(file, backup.path(), &folder);
        }
        host.restart().await;
    };
    for (files, state) in [(&["host.key", "couplet.db"][..], "direct"), (&["couplet.db"], "offline")] {
        restore(files).await;
        let mut forwarder = laptop.connect(&[]).await;
        forwarder.state(state).await;
        forwarder.stop().await;
    }
}

#[tokio::test]
async fn what_does_not_fit_together_is_a_usage_error() {
    let laptop = Laptop::new();
    for args in [
        &["--listen", "0.0.0.0:8080"][..],
        &["--listen", "8080"],
        &["--list", "nas"],
        &["--list", "--forget", "nas"],
        &["--app", "a b"],
        &["--state-dir", "."],
        &["--list", "--config", "config.toml"],
    ] {
        let (code, stdout, _) = laptop.run(args).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
    }
}
