//! Open sessions: their slots, their events, and what ends them and how soon.

use std::time::{Duration, Instant};

use couplet_protocol::api::{DeviceInfo, DeviceList, NetworkPath};
use couplet_protocol::frame::CloseCode;
use couplet_protocol::handshake::PairingKeys;
use couplet_protocol::message::Grant;
use e2e::device::{Said, Sealed, Unsealed, get, keys};
use e2e::host::PATIENCE;
use e2e::pace::soon;
use e2e::websocket::tcp;
use e2e::{TestApp, TestDevice, TestHost, eventually, kernel};
use reqwest::Method;
use serde_json::{Value, json};

/// How soon a session ends when its device may not go on.
const SOON: Duration = Duration::from_secs(1);

struct Paired {
    device: TestDevice,
    keys: PairingKeys,
    grant: Grant,
}

impl Paired {
    async fn new(host: &TestHost, name: &str) -> (Paired, Sealed) {
        let (device, offer) = (TestDevice::new(name), host.generate().await);
        let (grant, sealed) = device.pair(host.pairing_url(), &offer.link).await;
        host.event("session.opened", |event| event["device_id"] == json!(grant.device_id)).await;
        (Paired { device, keys: keys(&offer.link, &grant), grant }, sealed)
    }

    /// Another session, once the host has let it in.
    async fn session(&self, host: &TestHost) -> Sealed {
        let before = count(host, "session.opened");
        let sealed = self.device.reconnect(host.pairing_url(), &self.keys).await.unwrap();
        eventually("the session is open", PATIENCE, async || count(host, "session.opened") > before).await;
        sealed
    }

    /// A session with an endless download of which nothing is read, once it waits in the host's kernel.
    async fn slow_download(&self, host: &TestHost) -> Sealed {
        let (initiator, m1) = self.device.hello_again(&self.keys);
        let socket = Unsealed::open_small(host.pairing_url()).await;
        let mut slow = socket.shake_hands(initiator, m1).await.unwrap().confirm().await;
        slow.send_data(&get("/endless", &[])).await;
        let waiting = waiting_for(&slow);
        eventually("the download waits in the kernel", PATIENCE, async || {
            waiting().is_some_and(|bytes| bytes >= 64 << 10)
        })
        .await;
        slow
    }

    async fn change(&self, host: &TestHost, body: Value) {
        let path = format!("/api/pair/devices/{}", self.grant.device_id);
        let answer = host.owner().patch(&path).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn revoke(&self, host: &TestHost) {
        let path = format!("/api/pair/devices/{}", self.grant.device_id);
        assert_eq!(host.owner().delete(&path).send().await.unwrap().status(), 204);
    }

    async fn info(&self, host: &TestHost) -> DeviceInfo {
        let list: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
        let mut devices = list.devices.into_iter();
        devices.find(|device| device.device_id.to_string() == self.grant.device_id).unwrap()
    }
}

async fn host() -> TestHost {
    TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await
}

fn count(host: &TestHost, event: &str) -> usize {
    host.printed().lines().filter(|line| line.contains(&format!("\"{event}\""))).count()
}

/// What waits in the host's kernel for a device.
fn waiting_for(sealed: &Sealed) -> impl Fn() -> Option<u64> + use<> {
    let socket = tcp(&sealed.socket);
    let (host, device) = (socket.peer_addr().unwrap(), socket.local_addr().unwrap());
    move || kernel::waiting_bytes(host, device)
}

/// The code of the CLOSE, which comes soon.
async fn ends_soon(sealed: &mut Sealed) -> CloseCode {
    let began = Instant::now();
    let code = sealed.closed().await;
    let took = began.elapsed();
    assert!(took < soon(SOON), "{took:?}");
    code
}

#[tokio::test]
async fn the_owner_sees_sessions_come_and_go() {
    let host = host().await;
    let (paired, sealed) = Paired::new(&host, "iPad").await;
    let is_it = |event: &Value| event["device_id"] == json!(paired.grant.device_id);
    let opened = host.event("session.opened", is_it).await;
    assert_eq!((&opened["path"], &opened["network"]), (&json!("lan"), &json!("127.0.0.1")));
    assert_eq!(opened["device_name"], "iPad");
    let info = paired.info(&host).await;
    assert_eq!(info.path, Some(NetworkPath::Lan));
    assert!(info.last_seen.is_some());
    drop(sealed);
    let closed = host.event("session.closed", is_it).await;
    assert_eq!(closed["path"], "lan");
}

#[tokio::test]
async fn who_may_not_go_on_is_told_why_and_soon() {
    let host = host().await;
    let (paired, mut first) = Paired::new(&host, "iPad").await;
    let mut second = paired.session(&host).await;
    paired.change(&host, json!({ "scope": { "read_only": true } })).await;
    assert_eq!((ends_soon(&mut first).await, ends_soon(&mut second).await), (CloseCode::Changed, CloseCode::Changed));

    // It may come again at once; a new name ends nothing.
    let mut again = paired.session(&host).await;
    paired.change(&host, json!({ "device_name": "Anna's iPad" })).await;
    paired.revoke(&host).await;
    assert_eq!(ends_soon(&mut again).await, CloseCode::Revoked);
    eventually("the sessions are closed", PATIENCE, async || count(&host, "session.closed") == 3).await;

    // For as long as the host remembers it, it is told for certain: the word comes sealed.
    for _ in 0..2 {
        let mut late = paired.device.reconnect(host.pairing_url(), &paired.keys).await.unwrap();
        assert_eq!(late.said().await, Said::Closed(CloseCode::Revoked));
    }
    assert_eq!(count(&host, "session.opened"), 3);
}

#[tokio::test]
async fn access_that_ends_ends_the_session() {
    let host = host().await;
    let (paired, mut sealed) = Paired::new(&host, "iPad").await;
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    paired.change(&host, json!({ "expires_at": end.to_string() })).await;
    assert_eq!(ends_soon(&mut sealed).await, CloseCode::Changed);
    let mut sealed = paired.session(&host).await;
    host.set_clock("+3601");
    assert_eq!(ends_soon(&mut sealed).await, CloseCode::Expired);
    let mut late = paired.device.reconnect(host.pairing_url(), &paired.keys).await.unwrap();
    assert_eq!(late.said().await, Said::Closed(CloseCode::Expired));
}

#[tokio::test]
async fn a_device_that_unpairs_itself_ends_its_sessions() {
    let host = host().await;
    let (paired, mut sealed) = Paired::new(&host, "iPad").await;
    let answer = host.device(&paired.grant.device_token).delete("/api/pair/me").send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(ends_soon(&mut sealed).await, CloseCode::Revoked);
}

#[tokio::test]
async fn a_host_that_stops_says_so() {
    let mut host = host().await;
    let (paired, mut sealed) = Paired::new(&host, "iPad").await;
    let (code, ()) = tokio::join!(sealed.closed(), host.stop());
    assert_eq!(code, CloseCode::Leaving);
    host.restart().await;
    paired.session(&host).await;
}

#[tokio::test]
async fn the_fifth_session_of_a_device_takes_the_place_of_its_first() {
    let host = host().await;
    let (paired, mut first) = Paired::new(&host, "iPad").await;
    let (other, _other) = Paired::new(&host, "Phone").await;
    let mut held = vec![paired.session(&host).await, paired.session(&host).await];
    held.push(paired.session(&host).await);
    assert_eq!(ends_soon(&mut first).await, CloseCode::Replaced);
    // Three of one device and one of another: now the other may have a second.
    let mut second = held.remove(0);
    held.push(other.session(&host).await);
    assert_eq!(ends_soon(&mut second).await, CloseCode::Replaced);
    paired.revoke(&host).await;
    assert_eq!(ends_soon(&mut held[0]).await, CloseCode::Revoked);
}

#[tokio::test]
async fn a_device_without_a_session_finds_a_full_host_busy() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__MAX_SESSIONS", "2");
    })
    .await;
    let (_paired, _first) = Paired::new(&host, "iPad").await;
    let (_other, second) = Paired::new(&host, "Laptop").await;
    let (device, offer) = (TestDevice::new("Phone"), host.generate().await);
    let (grant, mut sealed) = device.pair(host.pairing_url(), &offer.link).await;
    assert_eq!(sealed.said().await, Said::Closed(CloseCode::Busy), "paired, but not served");
    let phone = Paired { device, keys: keys(&offer.link, &grant), grant };
    let mut again = phone.device.reconnect(host.pairing_url(), &phone.keys).await.unwrap();
    assert_eq!(again.said().await, Said::Closed(CloseCode::Busy));
    drop(second);
    eventually("a slot is free", PATIENCE, async || count(&host, "session.closed") == 1).await;
    phone.session(&host).await;
}

#[tokio::test]
async fn a_device_with_all_slots_makes_room_for_the_others() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__MAX_SESSIONS", "2");
    })
    .await;
    let (greedy, mut first) = Paired::new(&host, "iPad").await;
    let _second = greedy.session(&host).await;
    let (_other, _sealed) = Paired::new(&host, "Phone").await;
    assert_eq!(ends_soon(&mut first).await, CloseCode::Replaced);
}

/// A handshake that nobody confirms takes no slot, whoever recorded it.
#[tokio::test]
async fn only_a_confirm_takes_a_slot() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__MAX_SESSIONS", "1");
    })
    .await;
    let (paired, mut first) = Paired::new(&host, "iPad").await;
    let (initiator, m1) = paired.device.hello_again(&paired.keys);
    let answered = Unsealed::open(host.pairing_url()).await.shake_hands(initiator, m1).await.unwrap();
    first.send_data(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(matches!(first.said().await, Said::Data(_)), "the first goes on");
    let _second = answered.confirm().await;
    assert_eq!(first.closed().await, CloseCode::Replaced);
}

#[tokio::test]
async fn a_frame_that_does_not_fit_ends_the_session_alone() {
    let host = host().await;
    let (paired, mut sealed) = Paired::new(&host, "iPad").await;
    let mut frames: Vec<Vec<u8>> = (0..2).map(|_| sealed.seal(couplet_protocol::frame::Content::Data(b"x"))).collect();
    frames.reverse();
    sealed.send_raw(frames.remove(0)).await;
    assert!(matches!(sealed.said().await, Said::Data(_) | Said::Gone));
    eventually("it is over", PATIENCE, async || count(&host, "session.closed") == 1).await;
    // The device itself did nothing wrong that lasts.
    paired.session(&host).await;
}

/// How often an end is timed at most. What else the machine does makes it later, and never sooner, so the soonest counts.
const TIMES: i64 = 6;

/// What is under way to a device that does not read is cut off, not kept until it does.
#[tokio::test]
async fn a_device_that_does_not_read_is_cut_off() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url()).movable_clock();
        setup.env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "1000").env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "1000");
    })
    .await;
    for way in ["revoked", "changed", "expired"] {
        let mut soonest = Duration::MAX;
        for time in 1..=TIMES {
            soonest = soonest.min(cut_off(&host, way, time).await);
            if soonest < SOON {
                break;
            }
        }
        assert!(soonest < SOON, "{way}: {soonest:?}");
    }
}

/// How long after its end in this way a device has nothing any more of what it did not read. `hours`: until an expiry,
/// more each time, as the host's clock goes on from where it was.
async fn cut_off(host: &TestHost, way: &str, hours: i64) -> Duration {
    let (paired, _sealed) = Paired::new(host, "iPad").await;
    if way == "expired" {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        paired.change(host, json!({ "expires_at": end.to_string() })).await;
    }
    let before = count(host, "session.closed");
    let slow = paired.slow_download(host).await;
    let waiting = waiting_for(&slow);
    match way {
        "revoked" => paired.revoke(host).await,
        "changed" => paired.change(host, json!({ "scope": { "read_only": true } })).await,
        _ => host.set_clock(&format!("+{}", hours * 3600 + 1)),
    }
    let began = Instant::now();
    eventually(&format!("{way}: the kernel has nothing any more"), PATIENCE, async || waiting().is_none()).await;
    let took = began.elapsed();
    eventually("the session is over", PATIENCE, async || count(host, "session.closed") > before).await;
    took
}

#[tokio::test]
async fn a_device_that_does_not_read_does_not_keep_the_host_from_stopping() {
    let app = TestApp::start().await;
    let mut host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let (paired, _sealed) = Paired::new(&host, "iPad").await;
    let _slow = paired.slow_download(&host).await;
    let began = Instant::now();
    host.stop().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_idle_session_takes_less_than_200_kb_of_the_host() {
    const FEW: usize = 8;
    const MORE: usize = 40;
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url()).env("COUPLET_LIMITS__MAX_SESSIONS", "100").env("COUPLET_LIMITS__MAX_DEVICES", "100");
        setup.env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "1000").env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "1000");
    })
    .await;
    let mut open = Vec::new();
    let mut session = async || {
        let (_, mut sealed) = Paired::new(&host, "iPad").await;
        // Idle, and not new: it has had an answer from the app.
        sealed.send_data(&get("/echo", &[])).await;
        while !matches!(sealed.said().await, Said::Data(data) if data.len() > 100) {}
        open.push(sealed);
    };
    // What the first ones bring with them is not theirs alone.
    for _ in 0..FEW {
        session().await;
    }
    let before = host.peak_memory_kib();
    for _ in 0..MORE {
        session().await;
    }
    let each = (host.peak_memory_kib() - before) * 1024 / MORE as u64;
    assert_eq!(open.len(), FEW + MORE);
    assert!(each < 200_000, "{each} bytes");
    assert_eq!(count(&host, "session.closed"), 0, "all of them are open");
}
