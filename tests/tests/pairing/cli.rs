//! `couplet pair` in a real terminal, its code read by a reader that is not ours; and what `couplet serve` says first.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use couplet_protocol::api::DeviceList;
use e2e::host::{PATIENCE, Setup};
use e2e::picture::Theme;
use e2e::plain::exchange;
use e2e::program::couplet_path;
use e2e::terminal::Screen;
use e2e::{Network, Running, Terminal, TestHost};
use reqwest::Method;
use serde_json::{Value, json};

async fn pair(host: &TestHost, args: &[&str]) -> Terminal {
    Terminal::start(&host.command(&[&["pair", "--link", "lan"], args].concat()), 80, 24).await
}

fn link(screen: &Screen) -> Option<String> {
    screen.word("couplet://")
}

/// Waits for a link that is not `before`.
async fn next_link(terminal: &Terminal, before: &str) -> (String, Screen) {
    let is_new = |screen: &Screen| link(screen).is_some_and(|link| link != before);
    let screen = terminal.shows("a new link", PATIENCE, is_new).await;
    (link(&screen).unwrap(), screen)
}

async fn is_dead(link: &str) {
    let (status, problem) = exchange(link, "Late", None).await;
    assert_eq!(status, 400, "{problem}");
}

#[tokio::test]
async fn the_qr_is_read_by_zbar_and_pairs() {
    let host = TestHost::start(|_| {}).await;
    for (theme, name) in [(Theme::Dark, "iPad"), (Theme::Light, "Phone")] {
        let terminal = pair(&host, &[]).await;
        let (shown, screen) = next_link(&terminal, "").await;
        let read = screen.scan(theme).await;
        assert_eq!(read, shown, "{theme:?}");
        let (status, credential) = exchange(&read, name, None).await;
        assert_eq!(status, 200, "{credential}");
        assert_eq!(terminal.end(PATIENCE).await.0, 0);
        let token = credential["device_token"].as_str().unwrap();
        assert_eq!(host.device(token).get("/api/pair/me").send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn it_ends_with_the_paired_device() {
    let host = TestHost::start(|_| {}).await;
    let terminal = pair(&host, &[]).await;
    let (link, _) = next_link(&terminal, "").await;
    // Another's pairing is not ours.
    host.pair_device("Watch").await;
    assert_eq!(exchange(&link, "Anna's iPad", None).await.0, 200);
    let (code, left) = terminal.end(PATIENCE).await;
    assert_eq!(code, 0);
    assert!(left.contains("Anna's iPad (iPad13,8)") && !left.contains("Watch"), "{left}");
    assert!(!left.contains("otp_") && !left.contains('▀'), "the code stays on nobody's screen: {left}");
}

#[tokio::test]
async fn the_qr_is_made_of_block_characters() {
    let host = TestHost::start(|_| {}).await;
    let terminal = pair(&host, &[]).await;
    let (_, screen) = next_link(&terminal, "").await;
    let code: Vec<_> = screen.cells().into_iter().filter(|row| row.iter().any(|cell| cell.glyph == '▀')).collect();
    assert!(code.len() >= 12, "{}", screen.text());
    let painted = code.iter().flatten().filter(|cell| cell.background.is_some());
    assert!(painted.clone().all(|cell| " ▀▄█".contains(cell.glyph)), "{}", screen.text());
    assert!(painted.clone().all(|cell| matches!((cell.foreground, cell.background), (Some(0), Some(0 | 255)))));
    assert!(screen.cells().len() <= 24);
}

#[tokio::test]
async fn the_countdown_runs_below_the_qr() {
    let host = TestHost::start(|_| {}).await;
    let terminal = pair(&host, &[]).await;
    let (_, screen) = next_link(&terminal, "").await;
    let text = screen.text();
    let (code, countdown) = (text.rfind(['▀', '▄', '█']).unwrap(), text.find("Token expires in: ").unwrap());
    assert!(code < countdown, "{text}");
    let left = |screen: &Screen| -> u32 {
        let text = screen.text();
        let (_, from) = text.split_once("Token expires in: ").unwrap();
        from.split_once('s').unwrap().0.parse().unwrap()
    };
    let first = left(&screen);
    assert!((40..=60).contains(&first), "{first}");
    let second = left(&terminal.shows("the countdown goes on", PATIENCE, |screen| left(screen) < first).await);
    terminal.shows("the countdown goes on", PATIENCE, |screen| left(screen) < second).await;
}

#[tokio::test]
async fn the_screen_says_what_to_do() {
    // Where a phone can reach the host.
    let network = Network::with_lan("screen").await;
    let home = tempfile::tempdir().unwrap();
    let serve = Running::start(inside(&network, home.path(), &["serve", "--json"]));
    serve.wait_for_line(PATIENCE, |line| line.contains("ready")).await;
    let terminal = Terminal::start(&inside(&network, home.path(), &["pair", "--link", "lan"]), 80, 24).await;
    let (link, screen) = next_link(&terminal, "").await;
    let text = screen.text();
    assert!(link.starts_with("couplet://192.168.77.5:7878?"), "{link}");
    let first = text.lines().next().unwrap();
    assert!(first.contains("Scan") && first.contains("app") && first.contains("phone"), "{text}");
    assert!(text.contains("couplet devices"), "and what comes next: {text}");

    // The sealed link is longer, and all of it fits, beside its code.
    let terminal = Terminal::start(&inside(&network, home.path(), &["pair"]), 80, 24).await;
    let screen = terminal.shows("a sealed link", PATIENCE, |screen| screen.has("COUPLET:")).await;
    let sealed = screen.scan(Theme::Dark).await;
    let offer = couplet_protocol::Offer::from_link(&sealed).unwrap();
    assert_eq!(offer.endpoints, ["192.168.77.5:7878".parse().map(couplet_protocol::Endpoint::Lan).unwrap()]);
    assert!(screen.text().replace('\n', "").contains(&sealed), "{}", screen.text());
    assert!(screen.has("couplet devices") && screen.has("expires in: "), "{}", screen.text());

    // And where none can.
    let host = TestHost::start(|_| {}).await;
    let text = next_link(&pair(&host, &[]).await, "").await.1.text();
    assert!(text.contains("No phone can reach this address"), "{text}");
}

#[tokio::test]
async fn the_link_stands_beside_the_qr() {
    let host = TestHost::start(|_| {}).await;
    let terminal = pair(&host, &[]).await;
    let (link, screen) = next_link(&terminal, "").await;
    // On one line, so that a click or a mouse drag copies all of it, and it is as good as the code.
    assert!(screen.text().lines().any(|line| line.ends_with(&link)), "{}", screen.text());
    assert_eq!(exchange(&link, "iPad", None).await.0, 200);
    assert_eq!(terminal.end(PATIENCE).await.0, 0);

    let terminal = pair(&host, &["--link-only"]).await;
    let (link, screen) = next_link(&terminal, "").await;
    assert!(!screen.has("▀"), "{}", screen.text());
    assert_eq!(exchange(&link, "Phone", None).await.0, 200);
    assert_eq!(terminal.end(PATIENCE).await.0, 0);
}

#[tokio::test]
async fn r_regenerates_and_q_quits() {
    let host = TestHost::start(|_| {}).await;
    let terminal = pair(&host, &[]).await;
    let (first, screen) = next_link(&terminal, "").await;
    assert!(screen.has("Press [R] to regenerate, [Q] to quit"), "{}", screen.text());
    terminal.press(&["r"]).await;
    let (second, screen) = next_link(&terminal, &first).await;
    is_dead(&first).await;
    assert_eq!(screen.scan(Theme::Dark).await, second, "the picture is the new link's");
    terminal.press(&["Q"]).await;
    let (code, left) = terminal.end(PATIENCE).await;
    assert_eq!((code, left.trim()), (1, "Cancelled. The code no longer works."));
    is_dead(&second).await;
}

#[tokio::test]
async fn ctrl_c_ends_it_and_cancels_the_offer() {
    let host = TestHost::start(|_| {}).await;
    let terminal = pair(&host, &[]).await;
    let (link, _) = next_link(&terminal, "").await;
    terminal.press(&["C-c"]).await;
    assert_eq!(terminal.end(PATIENCE).await.0, 1);
    is_dead(&link).await;
    // As a script's, and by a service manager's signal.
    for signal in ["INT", "TERM"] {
        let mut pair = Running::start(host.command(&["pair", "--link", "lan"]));
        let link = pair.wait_for_line(PATIENCE, |_| true).await;
        pair.signal(signal);
        assert_eq!(pair.wait(PATIENCE).await.code(), Some(1), "{}", pair.written());
        is_dead(&link).await;
    }
}

/// A closed window, or a lost connection: nothing stays behind.
#[tokio::test]
async fn a_terminal_that_goes_away_ends_it() {
    let host = TestHost::start(|_| {}).await;
    let terminal = pair(&host, &[]).await;
    let (link, _) = next_link(&terminal, "").await;
    let folder = host.state_dir().to_str().unwrap().to_owned();
    let running = || {
        let commands = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let command = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&command).into_owned())
        });
        commands.filter(|command| command.contains("\0pair\0") && command.contains(&folder)).count()
    };
    assert!(running() > 0);
    drop(terminal);
    e2e::eventually("couplet pair ends", PATIENCE, async || running() == 0).await;
    is_dead(&link).await;
}

#[tokio::test]
async fn an_expired_qr_is_renewed() {
    let host = TestHost::start(|setup| {
        setup.movable_clock().env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "100");
    })
    .await;
    let terminal = pair(&host, &[]).await;
    let (mut link, _) = next_link(&terminal, "").await;
    for renewal in 1..=5 {
        host.set_clock(&format!("+{}", renewal * 61));
        let (next, screen) = next_link(&terminal, &link).await;
        assert_eq!(screen.scan(Theme::Light).await, next);
        is_dead(&link).await;
        link = next;
    }
    host.set_clock(&format!("+{}", 6 * 61));
    let screen = terminal.shows("it waits for a key", PATIENCE, |screen| screen.has("expired")).await;
    assert!(link_is_gone(&screen) && screen.has("[R]"), "{}", screen.text());
    terminal.press(&["r"]).await;
    let (again, _) = next_link(&terminal, &link).await;
    assert_eq!(exchange(&again, "iPad", None).await.0, 200);
    assert_eq!(terminal.end(PATIENCE).await.0, 0);
}

fn link_is_gone(screen: &Screen) -> bool {
    link(screen).is_none() && !screen.has("▀")
}

/// The shortest lifetime, by the real clocks, on a host that makes one code a minute.
#[tokio::test]
async fn an_expired_qr_waits_for_the_hosts_limit() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "1");
    })
    .await;
    let terminal = pair(&host, &["--timeout", "10"]).await;
    let (first, _) = next_link(&terminal, "").await;
    let limited = |screen: &Screen| screen.has("makes the next one in");
    let screen = terminal.shows("the host's limit", Duration::from_secs(40), limited).await;
    assert!(link_is_gone(&screen), "{}", screen.text());
    is_dead(&first).await;
    terminal.press(&["q"]).await;
    assert_eq!(terminal.end(PATIENCE).await.0, 1);
}

#[tokio::test]
async fn json_prints_the_token_data() {
    let host = TestHost::start(|_| {}).await;
    let mut pair = Running::start(host.command(&["pair", "--json"]));
    let line = pair.wait_for_line(PATIENCE, |_| true).await;
    let offer: Value = serde_json::from_str(&line).unwrap();
    for member in ["offer_id", "pair_token", "qr_url", "expires_at"] {
        assert!(offer[member].is_string(), "{member}: {line}");
    }
    host.event("offer.created", |event| event["pairing_id"] == offer["offer_id"]).await;
    assert_eq!(exchange(offer["qr_url"].as_str().unwrap(), "iPad", None).await.0, 200);
    assert_eq!(pair.wait(PATIENCE).await.code(), Some(0), "{}", pair.written());
    pair.stdout.end(PATIENCE).await;
    let last: Value = serde_json::from_str(pair.stdout.text().lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["device_name"]), (&json!("device.paired"), &json!("iPad")));
}

#[tokio::test]
async fn timeout_sets_the_lifetime() {
    let host = TestHost::start(|_| {}).await;
    let pair = Running::start(host.command(&["pair", "--link", "lan", "--json", "--timeout", "300"]));
    let offer: Value = serde_json::from_str(&pair.wait_for_line(PATIENCE, |_| true).await).unwrap();
    let ends: jiff::Timestamp = offer["expires_at"].as_str().unwrap().parse().unwrap();
    let left = ends.as_second() - jiff::Timestamp::now().as_second();
    assert!((270..=300).contains(&left), "{left}");
    let terminal = self::pair(&host, &["--timeout", "600"]).await;
    let screen = next_link(&terminal, "").await.1;
    assert!(screen.has("expires in: 59") || screen.has("expires in: 600s"), "{}", screen.text());
    for wrong in ["9", "601", "soon"] {
        let mut pair = Running::start(host.command(&["pair", "--timeout", wrong]));
        assert_eq!(pair.wait(PATIENCE).await.code(), Some(2), "{wrong}");
    }
}

#[tokio::test]
async fn without_a_terminal_it_prints_the_link() {
    let host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let mut pair = Running::start(host.command(&["pair", "--link", "lan"]));
    let link = pair.wait_for_line(PATIENCE, |_| true).await;
    assert_eq!(exchange(&link, "iPad", None).await.0, 200);
    assert_eq!(pair.wait(PATIENCE).await.code(), Some(0), "{}", pair.written());
    pair.stdout.end(PATIENCE).await;
    assert_eq!(pair.stdout.text(), format!("{link}\n"), "the link and nothing else");
    pair.wait_for_error_line(PATIENCE, |line| line.contains("iPad")).await;

    let mut pair = Running::start(host.command(&["pair", "--link", "lan"]));
    pair.wait_for_line(PATIENCE, |_| true).await;
    host.set_clock("+61");
    assert_eq!(pair.wait(PATIENCE).await.code(), Some(3), "time ran out: {}", pair.written());
    assert_eq!(pair.stdout.count(), 1, "nobody is there to scan another");
}

#[tokio::test]
async fn the_owner_answers_on_the_screen() {
    let host = TestHost::start(|setup: &mut Setup| {
        setup.arg("--approve").arg("always");
    })
    .await;
    for (key, code, status) in [("y", 0, 200), ("n", 4, 403)] {
        let terminal = pair(&host, &[]).await;
        let (link, _) = next_link(&terminal, "").await;
        let (asked, claim) = exchange(&link, "iPad", None).await;
        assert_eq!(asked, 202, "{claim}");
        let screen = terminal.shows("the question", PATIENCE, |screen| screen.has("[y]") && screen.has("[n]")).await;
        assert!(screen.has("iPad asks") && screen.has("iPad13,8") && screen.has("127.0.0.1"), "{}", screen.text());
        assert!(link_is_gone(&screen));
        terminal.press(&[key]).await;
        if key == "y" {
            terminal.shows("the answer was taken", PATIENCE, |screen| !screen.has("[n]")).await;
        } else {
            assert_eq!(terminal.end(PATIENCE).await.0, code);
        }
        assert_eq!(exchange(&link, "iPad", Some(&claim["claim"])).await.0, status);
        let (ended, left) = terminal.end(PATIENCE).await;
        assert_eq!((ended, left.contains("iPad")), (code, true), "{left}");
    }
    let list: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    assert_eq!(list.devices.len(), 1);
}

#[tokio::test]
async fn a_small_terminal_gets_the_link() {
    let host = TestHost::start(|_| {}).await;
    let terminal = Terminal::start(&host.command(&["pair", "--link", "lan"]), 80, 10).await;
    let small = |screen: &Screen| screen.has("too small") && link(screen).is_some();
    let screen = terminal.shows("it says so", PATIENCE, small).await;
    assert!(!screen.has("▀") && screen.has("Token expires in"), "{}", screen.text());
    terminal.resize(80, 24).await;
    let screen = terminal.shows("the code fits now", PATIENCE, |screen| screen.has("▀")).await;
    assert_eq!(screen.scan(Theme::Dark).await, link(&screen).unwrap());
    assert_eq!(exchange(&link(&screen).unwrap(), "iPad", None).await.0, 200);
    assert_eq!(terminal.end(PATIENCE).await.0, 0);
}

#[tokio::test]
async fn no_color_keeps_the_qr_readable() {
    let host = TestHost::start(|_| {}).await;
    let mut command = host.command(&["pair", "--link", "lan"]);
    command.env("NO_COLOR", "1");
    let terminal = Terminal::start(&command, 80, 24).await;
    let (link, screen) = next_link(&terminal, "").await;
    for theme in [Theme::Dark, Theme::Light] {
        assert_eq!(screen.scan(theme).await, link, "{theme:?}");
    }
}

#[tokio::test]
async fn without_a_host_it_says_how_to_start_one() {
    let mut host = TestHost::start(|_| {}).await;
    let terminal = pair(&host, &[]).await;
    next_link(&terminal, "").await;
    host.stop().await;
    let (code, left) = terminal.end(PATIENCE).await;
    assert_eq!((code, left.contains("CPL-1404")), (5, true), "{left}");
    for args in [&["pair"][..], &["devices"], &["approve"]] {
        let mut command = Running::start(host.command(args));
        assert_eq!(command.wait(PATIENCE).await.code(), Some(5), "{args:?}");
        command.stderr.end(PATIENCE).await;
        let said = command.stderr.text();
        assert!(said.contains("CPL-1404") && said.contains("couplet serve"), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn the_banner_shows_reachable_addresses() {
    let network = Network::with_lan("banner").await;
    // One interface that nobody switched on, and one without a cable.
    for (name, address) in [("off", "192.168.78.5/24"), ("loose", "192.168.79.5/24")] {
        network.ip(&format!("link add {name}0 type veth peer name {name}1")).await;
        network.ip(&format!("address add {address} dev {name}0")).await;
    }
    network.ip("link set loose0 up").await;
    let banner = banner(&network, "Next, in another terminal: couplet pair --state-dir").await;
    assert!(banner.contains("http://192.168.77.5:7878"), "{banner}");
    for wrong in ["192.168.78.5", "192.168.79.5", "127.0.0.1:787", "localhost", "[::1]"] {
        assert!(!banner.contains(wrong), "{wrong}: {banner}");
    }

    let alone = Network::new("alone").await;
    let banner = self::banner(&alone, "Next, in another").await;
    assert!(banner.contains("Only this machine can reach") && banner.contains("no phone can"), "{banner}");
}

/// What `couplet serve` says to a person when it has started, up to this line.
async fn banner(network: &Network, last: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let serve = Running::start(inside(network, home.path(), &["serve"]));
    serve.wait_for_error_line(PATIENCE, |line| line.contains(last)).await;
    serve.stderr.text()
}

/// `couplet` in the network, with a home of its own.
fn inside(network: &Network, home: &Path, args: &[&str]) -> Command {
    let state = home.join("state");
    let args = [args, &["--state-dir", state.to_str().unwrap()]].concat();
    let mut command = network.exec(couplet_path().as_os_str(), &args);
    command.env("HOME", home).env("XDG_CONFIG_HOME", home).env("XDG_STATE_HOME", home);
    command
}
