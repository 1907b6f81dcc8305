//! A way in that needs no camera and no long text: `couplet connect http://ADDRESS:PORT` and the eight digits that the host
//! shows.

use std::net::SocketAddr;

use couplet_protocol::api::{DeviceKind, DeviceList, PairingList};
use e2e::by_pin::{awaited, check_code, other, requests};
use e2e::host::PATIENCE;
use e2e::{Forwarder, Laptop, Running, Terminal, TestApp, TestHost, free_port, program};
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

async fn host(app: &TestApp) -> TestHost {
    TestHost::start(|setup| {
        setup.app(app.url()).movable_clock().env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "1000");
    })
    .await
}

async fn approve(host: &TestHost, code: &str) {
    Running::start(host.command(&["approve", "Laptop", code])).succeeds(PATIENCE).await;
}

/// Goes on until it forwards: its link came over plain HTTP, so the owner types its check code first, always, and the
/// laptop's person says that the host took it.
async fn ready(host: &TestHost, laptop: &Laptop, mut pairing: Running) -> Forwarder {
    let line = pairing.wait_for_line(PATIENCE, |line| line.contains("\"check_code\"")).await;
    let code = serde_json::from_str::<Value>(&line).unwrap()["check_code"].as_str().unwrap().to_owned();
    approve(host, &code).await;
    let line = pairing.wait_for_line(PATIENCE, |line| line.contains("\"confirm_wanted\"")).await;
    assert!(line.contains(&code) && line.contains(&host.pairing_url()["http://".len()..]), "{line}");
    pairing.type_line("maybe").await;
    assert!(!laptop.folder().exists(), "nothing is kept before");
    pairing.type_line("yes").await;
    Forwarder::ready(pairing).await
}

/// Somebody between a laptop and its host: what it asks is passed on, and the link that the host gives it is exchanged for
/// one of another host, which asks nobody.
struct Between {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Between {
    /// With `plainly`, it asks the host for a token in the laptop's place.
    async fn start(host: &TestHost, evil: &TestHost, plainly: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let authority = |host: &TestHost| host.pairing_url().trim_start_matches("http://").to_owned();
        let (host, other, link) = (authority(host), authority(evil), evil.generate().await.link);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (host, other, link) = (host.clone(), other.clone(), link.clone());
                tokio::spawn(async move { exchange(stream, address, (&host, &other), &link, plainly).await });
            }
        });
        Between { address, task }
    }
}

async fn exchange(
    mut device: TcpStream,
    own: SocketAddr,
    (host, other): (&str, &str),
    link: &str,
    plainly: bool,
) -> Option<()> {
    let mut request = vec![0; 16 * 1024];
    let read = device.read(&mut request).await.ok()?;
    let text = String::from_utf8(request[..read].to_vec()).ok()?;
    let text = if plainly { text.replace("\"sealed\"", "\"no-one\"") } else { text };
    let is_session = text.starts_with("GET /api/pair/tunnel");
    let to = if is_session { other } else { host };
    let mut upstream = TcpStream::connect(to).await.ok()?;
    let closing = if is_session { "" } else { "connection: close\r\n" };
    let head = text.replace(&own.to_string(), to).replacen("\r\n", &format!("\r\n{closing}"), 1);
    upstream.write_all(head.as_bytes()).await.ok()?;
    if is_session {
        tokio::io::copy_bidirectional(&mut device, &mut upstream).await.ok()?;
        return Some(());
    }
    let mut answer = String::new();
    upstream.read_to_string(&mut answer).await.ok()?;
    if answer.contains("\"link\"") {
        let body = serde_json::json!({ "link": link, "link_expires_at": "2100-01-01T00:00:00Z" }).to_string();
        answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    }
    device.write_all(answer.as_bytes()).await.ok()
}

#[tokio::test]
async fn who_answers_in_the_hosts_place_is_not_paired_with() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let host = host(&app).await;
    let evil = TestHost::start(|setup| {
        setup.env("COUPLET_APPROVE", "never");
    })
    .await;
    for answer in ["no", "yes?", ""] {
        let between = Between::start(&host, &evil, false).await;
        let url = format!("http://{}", between.address);
        let arguments = [&url, "--name", "Laptop", "--json", "--listen", "127.0.0.1:0"];
        let mut pairing = Running::start_typing(laptop.command(&arguments));
        let pin = awaited(&host, "Laptop").await.pin.expose();
        pairing.type_line(&pin).await;
        let line = pairing.wait_for_line(PATIENCE, |line| line.contains("\"confirm_wanted\"")).await;
        assert!(pairing.written().contains("\"check_code\""), "{line}");
        pairing.type_line(answer).await;
        if answer != "no" {
            pairing.type_line("no").await;
        }
        let (code, stdout, stderr) = pairing.ended(PATIENCE).await;
        assert!(code == 1 && stderr.contains("CPL-1613") && stderr.contains("somebody"), "{code} {stdout} {stderr}");
        assert!(!laptop.folder().exists(), "nothing is kept");
        let asked: PairingList = host.owner().expect(Method::GET, "/api/pair/pairings", 200, None).await;
        assert!(asked.pairings.iter().all(|pairing| !pairing.check_code), "the host's owner is asked for no code");
    }
}

/// The PIN that the host shows then would give whoever is in between a token: it does not leave the laptop.
#[tokio::test]
async fn a_pin_that_was_asked_for_without_encryption_is_not_sent() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let host = host(&app).await;
    let between = Between::start(&host, &host, true).await;
    let url = format!("http://{}", between.address);
    let terminal = Terminal::start(&laptop.command(&[&url, "--name", "Laptop"]), 100, 40).await;
    terminal.shows("the question", PATIENCE, |screen| screen.has("PIN:")).await;
    let shown = awaited(&host, "Laptop").await;
    assert!(!shown.sealed, "it was asked for a token");
    terminal.press(&[&shown.pin.expose(), "Enter"]).await;
    let screen = terminal.shows("why not", PATIENCE, |screen| screen.has("They were not sent")).await;
    assert!(screen.has("somebody else"), "{}", screen.text());
    terminal.press(&["C-c"]).await;
    terminal.end(PATIENCE).await;
    let devices: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    assert!(devices.devices.is_empty() && !laptop.folder().exists());
}

#[tokio::test]
async fn a_yes_that_comes_late_is_finished_by_the_next_session() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    // Besides the port that changes with each start.
    let stays = format!("127.0.0.1:{}", free_port());
    let mut host = TestHost::start(|setup| {
        setup.app(app.url()).arg("--listen").arg(&stays);
    })
    .await;
    let mut pairing = Running::start_typing(laptop.command(&arguments(&host)));
    let pin = awaited(&host, "Laptop").await.pin.expose();
    pairing.type_line(&pin).await;
    let line = pairing.wait_for_line(PATIENCE, |line| line.contains("\"check_code\"")).await;
    approve(&host, serde_json::from_str::<Value>(&line).unwrap()["check_code"].as_str().unwrap()).await;
    pairing.wait_for_line(PATIENCE, |line| line.contains("\"confirm_wanted\"")).await;
    // The session in which it was granted is over.
    host.restart().await;
    pairing.type_line("yes").await;
    let forwarder = Forwarder::ready(pairing).await;
    host.event("device.paired", |_| true).await;
    assert_eq!(forwarder.caller().get("/").send().await.unwrap().text().await.unwrap(), "hello\n");
    forwarder.stop().await;
}

fn arguments(host: &TestHost) -> [&str; 6] {
    [host.pairing_url(), "--name", "Laptop", "--json", "--listen", "127.0.0.1:0"]
}

/// A shell that types these lines at `couplet connect`, and then nothing more.
fn typing(laptop: &Laptop, host: &TestHost, lines: &str) -> Running {
    let mut bash = program("bash");
    let script = "{ printf '%b' \"$LINES_TYPED\"; } | \"$COUPLET\" connect \"$@\"";
    bash.args(["-c", script, "bash"]).args(arguments(host));
    bash.env("COUPLET", program::couplet_path()).env("LINES_TYPED", lines);
    laptop.at_home(&mut bash);
    Running::start(bash)
}

#[tokio::test]
async fn the_pin_that_the_host_shows_pairs_the_laptop_on_whose_terminal_it_is_typed() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let host = host(&app).await;
    let terminal = Terminal::start(&laptop.command(&[host.pairing_url(), "--name", "Laptop"]), 100, 40).await;
    let screen = terminal.shows("the question", PATIENCE, |screen| screen.has("PIN:")).await;
    assert!(screen.has("Look at the host") && screen.has("shows eight digits"), "{}", screen.text());
    let shown = awaited(&host, "Laptop").await;
    assert_eq!(shown.platform.as_deref(), Some("Linux"));
    assert!(screen.has(&format!("Number {}", shown.match_number)), "{}", screen.text());
    assert!(!screen.has(&shown.pin.expose()) && !screen.has(&shown.pin.show()), "it is the host's to show");

    terminal.press(&["1", "2", "3", "Enter"]).await;
    terminal.shows("what a PIN is", PATIENCE, |screen| screen.has("A PIN is eight digits")).await;
    terminal.press(&[&other(&shown.pin.expose()), "Enter"]).await;
    terminal.shows("how many are left", PATIENCE, |screen| screen.has("2 tries are left")).await;
    terminal.press(&[&shown.pin.expose(), "Enter"]).await;
    let screen = terminal.shows("the check code", PATIENCE, |screen| check_code(&screen.text()).is_some()).await;
    assert!(!screen.has("Paired with"), "{}", screen.text());
    approve(&host, &check_code(&screen.text()).unwrap()).await;
    let screen = terminal.shows("the question", PATIENCE, |screen| screen.has("Did it? yes or no:")).await;
    assert!(screen.has("say no") && !laptop.folder().exists(), "{}", screen.text());
    terminal.press(&["y", "e", "s", "Enter"]).await;
    let screen = terminal
        .shows("where the app is", PATIENCE, |screen| {
            screen.word("http://127.").is_some_and(|url| url != host.pairing_url())
        })
        .await;
    assert!(screen.has("Paired with"), "{}", screen.text());

    let devices: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    let device = &devices.devices[0];
    assert_eq!((devices.devices.len(), device.device_name.as_str(), device.kind), (1, "Laptop", DeviceKind::Desktop));
    assert!(requests(&host).await.is_empty());
    terminal.press(&["C-c"]).await;
    let (code, left) = terminal.end(PATIENCE).await;
    assert_eq!(code, 0, "{left}");

    // From now on no PIN is needed.
    let forwarder = laptop.connect(&[]).await;
    assert_eq!(forwarder.caller().get("/").send().await.unwrap().text().await.unwrap(), "hello\n");
    forwarder.stop().await;
}

#[tokio::test]
async fn the_owners_word_does_as_well_as_the_pin() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let host = host(&app).await;
    // Nobody types, so nobody could say that the host took the code.
    for extra in [&["--no-input"][..], &[]] {
        let (exit, _, stderr) = laptop.run(&[&arguments(&host)[..], extra].concat()).await;
        assert!(exit == 1 && stderr.contains("CPL-1613") && stderr.contains("couplet pair"), "{exit} {stderr}");
        assert!(requests(&host).await.is_empty(), "it waits for nothing");
    }
    let pairing = Running::start_typing(laptop.command(&arguments(&host)));
    pairing.wait_for_line(PATIENCE, |line| line.contains("\"pin_wanted\"")).await;
    let id = awaited(&host, "Laptop").await.id;
    let accepted = host.owner().post(&format!("/mobile/pairing/{id}/accept")).send().await.unwrap();
    assert_eq!(accepted.status().as_u16(), 204);
    let forwarder = ready(&host, &laptop, pairing).await;
    assert_eq!(forwarder.caller().get("/").send().await.unwrap().text().await.unwrap(), "hello\n");
    forwarder.stop().await;
}

#[tokio::test]
async fn a_request_that_comes_to_nothing_says_why() {
    let (app, laptop) = (TestApp::start().await, Laptop::new());
    let host = host(&app).await;
    let ends = async |mut pairing: Running, exit: i32, code: &str| {
        let (ended, stdout, stderr) = pairing.ended(PATIENCE).await;
        let written = format!("{stdout}{stderr}");
        assert!(ended == exit && written.contains(code), "{exit} {code}: {ended} {written}");
    };

    // Rejected; and while it waited, another one had to.
    let pairing = Running::start_typing(laptop.command(&arguments(&host)));
    let id = awaited(&host, "Laptop").await.id;
    let (code, _, stderr) = laptop.run(&[host.pairing_url(), "--name", "Other"]).await;
    assert!(code == 1 && stderr.contains("CPL-1230"), "{code} {stderr}");
    let rejected = host.owner().post(&format!("/mobile/pairing/{id}/reject")).send().await.unwrap();
    assert_eq!(rejected.status().as_u16(), 204);
    ends(pairing, 4, "CPL-1228").await;
    let (code, _, stderr) = laptop.run(&arguments(&host)).await;
    assert!(
        code == 4 && stderr.contains("CPL-1234") && stderr.contains("ask again in"),
        "who was turned away waits: {code} {stderr}"
    );
    host.set_clock("+61");

    // Guessed three times, of which one is right by chance once in 33 million runs.
    let guesses = typing(&laptop, &host, "00000000\\n11111111\\n22222222\\n");
    ends(guesses, 1, "CPL-1227").await;

    // Ctrl-C takes the request back, and the next one waits for nothing.
    let mut pairing = Running::start_typing(laptop.command(&arguments(&host)));
    pairing.wait_for_line(PATIENCE, |line| line.contains("\"pin_wanted\"")).await;
    pairing.signal("INT");
    let (code, stdout, stderr) = pairing.ended(PATIENCE).await;
    assert!(code == 1 && stderr.contains("Cancelled"), "{code} {stdout} {stderr}");
    assert!(requests(&host).await.is_empty(), "it waits no more");

    // Nobody answered.
    let pairing = Running::start_typing(laptop.command(&arguments(&host)));
    awaited(&host, "Laptop").await;
    host.set_clock("+400");
    ends(pairing, 3, "CPL-1229").await;

    let (code, _, stderr) = laptop.run(&[&app.url()]).await;
    assert!(code == 1 && stderr.contains("CPL-1611"), "{code} {stderr}");
    let (code, _, stderr) = laptop.run(&[&format!("http://127.0.0.1:{}", free_port())]).await;
    assert!(code == 1 && stderr.contains("CPL-1601") && stderr.contains("couplet serve"), "{code} {stderr}");
    for address in ["http://8.8.8.8:7878", "http://nas.local:7878", "http://127.0.0.1"] {
        let (code, stdout, stderr) = laptop.run(&[address]).await;
        assert!(code == 2 && stdout.is_empty() && stderr.contains("couplet"), "{code} {stderr}");
    }
    assert!(!laptop.folder().exists(), "nothing was kept");
}
