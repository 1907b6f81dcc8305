//! `couplet relay check`: from outside, as a device sees the relay, and as far as it can be seen without a certificate, as
//! a host does. Each step says what it found; the first one that fails says what to do.

mod apps;
mod hosts;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use couplet_client::relay::{self, Answer, Authorities, Connection, SKEW, TlsUnusable};
use couplet_client::{RelayCa, RelayFailure};
use couplet_protocol::{Code, RelayName};
use futures_util::{SinkExt, StreamExt};
use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::args::Check;
use crate::command::connect::relay_ca;
use crate::failure::{Exit, Failure};
use crate::output;

/// How long the upgrade and each message may take.
const STEP: Duration = Duration::from_secs(10);
/// How often the way there and back is measured.
const ROUNDS: usize = 5;
const CHECK: &str = "/check";
/// The next step where something hangs up that may be the hosts' listener.
const DEVICES: &str =
    "Is this the devices' port of the relay? The hosts' asks for a certificate, and is checked by --hosts.";

type Tls = TlsStream<TcpStream>;

/// Goes through the steps.
pub(super) async fn run(args: &Check) -> anyhow::Result<()> {
    let name = named(&args.url)?;
    let hosts = args.hosts.as_deref().map(named).transpose()?;
    let mut report = Report { json: args.json.json, steps: Vec::new() };
    let done = steps(&name, hosts.as_ref(), args.relay_ca.as_deref(), &mut report).await;
    if args.json.json {
        let failure = done.as_ref().err().map(|f| json!({"code": f.code, "title": f.title, "detail": f.detail}));
        output::json(&json!({"relay": name.as_str(), "ok": done.is_ok(), "steps": report.steps, "failure": failure}))?;
        return done.map_err(|_| Failure::said(Exit::Failure).into());
    }
    done?;
    Ok(output::line(&match hosts {
        Some(_) => format!("{name} can be used."),
        None => format!("{name} can be used by devices. Hosts come by another port: --hosts NAME:PORT checks it, too."),
    })?)
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

/// Reads a relay's name, or its address.
pub(in crate::command) fn named(url: &str) -> Result<RelayName, Failure> {
    let text = url.strip_prefix("https://").unwrap_or(url).trim_end_matches('/');
    RelayName::parse(text).ok_or_else(|| {
        let next = "Write it as relay.example, relay.example:8442 or https://relay.example, without a path.";
        Failure::new(Exit::Usage, format!("{:?} is no relay", output::plain(url)), next)
    })
}

async fn steps(
    name: &RelayName,
    hosts: Option<&RelayName>,
    ca: Option<&Path>,
    report: &mut Report,
) -> Result<(), Failure> {
    let said = |_| Failure::said(Exit::Failure);
    let addresses = relay::lookup(name).await.map_err(|failure| {
        beneath(&failure, "Is the name spelt right, and does the DNS have an A or AAAA record for it?")
    })?;
    let list: Vec<String> = addresses.iter().map(|at| at.ip().to_string()).collect();
    report.ok("name", &list.join(", ")).map_err(said)?;

    let tls = trust(ca).await?;
    let (stream, at, took) = connect(name, &addresses).await?;
    report.ok("port", &format!("{at} in {}", millis(took))).map_err(said)?;
    let stream = secure(&tls, name, stream).await?;
    let version = match stream.get_ref().1.protocol_version() {
        Some(tokio_rustls::rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    report.ok("certificate", &format!("trusted, {version}")).map_err(said)?;
    let apart = clock(stream, name, at).await?;
    report.ok("clock", &format!("{apart} s apart")).map_err(said)?;

    let (stream, ..) = connect(name, &addresses).await?;
    let latency = websocket(secure(&tls, name, stream).await?, name).await?;
    report.ok("WebSocket", "messages come back").map_err(said)?;
    report.ok("latency", &format!("{} there and back, the best of {ROUNDS}", millis(latency))).map_err(said)?;
    apps::steps(name, &addresses, &tls, report).await?;
    match hosts {
        Some(hosts) => hosts::steps(hosts, &tls, ca.is_some(), report).await,
        None => Ok(()),
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// What was met at this step, and what to do about it here.
fn beneath(failure: &RelayFailure, next: &str) -> Failure {
    Failure::of(failure.code(), format!("{failure}.\n{next}"))
}

async fn trust(ca: Option<&Path>) -> Result<TlsConnector, Failure> {
    let extra = ca.map(relay_ca::read).transpose()?;
    let load = move || relay::tls(Authorities::System(extra.as_ref().map(RelayCa::as_pem)), None);
    let loaded = tokio::task::spawn_blocking(load).await.unwrap_or_else(|error| Err(TlsUnusable(error.to_string())));
    loaded.map_err(|error| Failure::new(Exit::Failure, "TLS does not start", error.to_string()))
}

async fn connect(name: &RelayName, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr, Duration), Failure> {
    let start = Instant::now();
    let connected = async {
        let stream = relay::connect(name, addresses.to_vec()).await?;
        let at = stream.peer_addr().map_err(|error| RelayFailure::new(Code::RelayUnreachable, error.to_string()))?;
        Ok((stream, at, start.elapsed()))
    };
    connected.await.map_err(|failure: RelayFailure| {
        let next = "Does the relay run and listen there (`couplet relay serve` says where), and does every firewall on \
                    the way let the port pass?";
        beneath(&failure, next)
    })
}

async fn secure(tls: &TlsConnector, name: &RelayName, stream: TcpStream) -> Result<Tls, Failure> {
    relay::secure(tls, name, stream).await.map_err(|failure| match failure.code() {
        Code::RelayUnreachable => beneath(&failure, DEVICES),
        code => Failure::of(code, failure.detail(name)),
    })
}

/// By how many seconds the clocks differ.
async fn clock(tls: Tls, name: &RelayName, at: SocketAddr) -> Result<i64, Failure> {
    let answered = async {
        let mut connection = Connection::over(tls, name, at).await?;
        Ok(Answer::read(connection.request(Request::get(CHECK), None).await?).await)
    };
    let odd = |failure: RelayFailure| {
        let same = "Is the address the relay's, at its devices' port, and are both of the same version?";
        // In TLS 1.3 who wants a certificate says so only after the handshake (RFC 8446, 4.4.2.4).
        beneath(&failure, if failure.is_hung_up() { DEVICES } else { same })
    };
    let answer = answered.await.map_err(odd)?;
    if answer.code() != Some(Code::UpgradeRequired) {
        return Err(odd(RelayFailure::broken("it knows nothing of a check")));
    }
    let ahead = answer.ahead().ok_or_else(|| odd(RelayFailure::broken("it tells no time")))?;
    if ahead.abs() > SKEW {
        let (by, which) = (ahead.abs(), if ahead > 0 { "ahead of" } else { "behind" });
        let failure = RelayFailure::new(Code::ClockDiffers, format!("its clock is {by} s {which} this one's"));
        return Err(Failure::of(failure.code(), failure.detail(name)));
    }
    Ok(ahead.abs())
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
