//! `make demo` for real, on a terminal and without one: the link that it prints pairs a device, and the app answers it.

use std::process::Command;
use std::time::Duration;

use e2e::picture::Theme;
use e2e::{Running, Terminal, eventually, program};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// `curl`, as a person would; with what it printed as JSON.
async fn curl(args: &[&str]) -> Value {
    let mut curl = program("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "20"]).args(args);
    let printed = Running::start(curl).succeeds(PATIENCE).await;
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{args:?}: {error}: {printed}"))
}

/// `make demo` on ports of its own.
fn demo() -> Command {
    let mut make = program("make");
    make.arg("--no-print-directory").arg("demo").current_dir(e2e::repository());
    // `make test` has built these; a build inside a test would wait for minutes.
    make.env("DEMO_BIN", e2e::build_dir());
    for port in ["DEMO_APP_PORT", "DEMO_PAIRING_PORT", "DEMO_GATEWAY_PORT"] {
        make.env(port, "0");
    }
    make
}

/// On a terminal it shows the code and the link, and once a device is paired the next step to type.
#[tokio::test]
async fn make_demo_shows_the_code_and_what_comes_next() {
    let terminal = Terminal::start(&demo(), 80, 24).await;
    let screen = terminal.shows("the code and the link", PATIENCE, |s| s.has("▀") && s.has("couplet://")).await;
    let link = screen.scan(Theme::Dark).await;
    assert_eq!(Some(&link), screen.word("couplet://").as_ref(), "{}", screen.text());
    let (address, token) = link.trim_start_matches("couplet://").split_once("?pair=").unwrap();
    let body = json!({ "pair_token": token, "device_name": "Demo phone" }).to_string();
    let paired = curl(&["--json", &body, &format!("http://{address}/api/pair/exchange")]).await;

    let screen = terminal.shows("the next step", PATIENCE, |s| s.has("Bearer dev_") && s.has("Demo phone")).await;
    let text = screen.text();
    let mut words = text.split_whitespace().map(|word| word.trim_matches('\''));
    // What the laptop asked, in its own network, stands above.
    let step = words.rfind(|word| word.ends_with("/notes") && !word.contains(":7890/")).unwrap();
    let bearer = format!("Authorization: Bearer {}", paired["device_token"].as_str().unwrap());
    assert_eq!(curl(&["-H", &bearer, step]).await.as_array().unwrap().len(), 1, "{text}");
    let gateway = step.trim_start_matches("http://").trim_end_matches("/notes");
    terminal.press(&["C-c"]).await;
    eventually("the demo stops", PATIENCE, async || tokio::net::TcpStream::connect(gateway).await.is_err()).await;
}

#[tokio::test]
async fn make_demo_pairs_a_device_with_its_app() {
    let mut demo = Running::start(demo());

    let link = demo.wait_for_line(PATIENCE, |line| line.starts_with("couplet://")).await;
    let (address, token) = link.trim_start_matches("couplet://").split_once("?pair=").unwrap();
    let body = json!({ "pair_token": token, "device_name": "Demo phone" }).to_string();
    let paired = curl(&["--json", &body, &format!("http://{}/api/pair/exchange", address.trim_end_matches('/'))]).await;

    let listed =
        demo.wait_for_error_line(PATIENCE, |line| line.contains("Demo laptop") && line.contains("active")).await;
    assert!(listed.contains("(relay)"), "the laptop came through the relay: {listed}");
    let next = demo.wait_for_error_line(PATIENCE, |line| line.contains("Bearer dev_")).await;
    let notes = next.split_whitespace().last().unwrap().trim_matches('\'');
    let bearer = format!("Authorization: Bearer {}", paired["device_token"].as_str().unwrap());
    let note = curl(&["-H", &bearer, "--json", r#"{"text":"hello"}"#, notes]).await;
    assert_eq!(note, json!({ "by": "Demo phone", "text": "hello" }));
    assert_eq!(curl(&["-H", &bearer, notes]).await.as_array().unwrap().len(), 2);

    // Ctrl-C stops all of it and takes the state along.
    let state = demo.wait_for_error_line(PATIENCE, |line| line.contains("--state-dir")).await;
    let state = std::path::PathBuf::from(state.split_whitespace().last().unwrap());
    assert!(state.is_dir());
    let mut interrupt = program("kill");
    interrupt.args(["-s", "INT", "--", &format!("-{}", demo.pid())]);
    Running::start(interrupt).succeeds(PATIENCE).await;
    demo.wait(PATIENCE).await;
    eventually("the state is thrown away", PATIENCE, async || !state.exists()).await;
    let gateway = notes.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    eventually("the gateway is gone", PATIENCE, async || tokio::net::TcpStream::connect(&gateway).await.is_err()).await;
}

#[test]
fn the_two_commands_exist() {
    for (target, starts) in [("demo", "scripts/demo"), ("test", "scripts/test")] {
        let output = program("make").args(["-n", target]).current_dir(e2e::repository()).output().unwrap();
        assert!(String::from_utf8(output.stdout).unwrap().contains(starts), "make {target}");
    }
}
