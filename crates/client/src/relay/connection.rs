//! HTTP/1.1 over TLS with a relay: a few requests, an event stream, or what an upgrade leads to.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use couplet_protocol::relay::{Addresses, BODY_MAX};
use couplet_protocol::{Code, Problem, RelayName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::dial::{connect, lookup, secure};
use super::failure::RelayFailure;

/// How long a relay may take to answer a request.
const ANSWER: Duration = Duration::from_secs(8);
/// How long the body of its answer may take.
const BODY: Duration = Duration::from_secs(5);
/// The longest head of an answer, in bytes.
const HEAD_MAX: usize = 16 * 1024;

/// An open connection to a node of a relay, with TLS over an `S`. Dropping it closes it.
#[derive(Debug)]
pub struct Connection<S> {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortOnDropHandle<()>,
    peer: SocketAddr,
    authority: HeaderValue,
    over: PhantomData<fn() -> S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<S> {
    /// Connects with the relay of this name. `wrap` makes of the socket what the connection owns.
    ///
    /// # Errors
    /// It cannot be reached, or is not trusted.
    pub async fn open(
        tls: &TlsConnector,
        relay: &RelayName,
        wrap: impl FnOnce(TcpStream) -> S,
    ) -> Result<Self, RelayFailure> {
        let stream = connect(relay, lookup(relay).await?).await?;
        let peer = stream.peer_addr().map_err(RelayFailure::unreachable)?;
        Self::over(secure(tls, relay, wrap(stream)).await?, relay, peer).await
    }

    /// The same over TLS that stands already.
    ///
    /// # Errors
    /// It hung up.
    pub async fn over(stream: TlsStream<S>, relay: &RelayName, peer: SocketAddr) -> Result<Self, RelayFailure> {
        let authority = HeaderValue::from_str(relay.as_str()).map_err(RelayFailure::unreachable)?;
        let begun = Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = begun.map_err(RelayFailure::hung_up)?;
        let driver = tokio::spawn(async move {
            // Who waits for an answer learns of its end.
            let _ = connection.with_upgrades().await;
        });
        Ok(Connection { sender, driver: AbortOnDropHandle::new(driver), peer, authority, over: PhantomData })
    }

    /// The node's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends a request and waits for the head of its answer. None: the connection was over before anything was sent.
    pub async fn send(
        &mut self,
        request: request::Builder,
        body: Bytes,
    ) -> Option<Result<Response<Incoming>, RelayFailure>> {
        if self.sender.ready().await.is_err() {
            return None;
        }
        let request = request.header(header::HOST, self.authority.clone()).body(Full::new(body));
        let request: Request<Full<Bytes>> = match request {
            Ok(request) => request,
            Err(error) => return Some(Err(RelayFailure::unreachable(error))),
        };
        match timeout(ANSWER, self.sender.send_request(request)).await {
            Ok(Ok(answer)) => Some(Ok(answer)),
            Ok(Err(error)) if error.is_canceled() => None,
            Ok(Err(error)) if error.is_parse() => Some(Err(RelayFailure::broken("its head is no HTTP"))),
            Ok(Err(error)) => Some(Err(RelayFailure::hung_up(error))),
            Err(_) => Some(Err(RelayFailure::silent())),
        }
    }

    /// Sends a request with a JSON body, or none, and waits for the head of its answer.
    ///
    /// # Errors
    /// There is none.
    pub async fn request(
        &mut self,
        request: request::Builder,
        json: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, RelayFailure> {
        let request = match json {
            Some(_) => request.header(header::CONTENT_TYPE, "application/json"),
            None => request,
        };
        let sent = self.send(request, json.unwrap_or_default().into()).await;
        sent.unwrap_or_else(|| Err(RelayFailure::hung_up("the connection was over")))
    }

    /// The stream that an answer with status 101 leads to, and what was read ahead of it.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn upgraded(self, answer: Response<Incoming>) -> Result<(TlsStream<S>, Bytes), RelayFailure> {
        let upgraded = hyper::upgrade::on(answer).await.map_err(RelayFailure::hung_up)?;
        let parts = upgraded.downcast::<TokioIo<TlsStream<S>>>().map_err(|_| RelayFailure::internal())?;
        drop(self.driver);
        Ok((parts.io.into_inner(), parts.read_buf))
    }
}

/// What a relay answered, whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// None: it was too long or too slow.
    pub body: Option<Bytes>,
}

impl Answer {
    /// Waits for the body.
    pub async fn read(answer: Response<Incoming>) -> Self {
        let (head, body) = answer.into_parts();
        let body = timeout(BODY, Limited::new(body, BODY_MAX).collect()).await;
        let body = body.ok().and_then(Result::ok).map(Collected::to_bytes);
        Answer { status: head.status, headers: head.headers, body }
    }

    /// The code of the problem that it is about, if it says one that is known here.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        let problem: Problem = serde_json::from_slice(self.body.as_deref()?).ok()?;
        Code::parse(&problem.code)
    }

    /// What an answer other than the wanted one means, of which only these are a relay's to give here. Our words, not
    /// the relay's.
    #[must_use]
    pub fn refusal(&self, known: &[Code]) -> RelayFailure {
        let code = self.code().filter(|code| known.contains(code));
        let failure = match code {
            Some(Code::AccountMismatch) => RelayFailure::mismatch(&self.addresses()),
            Some(code) => RelayFailure::answered(code, self.retry_after()),
            None if self.status.is_redirection() => RelayFailure::broken("it sends this machine elsewhere"),
            None => RelayFailure::broken(&format!("status {}", self.status.as_u16())),
        };
        failure.with_clock(self.ahead())
    }

    fn addresses(&self) -> Addresses {
        serde_json::from_slice(self.body.as_deref().unwrap_or_default()).unwrap_or_default()
    }

    /// `Retry-After` in seconds (RFC 9110, 10.2.3); our relays write no dates.
    fn retry_after(&self) -> Option<Duration> {
        self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
    }

    /// By how many seconds the relay's clock is ahead, from its `Date` (RFC 9110, 6.6.1).
    #[must_use]
    pub fn ahead(&self) -> Option<i64> {
        clock_ahead(&self.headers)
    }
}

/// By how many seconds the clock is ahead of whoever answered with these headers.
#[must_use]
pub fn clock_ahead(headers: &HeaderMap) -> Option<i64> {
    ahead(headers, SystemTime::now())
}

fn ahead(headers: &HeaderMap, now: SystemTime) -> Option<i64> {
    let theirs = rfc2822::parse(headers.get(header::DATE)?.to_str().ok()?).ok()?.timestamp().as_second();
    let ours = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(theirs - i64::try_from(ours).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: Some(Bytes::copy_from_slice(body)),
        }
    }

    fn problem(code: Code) -> Vec<u8> {
        serde_json::to_vec(&Problem::new(code, "\x1b[2J the relay's own words")).unwrap()
    }

    #[test]
    fn a_refusal_is_one_of_those_that_a_relay_gives_in_our_words() {
        let known = [Code::RoomLocked, Code::TooManyFailures];
        let locked = answer(423, &[("retry-after", "900")], &problem(Code::RoomLocked)).refusal(&known);
        assert_eq!((locked.code(), locked.retry_after()), (Code::RoomLocked, Some(Duration::from_secs(900))));
        assert!(!locked.to_string().contains("own words"));
        // Not its to say.
        for code in [Code::HostKeyDiffers, Code::PairTokenUsed, Code::RelayUntrusted] {
            assert_eq!(answer(403, &[], &problem(code)).refusal(&known).code(), Code::RelayBroken);
        }
        for (status, body) in [(302, &b""[..]), (404, b"<html>"), (200, b"{}")] {
            let odd = answer(status, &[("location", "http://x")], body).refusal(&known);
            assert_eq!(odd.code(), Code::RelayBroken);
        }
        let date = [("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")];
        assert_eq!(answer(429, &date, &problem(Code::TooManyFailures)).refusal(&known).retry_after(), None);
    }

    #[test]
    fn the_relays_clock_is_read_from_its_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let at = |date| ahead(&answer(200, &[("date", date)], b"").headers, now);
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(at("Sun, 06 Nov 1994 08:54:37 GMT"), Some(300));
        assert_eq!(at("nonsense"), None);
    }
}
