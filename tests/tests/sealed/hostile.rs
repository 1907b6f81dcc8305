//! A device that is paired and means harm: what it sends in its session costs neither memory nor the others' time.

use std::time::{Duration, Instant};

use couplet_protocol::frame::Content;
use e2e::device::Sealed;
use e2e::host::PATIENCE;
use e2e::http2::read;
use e2e::websocket::{WebSocket, tungstenite::Message};
use e2e::{Http2, TestApp, TestDevice, TestHost, eventually};
use futures_util::stream::SplitStream;
use futures_util::{SinkExt, StreamExt};
use hyper::http::Method;
use tokio::time::timeout;

/// How much of a flood is sent at most, and how long the host may take none of it until that counts as holding back.
const FLOOD: usize = 8 << 20;
const STILL: Duration = Duration::from_secs(2);
/// How much the host may grow for one device, and how long another one may wait for an answer meanwhile.
const GROWTH_KIB: u64 = 24 * 1024;
const ANSWER: Duration = Duration::from_secs(2);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// One HTTP/2 frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of `GET http://app/…`, without Huffman coding or the dynamic table.
fn get(path: &str) -> Vec<u8> {
    let text = |name: u8, value: &str| [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    [&[0x82, 0x86][..], &text(4, path), &text(1, "app")].concat()
}

/// The n-th stream of a device.
fn stream(n: usize) -> u32 {
    u32::try_from(2 * n + 1).unwrap()
}

/// What the host made of a flood.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It ended the session.
    Ended,
    /// It took all of it.
    Taken,
    /// It took no more of it, for a while.
    HeldBack,
}

/// A host with an app, a good device and a bad one.
struct World {
    app: TestApp,
    host: TestHost,
    good: Http2,
    bad: Sealed,
    before: u64,
}

impl World {
    async fn start() -> Self {
        let app = TestApp::start().await;
        let host = TestHost::start(|setup| {
            setup.app(app.url());
        })
        .await;
        let mut sessions = Vec::new();
        for name in ["Good", "Bad"] {
            let link = host.generate().await.link;
            sessions.push(TestDevice::new(name).pair(host.pairing_url(), &link).await.1);
        }
        let bad = sessions.pop().unwrap();
        let good = Http2::over(sessions.pop().unwrap()).await;
        ask(&good).await;
        let before = host.peak_memory_kib();
        World { app, host, good, bad, before }
    }

    /// Sends the chunks over and over while the good device goes on, and checks that neither it nor the host's memory
    /// suffers. `reads`: the bad device takes what the host answers.
    async fn flood(self, first: Vec<u8>, reads: bool, chunk: impl FnMut(usize) -> Vec<u8>) -> (Outcome, TestApp) {
        let World { app, host, good, bad, before } = self;
        let outcome = {
            let mut flooding = std::pin::pin!(send_flood(bad, first, reads, chunk));
            loop {
                tokio::select! {
                    outcome = &mut flooding => break outcome,
                    () = ask(&good) => {}
                }
            }
        };
        ask(&good).await;
        let grown = host.peak_memory_kib() - before;
        assert!(grown < GROWTH_KIB, "the host grew by {grown} KiB: {outcome:?}");
        // Its session is over once it is gone; nothing is left behind.
        eventually("the bad one's session is over", 2 * PATIENCE, async || {
            host.printed().lines().any(|line| line.contains("\"session.closed\"") && line.contains("\"Bad\""))
        })
        .await;
        (outcome, app)
    }
}

/// A request of the good device: its answer is there soon.
async fn ask(good: &Http2) {
    let began = Instant::now();
    let mut answer = good.ask(Method::GET, "http://app/", &[]).await;
    assert_eq!(read(answer.body_mut()).await.unwrap(), b"hello\n");
    assert!(began.elapsed() < ANSWER, "another device waited {:?}", began.elapsed());
}

async fn send_flood(sealed: Sealed, first: Vec<u8>, reads: bool, mut chunk: impl FnMut(usize) -> Vec<u8>) -> Outcome {
    let Sealed { socket, mut session, .. } = sealed;
    let (mut sink, source) = socket.split();
    let mut ended = std::pin::pin!(drain(source, reads));
    let (mut n, mut sent, mut data) = (0, 0, first);
    while sent < FLOOD {
        while data.len() < 12 * 1024 {
            data.extend(chunk(n));
            n += 1;
        }
        let mut frames = Vec::new();
        for part in data.chunks(16 * 1024) {
            let mut frame = Vec::new();
            session.sealer.seal(Content::Data(part), &mut frame).unwrap();
            frames.push(frame);
        }
        sent += data.len();
        data.clear();
        for frame in frames {
            tokio::select! {
                biased;
                () = &mut ended => return Outcome::Ended,
                taken = timeout(STILL, sink.send(Message::binary(frame))) => match taken {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Outcome::Ended,
                    Err(_) => return Outcome::HeldBack,
                },
            }
        }
    }
    // It may still have much of it to read.
    match timeout(STILL, ended).await {
        Ok(()) => Outcome::Ended,
        Err(_) => Outcome::Taken,
    }
}

/// Reads until the host ends the connection; or does not read, and never knows.
async fn drain(mut source: SplitStream<WebSocket>, reads: bool) {
    if !reads {
        return std::future::pending().await;
    }
    while let Some(Ok(_)) = source.next().await {}
}

fn begin(settings: &[u8]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()
}

/// CVE-2023-44487.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_opened_and_reset_at_once() {
    let world = World::start().await;
    let (outcome, app) = world
        .flood(begin(&[]), true, |n| {
            let open = frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &get("/slow?ms=60000"));
            [open, frame(RST_STREAM, 0, stream(n), &8_u32.to_be_bytes())].concat()
        })
        .await;
    assert_eq!(outcome, Outcome::Ended);
    let reached = app.requests().iter().filter(|request| request.uri.path() == "/slow").count();
    assert!(reached < 1000, "{reached} of them reached the app");
}

/// CVE-2025-8671: the host is made to reset them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_the_host_must_reset() {
    let world = World::start().await;
    let (outcome, _) = world
        .flood(begin(&[]), true, |n| {
            let open = frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &get("/slow?ms=60000"));
            // An increment of nothing is an error of the stream (RFC 9113, 6.9).
            [open, frame(WINDOW_UPDATE, 0, stream(n), &[0; 4])].concat()
        })
        .await;
    assert_eq!(outcome, Outcome::Ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_streams_than_are_allowed() {
    let world = World::start().await;
    let (_, app) = world
        .flood(begin(&[]), true, |n| frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &get("/slow?ms=60000")))
        .await;
    let reached = app.requests().iter().filter(|request| request.uri.path() == "/slow").count();
    assert!(reached <= 64, "{reached} of them reached the app");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_never_end() {
    let world = World::start().await;
    let first = [begin(&[]), frame(HEADERS, END_STREAM, 1, &get("/never"))].concat();
    // A header of 1000 bytes in each, never kept in the dynamic table.
    let header = [&[0x10, 1, b'x', 0x7f, 0xe9, 0x06][..], &[b'y'; 1000]].concat();
    let (outcome, app) = world.flood(first, true, |_| frame(CONTINUATION, 0, 1, &header)).await;
    assert_eq!(outcome, Outcome::Ended);
    assert!(app.requests().iter().all(|request| request.uri.path() != "/never"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_that_want_answers() {
    for reads in [true, false] {
        // An empty SETTINGS and a PING want an answer each; who reads none of them is not read from any more.
        let settings = World::start().await.flood(begin(&[]), reads, |_| frame(SETTINGS, 0, 0, &[])).await.0;
        let ping = World::start().await.flood(begin(&[]), reads, |_| frame(PING, 0, 0, b"pingpong")).await.0;
        if !reads {
            assert_ne!((settings, ping), (Outcome::Taken, Outcome::Taken));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_are_played_with() {
    // 60 downloads that may send nothing.
    let shut = begin(&[0, 4, 0, 0, 0, 0]);
    let opened = (0..60).map(|n| frame(HEADERS, END_STREAM | END_HEADERS, stream(n), &get("/endless")));
    let first: Vec<u8> = [vec![shut], opened.collect()].concat().concat();
    // Each window opened by a byte at a time.
    let one = 1_u32.to_be_bytes();
    World::start().await.flood(first.clone(), true, |n| frame(WINDOW_UPDATE, 0, stream(n % 60), &one)).await;
    // All of them, opened and shut again.
    let world = World::start().await;
    world
        .flood(first.clone(), true, |n| {
            let size = if n % 2 == 0 { 0x7fff_0000_u32 } else { 0 };
            frame(SETTINGS, 0, 0, &[&[0, 4][..], &size.to_be_bytes()].concat())
        })
        .await;
    // More than a window can hold.
    let full = 0x7fff_ffff_u32.to_be_bytes();
    let (outcome, _) = World::start().await.flood(first, true, |_| frame(WINDOW_UPDATE, 0, 0, &full)).await;
    assert_eq!(outcome, Outcome::Ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_nobody_asked_for() {
    let world = World::start().await;
    let (outcome, _) = world.flood(begin(&[]), true, |_| frame(DATA, 0, 1, &[0; 1024])).await;
    assert_eq!(outcome, Outcome::Ended);
    // Frames without a byte of data, which no window counts.
    let open = frame(HEADERS, END_HEADERS, 1, &[&[0x83][..], &get("/upload")[1..]].concat());
    let world = World::start().await;
    world.flood([begin(&[]), open].concat(), true, |_| frame(DATA, 0, 1, &[])).await;
}
