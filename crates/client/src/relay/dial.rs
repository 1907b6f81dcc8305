//! The steps to a relay: its addresses, one of them that answers, TLS.

use std::future::ready;
use std::net::SocketAddr;
use std::time::Duration;

use couplet_protocol::RelayName;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::{ServiceExt, service_fn};

use super::failure::RelayFailure;

/// How long looking the name up may take: a resolver that asks its second server does so after 5 s.
const LOOKUP: Duration = Duration::from_secs(7);
/// How long all of its addresses together may take, and then TLS.
const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How many addresses of a name are tried.
const ADDRESSES: usize = 8;
/// The port when a name has none.
const PORT: u16 = 443;

/// The host part of a relay's name, and the port.
#[must_use]
pub fn split(relay: &RelayName) -> (&str, u16) {
    match relay.as_str().split_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(PORT)),
        None => (relay.as_str(), PORT),
    }
}

/// Looks the name up: one address at least, and not more than are tried.
///
/// # Errors
/// The name has none, or the DNS does not say.
pub async fn lookup(relay: &RelayName) -> Result<Vec<SocketAddr>, RelayFailure> {
    let (host, port) = split(relay);
    let found = timeout(LOOKUP, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| RelayFailure::unreachable("the DNS does not answer"))?;
    let found = found.map_err(|error| RelayFailure::unreachable(format!("its name is not known: {error}")))?;
    let addresses: Vec<SocketAddr> = found.take(ADDRESSES).collect();
    if addresses.is_empty() { Err(RelayFailure::unreachable("its name has no address")) } else { Ok(addresses) }
}

/// Connects with one of these addresses, both families side by side (RFC 8305).
///
/// # Errors
/// None of them answers in time.
pub async fn connect(relay: &RelayName, addresses: Vec<SocketAddr>) -> Result<TcpStream, RelayFailure> {
    let (host, port) = split(relay);
    let found = service_fn(move |_: Name| ready(Ok::<_, std::convert::Infallible>(addresses.clone().into_iter())));
    let mut connector = HttpConnector::new_with_resolver(found);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    let place: Uri = format!("http://{host}:{port}").parse().map_err(RelayFailure::unreachable)?;
    let connected = timeout(CONNECT, connector.oneshot(place)).await.map_err(|_| RelayFailure::silent())?;
    let stream = connected.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        RelayFailure::unreachable(cause)
    })?;
    Ok(stream.into_inner())
}

/// TLS with the relay of this name, over whatever leads to it.
///
/// # Errors
/// It is not trusted, or does not answer as TLS does.
pub async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &TlsConnector,
    relay: &RelayName,
    stream: S,
) -> Result<TlsStream<S>, RelayFailure> {
    let name = ServerName::try_from(split(relay).0.to_owned()).map_err(RelayFailure::unreachable)?;
    let shaken = timeout(HANDSHAKE, tls.connect(name, stream)).await.map_err(|_| RelayFailure::silent())?;
    shaken.map_err(|error| RelayFailure::of_tls(&error))
}
