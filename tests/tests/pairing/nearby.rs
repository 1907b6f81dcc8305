//! Being seen: while its owner pairs, and only then, a host says on its local network where it is.

use std::collections::HashSet;

use couplet_protocol::api::PinRequestList;
use e2e::by_pin::check_code;
use e2e::host::PATIENCE;
use e2e::machines::HOST;
use e2e::{Avahi, Machines, Network, Running, Terminal, eventually, program};
use serde_json::{Value, json};

async fn machines(name: &str) -> Machines {
    let mut machines = Machines::new(name).await;
    machines.serve_unasked(&["--listen", &format!("{HOST}:7878")]).await;
    machines
}

/// What Avahi sees now: resolved services.
async fn seen(avahi: &Avahi<'_>) -> String {
    avahi.browse("-rpt").succeeds(PATIENCE).await
}

/// What `couplet connect --nearby` sees.
async fn nearby(machines: &Machines) -> Vec<Value> {
    let printed = Running::start(machines.device(&["--nearby", "--json"])).succeeds(PATIENCE).await;
    serde_json::from_str::<Value>(&printed).unwrap()["nearby"].as_array().unwrap().clone()
}

/// Ends `couplet pair`, which closes its window.
async fn close(mut pair: Running) {
    pair.signal("INT");
    pair.wait(PATIENCE).await;
}

/// The PIN of the device that asks, as the owner's API has it.
async fn pin(machines: &Machines) -> String {
    let token = std::fs::read_to_string(machines.folder().join("state/admin-token")).unwrap();
    let header = format!("Authorization: Bearer {}", token.trim());
    let url = format!("http://{HOST}:7878/mobile/pairing");
    let curl = program::path().join("curl");
    let command = machines.near().exec(curl.as_os_str(), &["-q", "-sS", "--noproxy", "*", "-H", &header, &url]);
    let list: PinRequestList = serde_json::from_str(&Running::start(command).succeeds(PATIENCE).await).unwrap();
    list.requests[0].pin.expose()
}

#[tokio::test]
async fn avahi_sees_the_host_while_its_owner_pairs_and_only_then() {
    let mut machines = machines("seen").await;
    let mut names = HashSet::new();
    for last_word in ["window", "host"] {
        let avahi = Avahi::start(machines.far()).await;
        assert_eq!((seen(&avahi).await.as_str(), nearby(&machines).await.len()), ("", 0), "no window is open");
        let browser = avahi.browse("-rp");
        let (pair, _) = machines.link().await;
        let line = browser.wait_for_line(PATIENCE, |line| line.starts_with('=')).await;
        let told: Vec<&str> = line.split(';').collect();
        let [_, "lan0", "IPv4", name, "_couplet._tcp", "local", label, HOST, "7878", "\"v=1\""] = told[..] else {
            panic!("{line}");
        };
        // Made up anew each time; not even the two names have to do with each other.
        for made_up in [name, label.trim_end_matches(".local")] {
            assert!(made_up.starts_with("couplet-") && made_up.len() == 20, "{line}");
            assert!(names.insert(made_up.to_owned()), "{line}");
        }
        assert_eq!(nearby(&machines).await, [json!({"name": name, "url": format!("http://{HOST}:7878")})]);

        // Its records would stand for an hour: it says goodbye.
        let gone = |line: &str| line.starts_with("-;") && line.contains(name);
        assert!(!browser.stdout.text().lines().any(gone));
        match last_word {
            "window" => close(pair).await,
            _ => machines.host().signal("TERM"),
        }
        browser.wait_for_line(PATIENCE, gone).await;
        assert_eq!((seen(&avahi).await.as_str(), nearby(&machines).await.len()), ("", 0));
    }

    // Who does not want that is never seen.
    machines.kill_host().await;
    std::fs::create_dir_all(machines.folder().join("couplet")).unwrap();
    std::fs::write(machines.folder().join("couplet/config.toml"), "discovery = false\n").unwrap();
    machines.serve_unasked(&["--listen", &format!("{HOST}:7878")]).await;
    let avahi = Avahi::start(machines.far()).await;
    let (_pair, _) = machines.link().await;
    assert_eq!((seen(&avahi).await.as_str(), nearby(&machines).await.len()), ("", 0));
}

/// Neither in a tunnel nor among containers, although it serves there, too.
#[tokio::test]
async fn it_is_announced_on_networks_of_devices_only() {
    let mut machines = Machines::new("where").await;
    let tunnel = Network::new("where-tunnel").await;
    machines.near().ip(&format!("link add wg0 type veth peer name lan0 netns {}", tunnel.name())).await;
    for (network, interface, address) in [(machines.near(), "wg0", "10.7.0.5"), (&tunnel, "lan0", "10.7.0.6")] {
        network.ip(&format!("address add {address}/24 dev {interface}")).await;
        network.ip(&format!("link set {interface} up")).await;
    }
    machines.serve_unasked(&["--listen", "0.0.0.0:7878"]).await;
    let (here, there) = (Avahi::start(machines.far()).await, Avahi::start(&tunnel).await);
    let (_pair, _) = machines.link().await;
    let line = here.browse("-rp").wait_for_line(PATIENCE, |line| line.starts_with('=')).await;
    assert!(line.contains(&format!(";{HOST};7878;")), "{line}");
    assert_eq!(seen(&there).await, "");
    // It is there, though.
    let curl = program::path().join("curl");
    let live = tunnel.exec(curl.as_os_str(), &["-q", "-sSf", "--noproxy", "*", "http://10.7.0.5:7878/livez"]);
    Running::start(live).succeeds(PATIENCE).await;
}

/// A stranger's request is no window: else anybody could have the host announce itself.
#[tokio::test]
async fn what_strangers_ask_for_opens_no_window() {
    let machines = machines("stranger").await;
    let asking = Running::start(machines.device(&[&format!("http://{HOST}:7878"), "--name", "Laptop", "--json"]));
    asking.wait_for_line(PATIENCE, |line| line.contains("pin_wanted")).await;
    assert!(nearby(&machines).await.is_empty());
    // While its owner's word does.
    let (_pair, _) = machines.link().await;
    assert_eq!(nearby(&machines).await.len(), 1);
}

#[tokio::test]
async fn a_laptop_that_is_paired_with_nobody_is_shown_who_is_there_and_pairs_by_pin() {
    let machines = machines("choose").await;
    let (_pair, _) = machines.link().await;
    eventually("the host is seen", PATIENCE, || async { !nearby(&machines).await.is_empty() }).await;
    let terminal = Terminal::start(&machines.device(&["--name", "Laptop"]), 100, 40).await;
    let address = format!("{HOST}:7878");
    let screen = terminal.shows("the list", PATIENCE, |screen| screen.has("Which one?")).await;
    assert!(screen.has(&address) && screen.has("couplet-"), "{}", screen.text());
    assert!(!screen.has("PIN:"), "the only one is not taken unasked");
    terminal.press(&["7", "Enter"]).await;
    terminal.shows("what can be chosen", PATIENCE, |screen| screen.has("a number from 1 to 1")).await;
    terminal.press(&["1", "Enter"]).await;
    terminal.shows("the question", PATIENCE, |screen| screen.has("PIN:")).await;
    terminal.press(&[&pin(&machines).await, "Enter"]).await;
    let screen = terminal.shows("the check code", PATIENCE, |screen| check_code(&screen.text()).is_some()).await;
    assert!(!screen.has("Paired with"), "{}", screen.text());
    let code = check_code(&screen.text()).unwrap();
    Running::start(machines.owner(&["approve", "Laptop", &code])).succeeds(PATIENCE).await;
    terminal.shows("the question", PATIENCE, |screen| screen.has("Did it? yes or no:")).await;
    terminal.press(&["y", "e", "s", "Enter"]).await;
    terminal.shows("that it is paired", PATIENCE, |screen| screen.has("Paired with")).await;

    // Nobody at a terminal: it is told who is there, and nobody is chosen.
    let (_pair, _) = machines.link().await;
    let mut unasked = Running::start(machines.device(&["--nearby"]));
    let (code, stdout, stderr) = unasked.ended(PATIENCE).await;
    let written = format!("{stdout}{stderr}");
    assert_eq!(code, 2, "{written}");
    assert!(written.contains(&address) && written.contains("couplet connect http://ADDRESS:PORT"), "{written}");
}

/// Anyone on the network can say anything.
#[tokio::test]
async fn what_is_heard_is_taken_for_what_it_is() {
    let machines = Machines::new("liars").await;
    let mut nobody = Running::start(machines.device(&["--nearby"]));
    let (code, _, stderr) = nobody.ended(PATIENCE).await;
    assert!(code == 1 && stderr.contains("CPL-1612"), "{code} {stderr}");

    let avahi = Avahi::start(machines.near()).await;
    let long = "x".repeat(200);
    let mut liars = Vec::new();
    for (name, port) in [("Honest", "7878"), ("Esc\u{1b}[2J", "7878"), ("Bidi\u{202e}", "7878"), ("Low", "22")] {
        liars.push(avahi.publish(&["-s", name, "_couplet._tcp", port, &long, &long]).await);
    }
    for (n, address) in ["8.8.8.8", "127.0.0.1", "10.9.9.9"].into_iter().enumerate() {
        let label = format!("elsewhere{n}.local");
        liars.push(avahi.publish(&["-R", "-a", &label, address]).await);
        liars.push(avahi.publish(&["-H", &label, "-s", &format!("Elsewhere {n}"), "_couplet._tcp", "7878"]).await);
    }
    eventually("the honest one is there", PATIENCE, || async { nearby(&machines).await.len() == 1 }).await;
    assert_eq!(nearby(&machines).await, [json!({"name": "Honest", "url": format!("http://{HOST}:7878")})]);

    // A crowd hides none that answers; of more than a list can show it is said that there are more.
    for n in 0..20 {
        liars.push(avahi.publish(&["-s", &format!("Crowd {n}"), "_couplet._tcp", &format!("{}", 2000 + n)]).await);
    }
    eventually("all are there", PATIENCE, || async { nearby(&machines).await.len() == 21 }).await;
    for n in 20..70 {
        liars.push(avahi.publish(&["-s", &format!("Crowd {n}"), "_couplet._tcp", &format!("{}", 2000 + n)]).await);
    }
    let told = || async {
        let mut looking = Running::start(machines.device(&["--nearby", "--json"]));
        let (_, _, said) = looking.ended(PATIENCE).await;
        said.contains("7 more say that they are hosts") && said.contains("http://ADDRESS:PORT")
    };
    eventually("the rest is counted", PATIENCE, told).await;
    assert_eq!(nearby(&machines).await.len(), 64);
}
