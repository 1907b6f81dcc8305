//! One request over plain HTTP, within bounds: to the host's own listeners, and to its apps.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// How long an answer may take to begin.
const ANSWER: Duration = Duration::from_secs(5);
/// How much of a body is read, in bytes.
const BODY: usize = 16 * 1024;

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// As far as it was read; empty when it did not end in time.
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nothing takes the connection.
    Connect(std::io::Error),
    /// It took the connection, and then too long.
    Silent,
    /// What it says is no HTTP, or it broke off.
    Broken(hyper::Error),
}

/// Asks for a path. The `Host` header is `host`.
pub(super) async fn fetch(
    address: &str,
    host: &str,
    path: &str,
    headers: HeaderMap,
    connect: Duration,
) -> Result<Answer, Trouble> {
    let late = |_| Trouble::Connect(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let stream = timeout(connect, TcpStream::connect(address)).await.map_err(late)?.map_err(Trouble::Connect)?;
    let asked = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Trouble::Broken)?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = path.parse().unwrap_or_default();
        *request.headers_mut() = headers;
        if let Ok(host) = HeaderValue::from_str(host) {
            request.headers_mut().insert(header::HOST, host);
        }
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("couplet-doctor"));
        let (head, body) = sender.send_request(request).await.map_err(Trouble::Broken)?.into_parts();
        let body = timeout(ANSWER, Limited::new(body, BODY).collect()).await;
        let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    timeout(ANSWER, asked).await.map_err(|_| Trouble::Silent)?
}

/// The same of one of this machine's own addresses.
pub(super) async fn fetch_own(address: SocketAddr, path: &str) -> Result<Answer, Trouble> {
    let address = address.to_string();
    fetch(&address, &address, path, HeaderMap::new(), Duration::from_secs(2)).await
}
