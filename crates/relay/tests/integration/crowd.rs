//! Peers in numbers, and a session in the middle of them.
#![allow(unreachable_pub, reason = "each test file uses its part")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;

use crate::common::{self, TestHost, TestRelay, Tls, ask_secret, tcp, within};

/// The n-th address of this machine, each a source of its own.
pub fn source(n: u16) -> IpAddr {
    let [a, b] = n.to_be_bytes();
    Ipv4Addr::new(127, 1, a, b).into()
}

/// Sends a byte at a time, without end, until the other end closes.
pub async fn trickle(stream: impl AsyncRead + AsyncWrite, start: &[u8], byte: u8, pause: Duration) {
    let (_always, goes_on) = watch::channel(true);
    trickle_while(goes_on, stream, start, byte, pause).await;
}

/// The same, while it is let.
pub async fn trickle_while(
    mut goes_on: watch::Receiver<bool>,
    stream: impl AsyncRead + AsyncWrite,
    start: &[u8],
    byte: u8,
    pause: Duration,
) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut rest = Vec::new();
    let dripping = async {
        for byte in start.iter().copied().chain(std::iter::repeat(byte)) {
            if writer.write_all(&[byte]).await.is_err() || writer.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
            if goes_on.wait_for(|goes_on| *goes_on).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = dripping => {}
        _ = reader.read_to_end(&mut rest) => {}
    }
}

/// There and back through an open session.
pub async fn ping(device: &mut tokio_tungstenite::WebSocketStream<Tls>, end: &mut common::Socket) -> Duration {
    let start = Instant::now();
    device.send(Message::text("ping")).await.unwrap();
    assert_eq!(within("there", end.next()).await.unwrap().unwrap(), Message::text("ping"));
    end.send(Message::text("pong")).await.unwrap();
    assert_eq!(within("back", device.next()).await.unwrap().unwrap(), Message::text("pong"));
    start.elapsed()
}

/// How many sockets say nothing.
pub const IDLE: u16 = 5_000;

/// A live session, and who holds its ends.
pub struct Session {
    device: tokio_tungstenite::WebSocketStream<Tls>,
    end: common::Socket,
    /// The least of what [`Self::measure`] has found.
    pub p99: Duration,
}

impl Session {
    pub async fn open(relay: &TestRelay, host: &TestHost) -> Self {
        let sid = relay.pair(&ask_secret(1)).await.sid();
        let (device, end) = (relay.device_end(&sid).await, host.socket(relay, &sid).await);
        Session { device, end, p99: Duration::MAX }
    }

    /// The 99th percentile of 200 times there and back. What others do on this machine lengthens it, and shortens it
    /// never, so that the least of many counts.
    pub async fn measure(&mut self) {
        let mut took = Vec::new();
        for _ in 0..200 {
            took.push(ping(&mut self.device, &mut self.end).await);
        }
        took.sort_unstable();
        self.p99 = self.p99.min(took[197]);
    }
}

/// Opens sockets that say nothing; every twentieth has got as far as TLS goes.
pub async fn fall_silent(relay: &TestRelay) -> (Vec<tokio::net::TcpStream>, Vec<Tls>) {
    let (mut idle, mut shaken) = (Vec::new(), Vec::new());
    let config = relay.device_config();
    for n in 0..IDLE {
        let stream = tcp(source(n / 100), relay.devices_port()).await.unwrap();
        if n % 20 == 0 {
            shaken.push(common::shake_hands(config.clone(), stream).await.unwrap());
        } else {
            idle.push(stream);
        }
    }
    (idle, shaken)
}
