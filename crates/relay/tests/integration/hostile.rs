//! What no peer of ours sends: each listener refuses it, in the shape that errors have, and goes on.

use crate::common::{
    self, LOCALHOST, TestHost, TestRelay, Tls, ask_secret, by_secret, eventually, request, room, say, shake_hands, tcp,
    within,
};
use futures_util::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is done at a door, and what must begin the answer.
struct Attempt {
    what: &'static str,
    bytes: Vec<u8>,
    answer: &'static [&'static str],
}

fn attempt(what: &'static str, bytes: impl Into<Vec<u8>>, answer: &'static [&'static str]) -> Attempt {
    Attempt { what, bytes: bytes.into(), answer }
}

const REFUSED: &[&str] = &["400 "];

/// Requests that are none, or none of HTTP/1.1.
fn no_requests() -> Vec<Attempt> {
    let post = |headers: &str, body: &str| format!("POST /pair HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n{body}");
    let get = |head: &str| format!("GET /p HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n");
    vec![
        attempt("noise", vec![0xff; 200], REFUSED),
        // Hung up on without an answer, which it could not read.
        attempt("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[]),
        attempt("no version", "GET /p\r\n\r\n", REFUSED),
        attempt("a space before the colon", get("x : 1"), REFUSED),
        attempt("a folded line", get("x: 1\r\n 2"), REFUSED),
        attempt("a zero byte", get("x: a\0b"), REFUSED),
        attempt("a bare CR", get("x: a\rb"), REFUSED),
        attempt("a large head", get(&format!("x: {}", "a".repeat(70_000))), &["431 "]),
        attempt("a long path", format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000)), &["414 ", "431 "]),
        attempt("many headers", get(&"x: 1\r\n".repeat(200)), &["431 "]),
        attempt("two lengths", post("content-length: 2\r\ncontent-length: 3", "{}"), REFUSED),
        attempt("a length of letters", post("content-length: two", "{}"), REFUSED),
        attempt("a signed length", post("content-length: +2", "{}"), REFUSED),
        attempt("a length without end", post("content-length: 99999999999999999999999", "{}"), REFUSED),
        attempt("another coding", post("transfer-encoding: gzip", "{}"), REFUSED),
        attempt("a coding behind chunks", post("transfer-encoding: chunked, identity", "0\r\n\r\n"), REFUSED),
        attempt(
            "chunks of HTTP/1.0",
            "POST /pair HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            REFUSED,
        ),
        attempt(
            "bad chunks",
            post("content-type: application/json\r\ntransfer-encoding: chunked", "zz\r\n{}"),
            REFUSED,
        ),
    ]
}

/// The status lines in what was answered.
fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.").skip(1).filter_map(|rest| rest.get(2..6)).collect()
}

#[tokio::test]
async fn what_is_no_request_is_refused_at_both_listeners() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    for Attempt { what, bytes, answer } in no_requests() {
        let at_devices = say(relay.device_tls().await, &bytes).await;
        // The hosts' listener has no /p and no /pair: what it reads of a request is the same.
        let at_hosts = say(host.tls(&relay).await.unwrap(), &bytes).await;
        for got in [at_devices, at_hosts] {
            let all = statuses(&got);
            let not_here = all == ["404 "] && what == "bad chunks";
            let refused = all.len() == 1 && answer.contains(&all[0]);
            assert!(refused || not_here || (what == "HTTP/2" && got.is_empty()), "{what}: {got:?}");
        }
    }
    // Other protocols than TLS.
    for port in [relay.devices_port(), relay.hosts_port()] {
        for bytes in [b"GET /p HTTP/1.1\r\nhost: x\r\n\r\n".as_slice(), b"SSH-2.0-x\r\n", &[0x16, 3, 1, 0xff, 0xff, 0]]
        {
            let mut stream = tcp(LOCALHOST, port).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut rest = Vec::new();
            let _ = within("the end", stream.read_to_end(&mut rest)).await;
            assert!(!rest.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&rest));
        }
        let mut config = relay.device_config();
        config.alpn_protocols = vec![b"h2".to_vec()];
        assert!(shake_hands(config, tcp(LOCALHOST, port).await.unwrap()).await.is_err(), "HTTP/2 alone");
    }
    assert_eq!(request(relay.device_tls().await, Method::GET, "/p", None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_within_a_request_is_not_answered() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    let mut events = host.events(&relay, None).await;
    // By its length the body holds another request; by its chunks it ends before.
    let inner = "GET /p HTTP/1.1\r\nhost: x\r\n\r\n";
    for headers in [
        format!("content-length: {}\r\ntransfer-encoding: chunked", inner.len() + 5),
        format!("transfer-encoding: chunked\r\ncontent-length: {}", inner.len() + 5),
        "content-length: 0\r\ntransfer-encoding: chunked".to_owned(),
    ] {
        let bytes = format!(
            "POST /pair HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\r\n\r\n0\r\n\r\n{inner}"
        );
        let got = say(relay.device_tls().await, bytes.as_bytes()).await;
        assert_eq!(statuses(&got), ["400 "], "{headers}: {got}");
    }
    // A body before an upgrade is none of the session's bytes.
    let sid = relay.pair(&ask_secret(1)).await.sid();
    assert_eq!(events.next().await.unwrap().id.as_deref(), Some(sid.as_str()));
    let upgrade = |headers: &str, body: &str| {
        format!(
            "GET /pair/relay/{sid} HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n\r\n{body}"
        )
    };
    for bytes in
        [upgrade("content-length: 5", "hello"), upgrade("transfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")]
    {
        let got = say(relay.device_tls().await, bytes.as_bytes()).await;
        assert_eq!(statuses(&got), ["400 "], "{got}");
    }
    // Nothing was taken by them.
    let (mut device, mut end) = (relay.device_end(&sid).await, host.socket(&relay, &sid).await);
    device.send("x".into()).await.unwrap();
    assert_eq!(within("it passes", end.next()).await.unwrap().unwrap(), "x".into());
}

#[tokio::test]
async fn every_route_refuses_other_methods_and_what_it_cannot_read() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    let (room, sid) = (room(1), "0".repeat(32));
    let (rooms, relayed) = (format!("/host/rooms/{room}"), format!("/pair/relay/{sid}"));
    let of_devices = [
        ("/pair", vec![Method::POST, Method::OPTIONS]),
        (&relayed, vec![Method::GET]),
        ("/enroll", vec![Method::POST]),
        ("/rooms", vec![Method::GET]),
        ("/check", vec![Method::GET]),
        ("/p", vec![Method::GET]),
        ("/p/", vec![Method::GET]),
        ("/P", vec![Method::GET]),
        ("/P/", vec![Method::GET]),
        ("/p/phone.js", vec![Method::GET]),
        (&rooms, vec![]),
        ("/host/events", vec![]),
        ("/", vec![]),
        ("//pair", vec![]),
        ("/pair/", vec![]),
        ("/p/../pair", vec![]),
    ];
    let of_hosts = [
        (rooms.as_str(), vec![Method::PUT, Method::DELETE]),
        ("/host/events", vec![Method::GET]),
        (&relayed, vec![Method::GET]),
        ("/rooms", vec![Method::GET]),
        ("/pair", vec![]),
        ("/enroll", vec![]),
    ];
    let others =
        [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::TRACE];
    for (at_hosts, routes) in [(false, of_devices.as_slice()), (true, &of_hosts)] {
        for (path, taken) in routes {
            for method in others.iter().filter(|method| !taken.contains(method)) {
                let tls = if at_hosts { host.tls(&relay).await.unwrap() } else { relay.device_tls().await };
                let answer = request(tls, method.clone(), path, None).await;
                let expected = if taken.is_empty() { (404, "CPL-1009") } else { (405, "CPL-1010") };
                assert_eq!((answer.status.as_u16(), answer.code()), expected, "{method} {path}");
                assert_eq!(answer.headers["content-type"], "application/problem+json", "{method} {path}");
            }
        }
    }
    // Ids that are none, however they are written.
    for bad in ["%ff", "%00", "%2e%2e", "x", &"A".repeat(32), &"0".repeat(33), "..%2fpair"] {
        let path = format!("/pair/relay/{bad}");
        let mut device = common::sender(relay.device_tls().await).await;
        let answer = common::upgrade(&mut device, &path, common::WEBSOCKET).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "CPL-1815"), "{bad}");
        let plain = request(relay.device_tls().await, Method::GET, &path, None).await;
        assert_eq!((plain.status, plain.code()), (StatusCode::UPGRADE_REQUIRED, "CPL-1014"), "{bad}");
        assert_eq!(host.end(&relay, bad).await.err(), Some(StatusCode::NOT_FOUND), "{bad}");
        for (method, body) in [(Method::PUT, Some(by_secret(1))), (Method::DELETE, None)] {
            let answer = host.request(&relay, method, &format!("/host/rooms/{bad}"), body.as_ref()).await;
            assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "CPL-1009"), "{bad}");
        }
    }
}

#[tokio::test]
async fn bodies_that_are_not_what_a_route_takes_are_refused() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    let rooms = format!("/host/rooms/{}", room(1));
    let nested = "[".repeat(10_000);
    let doubled = format!("{{\"room_id\":\"{0}\",\"room_id\":\"{0}\",\"secret_hash\":\"{0}{0}\"}}", room(1));
    let large = json!({"x": "x".repeat(20_000)}).to_string();
    let bodies: [(&str, &[u8], &str); 9] = [
        ("none", b"", "CPL-1001"),
        ("half", b"{\"room_id\":", "CPL-1001"),
        ("two", b"{}{}", "CPL-1001"),
        ("a list", b"[]", "CPL-1001"),
        ("deep", nested.as_bytes(), "CPL-1001"),
        ("not UTF-8", b"{\"room_id\":\"\xff\xfe\"}", "CPL-1001"),
        ("numbers", b"{\"room_id\":1e999,\"csr\":1,\"public_key\":1}", "CPL-1001"),
        ("a member twice", doubled.as_bytes(), "CPL-1001"),
        ("large", large.as_bytes(), "CPL-1003"),
    ];
    for (at_hosts, method, path) in [(false, "POST", "/pair"), (false, "POST", "/enroll"), (true, "PUT", &rooms)] {
        let connect = async || if at_hosts { host.tls(&relay).await.unwrap() } else { relay.device_tls().await };
        let ask = async |kind: &str, framing: &str, body: &[u8]| {
            let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{kind}{framing}\r\n\r\n");
            say(connect().await, &[head.as_bytes(), body].concat()).await
        };
        for (what, body, code) in bodies {
            let sized =
                ask("content-type: application/json\r\n", &format!("content-length: {}", body.len()), body).await;
            let chunks = if body.is_empty() {
                b"0\r\n\r\n".to_vec()
            } else {
                [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
            };
            let chunked = ask("content-type: application/json\r\n", "transfer-encoding: chunked", &chunks).await;
            for got in [sized, chunked] {
                assert!(statuses(&got).len() == 1 && got.contains(code), "{path}, {what}: {got}");
                assert!(!got.contains(&room(1)), "nothing is quoted: {got}");
            }
        }
        for kind in ["", "content-type: text/plain\r\n", "content-type: \r\n"] {
            let got = ask(kind, "content-length: 2", b"{}").await;
            assert!(got.contains("CPL-1002"), "{path}, {kind}: {got}");
        }
    }
    host.room(&relay, &room(1), by_secret(1)).await;
}

/// A WebSocket whose frames the test makes.
async fn raw(path: &str, mut tls: Tls) -> Tls {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    tls.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("the upgrade", async {
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(tls.read_u8().await.unwrap());
        }
    })
    .await;
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    tls
}

/// A frame of a client: its first byte, and its payload masked by zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    let mut bytes = vec![first];
    match len {
        0..126 => bytes.push(0x80 | u8::try_from(len).unwrap()),
        126..65536 => bytes.extend([&[0xfe][..], &u16::try_from(len).unwrap().to_be_bytes()].concat()),
        _ => bytes.extend([&[0xff, 0, 0, 0, 0][..], &len.to_be_bytes()].concat()),
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

#[tokio::test]
async fn a_check_takes_no_frame_beyond_its_bound() {
    let relay = TestRelay::start(|_| {}).await;
    let mut tls = raw("/check", relay.device_tls().await).await;
    tls.write_all(&frame(0x82, &[7; 1024])).await.unwrap();
    let mut back = vec![0; 4 + 1024];
    within("what was sent", tls.read_exact(&mut back)).await.unwrap();
    assert_eq!(back[4..], [7; 1024]);
    // The head of a larger one is its end: nothing of it is waited for.
    let start = std::time::Instant::now();
    tls.write_all(&frame(0x82, &[7; 2048])[..8]).await.unwrap();
    let _ = within("the end", tls.read_to_end(&mut Vec::new())).await;
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn frames_that_no_room_takes_end_their_socket_and_no_other() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    let register: Value = json!({"type": "register_room", "room_id": room(1), "secret_hash": common::hex(1, 32),
        "public_key": "hk"});
    let join = json!({"type": "join_room", "room_id": room(1), "secret_hash": common::hex(1, 32), "public_key": "dk"});
    let rooms = async |tls| tokio_tungstenite::client_async("wss://localhost/rooms", tls).await.unwrap().0;
    let mut at_host = rooms(host.tls(&relay).await.unwrap()).await;
    at_host.send(register.to_string().into()).await.unwrap();
    within("registered", at_host.next()).await.unwrap().unwrap();

    let text = |len: usize| frame(0x81, &vec![b' '; len]);
    let attempts: [(&str, Vec<u8>); 14] = [
        ("binary before the room", frame(0x82, b"x")),
        ("no JSON", frame(0x81, b"x")),
        ("a large text", text(8 * 1024 + 1)),
        ("a very large text", text(70_000)),
        ("a large binary", frame(0x82, &vec![0; 70_000])),
        ("a length without end", vec![0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        ("many fragments", [frame(0x02, &[0; 40_000]), frame(0x80, &[0; 40_000])].concat()),
        ("no mask", vec![0x81, 2, b'{', b'}']),
        ("reserved bits", frame(0xf1, b"{}")),
        ("an unknown opcode", frame(0x83, b"{}")),
        ("a rest of nothing", frame(0x80, b"{}")),
        ("text that is no UTF-8", frame(0x81, b"\xff\xfe")),
        ("a large ping", frame(0x89, &[0; 126])),
        ("a ping in fragments", frame(0x09, b"x")),
    ];
    for (what, bytes) in &attempts {
        // Of a stranger, and of a device that has joined: it is fed to no one.
        for joined in [false, true] {
            let mut tls = raw("/rooms", relay.device_tls().await).await;
            if joined {
                tls.write_all(&frame(0x81, join.to_string().as_bytes())).await.unwrap();
                within("the host is told", at_host.next()).await.unwrap().unwrap();
                if *what == "binary before the room" {
                    continue;
                }
            }
            let _ = tls.write_all(bytes).await;
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(common::PATIENCE / 6, tls.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "{what}, joined {joined}: goes on");
        }
    }
    // The host's socket has seen none of it and goes on.
    let mut device = rooms(relay.device_tls().await).await;
    device.send(join.to_string().into()).await.unwrap();
    within("joined", device.next()).await.unwrap().unwrap();
    let bytes = tokio_tungstenite::tungstenite::Message::binary(vec![7; 65_536]);
    device.send(bytes.clone()).await.unwrap();
    eventually("the largest message", async || within("a message", at_host.next()).await.unwrap().unwrap() == bytes)
        .await;
}
