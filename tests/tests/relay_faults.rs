//! A relay that is killed, whose clock is wrong, or whose logs somebody reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use e2e::Running;
use e2e::host::{PATIENCE, with_wrong_clock};
use e2e::program::{couplet, program};
use futures_util::{SinkExt, StreamExt};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

type Tls = TlsStream<TcpStream>;

/// `couplet relay serve` on ports that stay the same over restarts.
struct Relay {
    folder: tempfile::TempDir,
    args: Vec<String>,
    log: Option<&'static str>,
    running: Running,
    ready: Value,
}

impl Relay {
    async fn start(log: Option<&'static str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (devices, hosts) = (free(), free());
        let state = folder.path().join("state").to_string_lossy().into_owned();
        let args = ["relay", "serve", "--dev", "--json", "--private", "127.0.0.1:0", "--state-dir", &state];
        let listen = ["--listen".into(), devices.to_string(), "--hosts-listen".into(), hosts.to_string()];
        let args: Vec<String> = args.map(str::to_owned).into_iter().chain(listen).collect();
        let (running, ready) = run(&args, log).await;
        Relay { folder, args, log, running, ready }
    }

    /// As after a power cut.
    async fn kill(&mut self) {
        self.running.kill().await;
    }

    async fn start_again(&mut self) {
        (self.running, self.ready) = run(&self.args, self.log).await;
    }

    fn command(&self, args: &[&str]) -> (i32, String) {
        let mut command = couplet();
        command.arg("relay").args(args).arg("--state-dir").arg(self.folder.path().join("state"));
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8(said).unwrap())
    }

    fn invite(&self) -> String {
        let (code, said) = self.command(&["invite"]);
        assert_eq!(code, 0, "{said}");
        said.split_whitespace().find(|word| word.starts_with("enr_")).unwrap().to_owned()
    }

    fn port(&self, listener: &str) -> u16 {
        self.ready[listener].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
    }

    async fn tls(&self, listener: &str, identity: Option<&Host>) -> std::io::Result<Tls> {
        let mut roots = RootCertStore::empty();
        let ca = PathBuf::from(self.ready["ca"].as_str().unwrap());
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(host) => {
                let chain = CertificateDer::pem_slice_iter(host.certificate.as_bytes());
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(host.key.serialize_der()));
                builder.with_client_auth_cert(chain.collect::<Result<_, _>>().unwrap(), key).unwrap()
            }
        };
        let stream = TcpStream::connect(("127.0.0.1", self.port(listener))).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// Status and body; an error when the relay is gone before it has answered.
    async fn request(
        &self,
        host: Option<&Host>,
        method: &str,
        path: &str,
        body: &Value,
    ) -> std::io::Result<(u16, Value)> {
        let mut tls = self.tls(if host.is_some() { "hosts" } else { "public" }, host).await?;
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
    async fn events(&self, host: &Host) -> Tls {
        let mut tls = self.tls("hosts", Some(host)).await.unwrap();
        tls.write_all(b"GET /host/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        until(&mut tls, ":\n\n").await;
        tls
    }

    /// Both ends of a session: the device's WebSocket, and the bytes at its host.
    async fn session(&self, host: &Host, sid: &str) -> (WebSocketStream<Tls>, Tls) {
        let url = format!("wss://localhost/pair/relay/{sid}");
        let tls = self.tls("public", None).await.unwrap();
        let (device, _) = tokio_tungstenite::client_async(url, tls).await.unwrap();
        let mut end = self.tls("hosts", Some(host)).await.unwrap();
        let head = format!("GET /pair/relay/{sid} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n");
        end.write_all(format!("{head}upgrade: couplet-stream\r\n\r\n").as_bytes()).await.unwrap();
        assert!(until(&mut end, "\r\n\r\n").await.starts_with("HTTP/1.1 101"));
        (device, end)
    }
}

async fn run(args: &[String], log: Option<&str>) -> (Running, Value) {
    let mut command = couplet();
    command.args(args);
    if let Some(log) = log {
        command.env("COUPLET_LOG", log);
    }
    let running = Running::start(command);
    let line = running.wait_for_line(PATIENCE, |line| line.contains("\"ready\"")).await;
    (running, serde_json::from_str(&line).unwrap())
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
        let (status, answer) = relay.request(None, "POST", "/enroll", &body).await?;
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

/// Work is cut off by a kill after so many half milliseconds.
const CUTS: u32 = 12;

/// What an answer said before the kill counts after it; without an answer it is done or not, and can be done again.
#[tokio::test]
async fn a_relay_that_is_killed_while_it_works_forgets_nothing_that_it_has_answered() {
    let mut relay = Relay::start(None).await;
    let host = Host::enrolled(&relay).await;
    for n in 0..CUTS {
        let cut = Duration::from_micros(500 * u64::from(n));
        let (room, token) = (format!("/host/rooms/{}", room(n)), relay.invite());
        // To enrol: the token is free, or the host with this key has it.
        let key = KeyPair::generate().unwrap();
        let same = KeyPair::from_pem(&key.serialize_pem()).unwrap();
        let done = answered(&mut relay, cut, async |relay| Host::enroll(relay, Some(&token), key).await).await;
        let known = Host::enroll(&relay, None, KeyPair::from_pem(&same.serialize_pem()).unwrap()).await.unwrap();
        if let Some(Ok(before)) = &done {
            assert_eq!(known.map(|host| host.id).ok().as_ref(), Some(&before.id), "{n}: an enrolled host is forgotten");
        }
        let other = KeyPair::generate().unwrap();
        let mine = Host::enroll(&relay, Some(&token), same).await.unwrap();
        let new = mine.unwrap_or_else(|status| panic!("{n}: the host cannot come again: {status}"));
        assert_eq!(Host::enroll(&relay, Some(&token), other).await.unwrap().err(), Some(410), "{n}: used twice");

        // To register.
        let put = async |relay: &Relay| relay.request(Some(&host), "PUT", &room, &by_token(n)).await;
        let done = answered(&mut relay, cut, put).await;
        let (status, _) = relay.request(Some(&host), "PUT", &room, &by_token(n)).await.unwrap();
        assert!(status == 204 || (status == 201 && done.is_none()), "{n}: {status}, answered {done:?}");

        // To ask and be bridged: live only, and the token is not used by it.
        let events = relay.events(&host).await;
        let (status, answer) = relay.request(None, "POST", "/pair", &ask(n)).await.unwrap();
        assert_eq!(status, 200, "{n}: {answer}");
        let (mut device, mut end) = relay.session(&host, answer["sid"].as_str().unwrap()).await;
        device.send(Message::text("x")).await.unwrap();
        assert_eq!(end.read_u8().await.unwrap(), 0x81);
        relay.kill().await;
        let over = tokio::time::timeout(PATIENCE, device.next()).await.expect("the device notices");
        assert!(!matches!(over, Some(Ok(_))), "{over:?}");
        drop((events, end));
        relay.start_again().await;
        let events = relay.events(&host).await;
        let (status, answer) = relay.request(None, "POST", "/pair", &ask(n)).await.unwrap();
        assert_eq!(status, 200, "{n}: {answer}");
        drop((relay.session(&host, answer["sid"].as_str().unwrap()).await, events));

        // To remove: then the token is used, for who has it.
        let delete = async |relay: &Relay| relay.request(Some(&host), "DELETE", &room, &Value::Null).await;
        let done = answered(&mut relay, cut, delete).await;
        let _events = relay.events(&host).await;
        let (status, _) = relay.request(None, "POST", "/pair", &ask(n)).await.unwrap();
        assert!(status == 410 || (status == 200 && done.is_none()), "{n}: {status}, answered {done:?}");

        // To revoke.
        let done = answered(&mut relay, cut, async |relay| {
            let (relay, id) = (relay.folder.path().join("state"), new.id.clone());
            let mut revoke = tokio::process::Command::from({
                let mut command = couplet();
                command.args(["relay", "hosts", "revoke", &id, "--yes", "--state-dir"]).arg(relay);
                command
            });
            let output = revoke.kill_on_drop(true).output().await?;
            if output.status.success() { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
        })
        .await;
        let again = Host::enroll(&relay, None, new.key).await.unwrap();
        assert!(again.is_err() || done.is_none(), "{n}: a revoked host is back");
    }
}

/// Does it, kills the relay after `cut` or, for the longest, after the answer, and starts it again. The answer, if it came.
async fn answered<T>(
    relay: &mut Relay,
    cut: Duration,
    work: impl AsyncFnOnce(&Relay) -> std::io::Result<T>,
) -> Option<T> {
    let pid = relay.running.pid().to_string();
    let killing = async {
        // From the start of the work: what is cut off is whatever the relay is then at.
        tokio::time::sleep(cut).await;
        let mut kill = program("kill");
        kill.args(["-s", "KILL", &pid]);
        assert!(tokio::process::Command::from(kill).status().await.unwrap().success());
    };
    let last = cut == Duration::from_micros(500 * u64::from(CUTS - 1));
    let done = if last {
        work(relay).await.ok()
    } else {
        let (done, ()) = tokio::join!(work(relay), killing);
        done.ok()
    };
    assert!(!last || done.is_some(), "undisturbed, it is done");
    relay.kill().await;
    relay.start_again().await;
    done
}

#[tokio::test]
async fn a_clock_that_is_five_minutes_wrong_is_named_with_how_much_and_what_to_do() {
    let relay = Relay::start(None).await;
    for (offset, which) in [("-5m", "ahead of"), ("+5m", "behind")] {
        let folder = tempfile::tempdir().unwrap();
        let mut check = couplet();
        check.args(["relay", "check", relay.ready["public"].as_str().unwrap(), "--relay-ca"]);
        check.arg(relay.ready["ca"].as_str().unwrap());
        with_wrong_clock(&mut check, folder.path(), offset);
        let output = check.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let by = ["299 s", "300 s", "301 s"].iter().any(|by| said.contains(&format!("{by} {which} this one's")));
        assert!(by && said.contains("CPL-1822") && said.contains("timedatectl"), "{said}");
    }
    // A host whose clock is behind can use its certificate at once all the same, and its answer says what the time is.
    let key = KeyPair::generate().unwrap();
    let mut tls = relay.tls("public", None).await.unwrap();
    let body = json!({"token": relay.invite(), "csr": csr(&key)}).to_string();
    let head = "POST /enroll HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    tls.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\ndate: "), "{answer}");
}

/// Everything goes by once, well and badly, at the most talkative; then neither the log nor the numbers hold what opens
/// something, or tells which room is whose.
#[tokio::test]
async fn strangers_do_not_fill_the_log() {
    let relay = Relay::start(None).await;
    let host = Host::enroll(&relay, Some(&relay.invite()), KeyPair::generate().unwrap()).await.unwrap().unwrap();
    let room = "0123456789abcdef".repeat(2);
    let body = json!({"secret_hash": "a".repeat(64), "public_key": "key"});
    let (status, _) = relay.request(Some(&host), "PUT", &format!("/host/rooms/{room}"), &body).await.unwrap();
    assert_eq!(status, 201);
    let before = relay.running.written().lines().count();
    let mut requests = String::new();
    for n in 0..1_000 {
        let room = if n < 10 { room.clone() } else { format!("{n:032x}") };
        let body = json!({"room_id": room, "secret_hash": "b".repeat(64)}).to_string();
        let last = if n == 999 { "connection: close\r\n" } else { "" };
        let about = format!("content-type: application/json\r\n{last}content-length: {}", body.len());
        requests.push_str(&format!("POST /pair HTTP/1.1\r\nhost: localhost\r\n{about}\r\n\r\n{body}"));
    }
    let (mut reader, mut writer) = tokio::io::split(relay.tls("public", None).await.unwrap());
    let mut answers = String::new();
    let asked = async { tokio::join!(writer.write_all(requests.as_bytes()), reader.read_to_string(&mut answers)) };
    tokio::time::timeout(PATIENCE, asked).await.expect("a thousand answers in time").1.unwrap();
    let refused = |status| answers.matches(&format!("HTTP/1.1 {status} ")).count();
    assert_eq!((refused(401) + refused(423) + refused(429), refused(429)), (1_000, 970));
    let written = relay.running.written();
    for event in ["room.locked", "source.blocked"] {
        assert_eq!(written.matches(event).count(), 1, "{event}\n{written}");
    }
    assert!(written.lines().count() <= before + 5, "{written}");
}

#[tokio::test]
async fn logs_and_numbers_hold_nothing_that_opens_something() {
    let relay = Relay::start(Some("trace")).await;
    let token = relay.invite();
    let host = Host::enroll(&relay, Some(&token), KeyPair::generate().unwrap()).await.unwrap().unwrap();
    let secret = |n: u32| format!("{n:x}").repeat(64);
    let (room, bare) = ("0123456789abcdef".repeat(2), "fedcba9876543210".repeat(2));
    let body = json!({"secret_hash": secret(0xa), "pairing_token_hash": secret(0xb), "public_key": "a-key-to-hint-at"});
    let (status, _) = relay.request(Some(&host), "PUT", &format!("/host/rooms/{room}"), &body).await.unwrap();
    assert_eq!(status, 201);
    let mut events = relay.events(&host).await;
    let mut sids = Vec::new();
    for (member, value) in [("pairing_token_hash", secret(0xb)), ("secret_hash", secret(0xa))] {
        let wanted = json!({"room_id": room, member: value});
        let (status, answer) = relay.request(None, "POST", "/pair", &wanted).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        sids.push(answer["sid"].as_str().unwrap().to_owned());
        until(&mut events, "\n\n").await;
        let (mut device, mut end) = relay.session(&host, sids.last().unwrap()).await;
        device.send(Message::text("what-the-ends-say")).await.unwrap();
        let mut frame = [0; 23];
        end.read_exact(&mut frame).await.unwrap();
    }
    // Three that are wrong, one that nobody has, and what is no request.
    for n in 0..4 {
        let wrong = json!({"room_id": if n < 3 { &room } else { &bare }, "secret_hash": secret(0xc)});
        let (status, _) = relay.request(None, "POST", "/pair", &wrong).await.unwrap();
        assert!([401, 423].contains(&status), "{status}");
    }
    let broken = json!({"room_id": room, "secret_hash": format!("{}x", secret(0xd))});
    assert_eq!(relay.request(None, "POST", "/pair", &broken).await.unwrap().0, 400);
    let url = format!("/p?{}#{}", secret(0xe), secret(0xe));
    relay.request(None, "GET", &url, &Value::Null).await.unwrap();
    relay.request(None, "GET", &format!("/pair/relay/{}?{}", sids[0], secret(0xe)), &Value::Null).await.unwrap();
    assert_eq!(Host::enroll(&relay, Some(&token), KeyPair::generate().unwrap()).await.unwrap().err(), Some(410));
    relay.request(Some(&host), "DELETE", &format!("/host/rooms/{room}"), &Value::Null).await.unwrap();

    let mut curl = program("curl");
    curl.args(["--silent", "--fail", &format!("{}/metrics", relay.ready["private"][0].as_str().unwrap())]);
    let numbers = Running::start(curl).succeeds(PATIENCE).await;
    assert!(numbers.contains("couplet_relay_joins_refused_total"), "{numbers}");
    let written = relay.running.written();
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
