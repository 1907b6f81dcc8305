mod accounts;
mod upkeep;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::account::tests::{Relay, Signer};
use crate::host::HostId;
use crate::registry::tests::{Lab, hash, room};

/// The far end of a socket: what it sends the door reads, and so the other way round, one message at a time.
struct Socket {
    say: mpsc::Sender<Incoming>,
    hear: mpsc::Receiver<Outgoing>,
    task: JoinHandle<()>,
}

impl Socket {
    async fn text(&self, message: Value) {
        self.say.send(Incoming::Text(message.to_string())).await.unwrap();
    }

    async fn bytes(&self, bytes: &'static [u8]) {
        self.say.send(Incoming::Binary(Bytes::from_static(bytes))).await.unwrap();
    }

    async fn next(&mut self) -> Outgoing {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(20), self.hear.recv()).await;
            match next.expect("it stays silent").expect("it has ended") {
                Outgoing::Ping => {}
                message => return message,
            }
        }
    }

    async fn json(&mut self) -> Value {
        match self.next().await {
            Outgoing::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    async fn closes(mut self) -> (u16, &'static str) {
        let Outgoing::Close { code, reason } = self.next().await else { panic!("not closed") };
        assert!(self.hear.recv().await.is_none(), "nothing follows");
        self.task.await.unwrap();
        (code, reason)
    }

    /// The error and the close that follows.
    async fn fails(mut self) -> (Value, u16, &'static str) {
        let error = self.json().await;
        let (code, reason) = self.closes().await;
        (error, code, reason)
    }
}

/// A door, and the host that is enrolled at its relay.
struct Doors {
    lab: Lab,
    door: Arc<RoomsDoor>,
    host: HostId,
}

impl Doors {
    async fn new() -> Self {
        Self::with(None).await
    }

    async fn with(accounts: Option<Arc<Accounts>>) -> Self {
        let lab = Lab::new();
        let host = lab.host(1).await;
        let door = Arc::new(RoomsDoor::new(Arc::clone(&lab.registry), accounts, 4, Arc::new(Metrics::new())));
        Doors { lab, door, host }
    }

    fn socket<F>(&self, serve: impl FnOnce(Arc<RoomsDoor>, ReceiverStream<Incoming>, ToTest) -> F) -> Socket
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let ((say, from), (to, hear)) = (mpsc::channel(1), mpsc::channel(1));
        let to: ToTest = Box::pin(futures_util::sink::unfold(to, |to, message| async move {
            to.send(message).await.map_err(drop)?;
            Ok(to)
        }));
        let task = tokio::spawn(serve(Arc::clone(&self.door), ReceiverStream::new(from), to));
        Socket { say, hear, task }
    }

    fn host_socket(&self) -> Socket {
        self.socket_of(self.host)
    }

    fn socket_of(&self, host: HostId) -> Socket {
        self.socket(|door, from, to| async move { door.serve_host(host, None, from, to).await })
    }

    fn device_socket(&self) -> Socket {
        self.device_from(1)
    }

    fn device_from(&self, n: u32) -> Socket {
        let source = IpAddr::V4(Ipv4Addr::from_bits(n));
        self.socket(|door, from, to| async move { door.serve_device(source, None, from, to).await })
    }

    async fn registered(&self) -> Socket {
        let mut socket = self.host_socket();
        socket.text(register(1, Some(2))).await;
        assert_eq!(socket.json().await, json!({"type": "room_registered", "room_id": room(1).to_hex()}));
        socket
    }

    async fn joined(&self, host: &mut Socket, join: Value) -> Socket {
        let mut device = self.device_socket();
        device.text(join).await;
        assert_eq!(device.json().await["type"], "room_joined");
        assert_eq!(host.json().await["type"], "peer_joined");
        device
    }

    async fn refused(&self, join: Value) -> (Value, u16, &'static str) {
        let device = self.device_socket();
        device.text(join).await;
        device.fails().await
    }
}

type ToTest = std::pin::Pin<Box<dyn futures_util::Sink<Outgoing, Error = ()> + Send>>;

fn hex(n: u8) -> String {
    hash(n).expose_hex().to_string()
}

fn register(secret: u8, token: Option<u8>) -> Value {
    let mut message = json!({
        "type": "register_room", "room_id": room(1).to_hex(), "secret_hash": hex(secret),
        "public_key": "aG9zdA==", "session_nonce": "aG5vbmNl",
    });
    if let Some(token) = token {
        message["pairing_token_hash"] = hex(token).into();
    }
    message
}

fn join(kind: &str, n: u8) -> Value {
    json!({
        "type": "join_room", "room_id": room(1).to_hex(), kind: hex(n),
        "public_key": "ZGV2aWNl", "ephemeral_key": "ZXBo",
    })
}

fn auth_failed(message: &str) -> Value {
    json!({"type": "error", "code": "AUTH_FAILED", "message": message})
}

#[tokio::test]
async fn two_get_together_and_their_bytes_pass_as_they_are() {
    let doors = Doors::new().await;
    let mut host = doors.registered().await;
    let mut device = doors.device_socket();
    device.text(join("pairing_token_hash", 2)).await;
    assert_eq!(
        device.json().await,
        json!({"type": "room_joined", "room_id": room(1).to_hex(), "public_key": "aG9zdA==", "session_nonce": "aG5vbmNl"})
    );
    assert_eq!(
        host.json().await,
        json!({"type": "peer_joined", "room_id": room(1).to_hex(), "public_key": "ZGV2aWNl", "ephemeral_key": "ZXBo"})
    );
    for bytes in [&b"\x11\x00sealed"[..], b"", b"{\"type\":\"join_room\"}"] {
        device.bytes(bytes).await;
        assert_eq!(host.next().await, Outgoing::Binary(Bytes::from_static(bytes)));
        host.bytes(bytes).await;
        assert_eq!(device.next().await, Outgoing::Binary(Bytes::from_static(bytes)));
    }
    drop(device);
    // The host's place stays, and the token is used.
    assert_eq!(
        doors.refused(join("pairing_token_hash", 2)).await,
        (auth_failed("Pairing token already used"), 4003, "pairing token already used")
    );
    doors.joined(&mut host, join("secret_hash", 1)).await;
}

#[tokio::test]
async fn registering_again_rotates_silently() {
    let doors = Doors::new().await;
    let mut host = doors.registered().await;
    let mut device = doors.joined(&mut host, join("pairing_token_hash", 2)).await;
    host.text(register(7, None)).await;
    // What comes next at either end is what the other sends: nothing was said of it.
    host.bytes(b"after").await;
    assert_eq!(device.next().await, Outgoing::Binary(Bytes::from_static(b"after")));
    device.bytes(b"still here").await;
    assert_eq!(host.next().await, Outgoing::Binary(Bytes::from_static(b"still here")));
    assert_eq!(doors.refused(join("secret_hash", 1)).await, (auth_failed("Invalid credentials"), 4003, "auth failed"));
    assert_eq!(doors.refused(join("pairing_token_hash", 2)).await.0, auth_failed("Pairing token already used"));
    doors.joined(&mut host, join("secret_hash", 7)).await;
    assert_eq!(device.closes().await, (1000, "replaced"));
}

#[tokio::test]
async fn the_third_failure_locks_the_room() {
    let doors = Doors::new().await;
    let _host = doors.registered().await;
    let nothing = json!({"type": "join_room", "room_id": room(1).to_hex(), "public_key": "x"});
    for attempt in [join("secret_hash", 9), nothing] {
        assert_eq!(doors.refused(attempt).await, (auth_failed("Invalid credentials"), 4003, "auth failed"));
    }
    for attempt in [join("secret_hash", 9), join("secret_hash", 1), join("pairing_token_hash", 2)] {
        let locked = (auth_failed("Too many failed attempts"), 4003, "too many auth failures");
        assert_eq!(doors.refused(attempt).await, locked);
    }
}

#[tokio::test]
async fn of_a_hundred_devices_at_once_one_gets_in_by_the_token() {
    let doors = Doors::new().await;
    let mut host = doors.registered().await;
    let mut answers = tokio::task::JoinSet::new();
    for n in 0..100 {
        let mut device = doors.device_from(n);
        answers.spawn(async move {
            device.text(join("pairing_token_hash", 2)).await;
            let answer = device.json().await;
            (answer["type"] == "room_joined", device)
        });
    }
    let answers = answers.join_all().await;
    assert_eq!(answers.iter().filter(|(joined, _)| *joined).count(), 1);
    assert_eq!(host.json().await["type"], "peer_joined");
}

#[tokio::test]
async fn a_device_without_its_host_uses_nothing_up() {
    let doors = Doors::new().await;
    let host = doors.registered().await;
    drop(host.say);
    host.task.await.unwrap();
    let (error, code, _) = doors.refused(join("pairing_token_hash", 2)).await;
    assert_eq!((error["code"].as_str().unwrap(), code), ("HOST_OFFLINE", 1013));
    let mut host = doors.registered().await;
    doors.joined(&mut host, join("pairing_token_hash", 2)).await;
}

#[tokio::test]
async fn a_device_joins_only_so_often() {
    let doors = Doors::new().await;
    let mut host = doors.registered().await;
    let mut device = doors.joined(&mut host, join("secret_hash", 1)).await;
    for _ in 1..8 {
        device = doors.joined(&mut host, join("secret_hash", 1)).await;
    }
    let (error, code, _) = doors.refused(join("secret_hash", 1)).await;
    assert_eq!((error["code"].as_str().unwrap(), code), ("TOO_MANY_REQUESTS", 1013));
    // Who is there stays, and who has another way in comes in.
    device.bytes(b"here").await;
    assert_eq!(host.next().await, Outgoing::Binary(Bytes::from_static(b"here")));
    doors.joined(&mut host, join("pairing_token_hash", 2)).await;
}

#[tokio::test]
async fn places_change_hands() {
    let doors = Doors::new().await;
    let mut host = doors.registered().await;
    let device = doors.joined(&mut host, join("secret_hash", 1)).await;
    let mut again = doors.registered().await;
    assert_eq!(host.closes().await, (1000, "replaced"));
    assert_eq!(device.closes().await, (1001, "the other end has left"));
    let device = doors.joined(&mut again, join("secret_hash", 1)).await;
    drop(again.say);
    assert_eq!(device.closes().await, (1001, "the other end has left"));
    again.task.await.unwrap();
    assert_eq!(doors.door.open_rooms(), 0);
}

#[tokio::test]
async fn what_is_no_message_ends_the_socket_and_is_never_echoed() {
    let doors = Doors::new().await;
    let invalid = |error: &Value| error["code"] == "INVALID_MESSAGE";
    let texts = [
        "",
        "{",
        "[]",
        "{\"type\":\"register_room\"}",
        "{\"type\":\"peer_joined\"}",
        "{\"type\":\"join_room\",\"room_id\":\"AB\"}",
        "\u{0}",
        "{\"type\":7}",
    ];
    for text in texts {
        for socket in [doors.host_socket(), doors.device_socket()] {
            socket.say.send(Incoming::Text(text.into())).await.unwrap();
            let (error, code, _) = socket.fails().await;
            assert!(invalid(&error) && code == 1008, "{text}: {error}");
        }
    }
    let cases = [
        (Incoming::Binary(Bytes::from_static(b"first")), 1008),
        (Incoming::Text("x".repeat(TEXT_MAX + 1)), 1009),
        (Incoming::Binary(vec![0; BINARY_MAX + 1].into()), 1009),
        (Incoming::TooLarge, 1009),
    ];
    for (message, wanted) in cases {
        let socket = doors.device_socket();
        socket.say.send(message).await.unwrap();
        let (error, code, _) = socket.fails().await;
        assert!(invalid(&error) && code == wanted, "{error}");
    }
    // A device speaks to the host's door, and the host of another room once it has one.
    let socket = doors.host_socket();
    socket.text(join("secret_hash", 1)).await;
    assert!(invalid(&socket.fails().await.0));
    let mut host = doors.registered().await;
    let device = doors.joined(&mut host, join("secret_hash", 1)).await;
    device.text(join("secret_hash", 1)).await;
    assert!(invalid(&device.fails().await.0));
    let mut other = register(1, None);
    other["room_id"] = room(2).to_hex().into();
    host.text(other).await;
    assert!(invalid(&host.fails().await.0));
}

#[tokio::test]
async fn all_fields_may_be_sent_and_unknown_ones_are_passed_over() {
    let doors = Doors::new().await;
    let mut host = doors.host_socket();
    let mut all = register(1, Some(2));
    (all["ephemeral_key"], all["later"]) = ("bmV3".into(), json!({"x": [1]}));
    host.text(all).await;
    assert_eq!(host.json().await["type"], "room_registered");
    let mut device = doors.device_socket();
    device.text(join("secret_hash", 1)).await;
    let told = device.json().await;
    assert_eq!((&told["session_nonce"], &told["ephemeral_key"]), (&json!("aG5vbmNl"), &json!("bmV3")));
    assert_eq!(host.json().await["type"], "peer_joined");
    let mut both = join("secret_hash", 9);
    both["pairing_token_hash"] = hex(2).into();
    both["later"] = json!({"x": [1]});
    doors.joined(&mut host, both).await;
}

#[tokio::test]
async fn a_room_of_another_host_is_not_taken() {
    let doors = Doors::new().await;
    let _host = doors.registered().await;
    let other = doors.socket_of(doors.lab.host(2).await);
    other.text(register(5, None)).await;
    assert_eq!(other.fails().await, (auth_failed("Invalid credentials"), 4003, "auth failed"));
    assert_eq!(doors.door.open_rooms(), 1);
}

#[tokio::test]
async fn removed_rooms_and_revoked_hosts_are_cut() {
    let doors = Doors::new().await;
    let follows = tokio::spawn(Arc::clone(&doors.door).follow_registry());
    tokio::task::yield_now().await;
    let mut host = doors.registered().await;
    let device = doors.joined(&mut host, join("secret_hash", 1)).await;
    doors.lab.registry.remove_room(doors.host, room(1)).await.unwrap();
    assert_eq!(device.closes().await, (1001, "room closed"));
    assert_eq!(host.closes().await, (1001, "room closed"));
    let host = doors.registered().await;
    doors.lab.registry.revoke_host(doors.host).await.unwrap();
    assert_eq!(host.closes().await, (1001, "room closed"));
    follows.abort();
}

#[tokio::test(start_paused = true)]
async fn a_silent_socket_is_let_go_and_a_slow_reader_slows_its_sender() {
    let doors = Doors::new().await;
    let (error, code, _) = doors.device_socket().fails().await;
    assert_eq!((error["code"].as_str().unwrap(), code), ("INVALID_MESSAGE", 1008));

    let mut host = doors.registered().await;
    let mut device = doors.joined(&mut host, join("secret_hash", 1)).await;
    let message = Bytes::from(vec![7; BINARY_MAX]);
    let mut taken = 0;
    // The host's app takes nothing: soon nothing more is taken of the device either.
    while tokio::time::timeout(Duration::from_secs(60), device.say.send(Incoming::Binary(message.clone())))
        .await
        .is_ok()
    {
        taken += 1;
        assert!(taken < 10, "it takes whatever comes");
    }
    // The other direction goes on meanwhile.
    host.bytes(b"back").await;
    assert_eq!(device.next().await, Outgoing::Binary(Bytes::from_static(b"back")));
    for _ in 0..taken {
        assert_eq!(host.next().await, Outgoing::Binary(message.clone()));
    }
    device.bytes(b"last").await;
    assert_eq!(host.next().await, Outgoing::Binary(Bytes::from_static(b"last")));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_are_full_at_once_and_keep_their_order() {
    const MESSAGES: u32 = 500;
    let doors = Doors::new().await;
    let mut host = doors.registered().await;
    let device = doors.joined(&mut host, join("secret_hash", 1)).await;
    let message = |end: u8, n: u32| {
        let size = (n as usize * 977) % (BINARY_MAX - 4);
        Bytes::from([&n.to_be_bytes()[..], &vec![end; size]].concat())
    };
    let mut ends = tokio::task::JoinSet::new();
    for (ours, theirs, socket) in [(1, 2, host), (2, 1, device)] {
        let Socket { say, mut hear, task: _ } = socket;
        let both = async move {
            let speaks = async {
                for n in 0..MESSAGES {
                    say.send(Incoming::Binary(message(ours, n))).await.unwrap();
                }
            };
            let listens = async {
                for n in 0..MESSAGES {
                    assert!(hear.recv().await == Some(Outgoing::Binary(message(theirs, n))), "message {n}");
                }
            };
            tokio::join!(speaks, listens);
            (say, hear)
        };
        ends.spawn(both);
    }
    tokio::time::timeout(Duration::from_secs(60), ends.join_all()).await.expect("it stands still");
}

#[tokio::test]
async fn so_many_rooms_are_open() {
    let doors = Doors::new().await;
    let mut sockets = Vec::new();
    for n in 1..=5 {
        let mut socket = doors.host_socket();
        let mut message = register(1, None);
        message["room_id"] = room(n).to_hex().into();
        socket.text(message).await;
        if n == 5 {
            let (error, code, _) = socket.fails().await;
            assert_eq!((error["code"].as_str().unwrap(), code), ("TOO_MANY_ROOMS", 1013));
            break;
        }
        assert_eq!(socket.json().await["type"], "room_registered");
        sockets.push(socket);
    }
}

#[test]
fn messages_do_not_print_what_opens_something() {
    let text = |mut message: Value| {
        message["account"] = "canary".into();
        message.to_string()
    };
    let host: message::FromHost = serde_json::from_str(&text(register(7, Some(7)))).unwrap();
    let device: message::FromDevice = serde_json::from_str(&text(join("secret_hash", 7))).unwrap();
    let printed = format!("{host:?} {device:?}");
    assert!(!printed.contains("canary") && !printed.contains("0707") && printed.contains("redacted"), "{printed}");
}
