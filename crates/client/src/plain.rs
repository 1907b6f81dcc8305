//! Plain HTTP to a host of the local network, where there is no session yet. Nothing proves who answers.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The largest answer, head and body each, in bytes.
pub(crate) const ANSWER_MAX: usize = 32 * 1024;
/// How long a host may take to say how it makes secrets (spec/protocol.md, 7).
const HEALTH: Duration = Duration::from_secs(2);
/// The one right answer to that.
const RNG: &str = "os-csprng";

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// No connection, none in time, or it broke off; what the system says.
    Unreachable(String),
    /// What came is no HTTP, or too much of it.
    NotHttp,
}

/// One request on a connection of its own: no proxy, no redirect, bounded in time and size. `within`: how long the answer
/// may take once there is a connection.
pub(crate) async fn exchange(
    at: SocketAddr,
    method: Method,
    path: &str,
    body: Bytes,
    within: Duration,
) -> Result<Response<Bytes>, NoAnswer> {
    let slow = |_| NoAnswer::Unreachable("no answer in time".to_owned());
    let stream = timeout(CONNECT, TcpStream::connect(at)).await.map_err(slow)?;
    let stream = stream.map_err(|error| NoAnswer::Unreachable(error.to_string()))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, at.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| NoAnswer::Unreachable(error.to_string()))?;
    let exchange = async {
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(ANSWER_MAX).handshake(TokioIo::new(stream)).await?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        Ok::<_, hyper::Error>(body.ok().map(|body| Response::from_parts(head, body.to_bytes())))
    };
    match timeout(within, exchange).await.map_err(slow)? {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(NoAnswer::NotHttp),
        Err(error) if error.is_parse() => Err(NoAnswer::NotHttp),
        Err(error) => Err(NoAnswer::Unreachable(error.to_string())),
    }
}

/// Whether what answers at this address says of itself that its pairing secrets do not come from its operating system's
/// generator (spec/protocol.md, 7). Only a plain statement counts: who does not answer says nothing.
pub(crate) async fn has_weak_random(at: SocketAddr) -> bool {
    let asked = timeout(HEALTH, exchange(at, Method::GET, "/health", Bytes::new(), HEALTH));
    let Ok(Ok(answer)) = asked.await else { return false };
    let health = serde_json::from_slice::<serde_json::Value>(answer.body()).unwrap_or_default();
    let rng = health.pointer("/features/pairing/rng");
    answer.status() == StatusCode::OK && rng.is_some_and(|rng| rng != RNG)
}
