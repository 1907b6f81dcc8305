//! A device and a host meet over the relay.

use std::time::{Duration, Instant};

use crate::common::{self, Event, TestHost, TestRelay, ask_secret, ask_token, by_secret, by_token, room, within};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

/// What does not happen within this does not happen.
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_device_reaches_its_host_and_bytes_pass_as_they_are() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_token(1)).await;
    let mut events = host.events(&relay, None).await;

    let answer = relay.pair(&ask_token(1)).await;
    let sid = answer.sid();
    assert_eq!(answer.body["relay_url"], relay.ready.public);
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    let Event { id, name, data } = events.next().await.unwrap();
    assert_eq!((id.as_deref(), name.as_str()), (Some(sid.as_str()), "pair-cmd"));
    assert_eq!(data["room_id"], room(1));
    assert_eq!((data["mode"].as_str(), data["remote_ip"].as_str()), (Some("pair"), Some("127.0.0.1")));
    assert_eq!(data["relay_url"], relay.ready.hosts);
    assert_eq!(data["expires_at"], answer.body["expires_at"]);

    // The device speaks before the host has dialled.
    let mut device = relay.device_end(&sid).await;
    device.send(Message::binary(vec![1; 4096])).await.unwrap();
    let mut end = host.socket(&relay, &sid).await;
    assert_eq!(within("the first", end.next()).await.unwrap().unwrap(), Message::binary(vec![1; 4096]));
    for size in [0, 1, 125, 126, 16_640, 70_000, 1_000_000] {
        let message = Message::binary(Bytes::from(vec![7; size]));
        device.send(message.clone()).await.unwrap();
        assert_eq!(within("there", end.next()).await.unwrap().unwrap(), message);
        end.send(message.clone()).await.unwrap();
        assert_eq!(within("back", device.next()).await.unwrap().unwrap(), message);
    }
    // Pings are the ends' own.
    end.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(within("a ping", device.next()).await.unwrap().unwrap(), Message::Ping("x".into()));
    device.flush().await.unwrap();
    assert_eq!(within("a pong", end.next()).await.unwrap().unwrap(), Message::Pong("x".into()));

    device.close(None).await.unwrap();
    drop(device);
    while let Some(Ok(_)) = within("the end", end.next()).await {}
    assert_eq!(relay.pair(&ask_token(1)).await.status, StatusCode::OK, "a failed try leaves the offer free");
}

#[tokio::test]
async fn an_end_is_taken_once_by_its_own_host_and_device() {
    let relay = TestRelay::start(|_| {}).await;
    let (host, other) = (TestHost::enroll(&relay).await, TestHost::enroll(&relay).await);
    host.room(&relay, &room(1), by_secret(1)).await;
    let _events = host.events(&relay, None).await;
    let sid = relay.pair(&ask_secret(1)).await.sid();
    assert_eq!(other.end(&relay, &sid).await.err(), Some(StatusCode::NOT_FOUND), "another host's");
    let mut device = relay.device_end(&sid).await;
    let mut end = host.socket(&relay, &sid).await;
    assert_eq!(host.end(&relay, &sid).await.err(), Some(StatusCode::NOT_FOUND), "the second time");
    let url = format!("wss://localhost/pair/relay/{sid}");
    let second = tokio_tungstenite::client_async(url, relay.device_tls().await).await;
    assert!(matches!(second, Err(tokio_tungstenite::tungstenite::Error::Http(answer)) if answer.status() == 404));
    // Nobody was disturbed.
    device.send(Message::text("x")).await.unwrap();
    assert_eq!(within("it passes", end.next()).await.unwrap().unwrap(), Message::text("x"));
    for unknown in ["", "0", &"0".repeat(32), &"Z".repeat(32)] {
        assert_eq!(host.end(&relay, unknown).await.err(), Some(StatusCode::NOT_FOUND), "{unknown}");
    }
    // Without the upgrade that belongs there, nothing is taken.
    let fresh = relay.pair(&ask_secret(1)).await.sid();
    let answer = host.request(&relay, Method::GET, &format!("/pair/relay/{fresh}"), None).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UPGRADE_REQUIRED, "CPL-1014"));
    assert!(host.end(&relay, &fresh).await.is_ok());
}

#[tokio::test]
async fn a_reader_that_stands_still_stops_its_sender_and_nothing_is_lost() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    let _events = host.events(&relay, None).await;
    let sid = relay.pair(&ask_secret(1)).await.sid();
    let (mut device, end) = (relay.device_end(&sid).await, host.end(&relay, &sid).await.unwrap());
    let (mut reader, mut writer) = tokio::io::split(hyper_util::rt::TokioIo::new(end.into_inner()));
    // The device reads nothing; the host writes until it no longer can.
    let mut sent = 0_usize;
    let chunk = vec![0_u8; 64 * 1024];
    while let Ok(len) = tokio::time::timeout(AT_ONCE, writer.write(&chunk)).await {
        sent += len.unwrap();
        // Four sockets on the way have memory of their own, which grows as the kernel sees fit (tcp(7), tcp_rmem and
        // tcp_wmem); what the relay holds besides is shown beside the code.
        assert!(sent < 64 * 1024 * 1024, "the relay takes without end");
    }
    // The other direction is not held up.
    device.send(Message::binary(vec![3; 100])).await.unwrap();
    let mut frame = [0; 106];
    within("the other direction", reader.read_exact(&mut frame)).await.unwrap();
    // Then it reads, and all of it is there.
    let (mut raw, mut got) = (device.into_inner(), vec![1; sent]);
    let flushed = writer.flush();
    let (flushed, read) = within("the rest", async { tokio::join!(flushed, raw.read_exact(&mut got)) }).await;
    flushed.unwrap();
    read.unwrap();
    assert!(got.iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn more_than_may_be_early_waits_on_its_way_and_all_of_it_arrives() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    let _events = host.events(&relay, None).await;
    let sid = relay.pair(&ask_secret(1)).await.sid();
    let mut device = relay.device_end(&sid).await;
    // Much more than is held: it waits on its way.
    let message = Message::binary((0..4_000_000_u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<u8>>());
    let mut sending = tokio::spawn({
        let message = message.clone();
        async move {
            device.send(message).await.unwrap();
            device
        }
    });
    assert!(tokio::time::timeout(AT_ONCE, &mut sending).await.is_err(), "the relay holds it all");
    let mut end = host.socket(&relay, &sid).await;
    assert_eq!(within("all of it", end.next()).await.unwrap().unwrap(), message);
    sending.await.unwrap();
}

#[tokio::test]
async fn a_device_that_leaves_before_its_host_came_frees_its_place() {
    let relay = TestRelay::start(|config| config.limits.host_sessions = 1).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    host.room(&relay, &room(2), by_secret(2)).await;
    let _events = host.events(&relay, None).await;
    let sid = relay.pair(&ask_secret(1)).await.sid();
    drop(relay.device_end(&sid).await);
    common::eventually("a free place", async || relay.pair(&ask_secret(2)).await.status == StatusCode::OK).await;
    assert_eq!(host.end(&relay, &sid).await.err(), Some(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn at_the_cap_a_devices_oldest_session_yields_to_its_newest() {
    let relay = TestRelay::start(|config| config.limits.host_sessions = 2).await;
    let host = TestHost::enroll(&relay).await;
    for n in [1, 2, 3] {
        host.room(&relay, &room(n), by_secret(n)).await;
    }
    let _events = host.events(&relay, None).await;
    // Of two places each of two devices has one.
    let first = relay.pair(&ask_secret(1)).await.sid();
    let (mut oldest, _end) = (relay.device_end(&first).await, host.socket(&relay, &first).await);
    let second = relay.pair(&ask_secret(2)).await.sid();
    let busy = relay.pair(&ask_secret(3)).await;
    assert_eq!((busy.status, busy.code()), (StatusCode::CONFLICT, "CPL-1803"), "another device's do not yield");
    assert!(busy.headers.contains_key("retry-after"));
    let third = relay.pair(&ask_secret(1)).await.sid();
    assert!(matches!(within("the oldest ends", oldest.next()).await, None | Some(Err(_))));
    for sid in [second, third] {
        let _device = relay.device_end(&sid).await;
        assert!(host.end(&relay, &sid).await.is_ok());
    }
}

#[tokio::test]
async fn one_device_takes_a_third_of_its_hosts_places_by_whatever_rooms() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    // Three rooms of one device: they have one secret.
    for (room_of, secret) in [(1, 1), (2, 1), (3, 1), (4, 4), (5, 5)] {
        host.room(&relay, &room(room_of), by_secret(secret)).await;
    }
    let _events = host.events(&relay, None).await;
    let ask = |room_of: u8, secret: u8| {
        let mut ask = ask_secret(secret);
        ask["room_id"] = room(room_of).into();
        ask
    };
    let mut greedy = Vec::new();
    for n in 0..6 {
        let sid = relay.pair(&ask(1 + n % 3, 1)).await.sid();
        greedy.push(sid);
    }
    // Eight places are left for the others, whatever it asks for.
    let mut others = Vec::new();
    for n in 0..8 {
        others.push(relay.pair(&ask_secret(4 + n % 2)).await.sid());
        // As often as it may ask.
        if n % 4 == 3 {
            greedy.push(relay.pair(&ask(1 + n % 3, 1)).await.sid());
        }
    }
    let is_there = async |sid: &str| host.end(&relay, sid).await.is_ok();
    for sid in &greedy[..greedy.len() - 4] {
        assert!(!is_there(sid).await, "more than a third are one device's");
    }
    for sid in greedy[greedy.len() - 4..].iter().chain(&others) {
        assert!(is_there(sid).await, "a session has yielded to another device's");
    }
}

#[tokio::test]
async fn devices_that_take_all_places_make_way_for_another_and_for_one_that_pairs() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    // Each of the first three devices has two rooms with one secret.
    for n in 1..=6 {
        host.room(&relay, &room(n), by_secret((n - 1) % 3 + 1)).await;
    }
    host.room(&relay, &room(7), by_secret(7)).await;
    host.room(&relay, &room(8), by_token(8)).await;
    let mut events = host.events(&relay, None).await;
    let mut ends = Vec::new();
    for n in (1..=6).cycle().take(18) {
        let mut ask = ask_secret((n - 1) % 3 + 1);
        ask["room_id"] = room(n).into();
        let sid = relay.pair(&ask).await.sid();
        // Six ask and never come; the others mean it.
        assert_eq!(events.next().await.unwrap().id.as_deref(), Some(sid.as_str()));
        if ends.len() < 12 {
            ends.push((relay.device_end(&sid).await, host.socket(&relay, &sid).await));
        }
    }
    let second = relay.pair(&ask_secret(7)).await.sid();
    let (mut device, mut end) = (relay.device_end(&second).await, host.socket(&relay, &second).await);
    let pairing = relay.pair(&ask_token(8)).await.sid();
    let (_device, _end) = (relay.device_end(&pairing).await, host.socket(&relay, &pairing).await);
    // The greedy ones ask again: each loses one of its own.
    for n in 1..=3 {
        relay.pair(&ask_secret(n)).await.sid();
    }
    device.send(Message::text("x")).await.unwrap();
    assert_eq!(within("it goes on", end.next()).await.unwrap().unwrap(), Message::text("x"));
    let mut over = 0;
    for (device, _) in &mut ends {
        over += usize::from(tokio::time::timeout(AT_ONCE / 4, device.next()).await.is_ok());
    }
    assert!((3..=8).contains(&over), "{over} of the first twelve have made way");
}

#[tokio::test]
async fn who_asks_too_often_waits_and_its_host_does_not_notice() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    host.room(&relay, &room(2), by_secret(2)).await;
    let mut events = host.events(&relay, None).await;
    let (start, mut opened, mut last) = (Instant::now(), 0, String::new());
    let mut asking = common::sender(relay.device_tls().await).await;
    for _ in 0..200 {
        let answer = common::send(&mut asking, Method::POST, "/pair", Some(&ask_secret(1))).await;
        if answer.status == StatusCode::OK {
            (opened, last) = (opened + 1, answer.sid());
            continue;
        }
        assert_eq!((answer.status.as_u16(), answer.code()), (429, "CPL-1826"));
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert!((8..=9 + start.elapsed().as_secs()).contains(&opened), "{opened} in {:?}", start.elapsed());
    // Another device is not held up, and the host still hears. What has made way is not told any more, or cannot be dialled.
    let other = relay.pair(&ask_secret(2)).await.sid();
    let mut told = Vec::new();
    while told.last() != Some(&other) {
        told.push(events.next().await.unwrap().id.unwrap());
    }
    assert!(told.len() as u64 <= opened + 1 && told.contains(&last), "{told:?}");
    assert!(host.end(&relay, &told[0]).await.is_err() && host.end(&relay, &last).await.is_ok());
}

#[tokio::test]
async fn an_offer_takes_one_device_at_a_time() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_token(1)).await;
    let _events = host.events(&relay, None).await;
    let asked = relay.pair(&ask_token(1)).await.sid();
    // Who asked and did not come gives way to who asks again.
    let sid = relay.pair(&ask_token(1)).await.sid();
    assert_eq!(host.end(&relay, &asked).await.err(), Some(StatusCode::NOT_FOUND));
    let device = relay.device_end(&sid).await;
    let busy = relay.pair(&ask_token(1)).await;
    assert_eq!((busy.status, busy.code()), (StatusCode::CONFLICT, "CPL-1803"));
    drop(device);
    common::eventually("a free offer", async || relay.pair(&ask_token(1)).await.status == StatusCode::OK).await;
}

#[tokio::test]
async fn removing_a_room_cuts_its_sessions_and_uses_its_token_up() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_token(1)).await;
    host.room(&relay, &room(2), by_secret(2)).await;
    let _events = host.events(&relay, None).await;
    let (sid, other) = (relay.pair(&ask_token(1)).await.sid(), relay.pair(&ask_secret(2)).await.sid());
    let (mut device, mut end) = (relay.device_end(&sid).await, host.socket(&relay, &sid).await);
    let (mut kept, mut kept_end) = (relay.device_end(&other).await, host.socket(&relay, &other).await);
    // How soon is shown on a clock that stands still, beside the code.
    let removed = host.request(&relay, Method::DELETE, &format!("/host/rooms/{}", room(1)), None).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    assert!(matches!(within("the device's end", device.next()).await, None | Some(Err(_))));
    assert!(matches!(within("the host's end", end.next()).await, None | Some(Err(_))));
    kept.send(Message::text("x")).await.unwrap();
    assert_eq!(within("another room", kept_end.next()).await.unwrap().unwrap(), Message::text("x"));
    let used = relay.pair(&ask_token(1)).await;
    assert_eq!((used.status, used.code()), (StatusCode::GONE, "CPL-1804"));
}

#[tokio::test]
async fn bytes_beyond_a_hosts_quota_wait() {
    let relay = TestRelay::start(|config| config.limits.host_bytes_per_second = 200_000).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    let _events = host.events(&relay, None).await;
    let sid = relay.pair(&ask_secret(1)).await.sid();
    let (mut device, mut end) = (relay.device_end(&sid).await, host.socket(&relay, &sid).await);
    let start = Instant::now();
    let message = Message::binary(vec![0; 600_000]);
    let sent = message.clone();
    tokio::spawn(async move { device.send(sent).await.map(|()| device) });
    assert_eq!(within("all of it", end.next()).await.unwrap().unwrap(), message);
    // A second's worth is free.
    assert!(start.elapsed() > Duration::from_millis(1800), "{:?}", start.elapsed());
}

#[tokio::test]
async fn wrong_credentials_are_one_answer_and_lock() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    let mut events = host.events(&relay, None).await;
    let mut wrong = ask_secret(1);
    wrong["secret_hash"] = common::hex(9, 32).into();
    let (refused, unknown) = (relay.pair(&wrong).await, relay.pair(&ask_secret(7)).await);
    assert_eq!((refused.status, refused.code()), (StatusCode::UNAUTHORIZED, "CPL-1801"));
    assert_eq!((refused.status, &refused.body), (unknown.status, &unknown.body));
    relay.pair(&wrong).await;
    relay.pair(&wrong).await;
    let locked = relay.pair(&ask_secret(1)).await;
    assert_eq!((locked.status.as_u16(), locked.code()), (423, "CPL-1805"));
    assert!(locked.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 800);
    let event = events.next().await.unwrap();
    assert_eq!(
        (event.name.as_str(), event.id, event.data),
        ("room-locked", None, serde_json::json!({"room_id": room(1)}))
    );
    for body in [serde_json::json!({}), serde_json::json!({"room_id": room(1)}), serde_json::json!([1])] {
        assert_eq!(relay.pair(&body).await.status, StatusCode::BAD_REQUEST);
    }
}
