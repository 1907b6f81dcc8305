//! The commands beside `pair`: devices, decisions, and what needs no host.

use couplet_protocol::api::DeviceList;
use e2e::host::PATIENCE;
use e2e::program::{couplet, program};
use e2e::{Running, Terminal, TestApp, TestHost};
use reqwest::Method;
use serde_json::{Value, json};

async fn succeeds(host: &TestHost, args: &[&str]) -> (String, String) {
    let (code, out, err) = Running::start(host.command(args)).ended(PATIENCE).await;
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    (out, err)
}

async fn fails(host: &TestHost, args: &[&str], expected: i32) -> String {
    let (code, out, err) = Running::start(host.command(args)).ended(PATIENCE).await;
    assert_eq!((code, out.as_str()), (expected, ""), "{args:?}: {err}");
    err
}

async fn devices(host: &TestHost) -> DeviceList {
    host.owner().expect(Method::GET, "/api/pair/devices?state=active", 200, None).await
}

async fn me(host: &TestHost, token: &str) -> u16 {
    host.device(token).get("/api/pair/me").send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_list_is_a_table_for_people_and_json_for_programs() {
    let host = TestHost::start(|_| {}).await;
    let (out, err) = succeeds(&host, &["devices"]).await;
    assert!(out.is_empty() && err.contains("couplet pair"), "the next step: {err}");
    let used = host.pair_device("iPad Pro").await;
    assert_eq!(me(&host, &used.device_token).await, 200);
    let unused = host.add_device("寝室").await;
    let (out, _) = succeeds(&host, &["devices"]).await;
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("ID") && lines[0].contains("NAME") && lines[0].contains("LAST SEEN"), "{out}");
    let line = |id: &str| *lines.iter().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{id}: {out}"));
    let (ipad, room) = (line(&used.device_id.to_string()[..8]), line(&unused.device_id.to_string()[..8]));
    assert!(ipad.contains("iPad Pro") && ipad.contains("just now") && ipad.contains("active"), "{out}");
    assert!(room.contains("寝室") && room.contains("never used") && room.contains("bearer"), "{out}");
    let (out, _) = succeeds(&host, &["devices", "list", "--json"]).await;
    let list: DeviceList = serde_json::from_str(&out).unwrap();
    assert_eq!(list.devices.len(), 2);
}

#[tokio::test]
async fn add_prints_the_token_once() {
    let host = TestHost::start(|_| {}).await;
    let (out, err) = succeeds(&host, &["devices", "add", "My editor"]).await;
    assert_eq!(me(&host, out.trim()).await, 200);
    assert!(err.contains("this once"), "{err}");
    let (out, _) = succeeds(&host, &["devices", "add", "Another", "--json"]).await;
    let credential: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(me(&host, credential["device_token"].as_str().unwrap()).await, 200);
    let (out, _) = succeeds(&host, &["devices", "--json"]).await;
    assert!(!out.contains("dev_"), "{out}");
    let said = fails(&host, &["devices", "add", ""], 1).await;
    assert!(said.contains("CPL-") && said.contains("couplet explain"), "{said}");
}

#[tokio::test]
async fn rename_and_scope_change_a_device() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let device = host.pair_device("iPad").await;
    let (_, err) = succeeds(&host, &["devices", "rename", "ipad", "Kitchen iPad"]).await;
    assert!(err.contains("Kitchen iPad"), "{err}");
    assert_eq!(devices(&host).await.devices[0].device_name.as_str(), "Kitchen iPad");

    let id = &device.device_id.to_string()[..6];
    let (_, err) = succeeds(&host, &["devices", "scope", id, "--read-only", "--for", "7d"]).await;
    assert!(err.contains("read-only") && err.contains("until"), "{err}");
    let through = host.through_gateway("app", Some(&device.device_token));
    assert_eq!(through.get("/").send().await.unwrap().status(), 200);
    assert_eq!(through.post("/").send().await.unwrap().status(), 403);
    let (out, _) = succeeds(&host, &["devices", "scope", id, "--read-write", "--forever", "--json"]).await;
    let changed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&changed["scope"]["read_only"], &changed["expires_at"]), (&json!(false), &Value::Null));
    assert_ne!(through.post("/").send().await.unwrap().status(), 403);
    assert!(fails(&host, &["devices", "scope", id], 2).await.contains("--read-only"), "nothing to change");
}

#[tokio::test]
async fn revoke_takes_a_name_or_the_beginning_of_an_id() {
    let host = TestHost::start(|_| {}).await;
    let (phone, tablet) = (host.add_device("Old phone").await, host.add_device("Tablet").await);
    let said = fails(&host, &["devices", "revoke", "old phone"], 2).await;
    assert!(said.contains("--yes"), "nobody is there to ask: {said}");
    assert_eq!(me(&host, &phone.device_token).await, 200);
    let (_, err) = succeeds(&host, &["devices", "revoke", "old phone", "--yes"]).await;
    assert!(err.contains("Old phone is revoked"), "{err}");
    assert_eq!((me(&host, &phone.device_token).await, me(&host, &tablet.device_token).await), (401, 200));
    let (out, _) = succeeds(&host, &["devices", "revoke", &tablet.device_id.to_string()[..8], "--yes", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["device_name"], "Tablet");
    assert_eq!(me(&host, &tablet.device_token).await, 401);
    let said = fails(&host, &["devices", "revoke", "Tablet", "--yes"], 1).await;
    assert!(said.contains("CPL-"), "{said}");
}

#[tokio::test]
async fn what_may_mean_several_devices_changes_none() {
    let host = TestHost::start(|_| {}).await;
    let (one, two) = (host.add_device("Phone").await, host.add_device("Phone").await);
    let said = fails(&host, &["devices", "revoke", "phone", "--yes"], 2).await;
    for device in [&one, &two] {
        assert!(said.contains(&device.device_id.to_string()), "{said}");
        assert_eq!(me(&host, &device.device_token).await, 200);
    }
}

#[tokio::test]
async fn on_a_terminal_revoke_asks_first() {
    let host = TestHost::start(|_| {}).await;
    let device = host.add_device("Phone").await;
    for (answer, code, status) in [("n", 4, 200), ("Enter", 4, 200), ("y", 0, 401)] {
        let terminal = Terminal::start(&host.command(&["devices", "revoke", "phone"]), 80, 24).await;
        terminal.shows("the question", PATIENCE, |screen| screen.has("[y/N]")).await;
        terminal.press(&[answer]).await;
        if answer != "Enter" {
            terminal.press(&["Enter"]).await;
        }
        let (ended, left) = terminal.end(PATIENCE).await;
        assert_eq!((ended, me(&host, &device.device_token).await), (code, status), "{answer}: {left}");
    }
}

#[tokio::test]
async fn approve_and_reject_decide_on_a_waiting_device() {
    let host = TestHost::start(|setup| {
        setup.arg("--approve").arg("always");
    })
    .await;
    assert!(fails(&host, &["approve"], 1).await.contains("No device waits"));
    let ask = async |name: &str| {
        let offer = host.generate().await;
        let mut body = json!({ "pair_token": offer.pair_token.expose(), "device_name": name });
        let answer: Value = host.anyone().expect(Method::POST, "/api/pair/exchange", 202, Some(body.clone())).await;
        body["claim"] = answer["claim"].clone();
        body
    };
    let collect = async |body: &Value| {
        host.anyone().post("/api/pair/exchange").json(body).send().await.unwrap().status().as_u16()
    };
    let ipad = ask("iPad").await;
    let said = fails(&host, &["approve"], 2).await;
    assert!(said.contains("iPad") && said.contains("127.0.0.1"), "nobody is let in unseen: {said}");
    assert_eq!(collect(&ipad).await, 202);
    succeeds(&host, &["approve", "ipad"]).await;
    assert_eq!(collect(&ipad).await, 200);
    let (phone, stranger) = (ask("Phone").await, ask("Stranger").await);
    let said = fails(&host, &["approve"], 2).await;
    assert!(said.contains("Phone") && said.contains("Stranger") && said.contains("127.0.0.1"), "{said}");
    succeeds(&host, &["reject", "stranger"]).await;
    succeeds(&host, &["approve", "phone"]).await;
    assert_eq!((collect(&stranger).await, collect(&phone).await), (403, 200));
}

/// Runs `couplet` without a host, in a home of its own.
async fn alone(home: &std::path::Path, args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = couplet();
    command.args(args).env("HOME", home).env("XDG_CONFIG_HOME", home).env("XDG_STATE_HOME", home);
    command.envs(env.iter().copied());
    Running::start(command).ended(PATIENCE).await
}

#[tokio::test]
async fn explain_prints_a_page_offline() {
    let home = tempfile::tempdir().unwrap();
    let (code, page, _) = alone(home.path(), &["explain", "CPL-1203"], &[]).await;
    assert_eq!(code, 0);
    for part in ["# CPL-1203: ", "## What happened", "## What to do"] {
        assert!(page.contains(part), "{page}");
    }
    assert_eq!(alone(home.path(), &["explain", "1203"], &[]).await.1, page);
    let (code, _, said) = alone(home.path(), &["explain", "CPL-9999"], &[]).await;
    assert_eq!((code, said.contains("CPL-")), (2, true), "{said}");
}

#[tokio::test]
async fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("couplet.toml");
    let text = "server_name = \"file\"\napprove = \"never\"\n\n[limits]\nmax_devices = 7\nmax_offers = 3\n";
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let show = ["config", "show", "--origin", "--json", "--config", path, "--name", "flag"];
    let env = [("COUPLET_NAME", "env"), ("COUPLET_APPROVE", "always"), ("COUPLET_LIMITS__MAX_OFFERS", "4")];
    let (code, out, err) = alone(home.path(), &show, &env).await;
    assert_eq!(code, 0, "{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    for (key, value, kind) in [
        ("server_name", json!("flag"), "flag"),
        ("approve", json!("always"), "env"),
        ("limits.max_offers", json!(4), "env"),
        ("limits.max_devices", json!(7), "file"),
        ("lan_pairing", json!("owner"), "default"),
    ] {
        assert_eq!((&shown[key]["value"], &shown[key]["origin"]["kind"]), (&value, &json!(kind)), "{key}: {out}");
    }
    let (_, out, _) = alone(home.path(), &["config", "show", "--origin", "--config", path], &[]).await;
    let line = out.lines().find(|line| line.starts_with("limits.max_devices")).unwrap();
    assert!(line.ends_with(&format!("# file {path}")), "{line}");

    std::fs::write(&file, "[limits]\nmax_device = 7\n").unwrap();
    for args in [&["config", "show", "--config", path][..], &["serve", "--config", path]] {
        let (code, out, said) = alone(home.path(), args, &[]).await;
        assert_eq!((code, out.as_str()), (1, ""), "{said}");
        assert!(said.contains(path) && said.contains("max_device") && said.contains("max_devices"), "{said}");
    }
}

#[tokio::test]
async fn completions_and_manual_pages_are_made() {
    let home = tempfile::tempdir().unwrap();
    let (code, script, _) = alone(home.path(), &["completions", "bash"], &[]).await;
    assert_eq!(code, 0);
    let file = home.path().join("couplet.bash");
    std::fs::write(&file, script).unwrap();
    let mut bash = program("bash");
    let ask = "set -eu; source \"$1\"; COMP_WORDS=(couplet pa); COMP_CWORD=1; \
               complete -p couplet >&2; _couplet couplet pa couplet; echo \"${COMPREPLY[@]}\"";
    bash.args(["--norc", "-c", ask, "bash"]).arg(&file);
    let (code, out, err) = Running::start(bash).ended(PATIENCE).await;
    assert_eq!((code, out.trim()), (0, "pair"), "{err}");

    let folder = home.path().join("man");
    let (code, _, err) = alone(home.path(), &["man", "--dir", folder.to_str().unwrap()], &[]).await;
    assert_eq!(code, 0, "{err}");
    for page in ["couplet.1", "couplet-serve.1", "couplet-pair.1", "couplet-devices.1", "couplet-devices-revoke.1"] {
        let text = std::fs::read_to_string(folder.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".TH") && text.contains(".SH DESCRIPTION"), "{page}: {text}");
    }
}
