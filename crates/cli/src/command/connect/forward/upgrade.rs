//! Upgrades: `101 Switching Protocols` here, extended CONNECT in the session (RFC 8441).

use std::io;

use bytes::Bytes;
use couplet_client::Upgraded;
use couplet_protocol::Code;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version, header};
use hyper::body::{Body, Incoming};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::refusal::Refusal;
use super::socket::Socket;

/// An upgrade that a program wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What the host is asked for.
    pub(super) protocol: String,
    /// The protocol as the program wrote it.
    sent: HeaderValue,
    /// `Sec-WebSocket-Accept`, for a WebSocket.
    accept: Option<HeaderValue>,
}

/// The upgrade that the request asks for, when it can be forwarded: one protocol, and none of HTTP's own. Any other
/// `Upgrade` is left out, as servers may ignore it (RFC 9110, 7.8).
pub(super) fn wanted(head: &Parts, body: &Incoming) -> Result<Option<Wanted>, Refusal> {
    if body.is_end_stream() { of_head(head) } else { Ok(None) }
}

fn of_head(head: &Parts) -> Result<Option<Wanted>, Refusal> {
    let mut named = head.headers.get_all(header::UPGRADE).iter();
    let (Some(sent), None) = (named.next(), named.next()) else { return Ok(None) };
    let Ok(protocol) = sent.to_str() else { return Ok(None) };
    let protocol = protocol.trim();
    let name = protocol.split('/').next().unwrap_or(protocol);
    let is_http = ["h2c", "h2", "h3", "http", "tls"].iter().any(|http| name.eq_ignore_ascii_case(http));
    let is_one = !protocol.is_empty() && protocol.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    let asks = head.version == Version::HTTP_11 && head.method == Method::GET && names_upgrade(&head.headers);
    if is_http || !is_one || !asks {
        return Ok(None);
    }
    let is_websocket = protocol.eq_ignore_ascii_case("websocket");
    let accept = if is_websocket { Some(accept(&head.headers)?) } else { None };
    let protocol = if is_websocket { "websocket".to_owned() } else { protocol.to_owned() };
    Ok(Some(Wanted { protocol, sent: sent.clone(), accept }))
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    let tokens = headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    tokens.map(<[u8]>::trim_ascii).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

/// What proves to the program that its WebSocket was understood (RFC 6455, 4.2.2).
fn accept(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let accept = match (keys.next(), keys.next()) {
        // Base64 of 16 bytes.
        (Some(key), None) if key.len() == 24 => HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok(),
        _ => None,
    };
    accept.ok_or_else(|| Refusal::new(Code::RequestNotForwardable, "Send one Sec-WebSocket-Key of 24 characters."))
}

impl Wanted {
    /// Makes the head of the app's answer that of the 101.
    pub(super) fn complete(&self, headers: &mut HeaderMap) {
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.sent.clone());
        if let Some(accept) = &self.accept {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.clone());
        }
    }
}

/// Bytes, both ways, each way ending on its own. `ahead`: what the program sent already.
///
/// # Errors
/// Either side broke.
pub(super) async fn join(app: Upgraded, ahead: Bytes, socket: &mut Socket) -> io::Result<()> {
    let (from_app, to_app) = split(app);
    let (from_program, to_program) = split(socket);
    tokio::try_join!(pump(ahead, from_program, to_app), pump(Bytes::new(), from_app, to_program))?;
    Ok(())
}

async fn pump(first: Bytes, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    to.write_all(&first).await?;
    copy(&mut from, &mut to).await?;
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn of(method: &str, headers: &[(&str, &str)]) -> Result<Option<Wanted>, Code> {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        of_head(&head).map_err(|refusal| refusal.code())
    }

    #[test]
    fn a_websocket_is_accepted_with_the_answer_to_its_key() {
        // RFC 6455, 1.3.
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let headers = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), key];
        let wanted = of("GET", &headers).unwrap().unwrap();
        assert_eq!(wanted.protocol, "websocket");
        let mut answer = HeaderMap::new();
        wanted.complete(&mut answer);
        assert_eq!(answer[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(
            (&answer[header::CONNECTION], &answer[header::UPGRADE]),
            (&"upgrade".parse().unwrap(), &"WebSocket".parse().unwrap())
        );
        assert_eq!(of("GET", &headers[..2]), Err(Code::RequestNotForwardable));
        assert_eq!(of("GET", &[headers[0], headers[1], key, key]), Err(Code::RequestNotForwardable));
    }

    #[test]
    fn other_protocols_are_tokens_and_http_is_none() {
        let asks = ("connection", "upgrade");
        assert_eq!(of("GET", &[asks, ("upgrade", "echo/1")]).unwrap().unwrap().protocol, "echo/1");
        for protocol in ["h2c", "HTTP/2.0", "TLS/1.2", "a, b", ""] {
            assert_eq!(of("GET", &[asks, ("upgrade", protocol)]), Ok(None), "{protocol}");
        }
        assert_eq!(of("POST", &[asks, ("upgrade", "echo")]), Ok(None));
        assert_eq!(of("GET", &[("upgrade", "echo")]), Ok(None));
    }
}
