//! `GET /host/events`: a host's event stream. A host that has nothing to do has this connection and no other, so the
//! listener recognises the request before hyper does and keeps of the connection only what it takes to write events.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::response::Response;
use bytes::Bytes;
use couplet_protocol::Sid;
use futures_util::stream;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::clock::until;
use crate::live::{Connection, Subscription};
use crate::sockets::Socket;
use crate::wire::Tls;

/// What the raw stream begins with, before the date; it ends with its connection (RFC 9112, 6.3).
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n\
    connection: close\r\n";
/// How long an event may take to leave.
const WRITE: Duration = Duration::from_secs(30);
/// The most headers of a request that is recognised here.
const HEADERS_MAX: usize = 32;

/// What the bytes of a connection begin with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// A whole request for the event stream, and which event the host had last.
    Events(Option<Sid>),
    /// Something else, which hyper reads.
    Other,
    /// More must come.
    Partial,
}

/// Looks at the first bytes of a connection.
pub(crate) fn recognise(bytes: &[u8]) -> Head {
    // Cheap to tell, and true of every other request.
    const START: &[u8] = b"GET /host/events HTTP/1.1\r\n";
    let len = START.len().min(bytes.len());
    if bytes[..len] != START[..len] {
        return Head::Other;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
        Ok(httparse::Status::Partial) => return Head::Partial,
        // A body, or a request behind it: hyper knows what to do.
        _ => return Head::Other,
    }
    let is = |header: &&httparse::Header<'_>, name: &str| header.name.eq_ignore_ascii_case(name);
    let has = |name| request.headers.iter().any(|header| is(&header, name));
    if has("content-length") || has("transfer-encoding") || has("upgrade") || !has("host") {
        return Head::Other;
    }
    let last = request.headers.iter().find(|header| is(header, "last-event-id"));
    Head::Events(last.and_then(|header| sid(header.value)))
}

fn sid(value: &[u8]) -> Option<Sid> {
    std::str::from_utf8(value).ok().and_then(|text| Sid::parse(text).ok())
}

/// Writes events until the host goes, is revoked, or comes anew; at the latest until its certificate ends.
pub(crate) async fn run(
    mut tls: Box<Tls>,
    connection: Arc<Connection>,
    last: Option<Sid>,
    left: Duration,
    socket: Arc<Socket>,
) {
    let cut = connection.cut.clone();
    let events = connection.subscribe(last);
    drop(connection);
    let stream = async {
        write(&mut tls, head(Timestamp::now()).as_bytes()).await?;
        loop {
            let mut ignored = [0; 16];
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => write(&mut tls, &event).await?,
                    None => return Some(()),
                },
                // A host says nothing more: what comes is its end.
                read = tls.read(&mut ignored) => if !matches!(read, Ok(len) if len > 0) { return None },
            }
        }
    };
    let over = cut.run_until_cancelled(tokio::time::timeout(left, stream)).await;
    drop(events);
    if matches!(over, Some(Ok(Some(())) | Err(_))) {
        let _ = tokio::time::timeout(WRITE, tls.shutdown()).await;
    }
    drop(socket);
}

/// The head of the answer, and a first comment. By the date a host sees that its clock is wrong.
fn head(now: Timestamp) -> String {
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
    let date = date.map(|date| format!("date: {date}\r\n")).unwrap_or_default();
    format!("{HEAD}{date}\r\n:\n\n")
}

async fn write(tls: &mut Tls, bytes: &[u8]) -> Option<()> {
    let written = async {
        tls.write_all(bytes).await?;
        tls.flush().await
    };
    tokio::time::timeout(WRITE, written).await.ok()?.ok()
}

/// When the certificate of a connection's host ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CertificateEnd(pub(crate) Timestamp);

impl CertificateEnd {
    /// How long it is good from now on.
    pub(crate) fn left(self) -> Duration {
        until(self.0, Timestamp::now())
    }
}

/// The same for a request that came behind another one on its connection.
pub(crate) async fn answer(
    Extension(connection): Extension<Arc<Connection>>,
    Extension(certificate): Extension<CertificateEnd>,
    request: Request,
) -> Response {
    let last = request.headers().get("last-event-id").and_then(|value| sid(value.as_bytes()));
    let left = certificate.left();
    let cut = connection.cut.clone();
    let events = connection.subscribe(last);
    let over = Box::pin(async move {
        cut.run_until_cancelled(tokio::time::sleep(left)).await;
    });
    let next = |(events, mut over): (Subscription, std::pin::Pin<Box<dyn Future<Output = ()> + Send>>)| async move {
        let event: Option<Bytes> = tokio::select! {
            event = events.next() => event,
            () = &mut over => None,
        };
        event.map(|event| (Ok::<_, std::convert::Infallible>(event), (events, over)))
    };
    let begin: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = over;
    let mut response = Response::new(Body::from_stream(stream::unfold((events, begin), next)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_plain_request_for_events_is_taken_from_hyper() {
        let request = "GET /host/events HTTP/1.1\r\nHost: r\r\nLast-Event-ID: ";
        let sid = "ab".repeat(16);
        let whole = format!("{request}{sid}\r\n\r\n");
        assert_eq!(recognise(whole.as_bytes()), Head::Events(Some(Sid::new([0xab; 16]))));
        for end in 0..whole.len() {
            assert_eq!(recognise(&whole.as_bytes()[..end]), Head::Partial, "{end}");
        }
        assert_eq!(recognise(format!("{request}nonsense\r\n\r\n").as_bytes()), Head::Events(None));
        for other in [
            "GET /host/events?x HTTP/1.1\r\n\r\n",
            "PUT /host/rooms/1 HTTP/1.1\r\n",
            "GET /host/events HTTP/1.1\r\n\r\n",
            "GET /host/events HTTP/1.1\r\nHost: r\r\nContent-Length: 1\r\n\r\n",
            "GET /host/events HTTP/1.1\r\nHost: r\r\n\r\nGET ",
            "GET /host/events HTTP/1.1\r\nHo st: r\r\n\r\n",
        ] {
            assert_eq!(recognise(other.as_bytes()), Head::Other, "{other}");
        }
    }
}
