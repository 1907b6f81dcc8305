//! WebSockets to the apps behind a host (RFC 8441).

use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::connect::Client;
use crate::error::RequestError;
use crate::http::{Body, Upgrade, Upgraded};

/// The longest message that is taken, in bytes: tungstenite's own limit.
const MESSAGE_MAX: usize = 64 << 20;

/// Why a WebSocket was not opened.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// The app answered with something else.
    #[error("the app did not open a WebSocket (status {})", .0.status())]
    Refused(Box<Response<Body>>),
    /// The request came to nothing.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Client {
    /// Opens a WebSocket. The target names the host that the app shall see, as in `http://localhost:8888/api/kernels`.
    ///
    /// # Errors
    /// The app refuses, or the request comes to nothing.
    pub async fn websocket(
        &self,
        target: Uri,
        headers: HeaderMap,
    ) -> Result<WebSocketStream<Upgraded>, WebSocketError> {
        let mut request = Request::new(());
        *request.uri_mut() = target;
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        match self.upgrade(request, "websocket").await? {
            Upgrade::Switched(_, stream) => {
                let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX));
                Ok(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await)
            }
            Upgrade::Refused(answer) => Err(WebSocketError::Refused(Box::new(answer))),
        }
    }
}
