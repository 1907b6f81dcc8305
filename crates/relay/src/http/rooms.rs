//! `GET /rooms`: the door of [`crate::rooms_door`], on axum's WebSockets.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Extension, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt, future};
use http::HeaderMap;

use super::events::CertificateEnd;
use crate::live::Connection;
use crate::problem::Failure;
use crate::rooms_door::{BINARY_MAX, Incoming, Outgoing};
use crate::shared::Shared;
use crate::sockets::Socket;
use crate::source::Source;

/// A device's.
pub(super) async fn device(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(place): Extension<Arc<Socket>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let place = (place, super::page(&shared, &headers, peer)?);
    let (rooms, quota) = (Arc::clone(&shared.rooms), shared.sources.of(Source::of(peer.ip())));
    upgraded(&shared, place, upgrade, async move |socket| {
        let (to, from) = split(socket);
        rooms.serve_device(peer.ip(), quota, from, to).await;
    })
}

/// A host's.
pub(super) async fn host(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(certificate): Extension<CertificateEnd>,
    Extension(place): Extension<Arc<Socket>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let (rooms, quota) = (Arc::clone(&shared.rooms), connection.quota());
    upgraded(&shared, place, upgrade, async move |socket| {
        let (to, from) = split(socket);
        let served = tokio::time::timeout(certificate.left(), rooms.serve_host(connection.host, quota, from, to));
        connection.cut.run_until_cancelled(served).await;
    })
}

/// Serves the WebSocket within the door's bounds until the relay ends. `place` is held as long as that takes.
fn upgraded<S: Future<Output = ()> + Send>(
    shared: &Shared,
    place: impl Send + 'static,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    serve: impl FnOnce(WebSocket) -> S + Send + 'static,
) -> Result<Response, Failure> {
    let upgrade = upgrade.map_err(|_| super::upgrade::required())?;
    if shared.is_draining() {
        return Err(super::pair::draining());
    }
    let cut = shared.tasks.cut.clone();
    Ok(bounded(upgrade).on_upgrade(async move |socket| {
        let _place = place;
        cut.run_until_cancelled(serve(socket)).await;
    }))
}

fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    small(upgrade).max_message_size(BINARY_MAX).max_frame_size(BINARY_MAX).max_write_buffer_size(4 * BINARY_MAX)
}

/// What a socket that says nothing takes of memory: by default it would be 128 KiB, and anybody may open one.
pub(super) fn small(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.read_buffer_size(4096).write_buffer_size(4096)
}

fn split(
    socket: WebSocket,
) -> (impl Sink<Outgoing, Error = axum::Error> + Send + Unpin, impl Stream<Item = Incoming> + Send + Unpin) {
    let (to, from) = socket.split();
    let to = to.with(|message: Outgoing| future::ready(Ok(outgoing(message))));
    // An error is the end, but for a message that is too large.
    let from = from.map(incoming).scan(false, |over, message| {
        let ended = std::mem::replace(over, matches!(message, Err(()) | Ok(Incoming::TooLarge)));
        future::ready(if ended { None } else { message.ok() })
    });
    (to, from)
}

fn incoming(message: Result<Message, axum::Error>) -> Result<Incoming, ()> {
    match message {
        Ok(Message::Text(text)) => Ok(Incoming::Text(text.to_string())),
        Ok(Message::Binary(bytes)) => Ok(Incoming::Binary(bytes)),
        Ok(Message::Ping(_) | Message::Pong(_)) => Ok(Incoming::Alive),
        Ok(Message::Close(_)) => Err(()),
        Err(error) => match error.into_inner().downcast_ref() {
            Some(tokio_tungstenite::tungstenite::Error::Capacity(_)) => Ok(Incoming::TooLarge),
            _ => Err(()),
        },
    }
}

fn outgoing(message: Outgoing) -> Message {
    match message {
        Outgoing::Text(text) => Message::Text(text.into()),
        Outgoing::Binary(bytes) => Message::Binary(bytes),
        Outgoing::Ping => Message::Ping(Bytes::new()),
        Outgoing::Close { code, reason } => Message::Close(Some(CloseFrame { code, reason: reason.into() })),
    }
}
