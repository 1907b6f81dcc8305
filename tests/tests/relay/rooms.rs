//! More rooms than a relay takes, and names longer than a code likes.

use std::io::Write;

use couplet_protocol::message::Grant;
use couplet_protocol::{Endpoint, Offer};
use e2e::host::{PATIENCE, Setup};
use e2e::picture::Theme;
use e2e::{Relay, Running, Terminal, TestDevice, TestHost, eventually};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::NamedTempFile;

/// What the owner reads.
const FULL: &str = "the relay takes no more rooms";

fn never_asks(setup: &mut Setup) {
    setup.env("COUPLET_APPROVE", "never");
}

/// The settings of a relay that takes so many rooms of one host.
fn takes(rooms: usize) -> NamedTempFile {
    let mut settings = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    writeln!(settings, "[limits]\nrooms_per_host = {rooms}").unwrap();
    settings
}

async fn statuses(relay: &Relay, grant: &Grant) -> [u16; 2] {
    [relay.status(grant, 0).await, relay.status(grant, 1).await]
}

#[tokio::test]
async fn when_a_relay_takes_fewer_rooms_those_that_matter_most_are_there() {
    let settings = takes(3);
    let relay = Relay::start_with(&["--config", settings.path().to_str().unwrap()]).await;
    let mut host = relay.host(never_asks).await;
    let (first, second) = (TestDevice::new("First"), TestDevice::new("Second"));
    let first_link = host.generate().await.link;
    let first_grant = relay.pair(&first, &first_link).await;
    assert_eq!(statuses(&relay, &first_grant).await, [200, 200]);
    assert!(!host.logs().contains(FULL), "{}", host.logs());

    // Each device has its lowest room before it is told that it is paired; who came last has another.
    let second_link = host.generate().await.link;
    let second_grant = relay.pair(&second, &second_link).await;
    drop(relay.come_back(&second, &second_link, &second_grant, 0).await);
    drop(relay.come_back(&first, &first_link, &first_grant, 0).await);
    eventually("one more place is used", PATIENCE, async || {
        let (first, second) = (statuses(&relay, &first_grant).await, statuses(&relay, &second_grant).await);
        (first[0], second[0]) == (200, 200)
            && [first[1], second[1]].iter().filter(|status| **status == 200).count() == 1
    })
    .await;
    assert!(host.logs().contains(FULL) && host.logs().contains("Revoke"), "the owner is told\n{}", host.logs());

    // An offer comes before second rooms.
    let offer = host.generate().await;
    let (room, token) = Relay::room_of(&offer.link);
    assert_eq!(relay.ask(room, &token).await.status, 200, "it is there as soon as the code is");
    assert_eq!((relay.status(&first_grant, 0).await, relay.status(&second_grant, 0).await), (200, 200));
    // The same after a new link, which knows nothing of the relay's limit.
    host.restart().await;
    host.event("relay.connected", |_| true).await;
    assert_eq!(relay.ask(room, &token).await.status, 200);
    drop(relay.come_back(&first, &first_link, &first_grant, 0).await);
    // What becomes free is used.
    let path = format!("/api/pair/devices/{}", second_grant.device_id);
    assert_eq!(host.owner().delete(&path).send().await.unwrap().status(), 204);
    eventually("the second room is back", PATIENCE, async || relay.status(&first_grant, 1).await == 200).await;
}

/// Adds copies of the one device there is, which were there long ago.
fn multiply(host: &TestHost, copies: u32) {
    let state = host.state_dir();
    let mut files = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.extension().is_some_and(|extension| extension == "db")).expect("a database");
    let database = Connection::open(file).unwrap();
    let mut columns = database.prepare("SELECT name FROM pragma_table_info('paired_devices')").unwrap();
    let columns: Vec<String> = columns.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let values = columns.iter().map(|column| match column.as_str() {
        "id" => "lower(hex(randomblob(16)))".to_owned(),
        "token_selector" => "lower(hex(randomblob(8)))".to_owned(),
        "psk_id" => "randomblob(8)".to_owned(),
        "room_secret" => "randomblob(32)".to_owned(),
        "paired_at" | "last_seen" => "'2020' || substr(paired_at, 5)".to_owned(),
        other => other.to_owned(),
    });
    let (names, values) = (columns.join(", "), values.collect::<Vec<_>>().join(", "));
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {copies})
        INSERT INTO paired_devices ({names}) SELECT {values} FROM paired_devices, n"
    );
    assert_eq!(database.execute(&sql, []).unwrap(), copies as usize);
}

#[tokio::test]
async fn a_host_with_very_many_devices_has_512_rooms_and_all_works() {
    let relay = Relay::start().await;
    let mut host = relay
        .host(|setup| {
            never_asks(setup);
            setup.env("COUPLET_LIMITS__MAX_DEVICES", "1000");
        })
        .await;
    let (device, link) = (TestDevice::new("Phone"), host.generate().await.link);
    let grant = relay.pair(&device, &link).await;
    host.stop().await;
    multiply(&host, 300);
    host.restart().await;
    host.event("relay.connected", |_| true).await;
    assert!(host.logs().contains(FULL) && host.logs().contains("left_out=90"), "{}", host.logs());
    assert_eq!(statuses(&relay, &grant).await, [200, 200], "who was there last has both rooms");
    drop(relay.come_back(&device, &link, &grant, 0).await);

    let offer = host.generate().await;
    let (room, token) = Relay::room_of(&offer.link);
    eventually("the offer's room takes another's place", PATIENCE, async || {
        relay.ask(room, &token).await.status == 200
    })
    .await;
    let other = TestDevice::new("Other");
    let other_grant = relay.pair(&other, &offer.link).await;
    eventually("it has its rooms", PATIENCE, async || statuses(&relay, &other_grant).await == [200, 200]).await;
    assert_eq!(statuses(&relay, &grant).await, [200, 200]);
    drop(relay.come_back(&other, &offer.link, &other_grant, 0).await);
}

/// What `couplet pair` draws for a host whose relay has this name.
async fn drawn(host: &mut TestHost, relay: &str, (columns, rows): (u16, u16)) -> (Terminal, e2e::terminal::Screen) {
    let file = host.state_dir().join("relay.json");
    let mut enrolment: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    enrolment["relay"] = relay.into();
    std::fs::write(&file, enrolment.to_string()).unwrap();
    host.restart().await;
    host.event("relay.connected", |_| true).await;
    let terminal = Terminal::start(&host.command(&["pair"]), columns, rows).await;
    let screen = terminal.shows("the offer", PATIENCE, |screen| screen.has("expires in")).await;
    (terminal, screen)
}

fn offer(link: &str) -> Offer {
    Offer::from_link(link).unwrap()
}

#[tokio::test]
async fn the_code_fits_a_terminal_of_80_columns_whatever_the_relay_is_called() {
    let relay = Relay::start().await;
    let mut host = relay.host(|_| {}).await;
    // With the longest usual name all of it fits the smallest usual terminal.
    let usual = format!("{}.relay.example:8442", "r".repeat(18));
    let (_terminal, screen) = drawn(&mut host, &usual, (80, 24)).await;
    let link = screen.scan(Theme::Dark).await;
    assert!(link.starts_with(&format!("HTTPS://{}/P#", usual.to_uppercase())), "{link}");
    assert_eq!(offer(&link).endpoints.len(), 2, "an address on its own network is there, and the relay");

    // The longest that there can be, 255 letters, needs more rows; where they are missing it says how many.
    let label = "r".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}:65535", "r".repeat(57));
    assert_eq!(longest.len(), 255);
    let (terminal, screen) = drawn(&mut host, &longest, (80, 24)).await;
    assert!(screen.has("too small for the QR code: it needs 61 columns and 37 rows"), "{}", screen.text());
    let shown = screen.text().replace('\n', "");
    terminal.resize(80, 37).await;
    let screen = terminal.shows("the code fits now", PATIENCE, |screen| screen.has("▀")).await;
    let link = screen.scan(Theme::Dark).await;
    assert!(shown.contains(&link), "the link is there without the code as well\n{shown}");
    let endpoints = offer(&link).endpoints;
    assert!(matches!(&endpoints[..], [Endpoint::Relay(name), Endpoint::Lan(_)] if name.as_str() == longest));

    // The other forms of the same offer.
    for (form, start) in [("web", "HTTPS://"), ("app", "COUPLET:"), ("lan", "couplet://")] {
        let pair = Running::start(host.command(&["pair", "--no-input", "--link", form]));
        let link = pair.wait_for_line(PATIENCE, |line| line.starts_with(start)).await;
        let same = || offer(&link).endpoints.iter().all(|endpoint| endpoints.contains(endpoint));
        assert!(form == "lan" || same() && offer(&link).endpoints.len() == 2, "{link}");
    }
}
