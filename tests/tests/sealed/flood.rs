//! Many who open a socket and say nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use e2e::{TestDevice, TestHost};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

const SOCKETS: usize = 10_000;

/// Beside the sockets: the runtime's, and those of the device that is let in.
const OTHER_FILES: u64 = 200;

/// Lets this process, and the host that it starts, open as many files as it needs.
fn allow_many_files() {
    let needed = SOCKETS as u64 + OTHER_FILES;
    let allowed = getrlimit(Resource::Nofile);
    let most = allowed.maximum.unwrap_or(u64::MAX);
    assert!(most >= needed, "this test opens {needed} files, and the hard limit is {most}: ulimit -Hn {needed}");
    if allowed.current.is_some_and(|current| current < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, ..allowed }).unwrap();
    }
}

/// Asks for the WebSocket and says no more. None: there is no room in the kernel's queue.
async fn silent(address: SocketAddr, n: usize) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    let [high, low] = u16::try_from(n / 200).unwrap().to_be_bytes();
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 9, high, low + 1)), 0)).unwrap();
    let connected = tokio::time::timeout(Duration::from_secs(20), socket.connect(address)).await;
    let mut stream = connected.ok()?.ok()?;
    let request = format!(
        "GET /api/pair/tunnel HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    Some(stream)
}

#[tokio::test]
async fn ten_thousand_sockets_without_a_word_keep_nobody_out() {
    allow_many_files();
    let host = TestHost::start(|_| {}).await;
    let (device, offer) = (TestDevice::new("iPad"), host.generate().await);
    let address: SocketAddr = host.pairing_url().strip_prefix("http://").unwrap().parse().unwrap();
    let before = host.peak_memory_kib();

    let (mut held, mut opening) = (Vec::new(), JoinSet::new());
    for n in 0..SOCKETS {
        if opening.len() >= 200 {
            held.extend(opening.join_next().await.unwrap().unwrap());
        }
        opening.spawn(silent(address, n));
    }
    while let Some(opened) = opening.join_next().await {
        held.extend(opened.unwrap());
    }
    assert!(held.len() > SOCKETS * 9 / 10, "{} were opened and are held", held.len());

    let began = Instant::now();
    let (_, sealed) = loop {
        // While they last the listener may be full for a moment; it says so, and a device tries again.
        match e2e::device::Unsealed::try_open(host.pairing_url()).await {
            Ok(socket) => {
                let (initiator, m1) = device.hello(&offer.link);
                let mut sealed = socket.shake_hands(initiator, m1).await.unwrap().confirm().await;
                break (sealed.granted().await, sealed);
            }
            Err(_) => assert!(began.elapsed() < Duration::from_secs(10), "the host is full and stays so"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let grown = host.peak_memory_kib() - before;
    assert!(grown < 32 * 1024, "{grown} KiB");
    drop((sealed, held));
}
