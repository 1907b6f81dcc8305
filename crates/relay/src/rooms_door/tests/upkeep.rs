//! What the relay does of itself: it pings, charges, counts, and stops in good order.

use super::*;
use crate::metrics::Levels;
use crate::quota::Quota;

#[tokio::test(start_paused = true)]
async fn sockets_are_pinged_and_a_peer_that_does_not_answer_gives_its_place_back() {
    let doors = Doors::new().await;
    let Socket { say, mut hear, task } = doors.registered().await;
    let start = tokio::time::Instant::now();
    for _ in 0..8 {
        assert_eq!(hear.recv().await, Some(Outgoing::Ping));
        say.send(Incoming::Alive).await.unwrap();
    }
    assert!(start.elapsed() >= 7 * PING_EVERY, "pinged all the time");
    assert_eq!(doors.door.open_rooms(), 1);
    // The peer has vanished: its connection says nothing more.
    let vanished = tokio::time::Instant::now();
    while hear.recv().await == Some(Outgoing::Ping) {}
    task.await.unwrap();
    assert!(vanished.elapsed() <= SILENCE, "{:?}", vanished.elapsed());
    assert_eq!(doors.door.open_rooms(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_only_listens_is_pinged_under_way_and_stays() {
    let doors = Doors::new().await;
    let host = doors.registered().await;
    let device = doors.device_socket();
    device.text(join("secret_hash", 1)).await;
    let Socket { say: answer, mut hear, task: _ } = device;
    tokio::spawn(drained(host.hear));
    let listens = tokio::spawn(async move {
        let mut pings = 0;
        while let Some(message) = hear.recv().await {
            if message == Outgoing::Ping {
                pings += 1;
                answer.send(Incoming::Alive).await.unwrap();
            }
        }
        pings
    });
    for _ in 0..600 {
        host.say.send(Incoming::Binary(Bytes::from_static(b"tick"))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(doors.door.open_rooms(), 1);
    drop(host.say);
    let pings = listens.await.unwrap();
    assert!((19..=20).contains(&pings), "{pings} in ten minutes");
}

async fn drained(mut hear: mpsc::Receiver<Outgoing>) {
    while hear.recv().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_charged_to_the_host_and_to_the_devices_source() {
    let doors = Doors::new().await;
    // Each of the two, alone, slows both directions.
    for (of_host, of_source) in [(Quota::new(1000), None), (None, Quota::new(1000))] {
        let host = doors.host;
        let mut at_host = doors.socket(|door, from, to| async move { door.serve_host(host, of_host, from, to).await });
        at_host.text(register(1, None)).await;
        assert_eq!(at_host.json().await["type"], "room_registered");
        let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut device =
            doors.socket(|door, from, to| async move { door.serve_device(source, of_source, from, to).await });
        device.text(join("secret_hash", 1)).await;
        assert_eq!(device.json().await["type"], "room_joined");
        assert_eq!(at_host.json().await["type"], "peer_joined");
        for host_speaks in [false, true] {
            let (from, to) = if host_speaks { (&at_host, &mut device) } else { (&device, &mut at_host) };
            let (say, start) = (from.say.clone(), tokio::time::Instant::now());
            let sends = tokio::spawn(async move {
                for _ in 0..3 {
                    say.send(Incoming::Binary(vec![0; 2000].into())).await.unwrap();
                }
            });
            for _ in 0..3 {
                assert_eq!(to.next().await, Outgoing::Binary(vec![0; 2000].into()));
            }
            sends.await.unwrap();
            // A second's worth is free; the clock of the quota stands still here, or nearly.
            assert!(start.elapsed() > Duration::from_secs(3), "{:?}, host speaks: {host_speaks}", start.elapsed());
        }
        at_host.task.abort();
    }
}

#[tokio::test]
async fn refusals_and_bytes_are_counted() {
    let doors = Doors::new().await;
    let mut host = doors.registered().await;
    doors.refused(join("secret_hash", 9)).await;
    let mut device = doors.joined(&mut host, join("secret_hash", 1)).await;
    device.bytes(b"12345").await;
    host.next().await;
    host.bytes(b"123").await;
    device.next().await;
    // Both halves have done with what they passed once the next has arrived.
    device.bytes(b"").await;
    host.next().await;
    host.bytes(b"").await;
    device.next().await;
    let levels = Levels { hosts: 0, sessions: 0, device_sockets: 0, host_sockets: 0, rooms: doors.door.open_rooms() };
    let text = doors.door.metrics.render(levels);
    for line in ["couplet_relay_joins_refused_total 1", "couplet_relay_bytes_total 8", "couplet_relay_open_rooms 1"] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn a_draining_door_lets_those_who_are_together_end_and_nobody_in() {
    let doors = Doors::new().await;
    let mut host = doors.registered().await;
    let mut device = doors.joined(&mut host, join("secret_hash", 1)).await;
    let mut alone = doors.host_socket();
    let mut message = register(1, None);
    message["room_id"] = room(2).to_hex().into();
    alone.text(message).await;
    assert_eq!(alone.json().await["type"], "room_registered");

    doors.door.drain();
    assert_eq!(alone.closes().await, (1001, "room closed"));
    device.bytes(b"goes on").await;
    assert_eq!(host.next().await, Outgoing::Binary(Bytes::from_static(b"goes on")));
    host.bytes(b"both ways").await;
    assert_eq!(device.next().await, Outgoing::Binary(Bytes::from_static(b"both ways")));
    let late = doors.device_socket();
    late.text(join("secret_hash", 1)).await;
    assert_eq!(late.closes().await, (1001, "room closed"));
    let late = doors.host_socket();
    late.text(register(1, None)).await;
    assert_eq!(late.closes().await, (1001, "room closed"));
    // With its device gone the host has nothing to wait for.
    assert_eq!(doors.door.open_rooms(), 1);
    drop(device.say);
    assert_eq!(host.closes().await, (1001, "room closed"));
    assert_eq!(doors.door.open_rooms(), 0);
}

#[tokio::test]
async fn a_door_that_stops_says_so_to_every_socket() {
    let doors = Doors::new().await;
    let mut host = doors.registered().await;
    let device = doors.joined(&mut host, join("secret_hash", 1)).await;
    let unnamed = doors.device_socket();
    let door = Arc::clone(&doors.door);
    let stops = tokio::spawn(async move { door.stop(Duration::from_secs(20)).await });
    for socket in [host, device, unnamed] {
        // Or that the other end has left, which is as true.
        assert_eq!(socket.closes().await.0, 1001);
    }
    stops.await.unwrap();
    assert_eq!(doors.door.sockets.len(), 0);
}
