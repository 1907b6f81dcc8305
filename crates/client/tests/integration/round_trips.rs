//! How often a device waits for the other side on its way through a relay that is far away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use crate::relaying::common::{TestHost, TestRelay};
use crate::relaying::{self, World, serve};
use crate::responder::{Host, knows, soon, store};
use couplet_client::{Client, pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long a byte takes, each way. Whoever says two things without waiting says both long before it is answered.
const WAY: Duration = Duration::from_millis(400);
/// TLS, the question for a session, and the WebSocket.
const TO_THE_WEBSOCKET: u64 = 3;

/// Where the relay is for devices.
static FAR: AtomicU16 = AtomicU16::new(0);

/// How many ways, one after the other, led to what each side has heard: a logical clock, so that a slow machine counts the same.
static DEVICE: AtomicU64 = AtomicU64::new(0);
static RELAY: AtomicU64 = AtomicU64::new(0);

/// Carries what comes to the relay, and back, each byte in its time.
async fn far(listener: TcpListener, relay: SocketAddr) {
    loop {
        let near = listener.accept().await.unwrap().0;
        tokio::spawn(async move {
            let (near_read, near_write) = near.into_split();
            let (read, write) = TcpStream::connect(relay).await.unwrap().into_split();
            tokio::join!(late((near_read, &DEVICE), (write, &RELAY)), late((read, &RELAY), (near_write, &DEVICE)))
        });
    }
}

async fn late(
    (mut from, speaker): (impl AsyncReadExt + Unpin, &AtomicU64),
    (mut to, listener): (impl AsyncWriteExt + Unpin, &AtomicU64),
) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, u64, Vec<u8>)>(1024);
    let read = async move {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(len @ 1..) = from.read(&mut bytes).await {
            let ways = speaker.load(Ordering::SeqCst) + 1;
            sender.send((Instant::now() + WAY, ways, bytes[..len].to_vec())).await.unwrap();
        }
    };
    let write = async {
        while let Some((due, ways, bytes)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            listener.fetch_max(ways, Ordering::SeqCst);
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

fn ways() -> u64 {
    DEVICE.load(Ordering::SeqCst)
}

fn trips(since: u64) -> u64 {
    (ways() - since) / 2
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_open_websocket_coming_back_takes_one_round_trip_and_pairing_three() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    FAR.store(listener.local_addr().unwrap().port(), Ordering::Relaxed);
    let named = TestRelay::start(|config| config.name = format!("localhost:{}", FAR.load(Ordering::Relaxed))).await;
    let proxy = tokio::spawn(far(listener, named.ready.bound.devices[0]));
    let relay = Arc::new(named);
    let enrolled = Arc::new(TestHost::enroll(&relay).await);
    let world = World { relay, enrolled, host: Host::new(1) };
    world.register_offer().await;
    world.register_room(0).await;
    let grant = relaying::grant(&world.host, &world.name(), &[]);
    let _host = world.dialling(move |session| serve(session, grant.clone())).await;

    let (_folder, store) = store();
    let start = ways();
    // So far away, the code is shown before the grant can be there.
    let shown = |_: &_| ();
    let credentials = soon(pair(&world.link(&[]), world.request(), &store, shown)).await.unwrap();
    // M1 and M2; the claim and the grant; its receipt, and that the host knows.
    assert_eq!(trips(start), TO_THE_WEBSOCKET + 3);

    knows(&credentials);
    let start = ways();
    let client = Client::connect(credentials.id(), store).await.unwrap();
    let ask = async || {
        let request = http::Request::get("http://app/").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        assert_eq!(soon(client.request(request)).await.unwrap().status(), 200);
    };
    ask().await;
    // M1 and M2, and the request behind the confirm.
    assert_eq!(trips(start), TO_THE_WEBSOCKET + 2);
    let start = ways();
    ask().await;
    assert_eq!(trips(start), 1, "a plain request");
    client.close().await;
    proxy.abort();
}
