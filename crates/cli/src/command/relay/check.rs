//! `couplet relay check`: from outside, as a device sees the relay. Each step says what it found; the first one that
//! fails says what to do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use couplet_protocol::{Code, Problem, RelayName};
use futures_util::{SinkExt, StreamExt};
use http::Request;
use http::header::DATE;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::args::Check;
use crate::failure::{Exit, Failure};
use crate::output;

/// How long each step may take.
const STEP: Duration = Duration::from_secs(10);
/// Clocks may differ by so much.
const SKEW: i64 = 60;
/// How often the way there and back is measured.
const ROUNDS: usize = 5;
const CHECK: &str = "/check";

type Tls = TlsStream<TcpStream>;

/// Goes through the steps.
pub(super) async fn run(args: &Check) -> anyhow::Result<()> {
    let name = named(&args.url)?;
    let mut report = Report { json: args.json.json, steps: Vec::new() };
    let done = steps(&name, args.relay_ca.as_deref(), &mut report).await;
    if args.json.json {
        let failure = done.as_ref().err().map(|f| json!({"code": f.code, "title": f.title, "detail": f.detail}));
        output::json(&json!({"relay": name.as_str(), "ok": done.is_ok(), "steps": report.steps, "failure": failure}))?;
        return done.map_err(|_| Failure::said(Exit::Failure).into());
    }
    done?;
    Ok(output::line(&format!("{name} can be used."))?)
}

/// What was found.
struct Report {
    json: bool,
    steps: Vec<Value>,
}

impl Report {
    fn ok(&mut self, step: &str, found: &str) -> std::io::Result<()> {
        self.steps.push(json!({"step": step, "found": found}));
        if self.json { Ok(()) } else { output::line(&format!("ok  {step:<12}{found}")) }
    }
}

fn named(url: &str) -> Result<RelayName, Failure> {
    let text = url.strip_prefix("https://").unwrap_or(url).trim_end_matches('/');
    RelayName::parse(text).ok_or_else(|| {
        let next = "Write it as relay.example, relay.example:8442 or https://relay.example, without a path.";
        Failure::new(Exit::Usage, format!("{:?} is no relay", output::plain(url)), next)
    })
}

async fn steps(name: &RelayName, ca: Option<&Path>, report: &mut Report) -> Result<(), Failure> {
    let said = |_| Failure::said(Exit::Failure);
    let (host, port) = name.as_str().split_once(':').unwrap_or((name.as_str(), "443"));
    let port: u16 = port.parse().map_err(|_| Failure::said(Exit::Usage))?;
    let addresses = resolve(host, port).await?;
    let list: Vec<String> = addresses.iter().map(|at| at.ip().to_string()).collect();
    report.ok("name", &list.join(", ")).map_err(said)?;

    let config = Arc::new(trust(ca)?);
    let (stream, at, took) = connect(&addresses).await?;
    report.ok("port", &format!("{at} in {}", millis(took))).map_err(said)?;
    let (tls, about) = handshake(&config, host, stream, ca.is_some()).await?;
    report.ok("certificate", &about).map_err(said)?;
    let skew = clock(tls, name).await?;
    report.ok("clock", &format!("{skew} s apart")).map_err(said)?;

    let (stream, ..) = connect(&addresses).await?;
    let (tls, _) = handshake(&config, host, stream, ca.is_some()).await?;
    let latency = websocket(tls, name).await?;
    report.ok("WebSocket", "messages come back").map_err(said)?;
    report.ok("latency", &format!("{} there and back, the best of {ROUNDS}", millis(latency))).map_err(said)
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn unreachable(what: impl std::fmt::Display, next: &str) -> Failure {
    Failure::of(Code::RelayUnreachable, format!("{what}.\n{next}"))
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let next = "Is the name spelt right, and does the DNS have an A or AAAA record for it?";
    let found = tokio::time::timeout(STEP, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| unreachable("The DNS does not answer", "Check this machine's network."))?;
    let addresses: Vec<SocketAddr> =
        found.map_err(|error| unreachable(format!("{host} is not known: {error}"), next))?.collect();
    if addresses.is_empty() { Err(unreachable(format!("{host} has no address"), next)) } else { Ok(addresses) }
}

async fn connect(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr, Duration), Failure> {
    let mut why = Vec::new();
    for address in addresses {
        let start = Instant::now();
        match tokio::time::timeout(STEP, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let took = start.elapsed();
                let _ = stream.set_nodelay(true);
                return Ok((stream, *address, took));
            }
            Ok(Err(error)) => why.push(format!("{address}: {error}")),
            Err(_) => why.push(format!("{address}: no answer")),
        }
    }
    let next = "Does the relay run and listen there (`couplet relay serve` says where), and does every firewall on the \
                way let the port pass?";
    Err(unreachable(why.join("; "), next))
}

fn trust(ca: Option<&Path>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        let wrong = |error: String| {
            let next = format!("{}: {error}. Name a file with certificates in PEM.", path.display());
            Failure::new(Exit::Usage, "--relay-ca cannot be used", next)
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Failure::new(Exit::Failure, "TLS does not start", error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

async fn handshake(
    config: &Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
    ca_named: bool,
) -> Result<(Tls, String), Failure> {
    let no_name = |_| unreachable(format!("{host} is no name for a certificate"), "Use the relay's name.");
    let name = ServerName::try_from(host.to_owned()).map_err(no_name)?;
    let shaken = tokio::time::timeout(STEP, TlsConnector::from(Arc::clone(config)).connect(name, stream)).await;
    let shaken = shaken.map_err(|_| unreachable("TLS does not begin", "Is this the relay's port?"))?;
    let tls = shaken.map_err(|error| refused(&error, ca_named))?;
    let version = match tls.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    Ok((tls, format!("trusted, {version}")))
}

fn refused(error: &std::io::Error, ca_named: bool) -> Failure {
    let text = error.to_string();
    if !text.contains("certificate") {
        let next = "Is this the devices' port of the relay? The hosts' asks for a certificate.";
        return unreachable(format!("TLS fails: {text}"), next);
    }
    let next = match ca_named {
        true => "Is the file the CA of this relay, and is this the relay's own name?",
        false => "If the relay has a certificate of its own (--dev, a private CA): --relay-ca FILE.",
    };
    Failure::of(Code::RelayUntrusted, format!("{text}.\n{next}"))
}

/// How many seconds the relay's clock is ahead or behind.
async fn clock(tls: Tls, name: &RelayName) -> Result<i64, Failure> {
    let answered = tokio::time::timeout(STEP, ask(tls, name)).await;
    let (date, code) = answered.ok().flatten().ok_or_else(|| broken("It does not answer to HTTP."))?;
    if code.as_deref() != Some(Code::UpgradeRequired.to_string().as_str()) {
        return Err(broken("It does not answer as a relay does."));
    }
    let then = date.and_then(|date| rfc2822::parse(&date).ok()).ok_or_else(|| broken("It tells no time."))?;
    let ahead = then.timestamp().as_second() - Timestamp::now().as_second();
    if ahead.abs() > SKEW {
        let (by, which) = (ahead.abs(), if ahead > 0 { "ahead of" } else { "behind" });
        let next = "Set the clock that is wrong: timedatectl set-ntp true, where systemd keeps it.";
        return Err(Failure::of(
            Code::ClockDiffers,
            format!("The relay's clock is {by} s {which} this one's.\n{next}"),
        ));
    }
    Ok(ahead.abs())
}

async fn ask(tls: Tls, name: &RelayName) -> Option<(Option<String>, Option<String>)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.ok()?;
    let request = Request::get(CHECK).header("host", name.as_str()).body(Empty::<Bytes>::new()).ok()?;
    let answered = async {
        let answer = sender.send_request(request).await.ok()?;
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let body = Limited::new(answer.into_body(), 64 * 1024).collect().await.ok()?.to_bytes();
        Some((date, serde_json::from_slice::<Problem>(&body).ok().map(|problem| problem.code)))
    };
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        _ = connection => answered.await,
    }
}

fn broken(what: &str) -> Failure {
    Failure::of(Code::RelayBroken, format!("{what}\nIs the address the relay's, and are both of the same version?"))
}

/// The shortest way there and back through an upgraded connection.
async fn websocket(tls: Tls, name: &RelayName) -> Result<Duration, Failure> {
    let blocked = |why: String| {
        let next = "A proxy on the way may take part: it must let WebSockets, or better TCP itself, pass.";
        Failure::of(Code::UpgradeBlocked, format!("{why}.\n{next}"))
    };
    let upgrade = tokio_tungstenite::client_async(format!("wss://{name}{CHECK}"), tls);
    let upgraded =
        tokio::time::timeout(STEP, upgrade).await.map_err(|_| blocked("The upgrade is not answered".into()))?;
    let (mut socket, _) = upgraded.map_err(|error| blocked(format!("The upgrade fails: {error}")))?;
    let mut best = STEP;
    for round in 0..ROUNDS {
        let message = Message::binary(vec![u8::try_from(round).unwrap_or_default(); 64]);
        let start = Instant::now();
        let there_and_back = async {
            socket.send(message.clone()).await.ok()?;
            socket.next().await?.ok()
        };
        let back = tokio::time::timeout(STEP, there_and_back).await.ok().flatten();
        if back != Some(message) {
            return Err(blocked("Messages do not come back".into()));
        }
        best = best.min(start.elapsed());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_named_in_several_ways() {
        for url in ["relay.example", "https://relay.example", "https://Relay.Example/", "relay.example:8442"] {
            assert!(named(url).unwrap().as_str().starts_with("relay.example"), "{url}");
        }
        for url in ["http://relay.example", "https://relay.example/p", "", "[::1]:1"] {
            assert_eq!(named(url).unwrap_err().exit, Exit::Usage, "{url}");
        }
    }
}
