//! `GET /api/pair/tunnel`: the LAN end of sealed sessions, a WebSocket.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use couplet_client::sealed::accepted;
use couplet_protocol::{Code, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::guard::Source;
use crate::auth::single;
use crate::pairing::Pairing;
use crate::problem::Failure;
use crate::slots::Slot;
use crate::tunnel::{self, DeviceSocket, Origin};

/// Opens a WebSocket for a sealed session (spec/protocol.md): M1, M2, then frames, each a binary message.
#[utoipa::path(get, path = "/api/pair/tunnel", tag = "devices",
    responses((status = 101), (status = 403, body = Problem), (status = 421, body = Problem),
        (status = 426, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn tunnel(
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    slot: Option<Extension<Arc<Slot>>>,
    mut request: Request,
) -> Result<Response, Failure> {
    let accept = accept_key(request.headers())?.ok_or_else(no_websocket)?;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or_else(no_websocket)?;
    let core = pairing.core().clone();
    let origin = Origin { source: source.ip, via: None, _slot: slot.map(|Extension(slot)| slot) };
    pairing.core().tunnels().spawn(async move {
        match upgrade.await {
            Ok(upgraded) => match upgraded.downcast::<TokioIo<TcpStream>>() {
                Ok(parts) => {
                    let device = DeviceSocket::new(parts.io.into_inner());
                    tunnel::run(core, accepted(device, parts.read_buf).await, origin).await;
                }
                Err(_) => tracing::error!(target: "couplet::session", "not served by Pairing::serve"),
            },
            Err(error) => tracing::debug!(target: "couplet::session", %error, "the connection ended at once"),
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// The answer to a WebSocket's key (RFC 6455, 4.2); None when the request asks for none.
fn accept_key(headers: &HeaderMap) -> Result<Option<HeaderValue>, Failure> {
    let is = |name: HeaderName, wanted: &str| {
        let tokens = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        tokens.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    let asked = is(header::CONNECTION, "upgrade") && is(header::UPGRADE, "websocket");
    let version = single(headers, &header::SEC_WEBSOCKET_VERSION)?;
    let key = single(headers, &header::SEC_WEBSOCKET_KEY)?;
    match key.filter(|_| asked && version == Some("13")) {
        Some(key) => HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map(Some).map_err(Failure::internal),
        None => Ok(None),
    }
}

fn no_websocket() -> Failure {
    Failure::new(Code::UpgradeRequired, "Open it as a WebSocket, version 13; `couplet connect` does.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn only_a_websocket_is_accepted() {
        let fine = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let accept = accept_key(&headers(&fine)).unwrap().unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "RFC 6455, 1.3");
        for left_out in 0..fine.len() {
            let mut some = fine.to_vec();
            some.remove(left_out);
            assert_eq!(accept_key(&headers(&some)).unwrap(), None, "without {}", fine[left_out].0);
        }
        for (at, value) in [(0, "close"), (1, "h2c"), (2, "8")] {
            let mut other = fine;
            other[at].1 = value;
            assert_eq!(accept_key(&headers(&other)).unwrap(), None, "{value}");
        }
    }
}
