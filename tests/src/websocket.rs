//! A WebSocket client with a credential.

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Uri};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

pub use tokio_tungstenite::tungstenite;

/// An open WebSocket.
pub type WebSocket = WebSocketStream<TcpStream>;

/// Opens a WebSocket at `http://host:port/path`, with these headers.
///
/// # Errors
/// The server refuses: [`Error::Http`] has its answer.
pub async fn connect(url: &str, headers: &[(&str, &str)]) -> Result<WebSocket, Error> {
    let url = url.replacen("http://", "ws://", 1);
    let uri: Uri = url.parse().unwrap();
    let authority = uri.authority().unwrap().as_str().to_owned();
    let mut request = uri.into_client_request().unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    Ok(client_async(request, stream).await?.0)
}

/// A text message.
#[must_use]
pub fn text(text: impl Into<String>) -> Message {
    Message::Text(text.into().into())
}
