use super::*;
use crate::live::{Caps, Connection};
use crate::tasks::Tasks;

const CAPS: Caps = Caps { sessions: 6, sockets: 4, bytes_per_second: 0 };

fn sid(n: u8) -> Sid {
    Sid::new([n; 16])
}

fn room() -> RoomId {
    RoomId::new([7; 16])
}

/// A host with its event stream.
fn online(live: &Arc<Live>, host: HostId) -> (Arc<Connection>, crate::live::Subscription) {
    let connection = Arc::new(live.connected(host).unwrap());
    let stream = connection.subscribe(None);
    (connection, stream)
}

fn open(live: &Arc<Live>, host: HostId, n: u8) {
    let command = PairCommand {
        sid: sid(n),
        room_id: room(),
        mode: Mode::Reconnect,
        relay_url: String::new(),
        remote_ip: String::new(),
        expires_at: String::new(),
    };
    live.open(Opening { host, by: Hash::new([n; 32]), command, source: None }).unwrap();
}

/// Passes the time until the session is over; how long that took.
async fn over(cut: CancellationToken) -> Duration {
    let start = Instant::now();
    tokio::time::timeout(Duration::from_secs(600), cut.cancelled()).await.expect("it goes on");
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_session_for_which_nobody_comes_ends_in_thirty_seconds() {
    let (live, host) = (Live::new(CAPS, Tasks::default()), HostId::random());
    let _there = online(&live, host);
    open(&live, host, 1);
    open(&live, host, 2);
    open(&live, host, 3);
    // Of the second only the device comes; both ends of the third.
    let device = live.take_end(sid(2), Side::Device).unwrap();
    live.table().sessions.get_mut(&sid(3)).unwrap().bridged = true;
    let cut = live.table().sessions[&sid(1)].cut.clone();
    let took = over(cut).await;
    assert!((29..=31).contains(&took.as_secs()), "{took:?}");
    assert!(over(device.cut.clone()).await < Duration::from_secs(1));
    assert_eq!(live.table().sessions.keys().collect::<Vec<_>>(), [&sid(3)]);
    assert!(live.take_end(sid(1), Side::Host(host)).is_none());
    drop(device);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(live.sessions_open(), 1, "who has come stays");
}

#[tokio::test(start_paused = true)]
async fn what_a_removed_room_carries_has_a_moment_and_is_over_within_a_second() {
    let (live, host) = (Live::new(CAPS, Tasks::default()), HostId::random());
    let _there = online(&live, host);
    open(&live, host, 1);
    open(&live, host, 2);
    live.table().sessions.get_mut(&sid(2)).unwrap().bridged = true;
    let [waits, carried] = [1, 2].map(|n| live.table().sessions[&sid(n)].cut.clone());
    live.cut_room(host, room());
    assert!(waits.is_cancelled(), "nothing was said in it yet");
    let took = over(carried).await;
    // The host's last word to the device is still on its way (spec/protocol.md, 6).
    assert!((Duration::from_millis(300)..Duration::from_secs(1)).contains(&took), "{took:?}");
    assert_eq!(live.sessions_open(), 0);
}
