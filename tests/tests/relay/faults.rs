//! A relay that is killed, whose clock is wrong, or whose logs somebody reads.

use e2e::host::{PATIENCE, with_wrong_clock};
use e2e::program::{couplet, program};
use e2e::relay::Identity;
use e2e::{Relay, Running};
use futures_util::{SinkExt, StreamExt};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

type Tls = TlsStream<TcpStream>;

fn identity(host: &Host) -> Identity {
    let chain = CertificateDer::pem_slice_iter(host.certificate.as_bytes());
    let key = PrivatePkcs8KeyDer::from(host.key.serialize_der());
    (chain.collect::<Result<_, _>>().unwrap(), key.into())
}

/// Status and body; an error when the relay is gone before it has answered.
async fn request(
    relay: &Relay,
    host: Option<&Host>,
    method: &str,
    path: &str,
    body: &Value,
) -> std::io::Result<(u16, Value)> {
    let mut tls = relay.tls(host.map(identity)).await?;
    let body = body.to_string();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    let about = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    tls.write_all(format!("{head}{about}{body}").as_bytes()).await?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, tls.read_to_string(&mut answer)).await.expect("an answer in time")?;
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// A host's event stream; what the relay has told is in its lines.
async fn events(relay: &Relay, host: &Host) -> Tls {
    let mut tls = relay.tls(Some(identity(host))).await.unwrap();
    tls.write_all(b"GET /host/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    until(&mut tls, ":\n\n").await;
    tls
}

/// Both ends of a session: the device's WebSocket, and the bytes at its host.
async fn session(relay: &Relay, host: &Host, sid: &str) -> (WebSocketStream<Tls>, Tls) {
    let url = format!("wss://localhost/pair/relay/{sid}");
    let tls = relay.tls(None).await.unwrap();
    let (device, _) = tokio_tungstenite::client_async(url, tls).await.unwrap();
    let mut end = relay.tls(Some(identity(host))).await.unwrap();
    let head = format!("GET /pair/relay/{sid} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n");
    end.write_all(format!("{head}upgrade: couplet-stream\r\n\r\n").as_bytes()).await.unwrap();
    assert!(until(&mut end, "\r\n\r\n").await.starts_with("HTTP/1.1 101"));
    (device, end)
}

async fn until(tls: &mut Tls, end: &str) -> String {
    let mut text = String::new();
    let read = async {
        while !text.ends_with(end) {
            text.push(tls.read_u8().await.unwrap().into());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{end:?} does not come"));
    text
}

#[derive(Debug)]
struct Host {
    key: KeyPair,
    id: String,
    certificate: String,
}

fn csr(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

impl Host {
    async fn enroll(relay: &Relay, token: Option<&str>, key: KeyPair) -> std::io::Result<Result<Host, u16>> {
        let body = match token {
            Some(token) => json!({"token": token, "csr": csr(&key)}),
            None => json!({"csr": csr(&key)}),
        };
        let (status, answer) = request(relay, None, "POST", "/enroll", &body).await?;
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Ok(if status == 200 {
            Ok(Host { id: text("host_id"), certificate: text("certificate"), key })
        } else {
            Err(status)
        })
    }

    async fn enrolled(relay: &Relay) -> Host {
        Host::enroll(relay, Some(&relay.invite()), KeyPair::generate().unwrap()).await.unwrap().unwrap()
    }
}

fn room(n: u32) -> String {
    format!("{n:032x}")
}

fn hash(n: u32) -> String {
    format!("{n:064x}")
}

fn by_token(n: u32) -> Value {
    json!({"pairing_token_hash": hash(n), "public_key": "k"})
}

fn ask(n: u32) -> Value {
    json!({"room_id": room(n), "pairing_token_hash": hash(n)})
}

/// What a killed relay knows when it is back of work that it was at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Done,
    Undone,
}

/// Has the relay do a piece of work again and again, killed at another step of it each time, until it lives to the end;
/// `look` finds out afterwards what became of it. What an answer said before the kill counts after it; without an answer
/// the work is done or not, and both must have been seen.
async fn cut_at_every_step<T: std::fmt::Debug>(
    relay: &mut Relay,
    what: &str,
    mut prepare: impl AsyncFnMut(&Relay) -> T,
    work: impl AsyncFn(&Relay, &T) -> bool,
    look: impl AsyncFn(&Relay, T) -> Left,
) {
    let (mut unanswered, mut lives) = (Vec::new(), false);
    for step in 1.. {
        let prepared = prepare(relay).await;
        relay.restart_for(step).await;
        let is_answered = work(relay, &prepared).await;
        lives = is_answered && !relay.has_ended();
        if !is_answered {
            assert_eq!(relay.ends().await, None, "{what}: no answer at step {step}, and it was not killed");
        }
        relay.restart().await;
        let left = look(relay, prepared).await;
        assert!(left == Left::Done || !is_answered, "{what}: answered and forgotten at step {step}");
        if lives {
            break;
        }
        if !is_answered {
            unanswered.push(left);
        }
    }
    assert!(lives && [Left::Done, Left::Undone].iter().all(|left| unanswered.contains(left)), "{what}: {unanswered:?}");
}

#[tokio::test]
async fn a_relay_that_is_killed_while_it_works_forgets_nothing_that_it_has_answered() {
    let mut relay = Relay::start().await;
    let again = |key: &KeyPair| KeyPair::from_pem(&key.serialize_pem()).unwrap();
    // To enrol: the token is free, or the host with this key has it.
    let prepare = async |relay: &Relay| (relay.invite(), KeyPair::generate().unwrap());
    let work = async |relay: &Relay, (token, key): &(String, KeyPair)| {
        Host::enroll(relay, Some(token), again(key)).await.is_ok_and(|answer| answer.is_ok())
    };
    let look = async |relay: &Relay, (token, key): (String, KeyPair)| {
        let known = Host::enroll(relay, None, again(&key)).await.unwrap().is_ok();
        let mine = Host::enroll(relay, Some(&token), key).await.unwrap();
        assert!(mine.is_ok(), "the host cannot come again: {:?}", mine.err());
        let other = Host::enroll(relay, Some(&token), KeyPair::generate().unwrap()).await.unwrap();
        assert_eq!(other.err(), Some(410), "used twice");
        if known { Left::Done } else { Left::Undone }
    };
    cut_at_every_step(&mut relay, "to enrol", prepare, work, look).await;

    // To register.
    let host = Host::enrolled(&relay).await;
    let mut rooms = 0..;
    let prepare = async |_: &Relay| rooms.next().unwrap();
    let put = async |relay: &Relay, n: u32| {
        request(relay, Some(&host), "PUT", &format!("/host/rooms/{}", room(n)), &by_token(n)).await.map(|done| done.0)
    };
    let work = async |relay: &Relay, n: &u32| put(relay, *n).await.is_ok_and(|status| status == 201);
    let look = async |relay: &Relay, n: u32| match put(relay, n).await.unwrap() {
        204 => Left::Done,
        201 => Left::Undone,
        status => panic!("{status}"),
    };
    cut_at_every_step(&mut relay, "to register", prepare, work, look).await;

    // To remove: then the token is used, for who has it.
    let mut rooms = 1_000..;
    let prepare = async |relay: &Relay| {
        let n = rooms.next().unwrap();
        assert_eq!(put(relay, n).await.unwrap(), 201);
        n
    };
    let work = async |relay: &Relay, n: &u32| {
        let path = format!("/host/rooms/{}", room(*n));
        request(relay, Some(&host), "DELETE", &path, &Value::Null).await.is_ok_and(|(status, _)| status == 204)
    };
    let look = async |relay: &Relay, n: u32| {
        let _events = events(relay, &host).await;
        match request(relay, None, "POST", "/pair", &ask(n)).await.unwrap().0 {
            410 => Left::Done,
            200 => Left::Undone,
            status => panic!("{status}"),
        }
    };
    cut_at_every_step(&mut relay, "to remove", prepare, work, look).await;

    // To revoke.
    let prepare = async |relay: &Relay| Host::enrolled(relay).await;
    let work = async |relay: &Relay, host: &Host| relay.run(&["hosts", "revoke", &host.id, "--yes"]).0 == 0;
    let look = async |relay: &Relay, host: Host| match Host::enroll(relay, None, host.key).await.unwrap() {
        Ok(_) => Left::Undone,
        Err(_) => Left::Done,
    };
    cut_at_every_step(&mut relay, "to revoke", prepare, work, look).await;
}

#[tokio::test]
async fn sessions_end_with_a_relay_that_is_killed_and_their_room_opens_again() {
    let mut relay = Relay::start().await;
    let host = Host::enrolled(&relay).await;
    request(&relay, Some(&host), "PUT", &format!("/host/rooms/{}", room(1)), &by_token(1)).await.unwrap();
    let told = events(&relay, &host).await;
    let (status, answer) = request(&relay, None, "POST", "/pair", &ask(1)).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let (mut device, mut end) = session(&relay, &host, answer["sid"].as_str().unwrap()).await;
    device.send(Message::text("x")).await.unwrap();
    assert_eq!(end.read_u8().await.unwrap(), 0x81);
    relay.kill().await;
    let over = tokio::time::timeout(PATIENCE, device.next()).await.expect("the device notices");
    assert!(!matches!(over, Some(Ok(_))), "{over:?}");
    drop((told, end));
    // It asks by the same token, which the session has not used up.
    relay.restart().await;
    let _told = events(&relay, &host).await;
    let (status, answer) = request(&relay, None, "POST", "/pair", &ask(1)).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    session(&relay, &host, answer["sid"].as_str().unwrap()).await;
}

#[tokio::test]
async fn a_clock_that_is_five_minutes_wrong_is_named_with_how_much_and_what_to_do() {
    let relay = Relay::start().await;
    for (offset, which) in [("-5m", "ahead of"), ("+5m", "behind")] {
        let folder = tempfile::tempdir().unwrap();
        let mut check = couplet();
        check.args(["relay", "check", relay.ready_text("public"), "--relay-ca"]);
        check.arg(relay.ready_text("ca"));
        with_wrong_clock(&mut check, folder.path(), offset);
        let output = check.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let by = ["299 s", "300 s", "301 s"].iter().any(|by| said.contains(&format!("{by} {which} this one's")));
        assert!(by && said.contains("CPL-1822") && said.contains("timedatectl"), "{said}");
    }
    // A host whose clock is behind can use its certificate at once all the same, and its answer says what the time is.
    let key = KeyPair::generate().unwrap();
    let mut tls = relay.tls(None).await.unwrap();
    let body = json!({"token": relay.invite(), "csr": csr(&key)}).to_string();
    let head = "POST /enroll HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    tls.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\ndate: "), "{answer}");
}

#[tokio::test]
async fn strangers_do_not_fill_the_log() {
    let relay = Relay::start().await;
    let host = Host::enroll(&relay, Some(&relay.invite()), KeyPair::generate().unwrap()).await.unwrap().unwrap();
    let room = "0123456789abcdef".repeat(2);
    let body = json!({"secret_hash": "a".repeat(64), "public_key": "key"});
    let (status, _) = request(&relay, Some(&host), "PUT", &format!("/host/rooms/{room}"), &body).await.unwrap();
    assert_eq!(status, 201);
    let before = relay.written().lines().count();
    let mut requests = String::new();
    for n in 0..1_000 {
        let room = if n < 10 { room.clone() } else { format!("{n:032x}") };
        let body = json!({"room_id": room, "secret_hash": "b".repeat(64)}).to_string();
        let last = if n == 999 { "connection: close\r\n" } else { "" };
        let about = format!("content-type: application/json\r\n{last}content-length: {}", body.len());
        requests.push_str(&format!("POST /pair HTTP/1.1\r\nhost: localhost\r\n{about}\r\n\r\n{body}"));
    }
    let (mut reader, mut writer) = tokio::io::split(relay.tls(None).await.unwrap());
    let mut answers = String::new();
    let asked = async { tokio::join!(writer.write_all(requests.as_bytes()), reader.read_to_string(&mut answers)) };
    tokio::time::timeout(PATIENCE, asked).await.expect("a thousand answers in time").1.unwrap();
    let refused = |status| answers.matches(&format!("HTTP/1.1 {status} ")).count();
    assert_eq!((refused(401) + refused(423) + refused(429), refused(429)), (1_000, 970));
    let written = relay.written();
    for event in ["room.locked", "source.blocked"] {
        assert_eq!(written.matches(event).count(), 1, "{event}\n{written}");
    }
    assert!(written.lines().count() <= before + 5, "{written}");
}

/// Everything goes by once, well and badly, at the most talkative; then neither the log nor the numbers hold what opens
/// something, or tells which room is whose.
#[tokio::test]
async fn logs_and_numbers_hold_nothing_that_opens_something() {
    let relay = Relay::with_log("trace").await;
    let token = relay.invite();
    let host = Host::enroll(&relay, Some(&token), KeyPair::generate().unwrap()).await.unwrap().unwrap();
    let secret = |n: u32| format!("{n:x}").repeat(64);
    let (room, bare) = ("0123456789abcdef".repeat(2), "fedcba9876543210".repeat(2));
    let body = json!({"secret_hash": secret(0xa), "pairing_token_hash": secret(0xb), "public_key": "a-key-to-hint-at"});
    let (status, _) = request(&relay, Some(&host), "PUT", &format!("/host/rooms/{room}"), &body).await.unwrap();
    assert_eq!(status, 201);
    let mut events = events(&relay, &host).await;
    let mut sids = Vec::new();
    for (member, value) in [("pairing_token_hash", secret(0xb)), ("secret_hash", secret(0xa))] {
        let wanted = json!({"room_id": room, member: value});
        let (status, answer) = request(&relay, None, "POST", "/pair", &wanted).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        sids.push(answer["sid"].as_str().unwrap().to_owned());
        until(&mut events, "\n\n").await;
        let (mut device, mut end) = session(&relay, &host, sids.last().unwrap()).await;
        device.send(Message::text("what-the-ends-say")).await.unwrap();
        let mut frame = [0; 23];
        end.read_exact(&mut frame).await.unwrap();
    }
    // Three that are wrong, one that nobody has, and what is no request.
    for n in 0..4 {
        let wrong = json!({"room_id": if n < 3 { &room } else { &bare }, "secret_hash": secret(0xc)});
        let (status, _) = request(&relay, None, "POST", "/pair", &wrong).await.unwrap();
        assert!([401, 423].contains(&status), "{status}");
    }
    let broken = json!({"room_id": room, "secret_hash": format!("{}x", secret(0xd))});
    assert_eq!(request(&relay, None, "POST", "/pair", &broken).await.unwrap().0, 400);
    let url = format!("/p?{}#{}", secret(0xe), secret(0xe));
    request(&relay, None, "GET", &url, &Value::Null).await.unwrap();
    request(&relay, None, "GET", &format!("/pair/relay/{}?{}", sids[0], secret(0xe)), &Value::Null).await.unwrap();
    assert_eq!(Host::enroll(&relay, Some(&token), KeyPair::generate().unwrap()).await.unwrap().err(), Some(410));
    request(&relay, Some(&host), "DELETE", &format!("/host/rooms/{room}"), &Value::Null).await.unwrap();

    let mut curl = program("curl");
    curl.args(["--silent", "--fail", &format!("{}/metrics", relay.private_url())]);
    let numbers = Running::start(curl).succeeds(PATIENCE).await;
    assert!(numbers.contains("couplet_relay_joins_refused_total"), "{numbers}");
    let written = relay.written();
    for event in ["session.opened", "session.bridged", "join.refused", "host.certified"] {
        assert!(written.contains(event), "the log is no log: {event}\n{written}");
    }
    assert!(written.contains(&room[..8]) && written.contains(&sids[0][..8]), "operators tell them apart:\n{written}");
    let mut hidden = vec![room, bare, token, "a-key-to-hint-at".into(), "what-the-ends-say".into()];
    hidden.extend(sids);
    hidden.extend((0xa..=0xe).map(secret));
    for secret in &hidden {
        // Nor most of it.
        let most = &secret[..16.min(secret.len())];
        assert!(!written.contains(most) && !numbers.contains(most), "{most}\n{written}");
    }
}
