//! A WebSocket client with a credential.

use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Request, Uri};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::either::Either;

pub use tokio_tungstenite::tungstenite;

/// What it runs over: TCP itself, or TLS through a relay.
pub type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// An open WebSocket.
pub type WebSocket = WebSocketStream<Stream>;

/// The TCP connection beneath one that goes straight to a host.
///
/// # Panics
/// It goes through a relay.
#[must_use]
pub fn tcp(socket: &WebSocket) -> &TcpStream {
    match socket.get_ref() {
        Either::Left(stream) => stream,
        Either::Right(_) => panic!("this one goes through a relay"),
    }
}

/// Opens a WebSocket at `http://host:port/path`, with these headers.
///
/// # Errors
/// The server refuses: [`Error::Http`] has its answer.
pub async fn connect(url: &str, headers: &[(&str, &str)]) -> Result<WebSocket, Error> {
    let (request, authority) = request(url, headers);
    upgrade(request, TcpStream::connect(authority).await?).await
}

/// The same, for a client whose kernel takes a few thousand bytes before somebody reads them.
///
/// # Errors
/// As [`connect`].
pub async fn connect_small(url: &str) -> Result<WebSocket, Error> {
    let (request, authority) = request(url, &[]);
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(2048)?;
    upgrade(request, socket.connect(authority.parse().unwrap()).await?).await
}

fn request(url: &str, headers: &[(&str, &str)]) -> (Request<()>, String) {
    let url = url.replacen("http://", "ws://", 1);
    let uri: Uri = url.parse().unwrap();
    let authority = uri.authority().unwrap().as_str().to_owned();
    let mut request = uri.into_client_request().unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    (request, authority)
}

async fn upgrade(request: Request<()>, stream: TcpStream) -> Result<WebSocket, Error> {
    stream.set_nodelay(true)?;
    Ok(client_async(request, Either::Left(stream)).await?.0)
}

/// A text message.
#[must_use]
pub fn text(text: impl Into<String>) -> Message {
    Message::Text(text.into().into())
}
