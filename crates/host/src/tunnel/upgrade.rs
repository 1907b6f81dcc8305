//! Extended CONNECT (RFC 8441): how a WebSocket, or another upgrade, is asked for within HTTP/2. For the app it is an
//! upgrade of HTTP/1.1.

use bytes::Bytes;
use couplet_protocol::Code;
use data_encoding::BASE64;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::gateway::{Answer, AnswerBody, Tunnel};
use crate::problem::Failure;

/// An upgrade that a device asks for.
pub(super) struct Asked {
    upgrade: OnUpgrade,
    /// What the app must answer to the key that it is sent; for WebSockets alone.
    accept: Option<String>,
}

/// Both ends of an upgraded stream, to be joined once its head is answered.
pub(super) struct Switched {
    upgrade: OnUpgrade,
    app: Tunnel,
}

impl Asked {
    /// Makes the device's request the app's. None: it asks for no upgrade.
    pub(super) fn take(request: &mut Request<Incoming>) -> Result<Option<Self>, Failure> {
        if *request.method() != Method::CONNECT {
            return Ok(None);
        }
        let unforwardable = |next: &str| Failure::new(Code::RequestNotForwardable, next);
        let protocol = request.extensions_mut().remove::<Protocol>();
        let protocol = protocol.ok_or_else(|| unforwardable("This is no forward proxy: CONNECT needs :protocol."))?;
        let token = HeaderValue::from_str(protocol.as_str());
        let token = token.map_err(|_| unforwardable("The protocol to upgrade to is no token."))?;
        let upgrade = hyper::upgrade::on(&mut *request);
        *request.method_mut() = Method::GET;
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, token);
        headers.remove(header::SEC_WEBSOCKET_KEY);
        let is_websocket = protocol.as_str().eq_ignore_ascii_case("websocket");
        let accept = is_websocket.then(|| BASE64.encode(&crate::random::bytes::<16>())).map(|key| {
            let accept = derive_accept_key(key.as_bytes());
            if let Ok(key) = HeaderValue::from_str(&key) {
                headers.insert(header::SEC_WEBSOCKET_KEY, key);
            }
            accept
        });
        Ok(Some(Asked { upgrade, accept }))
    }

    /// The answer for the device, and with a 101 what is to be joined behind it. A refusal passes as it is.
    pub(super) fn answered(self, answer: Answer) -> Result<(Response<AnswerBody>, Option<Switched>), Failure> {
        let Answer { mut response, tunnel, .. } = answer;
        let Some(app) = tunnel else { return Ok((response, None)) };
        let said = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if self.accept.is_some_and(|accept| said.is_none_or(|said| said.as_bytes() != accept.as_bytes())) {
            let next = "The app did not open the WebSocket as RFC 6455 asks. See its log.";
            return Err(Failure::new(Code::UpstreamBroken, next).because("a wrong Sec-WebSocket-Accept"));
        }
        *response.status_mut() = StatusCode::OK;
        for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT, header::CONTENT_LENGTH] {
            response.headers_mut().remove(name);
        }
        Ok((response, Some(Switched { upgrade: self.upgrade, app })))
    }
}

impl Switched {
    /// Joins both ends until they have finished, each way on its own.
    pub(super) async fn join(self) {
        let upgraded: Upgraded = match self.upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(target: "couplet::session", %error, "an upgrade came to nothing"),
        };
        // A stream that is dropped before it was shut down is reset.
        if let Err(error) = self.app.join(&mut TokioIo::new(upgraded), Bytes::new()).await {
            tracing::debug!(target: "couplet::session", %error, "an upgraded stream broke");
        }
    }
}
