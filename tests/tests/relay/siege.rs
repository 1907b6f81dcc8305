//! A room whose id somebody knows, and joins with wrong secrets for as long as the test lasts.

use std::time::{Duration, Instant};

use couplet_protocol::RoomId;
use couplet_protocol::secret::RoomSecret;
use data_encoding::BASE64URL_NOPAD;
use e2e::canary::UPSTREAM;
use e2e::host::PATIENCE;
use e2e::internet::RELAY;
use e2e::{Forwarder, Internet, Network, Running, canary, eventually, pace, program};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// How soon the owner's device is back.
const SOON: Duration = Duration::from_secs(2);
/// By how much the relay may grow meanwhile, in KiB.
const GROWTH: u64 = 16 * 1024;

/// Asks until it is ended, thirty times from each address, and tells of every thousand answers, and of the first of
/// each status.
const ATTACK: &str = r#"
import http.client, json, ssl, sys, threading
relay, room, many, first = sys.argv[1], sys.argv[2], sys.argv[3] != "one", int(sys.argv[3].replace("one", "0"))
context = ssl._create_unverified_context()
body = json.dumps({"room_id": room, "secret_hash": "ab" * 32})
lock, asked, seen = threading.Lock(), 0, set()
def attack(n):
    global asked
    while True:
        source = ("127.%d.%d.%d" % (1 + n // 62500, 1 + n // 250 % 250, 1 + n % 250), 0) if many else None
        n += 4
        connection = http.client.HTTPSConnection(relay, context=context, source_address=source, timeout=30)
        for _ in range(30):
            connection.request("POST", "/pair", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            with lock:
                asked += 1
                if answer.status not in seen:
                    seen.add(answer.status)
                    print("status", answer.status, flush=True)
                if asked % 1000 == 0:
                    print("asked", asked, flush=True)
        connection.close()
for n in range(4):
    threading.Thread(target=attack, args=[first + n]).start()
"#;

/// Somebody in this network attacks the room: from `one` address, or from many, the first of which has this number.
fn attack(network: &Network, room: RoomId, addresses: &str) -> Running {
    let python = program::path().join("python3");
    Running::start(network.exec(python.as_os_str(), &["-c", ATTACK, RELAY, &room.to_hex(), addresses]))
}

/// What the laptop keeps.
fn kept(internet: &Internet) -> Value {
    let files = std::fs::read_dir(internet.machines.laptop().folder()).unwrap().map(|file| file.unwrap().path());
    let mut files = files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
    let kept = serde_json::from_slice(&std::fs::read(files.next().expect("it is paired")).unwrap()).unwrap();
    assert!(files.next().is_none(), "with one host");
    kept
}

fn room(internet: &Internet, number: u32) -> RoomId {
    let secret = kept(internet)["room_secret"].as_str().unwrap().to_owned();
    let secret = BASE64URL_NOPAD.decode(secret.as_bytes()).unwrap();
    RoomSecret::from_slice(&secret).unwrap().room(number).unwrap()
}

/// How many rooms the host has at the relay, as far as it knows.
fn rooms(internet: &Internet) -> u32 {
    let state = internet.machines.folder().join("state");
    let mut files = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.extension().is_some_and(|extension| extension == "db")).expect("a database");
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    database.query_row("SELECT count(*) FROM relay_rooms", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_bad_joins_on_one_room_and_then_on_the_next_do_not_keep_the_owner_out() {
    let mut internet = Internet::apart("siege", &[UPSTREAM]).await;
    let _app = canary::start(&internet.machines).await;
    let mut forwarder = internet.pair().await;
    eventually("the offer's room is gone", PATIENCE, async || rooms(&internet) == 2).await;
    // How soon that is on this machine while nobody attacks.
    forwarder.stop().await;
    forwarder = Forwarder::ready(internet.machines.connect(&[])).await;
    let began = Instant::now();
    forwarder.state("relay").await;
    let soon = SOON.max(4 * began.elapsed());
    let before = internet.relay().peak_memory_kib();
    for number in [0, 1] {
        let attack = attack(internet.network(), room(&internet, number), ["0", "62500"][number as usize]);
        attack.wait_for_line(PATIENCE, |line| line == "status 423").await;
        attack.wait_for_line(4 * PATIENCE, |line| line == "asked 5000").await;
        // An open session goes on.
        assert!(canary::works(&internet.machines).await);
        forwarder.stop().await;
        // In the middle of it the laptop comes back.
        forwarder = Forwarder::ready(internet.machines.connect(&[])).await;
        let began = Instant::now();
        forwarder.state("relay").await;
        let took = began.elapsed();
        assert!(took < soon, "it took {took:?}, where {soon:?} are expected");
        assert!(canary::works(&internet.machines).await);
        assert_eq!(kept(&internet)["room_number"], number + 1, "it remembers where it came in");
        attack.wait_for_line(4 * PATIENCE, |line| line == "asked 10000").await;
        // There is one behind that of the session. The locked one is kept until the laptop says that it needs it no more,
        // when it comes back; the one before that is given up.
        eventually("three rooms", PATIENCE, async || rooms(&internet) == 3).await;
    }
    let grown = internet.relay().peak_memory_kib() - before;
    assert!(grown < GROWTH, "{grown} KiB");
    forwarder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_an_attackers_address_the_owner_gets_in_all_the_same() {
    let internet = Internet::apart("nat", &[UPSTREAM]).await;
    let _app = canary::start(&internet.machines).await;
    let forwarder = internet.pair().await;
    let attack = attack(internet.machines.far(), room(&internet, 0), "one");
    attack.wait_for_line(PATIENCE, |line| line == "status 429").await;
    assert!(canary::works(&internet.machines).await);
    forwarder.stop().await;
    let mut forwarder = Forwarder::ready(internet.machines.connect(&[])).await;
    let began = Instant::now();
    forwarder.state("relay").await;
    let took = began.elapsed();
    assert!(took < pace::soon(SOON), "it took {took:?}");
    assert!(canary::works(&internet.machines).await);
    forwarder.stop().await;
}
