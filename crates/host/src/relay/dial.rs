//! What a host asks of its relay, each on a connection of its own: a few requests, an event stream, or a session.

use bytes::Bytes;
use couplet_client::relay::{Answer, Connection, RelayFailure, clock_ahead};
use couplet_protocol::{Code, RelayName};
use http::header::{ACCEPT, CONNECTION, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tunnel::DeviceSocket;

/// What a relay answers to a host (spec/protocol.md, 6).
const CODES: &[Code] = &[
    Code::EnrollmentInvalid,
    Code::EnrollmentUsed,
    Code::HostRevoked,
    Code::CsrInvalid,
    Code::RoomNotYours,
    Code::TooManyRooms,
    Code::AccountInvalid,
    Code::AccountExpired,
    Code::AccountsUnavailable,
    Code::NoSuchSession,
    Code::RelayDraining,
    Code::TooManyRequests,
    Code::TooManyConnections,
    Code::StoreUnavailable,
    Code::Internal,
];

/// A host's connection to its relay: what a session leaves unsent in it can be called back.
pub(crate) type Http = Connection<DeviceSocket>;

pub(crate) async fn connect(tls: &TlsConnector, at: &RelayName) -> Result<Http, RelayFailure> {
    Connection::open(tls, at, DeviceSocket::new).await
}

/// Sends a request and reads its whole answer.
pub(crate) async fn ask(
    http: &mut Http,
    method: Method,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<Answer, RelayFailure> {
    let body = body.map(serde_json::to_vec).transpose();
    let body = body.map_err(|error| RelayFailure::new(Code::Internal, error.to_string()))?;
    Ok(Answer::read(http.request(Request::builder().method(method).uri(path), body).await?).await)
}

/// What an answer other than the wanted one means.
pub(super) fn refusal(answer: &Answer) -> RelayFailure {
    answer.refusal(CODES)
}

/// Opens an event stream: its body, which goes on, and by how many seconds the relay's clock is ahead.
pub(super) async fn stream(
    http: &mut Http,
    path: &str,
    last: Option<&str>,
) -> Result<(Incoming, Option<i64>), RelayFailure> {
    let request = Request::get(path).header(ACCEPT, "text/event-stream");
    let request = last.into_iter().fold(request, |request, last| request.header("last-event-id", last));
    let answer = expect(http.request(request, None).await?, StatusCode::OK).await?;
    let ahead = clock_ahead(answer.headers());
    Ok((answer.into_body(), ahead))
}

/// Asks for an upgrade: the stream from then on, and what was read ahead.
pub(super) async fn upgrade(
    mut http: Http,
    path: &str,
    protocol: &str,
) -> Result<(TlsStream<DeviceSocket>, Bytes), RelayFailure> {
    let request = Request::get(path).header(CONNECTION, "upgrade").header(UPGRADE, protocol);
    let answer = expect(http.request(request, None).await?, StatusCode::SWITCHING_PROTOCOLS).await?;
    http.upgraded(answer).await
}

async fn expect(answer: Response<Incoming>, wanted: StatusCode) -> Result<Response<Incoming>, RelayFailure> {
    if answer.status() == wanted { Ok(answer) } else { Err(refusal(&Answer::read(answer).await)) }
}
