//! Sealed streams over WebSockets over memory, with the clock in the test's hand.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use couplet_client::sealed::{Ending, Link, SealedError, SealedStream, Side, config};
use couplet_protocol::frame::{CloseCode, Content, Kind};
use couplet_protocol::handshake::{Hello, Initiator, PairingKeys, Responder};
use couplet_protocol::message::Control;
use couplet_protocol::offer::SUITE_1;
use couplet_protocol::secret::{Entropy, Psk};
use couplet_protocol::{Session, StaticSecret};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

type Stream = SealedStream<DuplexStream>;
type Socket = WebSocketStream<DuplexStream>;
type End = (Stream, Link, mpsc::Receiver<Box<Control>>);

fn sessions() -> (Session, Session) {
    let entropy = |n| Entropy::new([n; 32]);
    let (host, device) = (StaticSecret::new([1; 32]).unwrap(), StaticSecret::new([2; 32]).unwrap());
    let keys = PairingKeys { psk_id: [8; 8], psk: Psk::new([7; 32]), host_key: host.public(), suites: SUITE_1 };
    let (initiator, m1) = Initiator::reconnect(&keys, &device, entropy(3)).unwrap();
    let hello = Hello::parse(&m1).unwrap();
    let responder = Responder::reconnect(&hello, &host, &keys.psk, SUITE_1, &device.public(), entropy(4)).unwrap();
    let (unconfirmed, m2) = responder.answer("Home", &entropy(5)).unwrap();
    let (device, mut first) = initiator.finish(&m2).unwrap().begin().unwrap();
    (device, unconfirmed.confirm(&mut first).unwrap().session)
}

async fn sockets(buffer: usize) -> (Socket, Socket) {
    let (a, b) = duplex(buffer);
    let device = WebSocketStream::from_raw_socket(a, Role::Client, Some(config(Side::Device))).await;
    (device, WebSocketStream::from_raw_socket(b, Role::Server, Some(config(Side::Host))).await)
}

async fn ends() -> (End, End) {
    let (device, host) = sockets(64 * 1024).await;
    let (ours, theirs) = sessions();
    (SealedStream::new(device, ours, Side::Device), SealedStream::new(host, theirs, Side::Host))
}

#[tokio::test]
async fn bytes_pass_both_ways_and_a_close_is_an_end() {
    let ((mut device, device_link, _d), (mut host, host_link, _h)) = ends().await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let echo = tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(&mut host);
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let (mut read, mut write) = tokio::io::split(&mut device);
    let send = async {
        write.write_all(&sent).await.unwrap();
        write.flush().await.unwrap();
    };
    let mut back = vec![0; expected.len()];
    let (_, got) = tokio::join!(send, read.read_exact(&mut back));
    got.unwrap();
    assert!(back == expected);
    device_link.close(CloseCode::Leaving);
    assert!(read.read_u8().await.is_err());
    assert_eq!(host_link.ended().await, Ending::Closed(CloseCode::Leaving));
    assert_eq!(device_link.ended().await, Ending::ClosedByUs(CloseCode::Leaving));
    echo.await.unwrap();
}

#[tokio::test]
async fn a_stream_without_close_is_truncated() {
    let ((mut device, link, _d), (mut host, _, _h)) = ends().await;
    host.write_all(b"half").await.unwrap();
    host.flush().await.unwrap();
    drop(host);
    let mut got = Vec::new();
    assert_eq!(device.read_to_end(&mut got).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!((got.as_slice(), link.ended().await), (&b"half"[..], Ending::Truncated));
}

#[tokio::test]
async fn closing_tells_why_although_the_peer_does_not_read() {
    tokio::time::pause();
    let ((device, _dl, _d), (mut host, link, _h)) = ends().await;
    // The pipe and the socket's own buffer are full; nobody reads.
    let full = timeout(Duration::from_millis(100), host.write_all(&[0; 1_000_000])).await;
    assert!(full.is_err(), "the writer is held back");
    link.close(CloseCode::Revoked);
    let began = Instant::now();
    let error = host.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(began.elapsed() <= Duration::from_millis(1001), "{:?}", began.elapsed());
    assert_eq!(link.ended().await, Ending::ClosedByUs(CloseCode::Revoked));
    drop(device);
}

#[tokio::test]
async fn messages_come_before_http_and_data_does_not() {
    let ((mut device, link, _d), (mut host, _, _h)) = ends().await;
    device.send(&Control::Ack).await.unwrap();
    assert_eq!(host.control().await.unwrap(), Control::Ack);
    host.write_all(b"GET / HTTP/1.1").await.unwrap();
    host.flush().await.unwrap();
    assert_eq!(device.control().await.unwrap_err(), SealedError::Broken);
    assert_eq!(link.ended().await, Ending::Broken);
}

#[tokio::test]
async fn only_news_of_addresses_comes_while_http_runs() {
    let ((mut device, link, mut heard), (mut host, host_link, _h)) = ends().await;
    let news = Control::Endpoints { list: vec![], serial: 1 };
    assert!(host_link.say(news.clone()));
    let served = tokio::spawn(async move {
        let mut buf = [0; 1];
        while matches!(host.read(&mut buf).await, Ok(n) if n > 0) {}
        host
    });
    assert!(timeout(Duration::from_millis(50), device.read_u8()).await.is_err());
    assert_eq!(heard.recv().await, Some(Box::new(news)));
    assert!(host_link.say(Control::Paired));
    assert!(device.read_u8().await.is_err());
    assert_eq!(link.ended().await, Ending::Broken);
    drop(device);
    drop(served.await.unwrap());
}

#[tokio::test]
async fn what_was_changed_repeated_or_dropped_ends_the_session() {
    for case in 0..5 {
        let (mut raw, host) = sockets(1 << 20).await;
        let (mut ours, theirs) = sessions();
        let (mut host, link, _h) = SealedStream::new(host, theirs, Side::Host);
        let mut frames = Vec::new();
        for text in [b"one", b"two"] {
            let mut frame = Vec::new();
            ours.sealer.seal(Content::Data(text), &mut frame).unwrap();
            frames.push(frame);
        }
        let sent: Vec<Message> = match case {
            0 => {
                frames[0][9] ^= 1;
                vec![Message::binary(frames.swap_remove(0))]
            }
            1 => vec![Message::binary(frames[0].clone()), Message::binary(frames[0].clone())],
            2 => vec![Message::binary(frames.swap_remove(1))],
            3 => vec![Message::text("hello")],
            _ => vec![Message::Binary(Bytes::new())],
        };
        for message in sent {
            raw.send(message).await.unwrap();
        }
        let mut got = Vec::new();
        assert_eq!(host.read_to_end(&mut got).await.unwrap_err().kind(), ErrorKind::InvalidData, "{case}");
        assert_eq!(got, if case == 1 { &b"one"[..] } else { b"" }, "{case}");
        assert_eq!(link.ended().await, Ending::Broken);
    }
}

#[tokio::test(start_paused = true)]
async fn the_host_gives_a_silent_device_up_and_keeps_one_that_answers() {
    let (mut device, host) = sockets(64 * 1024).await;
    let (mut host, link, _h) = SealedStream::new(host, sessions().1, Side::Host);
    let began = Instant::now();
    let reader = tokio::spawn(async move { host.read_u8().await });
    for _ in 0..3 {
        // Reading answers a ping.
        assert!(matches!(device.next().await, Some(Ok(Message::Ping(_)))));
        device.flush().await.unwrap();
    }
    assert_eq!(reader.await.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    let after = began.elapsed().as_secs();
    assert!((75..=76 + 35).contains(&after), "{after}");
    assert_eq!(link.ended().await, Ending::Silent);
}

#[tokio::test(start_paused = true)]
async fn a_device_gives_a_silent_host_up() {
    let (device, _host) = sockets(64 * 1024).await;
    let (mut device, link, _d) = SealedStream::new(device, sessions().0, Side::Device);
    let began = Instant::now();
    assert_eq!(device.read_u8().await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!((began.elapsed().as_secs(), link.ended().await), (60, Ending::Silent));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_a_silent_one() {
    let (mut device, host) = sockets(32 * 1024).await;
    let (mut ours, theirs) = sessions();
    let (host, link, _h) = SealedStream::new(host, theirs, Side::Host);
    let writer = tokio::spawn(async move {
        // As an HTTP connection does: writes, and looks for what comes meanwhile.
        let (mut read, mut write) = tokio::io::split(host);
        let write = async {
            write.write_all(&vec![0; 640 * 1024]).await?;
            write.flush().await
        };
        tokio::select! { done = write => done.unwrap(), _ = read.read_u8() => panic!("given up") }
    });
    let mut bytes = 0;
    while bytes < 640 * 1024 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        match device.next().await.unwrap().unwrap() {
            Message::Binary(frame) => {
                let mut frame = frame.to_vec();
                let opened = ours.opener.open(&mut frame).unwrap();
                assert_eq!(opened.kind, Kind::Data);
                bytes += opened.data.len();
            }
            _ => device.flush().await.unwrap(),
        }
    }
    writer.await.unwrap();
    drop(link);
}

#[tokio::test]
async fn keys_are_updated_on_the_way() {
    let ((mut device, _dl, _d), (mut host, _, _h)) = ends().await;
    let frames = couplet_protocol::session::EPOCH_FRAMES + 10;
    let writer = tokio::spawn(async move {
        for _ in 0..frames {
            host.write_all(b"x").await.unwrap();
        }
        host.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    device.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.len() as u64, frames);
    writer.await.unwrap();
}
