//! Peers that come slowly, in numbers, or never: those that mean it are served meanwhile, and memory stays bounded.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::common::{
    self, LOCALHOST, PATIENCE, TestHost, TestRelay, ask_secret, ask_token, by_secret, by_token, eventually, hex, room,
    send, sender, tcp, within,
};
use crate::crowd::{IDLE, Session, fall_silent, ping, source, trickle, trickle_while};
use http::{Method, StatusCode};
use rustix::process::{Resource, getrlimit, setpriority_process, setrlimit};
use rustix::thread::gettid;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// The owner's phone is back within this.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn whoever_trickles_is_let_go_in_time() {
    fn brief(config: &mut couplet_relay::Config) {
        config.limits.handshake_seconds = 2;
        config.limits.header_seconds = 2;
    }
    let relay = TestRelay::start(brief).await;
    let host = TestHost::enroll(&relay).await;
    // A handshake, a head and a body have two seconds each.
    let in_time = Duration::from_secs(12);
    let (devices, hosts) = (relay.devices_port(), relay.hosts_port());
    let connect = async |port| tcp(LOCALHOST, port).await.unwrap();
    let handshake = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 32]].concat();
    let body = "POST /pair HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n";
    let put = format!(
        "PUT /host/rooms/{} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n",
        room(1)
    );
    let (start, pause) = (Instant::now(), Duration::from_millis(20));
    tokio::join!(
        trickle(connect(devices).await, &handshake, 7, pause),
        trickle(connect(hosts).await, &handshake, 7, pause),
        trickle(connect(devices).await, b"", 0x16, pause),
        trickle(relay.device_tls().await, b"GET /p HTTP/1.1\r\n", b'x', pause),
        trickle(relay.device_tls().await, body.as_bytes(), b' ', pause),
        trickle(host.tls(&relay).await.unwrap(), b"GET /host/events HTTP/1.1\r\nhost: x\r\nx: ", b'x', pause),
        trickle(host.tls(&relay).await.unwrap(), b"GET /host/ev", b'x', pause),
        trickle(host.tls(&relay).await.unwrap(), put.as_bytes(), b' ', pause),
    );
    assert!(start.elapsed() < in_time, "{:?}", start.elapsed());
    host.room(&relay, &room(1), by_secret(1)).await;
}

/// The memory that this process has resident.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Who trickles and who knocks, while they are let. In the wild they have machines of their own, and what they do costs
/// the relay alone something; here they have a thread that yields to it and to the session.
struct Attackers {
    /// Dropped, it ends them.
    _stop: oneshot::Sender<()>,
}

impl Attackers {
    /// Returns once all are connected.
    async fn start(relay: &Arc<TestRelay>, goes_on: &watch::Receiver<bool>, asked: &Arc<AtomicU32>) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let (relay, goes_on, asked) = (Arc::clone(relay), goes_on.clone(), Arc::clone(asked));
        std::thread::spawn(move || {
            setpriority_process(Some(gettid()), 19).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut trickling = JoinSet::new();
                for n in 0..200 {
                    let tls = relay.device_tls_from(source(1000 + n)).await.unwrap();
                    let pause = Duration::from_millis(500);
                    trickling.spawn(trickle_while(goes_on.clone(), tls, b"GET /p HTTP/1.1\r\n", b'x', pause));
                }
                ready.send(()).unwrap();
                tokio::select! {
                    () = knock(&relay, goes_on, &asked) => {}
                    _ = &mut stopped => {}
                }
            });
        });
        is_ready.await.unwrap();
        Attackers { _stop: stop }
    }
}

/// Tries wrong secrets from a thousand addresses.
async fn knock(relay: &TestRelay, mut goes_on: watch::Receiver<bool>, asked: &AtomicU32) {
    let (mut wrong, mut pace) = (ask_secret(1), tokio::time::interval(Duration::from_millis(5)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    wrong["secret_hash"] = hex(9, 32).into();
    for n in (2000..3000).cycle() {
        let mut asking = sender(relay.device_tls_from(source(n)).await.unwrap()).await;
        for _ in 0..30 {
            pace.tick().await;
            if goes_on.wait_for(|goes_on| *goes_on).await.is_err() {
                return;
            }
            send(&mut asking, Method::POST, "/pair", Some(&wrong)).await;
            asked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How often both sessions are measured in a try, and how many of those there are at most.
const ROUNDS: u32 = 10;
const TRIES: u32 = 6;

/// How long a wrong secret takes at least, on a connection that is open.
async fn answer(relay: &TestRelay) -> Duration {
    let mut wrong = ask_secret(1);
    wrong["secret_hash"] = hex(9, 32).into();
    let mut asking = sender(relay.device_tls_from(source(1999)).await.unwrap()).await;
    let mut least = Duration::MAX;
    for _ in 0..20 {
        let began = Instant::now();
        send(&mut asking, Method::POST, "/pair", Some(&wrong)).await;
        least = least.min(began.elapsed());
    }
    least
}

/// At most twice as long as at a relay that has nothing else to do, or behind one wrong secret that is being answered. Both are measured in turns, as short as can be: what
/// else this machine does comes and goes, and shall find neither alone. It takes two cores to keep the flood apart from
/// the session, so the test runner gives it the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_slow_sockets_and_wrong_secrets_leave_a_session_as_quick_as_it_was() {
    fn patient(config: &mut couplet_relay::Config) {
        config.limits.handshake_seconds = 600;
        config.limits.header_seconds = 600;
    }
    let (calm, relay) = (TestRelay::start(patient).await, Arc::new(TestRelay::start(patient).await));
    let (calm_host, host) = (TestHost::enroll(&calm).await, TestHost::enroll(&relay).await);
    calm_host.room(&calm, &room(1), by_secret(1)).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    let _events = (calm_host.events(&calm, None).await, host.events(&relay, None).await);
    let (mut quiet, mut loaded) = (Session::open(&calm, &calm_host).await, Session::open(&relay, &host).await);

    let one = answer(&calm).await;
    let _silent = fall_silent(&relay).await;
    let ((flood, goes_on), asked) = (watch::channel(true), Arc::new(AtomicU32::new(0)));
    let _attackers = Attackers::start(&relay, &goes_on, &asked).await;
    let mut took = Vec::new();
    for _ in 0..TRIES {
        (quiet.p99, loaded.p99) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            flood.send_replace(false);
            quiet.measure().await;
            flood.send_replace(true);
            let before = asked.load(Ordering::Relaxed);
            eventually("the flood", async || asked.load(Ordering::Relaxed) > before + 10).await;
            loaded.measure().await;
        }
        if loaded.p99 <= quiet.p99 * 2 + one {
            return;
        }
        took.push((loaded.p99, quiet.p99));
    }
    panic!("loaded, and when it is quiet: {took:?}; a wrong secret takes {one:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_idle_sockets_do_not_disturb_a_session_or_a_new_one() {
    // As little as a login shell gives; the relay takes what it may have.
    let most = getrlimit(Resource::Nofile).maximum;
    let mut few = getrlimit(Resource::Nofile);
    few.current = Some(512);
    setrlimit(Resource::Nofile, few).unwrap();
    let relay = TestRelay::start(|_| {}).await;
    assert_eq!(getrlimit(Resource::Nofile).current, most, "the relay raises its own limit");
    assert!(most.is_none_or(|most| most > 2 * u64::from(IDLE) + 500), "the machine allows {most:?} descriptors");

    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    let mut events = host.events(&relay, None).await;
    let sid = relay.pair(&ask_secret(1)).await.sid();
    let (mut device, mut end) = (relay.device_end(&sid).await, host.socket(&relay, &sid).await);
    events.next().await.unwrap();
    let before = resident_kib();

    let (mut idle, shaken) = fall_silent(&relay).await;
    let held = idle.len() + shaken.len();
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        slowest = slowest.max(ping(&mut device, &mut end).await);
    }
    let sid = relay.pair(&ask_secret(1)).await.sid();
    assert_eq!(events.next().await.unwrap().id.as_deref(), Some(sid.as_str()));
    let (mut second, mut second_end) = (relay.device_end(&sid).await, host.socket(&relay, &sid).await);
    ping(&mut second, &mut second_end).await;
    assert!(start.elapsed() < SOON && slowest < SOON, "{:?}, {slowest:?}", start.elapsed());
    let each = (resident_kib().saturating_sub(before)) / held as u64;
    // Both ends of them are in this process.
    assert!(each < 40, "{each} KiB for each of {held}");
    // They are let go.
    let mut first = idle.swap_remove(0);
    eventually("the idle ones are dropped", async || {
        let mut byte = [0];
        matches!(tokio::time::timeout(Duration::from_millis(50), first.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
    })
    .await;
    ping(&mut device, &mut end).await;
}

#[tokio::test]
async fn who_only_holds_a_place_is_let_go() {
    let relay = TestRelay::start(|config| config.limits.header_seconds = 1).await;
    let mut polling = sender(relay.device_tls().await).await;
    let (start, mut asked) = (Instant::now(), 0);
    while polling.ready().await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "it goes on");
        let request =
            http::Request::get("/p").header("host", "localhost").body(http_body_util::Full::default()).unwrap();
        // The last one may come as the relay closes.
        if within("an answer", polling.send_request(request)).await.is_ok() {
            asked += 1;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(start.elapsed() > Duration::from_secs(5) && asked > 5, "{:?}, {asked}", start.elapsed());
}

#[tokio::test]
async fn a_web_page_does_not_take_all_places_of_its_network() {
    let relay = TestRelay::start(|config| config.limits.source_sockets = 64).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    let _events = host.events(&relay, None).await;
    let open = async |path: &str, origin: bool| {
        let mut request = format!("wss://localhost{path}").into_client_request().unwrap();
        if origin {
            request.headers_mut().insert("origin", http::HeaderValue::from_static("https://page.example"));
        }
        tokio_tungstenite::client_async(request, relay.device_tls().await).await
    };
    let mut held = Vec::new();
    for n in 0..4 {
        held.push(open(if n % 2 == 0 { "/check" } else { "/rooms" }, true).await.unwrap());
    }
    for path in ["/check", "/rooms"] {
        let Err(Error::Http(refused)) = open(path, true).await else { panic!("a fifth at {path}") };
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        held.push(open(path, false).await.unwrap());
    }
    let sid = relay.pair(&ask_secret(1)).await.sid();
    relay.device_end(&sid).await;
    drop(held);
    eventually("places come back", async || open("/check", true).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_sockets_that_say_nothing_take_little() {
    let relay = TestRelay::start(|_| {}).await;
    let url = |path: &str| format!("wss://localhost{path}");
    let little = || {
        let config = tokio_tungstenite::tungstenite::protocol::WebSocketConfig::default();
        Some(config.read_buffer_size(1024).write_buffer_size(0))
    };
    let before = resident_kib();
    let mut open = Vec::new();
    for n in 0..600 {
        let tls = relay.device_tls_from(source(n / 100)).await.unwrap();
        let path = url(if n % 2 == 0 { "/check" } else { "/rooms" });
        let (socket, _) = tokio_tungstenite::client_async_with_config(path, tls, little()).await.unwrap();
        open.push(socket);
    }
    // Both ends of them are in this process.
    let each = resident_kib().saturating_sub(before) / open.len() as u64;
    assert!(each < 80, "{each} KiB for each");
}

async fn numbers(relay: &TestRelay) -> String {
    let mut stream = tokio::net::TcpStream::connect(relay.ready.bound.private[0]).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn number(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_for_which_one_end_never_comes_take_their_host_s_places_only() {
    fn private(config: &mut couplet_relay::Config) {
        config.private = vec!["127.0.0.1:0".parse().unwrap()];
    }
    let relay = TestRelay::start(private).await;
    let (host, other) = (TestHost::enroll(&relay).await, TestHost::enroll(&relay).await);
    host.room(&relay, &room(1), by_secret(1)).await;
    other.room(&relay, &room(2), by_secret(2)).await;
    for n in 11..16 {
        host.room(&relay, &room(n), by_secret(n)).await;
    }
    let (mut events, mut others) = (host.events(&relay, None).await, other.events(&relay, None).await);
    let sid = relay.pair(&ask_secret(2)).await.sid();
    let (mut device, mut end) = (relay.device_end(&sid).await, other.socket(&relay, &sid).await);
    others.next().await.unwrap();

    // A device that asks without end and never comes; its host reads nothing of what it is told, and stays.
    let (start, mut opened) = (Instant::now(), 0);
    let mut asking = sender(relay.device_tls().await).await;
    for n in 0..1_000 {
        let answer = send(&mut asking, Method::POST, "/pair", Some(&ask_secret(1))).await;
        let refused = answer.code() == "CPL-1826" && answer.headers.contains_key("retry-after");
        assert!(answer.status == StatusCode::OK || refused, "{n}: {answer:?}");
        opened += u32::from(answer.status == StatusCode::OK);
    }
    let passed = u32::try_from(start.elapsed().as_secs()).unwrap();
    assert!((8..=9 + passed).contains(&opened), "{opened} in {passed} s");
    assert!(number(&numbers(&relay).await, "couplet_relay_sessions ") <= 5);
    let held = async |n: usize| {
        let sid = relay.pair(&ask_secret(11 + (n % 5) as u8)).await.sid();
        // The device's ends come, the host's do not; then the other way round.
        if n < 20 { (Some(relay.device_end(&sid).await), None) } else { (None, host.end(&relay, &sid).await.ok()) }
    };
    let mut ends = Vec::new();
    for n in 0..40 {
        ends.push(held(n).await);
        events.next().await.unwrap();
    }
    // Sids that nobody was given, at either listener.
    let tls = (relay.device_tls().await, host.tls(&relay).await.unwrap());
    for (tls, upgrade) in [(tls.0, common::WEBSOCKET), (tls.1, common::HOST_END)] {
        let mut guessing = sender(tls).await;
        for n in 0..1_000_u32 {
            let answer = common::upgrade(&mut guessing, &format!("/pair/relay/{n:032x}"), upgrade).await;
            assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "CPL-1815"));
        }
    }
    let text = numbers(&relay).await;
    assert!(number(&text, "couplet_relay_sessions ") <= 13, "{text}");
    assert!(number(&text, "couplet_relay_device_sockets ") < 64, "{text}");
    assert_eq!(number(&text, "couplet_relay_bridges "), 1);
    ping(&mut device, &mut end).await;
    let start = Instant::now();
    relay.pair(&ask_secret(2)).await.sid();
    assert_eq!(others.next().await.unwrap().name, "pair-cmd");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    // What nobody came for is forgotten in its time, and nothing of it is left.
    drop((ends, device, end));
    tokio::time::timeout(Duration::from_secs(60), async {
        while number(&numbers(&relay).await, "couplet_relay_sessions ") > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("sessions that nobody came for stay");
}

/// Joins a known room with wrong secrets until told to stop, from one source after the other; counts what was answered.
async fn attack(relay: Arc<TestRelay>, sources: std::ops::Range<u16>, asked: Arc<AtomicU32>, stop: Arc<AtomicBool>) {
    let mut wrong = ask_secret(1);
    wrong["secret_hash"] = hex(9, 32).into();
    for n in sources.cycle() {
        let mut asking = sender(relay.device_tls_from(source(n)).await.unwrap()).await;
        for _ in 0..30 {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let answer = send(&mut asking, Method::POST, "/pair", Some(&wrong)).await;
            assert!([401, 423, 429].contains(&answer.status.as_u16()), "{answer:?}");
            asked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn who_has_a_credential_gets_in_from_a_network_that_is_blocked() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    host.room(&relay, &room(2), by_token(2)).await;
    let _events = host.events(&relay, None).await;
    // What a web page does that somebody behind the same address has open: it may send these (Fetch, 3.2.2).
    let mut page = sender(relay.device_tls().await).await;
    let mut guess = async |n: u8| send(&mut page, Method::POST, "/pair", Some(&ask_secret(n))).await;
    for n in 100..130 {
        assert_eq!(guess(n).await.status, StatusCode::UNAUTHORIZED);
    }
    for n in [130, 131, 130, 130, 130] {
        let blocked = guess(n).await;
        assert_eq!((blocked.status.as_u16(), blocked.code()), (429, "CPL-1806"));
        assert!(blocked.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 800);
    }
    relay.pair(&ask_secret(1)).await.sid();
    relay.pair(&ask_token(2)).await.sid();
    // Wrong ones have not locked the room: they count for nothing.
    let mut wrong = ask_secret(1);
    wrong["secret_hash"] = hex(9, 32).into();
    for _ in 0..5 {
        assert_eq!(relay.pair(&wrong).await.code(), "CPL-1806");
    }
    relay.pair(&ask_secret(1)).await.sid();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_bad_joins_do_not_keep_the_owner_out() {
    let relay = Arc::new(TestRelay::start(|_| {}).await);
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    let mut events = host.events(&relay, None).await;
    let (asked, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let attackers: Vec<_> = (0..4)
        .map(|n| {
            let sources = 1 + n * 100..1 + (n + 1) * 100;
            tokio::spawn(attack(Arc::clone(&relay), sources, Arc::clone(&asked), Arc::clone(&stop)))
        })
        .collect();
    let locked = events.next().await.unwrap();
    assert_eq!((locked.name.as_str(), &locked.data), ("room-locked", &json!({"room_id": room(1)})));
    tokio::time::timeout(4 * PATIENCE, async {
        while asked.load(Ordering::Relaxed) < 9_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the attackers get answers");

    // In the middle of it the phone comes back: its room is locked, the next one is there as soon as the host has heard.
    let phone = async |n: u8, from: IpAddr| {
        let mut asking = sender(relay.device_tls_from(from).await.unwrap()).await;
        send(&mut asking, Method::POST, "/pair", Some(&ask_secret(n))).await
    };
    let start = Instant::now();
    assert_eq!(phone(1, LOCALHOST).await.status.as_u16(), 423);
    host.room(&relay, &room(2), by_secret(2)).await;
    let sid = phone(2, LOCALHOST).await.sid();
    let told = events.next().await.unwrap();
    let took = start.elapsed();
    assert_eq!((told.name.as_str(), told.id.as_deref()), ("pair-cmd", Some(sid.as_str())), "told once of the lock");
    assert!(took < SOON, "{took:?}");
    let (mut device, mut end) = (relay.device_end(&sid).await, host.socket(&relay, &sid).await);
    assert!(ping(&mut device, &mut end).await < SOON);

    eventually("ten thousand", async || asked.load(Ordering::Relaxed) >= 10_000).await;
    stop.store(true, Ordering::Relaxed);
    for attacker in attackers {
        within("the attackers end", attacker).await.unwrap();
    }
    // Who shares a network with an attacker gets in as well.
    phone(2, source(1)).await.sid();
    ping(&mut device, &mut end).await;
}
